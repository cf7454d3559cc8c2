"""corkage notices: list pending, failing and delivered notices, and resend some."""

import sys
import time
from collections.abc import Sequence
from typing import Any

from ..health.spans import span
from ..models import NoticeRow
from ..notices import outbox
from . import FAILED, OK, opened, print_state
from .output import print_json

FIELDS = "receiver attempts next_attempt_at error delivered_at outcome".split()


def show(state: Sequence[str], limit: int, as_json: bool) -> int:
    """List notices by state, once for each receiver, the longest waiting first."""
    now, states = time.time(), state or ("failing", "pending")
    with opened():
        if as_json:
            found = [(each, row) for each in outbox.STATES if each in states for row in outbox.in_state(each, limit)]
            print_json([_as_json(each, row) for each, row in found])
            return OK
        for each in outbox.STATES:
            if each in states:
                lines = [_line(row, now) for row in outbox.in_state(each, limit + 1)]
                print_state(lines, f"{each} notices", limit)
        if not outbox.present_receivers(now):
            print("no receiver: set BILLING_NOTIFY_URL, or register a callback with billing.on()")
    return OK


def resend(notice_id: str | None, failing: bool, since: float | None) -> int:
    """Make notices due for delivery again; return 1 when there is no such notice, or no receiver."""
    now = time.time()
    with opened():
        if failing:
            print(f"{outbox.retry(now)} notices are due now")
            return OK
        if not outbox.present_receivers(now):
            print("no receiver: set BILLING_NOTIFY_URL, or register a callback with billing.on()", file=sys.stderr)
            return FAILED
        wanted = NoticeRow.message_id == notice_id if since is None else NoticeRow.created_at >= since
        count = outbox.resend(wanted, now)
    if not count:
        print("there is no such notice", file=sys.stderr)
        return FAILED
    print(f"{count} notices will be delivered again")
    return OK


def _as_json(state: str, row: Any) -> dict[str, Any]:
    notice = row.notice
    of_notice = {"id": notice.message_id, "kind": notice.kind, "user_id": notice.user_id, "at": notice.created_at}
    return {"state": state} | of_notice | {name: getattr(row, name) for name in FIELDS}


def _line(row: Any, now: float) -> str:
    notice = row.notice
    facts = (
        f"{notice.message_id}  {notice.kind}  {notice.user_id}  to {row.receiver}  {span(now - notice.created_at)} ago"
    )
    if row.delivered_at is not None:
        return f"delivered  {facts}  {row.outcome}"
    if row.attempts:
        return f"failing  {facts}  {row.attempts} tries, next in {span(row.next_attempt_at - now)}  {row.error}"
    return f"pending  {facts}  next in {span(row.next_attempt_at - now)}"
