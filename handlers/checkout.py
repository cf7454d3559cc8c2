"""POST /checkout: a signed-in user wants a plan; send them where that is done."""

from typing import TYPE_CHECKING

import bottle

from ..errors import UnknownPlan
from .edge import lead_to, read_form
from .guards import refuse_cross_site

if TYPE_CHECKING:
    from ..billing_app import Billing


def start_checkout(billing: "Billing") -> bottle.HTTPResponse:
    """Lead to Stripe's Checkout or, for a subscriber, to the portal. The body names a plan, and nothing else counts.

    Errors  CrossSite, NotSignedIn, InvalidBody, BodyTooLarge, ReturnAddressNamed,
            UnknownPlan, CheckoutInProgress, Busy; StripeError
    """
    environ = bottle.request.environ
    refuse_cross_site(environ, billing.config)
    identity = billing.signed_in(environ)
    plan = read_form().get("plan")
    if not plan:
        raise UnknownPlan("the body names no plan")
    return lead_to(billing.checkout_url(identity, plan, billing_url=billing.own_url(environ)))
