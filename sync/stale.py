"""Stale subscriptions: the period is over, and nothing was heard. Stripe is asked, and access stays meanwhile."""

from peewee import fn

from .. import storage
from ..models import LIVE, Subscription
from .states import SubscriptionState

GRANTED_SECONDS = 60  # Stripe renews at the end of a period, and its events take a moment
LONGEST_PAUSE_SECONDS = 86_400


def ask_at(state: SubscriptionState, clock_ahead: int, now: float) -> float | None:
    """Return when to ask Stripe, if nothing is heard by then. The pauses grow while Stripe has nothing new."""
    if state.status not in LIVE:
        return None
    ends = (state.current_period_end, state.cancel_at, state.trial_end if state.status == "trialing" else None)
    end = min((each for each in ends if each is not None), default=None)
    if end is None:
        return None
    over_for = now - (end - clock_ahead)
    pause = min(max(over_for, GRANTED_SECONDS), LONGEST_PAUSE_SECONDS)
    return max(now, now - over_for) + pause


def customers(now: float, limit: int) -> list[str]:
    """Return the customers to ask about, the longest overdue first."""
    overdue = Subscription.ask_at <= now
    query = Subscription.select(Subscription.customer).where(overdue).order_by(Subscription.ask_at).limit(limit)
    return list(dict.fromkeys(storage.column(query)))


def claim(customer_id: str, now: float) -> bool:
    """Claim a customer to ask about. If asking fails, it is due again in a minute."""
    with storage.writing():
        claimed = (
            Subscription.update(ask_at=now + GRANTED_SECONDS)
            .where(Subscription.customer == customer_id, Subscription.ask_at <= now)
            .execute()
        )
    return bool(claimed)


def shorten_waits(now: float) -> int:
    """Ask now about what waits longer than any pause of ours; return how many subscriptions that concerns.

    A clock that ran ahead stored these moments. See ask_at() for what a pause can be.
    """
    table = Subscription
    end = fn.COALESCE(fn.MIN(table.current_period_end, table.cancel_at), table.current_period_end, table.cancel_at)
    over_for = now - (end - table.clock_ahead)
    pause = fn.MIN(fn.MAX(over_for, GRANTED_SECONDS), LONGEST_PAUSE_SECONDS)
    with storage.writing():
        changed: int = table.update(ask_at=now).where(table.ask_at > fn.MAX(now, now - over_for) + pause).execute()
    return changed


def next_ask_at() -> float | None:
    """Return when Stripe must next be asked about a subscription; None when never."""
    query = Subscription.select(Subscription.ask_at).where(Subscription.ask_at.is_null(False))
    return next(iter(storage.column(query.order_by(Subscription.ask_at).limit(1))), None)
