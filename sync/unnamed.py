"""Thin events name one object, and no customer: whose it is, Stripe is asked, once for each object."""

import logging

from .. import database
from . import inbox
from .gateway import Gateway

log = logging.getLogger("corkage.unnamed")


def find_customer(gateway: Gateway, object_id: str, event_ids: list[str], now: float) -> None:
    """Learn whose subscription or Checkout Session this is; its events then wait for that customer to be converged.

    Errors  StripeError as the gateway's; nothing was written then
    """
    customer_id, subscription_id = _owner_of(gateway, object_id)
    with database.writing():
        if customer_id is None:
            inbox.mark_applied(event_ids, "no customer", now)
        else:
            inbox.name_customer(event_ids, customer_id, subscription_id)
    log.info("%s is of %s", object_id, customer_id or "no customer")


def _owner_of(gateway: Gateway, object_id: str) -> tuple[str | None, str | None]:
    if object_id.startswith("cs_"):
        session = gateway.checkout_session(object_id)
        return (session.customer_id, session.subscription_id) if session else (None, None)
    subscription = gateway.subscription(object_id)
    return (subscription.customer_id, subscription.id) if subscription else (None, None)
