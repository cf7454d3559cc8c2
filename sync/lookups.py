"""Thin events name one object, and no customer: whose it is, Stripe is asked, once for each object."""

import logging

from .. import storage
from . import inbox
from .gateway import Gateway

log = logging.getLogger("corkage.unnamed")


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
