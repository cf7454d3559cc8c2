"""corkage sync: make the replica equal to all that Stripe holds, and print what was different."""

import sys
import time
from typing import TYPE_CHECKING, Any

from ..replica import marks
from . import FAILED, OK, answer, opened
from .output import Progress, print_json

if TYPE_CHECKING:
    from ..sync.resync import Report


def sync(dry_run: bool, as_json: bool) -> int:
    """Resync, with a progress bar; return 1 when it broke off, or some customer could not be compared."""
    from ..sync.resync import resync  # loads Stripe's library

    with opened() as service, Progress() as bar:
        service.worker.check_account()
        try:
            report = resync(service.worker.converger, time.time(), writes=not dry_run, progress=bar)
        except KeyboardInterrupt:
            print("\nBroken off. What was done stays; run it again within the hour to go on.", file=sys.stderr)
            return FAILED
        app = service.config.app
    if as_json:
        print_json(_as_json(report))
    else:
        _print_report(report, app, is_dry=dry_run)
    return FAILED if report.failed else OK


def _as_json(report: "Report") -> dict[str, Any]:
    counts = "subscriptions customers done_before singly unowned new changed".split()
    return {name: getattr(report, name) for name in counts} | {
        "missing": report.missing,
        "marked": [each._asdict() for each in report.marked],
        "access": {
            user: {"before": before._asdict(), "after": after._asdict()}
            for user, (before, after) in sorted(report.access.items())
        },
        "failed": report.failed,
    }


def _print_report(report: "Report", app: str, *, is_dry: bool) -> None:
    print(f"{report.subscriptions} subscriptions of {report.customers} customers, {report.unowned} of them unowned")
    if report.done_before:
        print(f"went on with the run that broke off: {report.done_before} customers were done before")
    if report.singly:
        print(f"{report.singly} customers fetched singly: overtaken, or not in Stripe's list")
    if not (report.new or report.changed or report.access):
        print("nothing was different")
    else:
        done = "different, and left so (dry run)" if is_dry else "different, and mended"
        print(f"{done}: {report.new} subscriptions new, {report.changed} changed, access of {len(report.access)} users")
    for user_id, (before, after) in sorted(report.access.items()):
        print(f"  {user_id}: {answer(before)} -> {answer(after)}")
    for marked in marks.by_app(report.marked).values():
        print(f"{marks.describe(marked, app)}\n  {marks.repair(marked)}")
    for customer_id, reason in sorted(report.failed.items()):
        print(f"  {customer_id} failed: {reason}", file=sys.stderr)
