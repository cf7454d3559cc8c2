"""Which of a user's subscriptions decides about access, and which are doubles."""

import logging
from collections.abc import Sequence
from typing import Any

from peewee import JOIN

from .. import storage
from ..models import COVERED, ENDED, LIVE, OPENING, STANDING, Customer, Price, Subscription, User
from ..notices.changes import note

_OPENING_RANK = dict.fromkeys(OPENING, 0) | {"past_due": 1}
_OTHER_RANK, _ENDED_RANK = 2, 3


log = logging.getLogger("corkage.best")


def summarize(user_id: str, now: float, *, notifies: bool = True) -> None:
    """Store the user's deciding subscription, computed from all of them, and notices of what that changes.

    To be called inside a writing transaction.

    Shape   notifies: False stores the change without a notice
    """
    subscriptions = list(
        Subscription.select(Subscription, Price)
        .join(Price, JOIN.LEFT_OUTER, on=(Subscription.stripe_price_id == Price.id), attr="price")
        .where(Subscription.customer.in_(Customer.select(Customer.id).where(Customer.user == user_id)))
    )
    best = min(subscriptions, key=_order, default=None)
    standing = {name: getattr(best or Subscription(), name) for name in STANDING}
    User.update(standing, subscription_id=best.id if best else None).where(User.id == user_id).execute()
    note(user_id, now, notifies=notifies)


def summarize_users_of_prices(price_ids: Sequence[str], now: float) -> None:
    """Summarize again every user that has a subscription to one of these prices. Inside a writing transaction."""
    for piece in storage.pieces(price_ids):
        subscribers = Subscription.select(Subscription.customer).where(Subscription.stripe_price_id.in_(piece))
        for user_id in users_of(subscribers):
            summarize(user_id, now)


def users_of(customers: Any) -> list[str]:
    """List the users, each once, that customers of a query belong to."""
    return storage.column(
        Customer.select(Customer.user).where(Customer.id.in_(customers), Customer.user.is_null(False)).distinct()
    )


def _order(subscription: Subscription) -> tuple[bool, int, int, str]:
    """Sort what opens something first; then the better status; then the newest; then by id, so that it is stable."""
    price = getattr(subscription, "price", None)
    opens_nothing = not subscription.ours and (price is None or price.plan is None)
    status = subscription.subscription_status or ""
    rank = _OPENING_RANK.get(status, _ENDED_RANK if status in ENDED else _OTHER_RANK)
    return opens_nothing, rank, -subscription.created, subscription.id


def doubles(*only: Any) -> dict[str, list[str]]:
    """Return the users who pay twice, with the subscriptions beside the one that decides, oldest first.

    Shape   only: conditions on User; what neither is ours nor opens anything is another product's, no double
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
    """Warn, in the log, when the user pays twice."""
    for extra in doubles(User.id == user_id).values():
        log.warning("user %s pays twice: for %s beside the subscription that decides", user_id, " and ".join(extra))
