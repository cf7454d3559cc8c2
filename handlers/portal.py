"""POST /portal: a signed-in user wants to see or change their billing."""

from typing import TYPE_CHECKING

import bottle

from .csrf import refuse_cross_site
from .responses import OUR_PAGES, lead_to, read_form

if TYPE_CHECKING:
    from ..billing_app import Billing


def open_portal(billing: "Billing") -> bottle.HTTPResponse:
    """Lead to the user's own customer portal. The body may name a flow; whose portal it is, the sign-in says.

    Errors  CrossSite, NotSignedIn, InvalidBody, BodyTooLarge, ReturnAddressNamed,
            UnknownFlow, NoBillingAccount, Busy; StripeError
    """
    environ = bottle.request.environ
    refuse_cross_site(environ, billing.config)
    identity = billing.signed_in(environ)
    form, own_url = read_form(), billing.own_url(environ)
    back = f"{own_url}/account?from=portal" if own_url and form.get("from") == OUR_PAGES else None
    return lead_to(billing.portal_url(identity.user_id, form.get("flow"), return_url=back), billing)
