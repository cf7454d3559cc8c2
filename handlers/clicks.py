"""POST /checkout and POST /portal: the clicks that lead to Stripe."""

import bottle

from ..errors import UnknownPlan
from ..service import Service
from .origins import own_url, refuse_cross_site
from .responses import OUR_PAGES, lead_to, read_form


def start_checkout(service: Service) -> bottle.HTTPResponse:
    """Redirect to Stripe's Checkout or, for a subscriber, to the portal.

    The body names a plan and, from our own pages, that the way back leads there; nothing else counts.

    Errors  CrossSite, NotSignedIn, InvalidBody, BodyTooLarge, ReturnAddressNamed,
            UnknownPlan, CheckoutInProgress, Busy; StripeError
    """
    environ = bottle.request.environ
    identity = service.signed_in(environ)
    refuse_cross_site(environ, service.config)
    form = read_form()
    plan = form.get("plan")
    if not plan:
        raise UnknownPlan("the body names no plan")
    here, is_ours = own_url(environ, service.config), form.get("from") == OUR_PAGES
    return lead_to(service.checkout_url(identity, plan, here, to_our_pages=is_ours), service)


def open_portal(service: Service) -> bottle.HTTPResponse:
    """Redirect to the user's own customer portal, or to the flow of it that the body names.

    The body may name one of the user's subscriptions, which the flow is then about.

    Errors  CrossSite, NotSignedIn, InvalidBody, BodyTooLarge, ReturnAddressNamed,
            UnknownFlow, UnknownSubscription, NoBillingAccount, Busy; StripeError
    """
    environ = bottle.request.environ
    identity = service.signed_in(environ)
    refuse_cross_site(environ, service.config)
    form, here = read_form(), own_url(environ, service.config)
    back = f"{here}/account?from=portal" if here and form.get("from") == OUR_PAGES else None
    url = service.portal_url(identity.user_id, form.get("flow"), back, form.get("subscription"))
    return lead_to(url, service)
