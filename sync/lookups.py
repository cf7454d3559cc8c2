"""Fetch what an event leaves out: its customer, a test clock's time."""

import logging

from .. import storage
from ..models import Customer, Subscription
from . import inbox
from .best import summarize, users_of
from .gateway import Gateway

log = logging.getLogger("corkage.lookups")


def find_customer(gateway: Gateway, subject: inbox.Subject, now: float) -> None:
    """Fetch the customer of a subscription or Checkout Session; its events then wait for that customer's converge.

    Errors  StripeError as the gateway's; nothing was written then
    """
    object_id = subject.object_id or ""
    event_ids = [event.id for event in inbox.pending_of(subject)]
    customer_id, subscription_id = _owner_of(gateway, object_id)
    with storage.writing():
        if customer_id is None:
            inbox.mark_applied(event_ids, "no customer", now)
        else:
            inbox.name_customer(event_ids, customer_id, subscription_id, now)
    log.info("%s is of %s", object_id, customer_id or "no customer")


def _owner_of(gateway: Gateway, object_id: str) -> tuple[str | None, str | None]:
    if object_id.startswith("cs_"):
        session = gateway.checkout_session(object_id)
        return (session.customer_id, session.subscription_id) if session else (None, None)
    subscription = gateway.subscription(object_id)
    return (subscription.customer_id, subscription.id) if subscription else (None, None)


def follow(gateway: Gateway, subject: inbox.Subject, now: float) -> None:
    """Fetch the time that a test clock was moved to, and answer by it from now on.

    A fetch that is under way may hold the clock's time of before: it is overtaken, and repeated.

    Errors  StripeError as the gateway's; nothing was written then
    """
    clock_id = subject.object_id or ""
    event_ids = [event.id for event in inbox.pending_of(subject)]
    moment = gateway.test_clock_time(clock_id)
    with storage.writing():
        if moment is not None:
            ahead = moment - int(now)
            on_clock = Subscription.test_clock == clock_id
            customers = Subscription.select(Subscription.customer).where(on_clock)
            Customer.update(revision=Customer.revision + 1).where(Customer.id.in_(customers)).execute()
            asked_then = Subscription.ask_at + Subscription.clock_ahead - ahead
            Subscription.update(clock_ahead=ahead, ask_at=asked_then).where(on_clock).execute()
            for user_id in users_of(customers):
                summarize(user_id, now)
        inbox.mark_applied(event_ids, "gone" if moment is None else "followed", now)
    log.info("the test clock %s %s", clock_id, "is gone" if moment is None else f"is at {moment}")
