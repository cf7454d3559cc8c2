"""Stale subscriptions: the period is over, but no event came. They are fetched; until then access stays."""

from peewee import fn

from .. import storage
from ..access import LIVE, next_end
from ..gateway.states import SubscriptionState
from ..models import Subscription

FIRST_PAUSE_SECONDS = 60  # Stripe renews at the end of a period, and its events take a moment
LONGEST_PAUSE_SECONDS = 86_400

# A customer with pending events is fetched for these, or is tried again with growing pauses.
_UNASKED = """
FROM corkage_subscription AS s
WHERE NOT EXISTS (
    SELECT 1 FROM corkage_stripe_event AS e WHERE e.customer_id = s.customer_id AND e.applied_at IS NULL
)
"""


def ask_at(state: SubscriptionState, clock_ahead: int, now: float) -> float | None:
    """Return when to fetch the subscription if no event comes; None when never.

    While Stripe itself returns a period that is over, the pauses double: each is as long as the time since its end.
    """
    if state.status not in LIVE:
        return None
    end = next_end(state)
    if end is None:
        return None
    ends_at = end - clock_ahead
    pause = min(max(now - ends_at, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
    return max(now, ends_at) + pause


def customers(now: float, limit: int) -> list[str]:
    """Return the customers with a stale subscription, the longest overdue first; not those whose events are pending."""
    overdue = f"SELECT s.customer_id {_UNASKED} AND s.ask_at <= ? ORDER BY s.ask_at LIMIT ?"
    return list(dict.fromkeys(customer_id for (customer_id,) in storage.rows(overdue, (now, limit))))


def claim(customer_id: str, now: float) -> bool:
    """Claim a customer with a stale subscription; return whether the claim succeeded. If the fetch fails, it is due
    again in a minute.

    To be called inside a writing transaction.
    """
    claim = "UPDATE corkage_subscription SET ask_at = ? WHERE customer_id = ? AND ask_at <= ?"
    return bool(storage.change(claim, (now + FIRST_PAUSE_SECONDS, customer_id, now)))


def shorten_waits(now: float) -> int:
    """Make every subscription due that waits longer than ask_at() allows; return how many there were.

    A clock that was ahead, and was set back since, stored these times.
    """
    table = Subscription
    ends = (table.current_period_end, table.cancel_at)
    end = fn.COALESCE(storage.least(*ends), *ends)
    over_for = now - (end - table.clock_ahead)
    pause = storage.least(storage.greatest(over_for, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
    is_late = (end.is_null(False), table.ask_at > storage.greatest(now, now - over_for) + pause)
    changed = 0
    for piece in storage.pieces(storage.column(table.select(table.id).where(*is_late))):  # reads all: without the lock
        with storage.writing():
            changed += table.update(ask_at=now).where(table.id.in_(piece), *is_late).execute()
    return changed


def next_ask_at() -> float | None:
    """Return when the next subscription becomes stale; None when none does."""
    found = storage.row(f"SELECT s.ask_at {_UNASKED} AND s.ask_at IS NOT NULL ORDER BY s.ask_at LIMIT 1")
    return found[0] if found else None
