"""Replay: events that were lost, that fail, or that somebody wants to see applied again."""

from collections.abc import Sequence

from ..models import StripeEvent
from . import inbox
from .events import EventRef
from .gateway import Gateway
from .poll import TYPES
from .worker import Worker

STRIPE_KEEPS_SECONDS = 30 * 86_400


def find(gateway: Gateway, event_id: str) -> EventRef | None:
    """Find an event at Stripe, or among those recorded, which are kept for longer; None when neither knows it.

    Errors  StripeError as the gateway's
    """
    found = gateway.event(event_id)
    held = None if found else StripeEvent.get_or_none(StripeEvent.id == event_id)
    return _ref(held) if held else found


def failing(limit: int) -> list[EventRef]:
    """Return the events that failed at least once."""
    return [_ref(row) for row in inbox.in_state("failing", limit)]


def since(gateway: Gateway, at: float, livemode: bool) -> list[EventRef]:
    """Fetch the events that count from this time on, the newest first; Stripe keeps 30 days.

    Errors  StripeError as the gateway's
    """
    return [each for each in gateway.events_since(int(at), TYPES).items if counts(each, livemode)]


def counts(event: EventRef, livemode: bool) -> bool:
    """Return whether the event is of this account and mode, and concerns something that we hold."""
    return event.livemode == livemode and not is_left(event)


def is_left(event: EventRef) -> bool:
    """Return whether the event changes nothing: it concerns nothing that we hold, or is another account's."""
    return bool(event.account) or not event.is_wanted


def replay(worker: Worker, events: Sequence[EventRef], now: float) -> list[StripeEvent]:
    """Apply these events now, each customer's together; return them as they stand afterwards.

    All are on disk before the first is applied, so what fails, or is cut, is tried again by the worker.

    Errors  ConfigError when the file mirrors another account; DatabaseUnavailable
    """
    for event in events:
        inbox.reopen(event, "replay", now)
    for event in {each.customer_id or each.id: each for each in events}.values():
        worker.apply_now(event.id, now)
    return [StripeEvent.get_by_id(each.id) for each in events]


def _ref(row: StripeEvent) -> EventRef:
    return EventRef(
        id=row.id,
        type=row.type,
        created=row.created,
        livemode=False,
        account=None,
        customer_id=row.customer_id,
        object_id=row.object_id,
        is_thin=row.customer_id is None,
    )
