"""The best of a user's subscriptions decides about access; another one that is paid beside it is a double."""

import logging
from collections.abc import Sequence
from typing import Any

from peewee import JOIN

from .. import storage
from ..models import COVERED, CURRENT, ENDED, LIVE, RULE_COLUMNS, Customer, Price, Subscription, User
from ..notices.changes import note

log = logging.getLogger("corkage.best")


def summarize(user_id: str, now: float, *, notifies: bool = True) -> None:
    """Find the user's best subscription, copy it to the user's row, and store notices of what that changes.

    To be called inside a writing transaction.

    Shape   notifies: False stores no notice
    """
    subscriptions = list(
        Subscription.select(Subscription, COVERED.alias("is_covered"))
        .join(Price, JOIN.LEFT_OUTER, on=(Subscription.stripe_price_id == Price.id))
        .where(Subscription.customer.in_(Customer.select(Customer.id).where(Customer.user == user_id)))
    )
    best = min(subscriptions, key=_order, default=None)
    values = {name: getattr(best or Subscription(), name) for name in RULE_COLUMNS}
    User.update(values, subscription_id=best.id if best else None).where(User.id == user_id).execute()
    note(user_id, now, notifies=notifies)


def summarize_users_of_prices(price_ids: Sequence[str], now: float) -> None:
    """Summarize every user who has a subscription to one of these prices. Inside a writing transaction."""
    for piece in storage.pieces(price_ids):
        subscribers = Subscription.select(Subscription.customer).where(Subscription.stripe_price_id.in_(piece))
        for user_id in users_of(subscribers):
            summarize(user_id, now)


def users_of(customers: Any) -> list[str]:
    """Return the users of these customers, each once. Takes a query of customer ids."""
    return storage.column(
        Customer.select(Customer.user).where(Customer.id.in_(customers), Customer.user.is_null(False)).distinct()
    )


def _order(subscription: Any) -> tuple[bool, bool, bool, bool, int, str]:
    """Return the sort key, best first: covered, then the better status, then the newest, then by id, to be definite."""
    status = subscription.subscription_status
    is_worse = status in ENDED, status not in LIVE, status not in CURRENT
    return not subscription.is_covered, *is_worse, -subscription.created, subscription.id


def doubles(*only: Any) -> dict[str, list[str]]:
    """Return the users who pay twice, with the subscriptions beside the one that decides, oldest first.

    A subscription that is not covered belongs to another product, and is no double.

    Shape   only: conditions on User
    """
    query: Any = (
        Subscription.select(User.id, Subscription.id)
        .join(Customer, on=(Subscription.customer == Customer.id))
        .join(User, on=(Customer.user == User.id))
        .join(Price, JOIN.LEFT_OUTER, on=(Subscription.stripe_price_id == Price.id))
        .where(
            Subscription.subscription_status.in_(LIVE),
            Subscription.id != User.subscription_id,
            COVERED,
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
    """Log a warning when the user pays twice."""
    for extra in doubles(User.id == user_id).values():
        log.warning("user %s pays twice: for %s beside the subscription that decides", user_id, " and ".join(extra))
