"""corkage events: list pending, failing and applied events, and replay some."""

import argparse
import datetime
import re
import sys
import time
from typing import TYPE_CHECKING

from ..models import StripeEvent
from ..sync import inbox
from . import DAY, FAILED, HOUR, MINUTE, OK, opened, print_state, span

if TYPE_CHECKING:
    from ..sync.events import EventRef
    from ..sync.worker import Worker

MOST = 10_000
UNITS = {"s": 1, "m": MINUTE, "h": HOUR, "d": DAY}


def show(options: argparse.Namespace) -> int:
    """List events by state, the longest waiting first."""
    now = time.time()
    with opened():
        for state in inbox.STATES:
            if state in (options.state or ("failing", "pending")):
                lines = [_line(row, now) for row in inbox.in_state(state, options.limit + 1)]
                print_state(lines, f"{state} events", options.limit)
    return OK


def replay(options: argparse.Namespace) -> int:
    """Apply the events that were asked for; return 1 when one of them could not be found or applied."""
    from ..sync.replay import replay  # loads Stripe's library

    now = time.time()
    with opened() as service:
        events = _asked_for(options, service.worker, now)
        rows = replay(service.worker, events or [], now)
        for row in rows:
            print(_line(row, now))
        if events == []:
            print("there is nothing to replay")
    return FAILED if events is None or any(row.applied_at is None for row in rows) else OK


def a_time(text: str) -> float:
    """Parse a time: a date, a date and time (UTC unless it says otherwise), or how long ago, such as 90m, 12h or 3d."""
    ago = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if ago:
        return time.time() - int(ago[1]) * UNITS[ago[2]]
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"wanted a time such as 2h, 3d or 2026-11-01T12:00, not {text!r}") from error
    return (at if at.tzinfo else at.replace(tzinfo=datetime.UTC)).timestamp()


def _asked_for(options: argparse.Namespace, worker: "Worker", now: float) -> "list[EventRef] | None":
    """Return the events that were asked for; None, after printing why, when there is no such event."""
    from ..sync.replay import STRIPE_KEEPS_SECONDS, failing, since  # loads Stripe's library

    if options.failed:
        return failing(MOST)
    if options.since is None:
        return _one(options.id, worker)
    if now - options.since > STRIPE_KEEPS_SECONDS:
        print("Stripe keeps events for 30 days only; for older changes run `corkage sync`", file=sys.stderr)
    return since(worker.gateway, options.since, worker.polling.livemode)


def _one(event_id: str, worker: "Worker") -> "list[EventRef] | None":
    from ..sync.replay import find, is_ignored  # loads Stripe's library

    found = find(worker.gateway, event_id)
    if found is None:
        print(f"{event_id} is known neither to Stripe (which keeps 30 days) nor to this database", file=sys.stderr)
    elif is_ignored(found):
        print(f"{event_id} ({found.type}) concerns nothing that Corkage holds", file=sys.stderr)
    else:
        return [found]
    return None


def _line(row: StripeEvent, now: float) -> str:
    facts = f"{row.id}  {row.type}  {row.customer_id or '-'}  {span(now - row.received_at)} ago"
    if row.applied_at is not None:
        return f"applied  {facts}  {row.outcome}"
    if row.attempts:
        return f"failing  {facts}  {row.attempts} tries, next in {span(row.next_attempt_at - now)}  {row.error}"
    return f"pending  {facts}  next in {span(row.next_attempt_at - now)}"
