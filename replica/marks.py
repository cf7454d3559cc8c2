"""Customers of no user that are marked at Stripe for another app, which may be an earlier name of this product."""

import shlex
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..access import LIVE
from ..logs.facts import logger
from ..models import Customer, Price, Subscription, SubscriptionItem

NAMED = 10

log = logger("corkage.marks")


class Marked(NamedTuple):
    """A customer with its `corkage_app`, which is not ours, and its `corkage_user`."""

    customer_id: str
    app: str
    user_id: str | None


def of_another_app(row: Customer) -> Marked | None:
    """Return what the customer is marked for; None for one that belongs to a user or is not marked."""
    return Marked(row.id, row.marked_app, row.marked_user) if row.user_id is None and row.marked_app else None


def by_app(marked: Iterable[Marked]) -> dict[str, list[Marked]]:
    """Return the customers by the app that they are marked for."""
    found: dict[str, list[Marked]] = {}
    for each in sorted(marked):
        found.setdefault(each.app, []).append(each)
    return found


def describe(marked: list[Marked], app: str) -> str:
    """Return how many customers are marked for one other app, and which."""
    names = ", ".join(f"{each.customer_id} (user {each.user_id or 'unknown'})" for each in marked[:NAMED])
    others = " and others" if len(marked) > NAMED else ""
    return f"{len(marked)} customers are marked for {marked[0].app} (corkage_app), and this is {app}: {names}{others}"


def repair(marked: list[Marked]) -> str:
    """Return what gives these customers, marked for one other app, to their users."""
    customer_id, app, user_id = marked[0]
    return (
        f"if {app} is an earlier name of this product: set BILLING_APP={shlex.quote(app)} and another "
        "BILLING_DATABASE, and run `corkage sync`; "
        f"for one customer: corkage user link {shlex.quote(user_id or 'USER')} {customer_id}"
    )


def warn_of_marked(user_id: str) -> None:
    """Log a warning when the user, who begins to buy, seems to pay for a plan already, under another app's name."""
    table: Any = Customer
    paying = (
        table.select()
        .join(Subscription)
        .join(SubscriptionItem)
        .join(Price, on=(SubscriptionItem.price_id == Price.id))
        .where(table.marked_app.is_null(False), table.marked_user == user_id, table.user.is_null())
        .where(Subscription.status.in_(LIVE), Price.plan.is_null(False))
        .distinct()
    )
    for marked in filter(None, map(of_another_app, paying)):
        log.warning(
            "user %s buys, and %s pays for a plan of this product already, marked for %s: %s",
            user_id,
            marked.customer_id,
            marked.app,
            repair([marked]),
        )
