"""GET /return: the visitor whom Stripe sends back is let in at once, whatever the webhooks do."""

import logging
from typing import TYPE_CHECKING

import bottle

from ..errors import BillingError

if TYPE_CHECKING:
    from ..billing_app import Billing

log = logging.getLogger("corkage.return")


def come_back(billing: "Billing") -> bottle.HTTPResponse:
    """Converge the user of a session that we made, once, and lead to the product; for anything else just lead there."""
    session_id = bottle.request.query.get("session_id", "")
    try:
        billing.come_back(session_id)
    except BillingError as error:  # the visitor has paid: nothing of this is theirs to see, and the worker will mend it
        log.warning("a returning visitor could not be converged at once: %s: %s", error.code, error)
    return bottle.HTTPResponse(
        status=303, headers={"Location": billing.config.frontend_url, "Cache-Control": "no-store"}
    )
