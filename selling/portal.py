"""The customer portal: Stripe's pages where a user changes plan, card or subscription, and sees invoices."""

import logging
from collections.abc import Mapping

from ..errors import NoBillingAccount, StripeRefused, UnknownFlow, UnknownSubscription
from ..models import Customer, Subscription, User
from ..plans import Plan
from ..sync.gateway import Gateway
from ..sync.states import InvoiceState
from ..sync.timelines import holdings_of
from .held import held_subscription

FLOWS = ("payment_method_update", "subscription_update", "subscription_cancel")

log = logging.getLogger("corkage.portal")


def portal_url(
    gateway: Gateway,
    plans: Mapping[str, Plan],
    user_id: str,
    return_url: str,
    flow: str | None = None,
    subscription: str | None = None,
) -> str:
    """Return the address of the user's own portal, or of one of its flows.

    Shape   subscription: the id of one of the user's own, where the flow is not to be about the best
    Errors  UnknownFlow; UnknownSubscription; NoBillingAccount before any purchase, without asking Stripe;
            StripeError as the gateway's
    """
    if flow is not None and flow not in FLOWS:
        raise UnknownFlow(f"flow {flow!r}; there are {', '.join(FLOWS)}")
    subscription_id, customer_id = _managed(user_id, plans, subscription)
    if customer_id is None:
        raise NoBillingAccount(f"user {user_id} has no Stripe customer")
    if flow is None or (flow != "payment_method_update" and subscription_id is None):
        return open_portal(gateway, customer_id, return_url)
    detail = {} if flow == "payment_method_update" else {flow: {"subscription": subscription_id}}
    return open_portal(gateway, customer_id, return_url, {"type": flow, **detail})


def open_portal(gateway: Gateway, customer_id: str, return_url: str, flow: dict[str, object] | None = None) -> str:
    """Open a portal session at a flow or, where the portal's configuration does not offer it, at the portal's home.

    Shape   flow: Stripe's flow_data, without after_completion
    Errors  StripeError as the gateway's
    """
    plain: dict[str, object] = {"return_url": return_url}
    if flow is None:
        return gateway.create_portal_session(customer_id, plain)
    after = {"after_completion": {"type": "redirect", "redirect": {"return_url": return_url}}}
    try:
        return gateway.create_portal_session(customer_id, plain | {"flow_data": flow | after})
    except StripeRefused as error:
        log.warning("%s gets the portal's home: %s was refused: %s", customer_id, flow["type"], error)
        return open_portal(gateway, customer_id, return_url)


def invoices_of(gateway: Gateway, user_id: str, most: int = 12) -> tuple[InvoiceState, ...]:
    """Fetch the latest invoices of all the user's customers, newest first: one call for each.

    Errors  StripeError as the gateway's
    """
    known = (Customer.user == user_id, Customer.deleted_at.is_null(), Customer.missing_at.is_null())
    customers = [row.id for row in Customer.select(Customer.id).where(*known)]
    found = [each for customer_id in customers for each in gateway.invoices_of(customer_id, most)]
    return tuple(sorted(found, key=lambda each: -each.created)[:most])


def _managed(
    user_id: str, plans: Mapping[str, Plan], subscription_id: str | None = None
) -> tuple[str | None, str | None]:
    """Return the user's subscription that has not ended and its customer; without one, the customer for the next
    purchase. An ended one that is named has a customer, too, and no flow.

    Errors  UnknownSubscription when the one that is named is not the user's own
    """
    user = User.get_or_none(User.id == user_id)
    if subscription_id is not None and subscription_id not in _own(user_id):
        raise UnknownSubscription(f"user {user_id} has no subscription {subscription_id!r}")
    held = held_subscription(user_id, plans, subscription_id=subscription_id)
    if held is not None:
        return held.id, held.customer_id
    if subscription_id is not None:
        return None, Subscription.get_by_id(subscription_id).customer_id
    return None, user.stripe_customer_id if user else None


def _own(user_id: str) -> set[str]:
    """Return the ids of the user's subscriptions that are to a plan, or were sold by us."""
    held = holdings_of([user_id])[user_id].holdings
    return {each.id for each in held if each.kind == "subscription" and (each.ours or each.plan)}
