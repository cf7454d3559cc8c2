"""The customer portal: Stripe's pages where a user changes plan, card or subscription, and sees invoices."""

import functools
import time
from collections.abc import Mapping
from typing import NamedTuple

from ..errors import NoBillingAccount, StripeRefused, UnknownFlow, UnknownSubscription
from ..gateway.gateway import Gateway
from ..gateway.states import InvoiceState
from ..logs.facts import logger
from ..models import PORTAL, Customer, Subscription, User, setting
from ..plans import Plan
from ..storage import column, writing
from .held import held_subscription, own_subscriptions

FLOWS = ("payment_method_update", "subscription_update", "subscription_cancel")

log = logger("corkage.portal")


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
        return open_portal(gateway, customer_id, return_url).url
    if flow == "payment_method_update":
        ask_to_resume(subscription_id)
    detail = {} if flow == "payment_method_update" else {flow: {"subscription": subscription_id}}
    return open_portal(gateway, customer_id, return_url, {"type": flow, **detail}).url


def ask_to_resume(subscription_id: str | None) -> None:
    """Note that the user goes to give a card: if the subscription is paused for want of one, it is to be resumed."""
    paused = (Subscription.id == subscription_id, Subscription.status == "paused")
    if Subscription.select().where(*paused).exists():
        with writing():
            Subscription.update(resume_asked_at=int(time.time())).where(*paused).execute()


class Opened(NamedTuple):
    """A portal session. is_at_flow: it opens at the wanted flow, and not at the portal's home in its place."""

    url: str
    is_at_flow: bool


def open_portal(
    gateway: Gateway, customer_id: str, return_url: str, flow: Mapping[str, object] | None = None
) -> Opened:
    """Open a portal session at a flow or, where the portal's configuration does not offer it, at the portal's home.

    Both are asked for side by side: a refusal must not cost the visitor another round trip.

    Shape   flow: Stripe's flow_data, without after_completion
    Errors  StripeError as the gateway's
    """
    configuration = setting(PORTAL)
    plain: dict[str, object] = {"return_url": return_url}
    plain |= {"configuration": configuration} if configuration else {}
    open_home = functools.partial(gateway.create_portal_session, customer_id, plain)
    if flow is None:
        return Opened(open_home(), is_at_flow=False)
    after = {"after_completion": {"type": "redirect", "redirect": {"return_url": return_url}}}
    at_flow = functools.partial(_try_flow, gateway, customer_id, plain | {"flow_data": {**flow, **after}})
    url, home = gateway.side_by_side(at_flow, open_home)
    return Opened(url or home, is_at_flow=url is not None)


def _try_flow(gateway: Gateway, customer_id: str, params: dict[str, object]) -> str | None:
    try:
        return gateway.create_portal_session(customer_id, params)
    except StripeRefused as error:
        log.warning("%s gets the portal's home: the wanted flow was refused: %s", customer_id, error)
        return None


def customers_of(user_id: str) -> list[str]:
    """Return the user's customers that Stripe has, as far as is known."""
    known = (Customer.user == user_id, Customer.deleted_at.is_null(), Customer.missing_at.is_null())
    return column(Customer.select(Customer.id).where(*known).order_by(Customer.id))


def invoices_of(gateway: Gateway, user_id: str, most: int = 12) -> tuple[InvoiceState, ...]:
    """Fetch the latest invoices of all the user's customers, newest first: one call for each, side by side.

    Errors  StripeError as the gateway's
    """
    ask = (functools.partial(gateway.invoices_of, customer_id, most) for customer_id in customers_of(user_id))
    lists = gateway.side_by_side(*ask)
    return tuple(sorted((each for found in lists for each in found), key=lambda each: -each.created)[:most])


def _managed(
    user_id: str, plans: Mapping[str, Plan], subscription_id: str | None = None
) -> tuple[str | None, str | None]:
    """Return the user's subscription that has not ended and its customer; without one, the customer for the next
    purchase. An ended one that is named has a customer, too, and no flow.

    Errors  UnknownSubscription when the one that is named is not the user's own
    """
    user = User.get_or_none(User.id == user_id)
    if subscription_id is not None and subscription_id not in own_subscriptions(user_id):
        raise UnknownSubscription(f"user {user_id} has no subscription {subscription_id!r}")
    held = held_subscription(user_id, plans, subscription_id)
    if held is not None:
        return held.id, held.customer_id
    if subscription_id is not None:
        return None, Subscription.get_by_id(subscription_id).customer_id
    return None, user.stripe_customer_id if user else None
