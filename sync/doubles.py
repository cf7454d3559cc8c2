"""Doubles: users who pay for more than one subscription. Checkout makes none; they come from elsewhere."""

import logging
from typing import Any

from peewee import JOIN

from .. import storage
from ..models import Customer, Price, Subscription, User

PAYING = ("active", "trialing", "past_due")

log = logging.getLogger("corkage.doubles")


def doubles(*only: Any) -> dict[str, list[str]]:
    """Tell which users pay twice, and for which subscriptions beside the one that decides, oldest first.

    Shape   only: conditions on User; what neither is ours nor opens anything is another product's, no double
    """
    query: Any = (
        Subscription.select(User.id, Subscription.id)
        .join(Customer, on=(Subscription.customer == Customer.id))
        .join(User, on=(Customer.user == User.id))
        .join(Price, JOIN.LEFT_OUTER, on=(Subscription.stripe_price_id == Price.id))
        .where(
            Subscription.subscription_status.in_(PAYING),
            Subscription.id != User.subscription_id,
            Subscription.ours | Price.plan.is_null(False),
            *only,
        )
        .order_by(Subscription.created)
    )
    found: dict[str, list[str]] = {}
    with storage.reading():
        for user_id, subscription_id in query.tuples():
            found.setdefault(user_id, []).append(subscription_id)
    return found


def warn_of_doubles(user_id: str) -> None:
    """Warn, in the log, when the user pays twice."""
    for extra in doubles(User.id == user_id).values():
        log.warning("user %s pays twice: for %s beside the subscription that decides", user_id, " and ".join(extra))
