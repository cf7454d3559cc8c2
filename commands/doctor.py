"""corkage doctor: what is not as it should be, each with the command that mends it."""

import argparse
import time

from . import FAILED, OK, opened


def examine(_options: argparse.Namespace) -> int:
    """Tell what was found; 1 when something is wrong."""
    from ..sync import doctor

    with opened() as billing:
        findings = doctor.examine(billing.worker, time.time())
    wrong = [each for each in findings if each.mend]
    for finding in wrong:
        print(f"- {finding.what}\n    {finding.mend}")
    for finding in findings:
        if finding.mend is None:
            print(f"  (to know: {finding.what})")
    print(f"{len(wrong)} things to mend" if wrong else "all is well")
    return FAILED if wrong else OK
