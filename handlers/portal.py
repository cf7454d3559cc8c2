"""POST /portal: a signed-in user wants to see or change their service."""

import bottle

from ..service import Service
from .csrf import refuse_cross_site
from .responses import OUR_PAGES, lead_to, read_form
from .urls import own_url


def open_portal(service: Service) -> bottle.HTTPResponse:
    """Redirect to the user's own customer portal, or to the flow of it that the body names.

    Errors  CrossSite, NotSignedIn, InvalidBody, BodyTooLarge, ReturnAddressNamed,
            UnknownFlow, NoBillingAccount, Busy; StripeError
    """
    environ = bottle.request.environ
    identity = service.signed_in(environ)
    refuse_cross_site(environ, service.config)
    form, here = read_form(), own_url(environ, service.config)
    back = f"{here}/account?from=portal" if here and form.get("from") == OUR_PAGES else None
    return lead_to(service.portal_url(identity.user_id, form.get("flow"), back), service)
