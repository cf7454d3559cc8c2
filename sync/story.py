"""One user's story, as the file has it: customers with their subscriptions, events, notices. Asks nobody."""

from collections.abc import Collection
from typing import Any

from peewee import JOIN

from ..models import Customer, Notice, NoticeDelivery, StripeEvent, Subscription


def customers_of(user_id: str) -> list[tuple[Customer, list[Subscription]]]:
    """Read the user's customers, each with every subscription it has or had, the newest first."""
    newest = Subscription.select().order_by(Subscription.created.desc())
    return [
        (customer, list(newest.where(Subscription.customer == customer.id)))
        for customer in Customer.select().where(Customer.user == user_id).order_by(Customer.id)
    ]


def events_of(customer_ids: Collection[str], limit: int) -> list[StripeEvent]:
    """Read the latest events of these customers. The inbox has no index for it, which each webhook would pay for."""
    query = StripeEvent.select().where(StripeEvent.customer_id.in_(customer_ids))
    return list(query.order_by(StripeEvent.received_at.desc(), StripeEvent.created.desc()).limit(limit))


def notices_of(user_id: str, limit: int) -> list[Any]:
    """Read the latest notices about the user, once for each receiver; of none, where there was nobody to be told."""
    query = (
        Notice.select(Notice, NoticeDelivery)
        .join(NoticeDelivery, JOIN.LEFT_OUTER, on=(NoticeDelivery.notice == Notice.id), attr="delivery")
        .where(Notice.user == user_id)
    )
    return list(query.order_by(Notice.id.desc(), NoticeDelivery.receiver).limit(limit))
