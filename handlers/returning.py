"""GET /return: the visitor whom Stripe sends back is let in at once, whatever the webhooks do."""

import logging
import re
from typing import TYPE_CHECKING

import bottle

from ..errors import BillingError
from .edge import wants_page

if TYPE_CHECKING:
    from ..billing_app import Billing
    from ..models import Access

WAITS_SECONDS = (3, 3, 5, 5, 10, 10, 20, 30, 60, 60)  # then the page stops: a bank may take days
LEAD_ON_SECONDS = 8

log = logging.getLogger("corkage.return")


def come_back(billing: "Billing") -> bottle.HTTPResponse:
    """Converge the user of a session that we made, once, and lead to the product; for anything else just lead there.

    Who has bought and is not let in yet, or whose payment is on its way, is told so on a page that looks again.
    """
    buyer_id = _converge(billing, bottle.request.query.get("session_id", ""))
    again = _count(bottle.request.query.get("again", ""))
    try:
        access = _access(billing, buyer_id)
    except BillingError as error:
        log.warning("a returning visitor's access cannot be read: %s: %s", error.code, error)
        access = None
    if access is None or not wants_page() or not _is_to_wait(access, again, is_buyer=buyer_id is not None):
        headers = {"Location": billing.config.frontend_url, "Cache-Control": "no-store"}
        return bottle.HTTPResponse(status=303, headers=headers)
    return _waiting_page(billing, access, again)


def _converge(billing: "Billing", session_id: str) -> str | None:
    """Tell who bought, as far as is known; None for an open session, and for any that we did not make."""
    buyer_id = None
    try:
        buyer_id = billing.buyer_of(session_id)
        return billing.come_back(session_id)
    except BillingError as error:  # the visitor has paid: nothing of this is theirs to see, and the worker will mend it
        log.warning("a returning visitor could not be converged at once: %s: %s", error.code, error)
        return buyer_id


def _access(billing: "Billing", buyer_id: str | None) -> "Access | None":
    if buyer_id is None:
        identity = billing.visitor(bottle.request.environ)
        buyer_id = identity.user_id if identity else None
    return None if buyer_id is None else billing.access(buyer_id)


def _count(text: str) -> int:
    return int(text) if re.fullmatch("[0-9]{1,2}", text) else 0


def _is_to_wait(access: "Access", again: int, *, is_buyer: bool) -> bool:
    """Tell whether the product would be a disappointment: who has seen the page and is let in goes there."""
    if access.allowed:
        return access.reason == "payment_pending" and not again
    return access.reason == "payment_pending" or is_buyer or again > 0


def _waiting_page(billing: "Billing", access: "Access", again: int) -> bottle.HTTPResponse:
    """Say that the payment is on its way. A header looks again, or leads on: it needs no script."""
    visit = billing.pages.visit(bottle.request.environ)
    here = visit.link("return", again=str(again + 1))
    page = billing.pages.page("return", visit, {"access": access, "again_url": here})
    if access.allowed:
        page.set_header("Refresh", f"{LEAD_ON_SECONDS}; url={billing.config.frontend_url}")
    elif again < len(WAITS_SECONDS):
        page.set_header("Refresh", f"{WAITS_SECONDS[again]}; url={here}")
    return page
