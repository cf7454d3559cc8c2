"""corkage events: list pending, failing and applied events, and replay some."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..health.spans import span
from ..logs.clean import one_line
from ..models import StripeEvent
from ..sync import inbox
from . import FAILED, OK, opened, print_state
from .output import print_json

if TYPE_CHECKING:
    from ..gateway.events import EventRef
    from ..sync.worker import Worker

MOST = 10_000
FIELDS = "id type customer_id source received_at attempts next_attempt_at error applied_at outcome".split()


def show(state: Sequence[str], limit: int, as_json: bool) -> int:
    """List events by state, the longest waiting first."""
    now, states = time.time(), state or ("failing", "pending")
    with opened():
        if as_json:
            found = [(each, row) for each in inbox.STATES if each in states for row in inbox.in_state(each, limit)]
            print_json([{"state": each} | {name: getattr(row, name) for name in FIELDS} for each, row in found])
            return OK
        for each in inbox.STATES:
            if each in states:
                lines = [_line(row, now) for row in inbox.in_state(each, limit + 1)]
                print_state(lines, f"{each} events", limit)
    return OK


def replay(event_id: str | None, failed: bool, since: float | None) -> int:
    """Apply the events that were asked for; return 1 when one of them could not be found or applied."""
    from ..sync.replay import replay as replay_events  # loads Stripe's library

    now = time.time()
    with opened() as service:
        events = _asked_for(event_id, failed, since, service.worker, now)
        rows = replay_events(service.worker, events or [], now)
        for row in rows:
            print(one_line(_line(row, now)))
        if events == []:
            print("there is nothing to replay")
    return FAILED if events is None or any(row.applied_at is None for row in rows) else OK


def _asked_for(
    event_id: str | None, failed: bool, since: float | None, worker: "Worker", now: float
) -> "list[EventRef] | None":
    """Return the events that were asked for; None, after printing why, when there is no such event."""
    from ..sync.replay import STRIPE_KEEPS_SECONDS, failing  # loads Stripe's library
    from ..sync.replay import since as events_since

    if failed:
        return failing(MOST)
    if since is None:
        return _one(event_id or "", worker)
    if now - since > STRIPE_KEEPS_SECONDS:
        print("Stripe keeps events for 30 days only; for older changes run `corkage sync`", file=sys.stderr)
    return events_since(worker.gateway, since, worker.polling.livemode)


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
