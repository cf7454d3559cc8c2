"""corkage doctor: what is wrong, each with the command that fixes it."""

import time

from .. import storage
from ..errors import DatabaseUnavailable
from . import FAILED, OK, configured, opened


def examine() -> int:
    """Print what was found; return 1 when something is wrong."""
    from ..health import doctor  # loads Stripe's library

    label = storage.label(configured().database)
    try:
        with opened() as service:
            findings = doctor.examine(service.worker, time.time())
    except DatabaseUnavailable as error:  # opening it writes
        findings = [doctor.unavailable(str(error), label)]
    wrong = [each for each in findings if each.repair]
    for finding in wrong:
        print(f"- {finding.what}\n    {finding.repair}")
    for finding in findings:
        if finding.repair is None:
            print(f"  (note: {finding.what})")
    print(f"problems: {len(wrong)}" if wrong else "all is well")
    return FAILED if wrong else OK
