"""The subscriptions that are paid, or soon are, for a check's query."""

from typing import Any

from peewee import JOIN

from ... import storage
from ...access import LIVE
from ...models import Customer, Price, Subscription, SubscriptionItem


def paying(*columns: Any) -> Any:
    """Return a query of these columns over the items of all subscriptions that go on, with customer and price."""
    return (
        Subscription.select(*columns)
        .join(Customer, on=(Subscription.customer == Customer.id))
        .join(SubscriptionItem, on=(SubscriptionItem.subscription == Subscription.id))
        .join(Price, JOIN.LEFT_OUTER, on=(SubscriptionItem.price_id == Price.id))
        .where(Subscription.status.in_(LIVE))
    )


def rows(query: Any) -> list[Any]:
    """Return the rows of a query, as tuples."""
    with storage.reading():
        return list(query.tuples())
