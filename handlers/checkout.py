"""POST /checkout: a signed-in user wants a plan; send them where that is done."""

from typing import TYPE_CHECKING

import bottle

from ..errors import UnknownPlan
from .csrf import refuse_cross_site
from .responses import OUR_PAGES, lead_to, read_form

if TYPE_CHECKING:
    from ..billing_app import Billing


def start_checkout(billing: "Billing") -> bottle.HTTPResponse:
    """Lead to Stripe's Checkout or, for a subscriber, to the portal.

    The body names a plan and, from our own pages, that the way back leads there; nothing else counts.

    Errors  CrossSite, NotSignedIn, InvalidBody, BodyTooLarge, ReturnAddressNamed,
            UnknownPlan, CheckoutInProgress, Busy; StripeError
    """
    environ = bottle.request.environ
    refuse_cross_site(environ, billing.config)
    identity = billing.signed_in(environ)
    form = read_form()
    plan = form.get("plan")
    if not plan:
        raise UnknownPlan("the body names no plan")
    own_url, is_ours = billing.own_url(environ), form.get("from") == OUR_PAGES
    return lead_to(billing.checkout_url(identity, plan, billing_url=own_url, to_our_pages=is_ours), billing)
