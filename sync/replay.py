"""Replay: apply events again that were lost or have failed, or that the operator chose."""

from collections.abc import Sequence

from ..gateway.events import EventRef
from ..gateway.gateway import Gateway
from ..models import StripeEvent
from . import inbox
from .poll import TYPES
from .worker import Worker

STRIPE_KEEPS_SECONDS = 30 * 86_400


def find(gateway: Gateway, event_id: str) -> EventRef | None:
    """Fetch an event from Stripe, or read it from the inbox, which keeps it longer; None when neither has it.

    Errors  StripeError as the gateway's
    """
    found = gateway.event(event_id)
    held = None if found else StripeEvent.get_or_none(StripeEvent.id == event_id)
    return _ref(held) if held else found


def failing(limit: int) -> list[EventRef]:
    """Return the failing events."""
    return [_ref(row) for row in inbox.in_state("failing", limit)]


def since(gateway: Gateway, at: float, livemode: bool) -> list[EventRef]:
    """Fetch the events since this time that concern us, newest first. Stripe keeps 30 days.

    Errors  StripeError as the gateway's
    """
    return [each for each in gateway.events_since(int(at), TYPES).items if concerns_us(each, livemode)]


def concerns_us(event: EventRef, livemode: bool) -> bool:
    """Return whether the event is of this account and mode, and points at something that the replica holds."""
    return event.livemode == livemode and not is_ignored(event)


def is_ignored(event: EventRef) -> bool:
    """Return whether the event changes nothing: it is of another account, or points at nothing in the replica."""
    return bool(event.account) or not event.is_wanted


def replay(worker: Worker, events: Sequence[EventRef], now: float) -> list[StripeEvent]:
    """Apply these events now, those of one customer at once; return their rows afterwards.

    All are stored before the first is applied, so the worker retries what fails or is interrupted.

    Errors  ConfigError when the database mirrors another account; DatabaseUnavailable
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
