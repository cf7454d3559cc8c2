"""GET /return: converge the visitor whom Stripe sends back, whatever the webhooks do."""

import logging
import re
from typing import NamedTuple

import bottle

from ..access import Access
from ..errors import BillingError, CheckoutInProgress
from ..logs.facts import logger
from ..service import Service
from .responses import wants_page

WAITS_SECONDS = (3, 3, 5, 5, 10, 10, 20, 30, 60, 60)  # then the page stops: a bank may take days
LEAD_ON_SECONDS = 8

log = logger("corkage.return")


class _Return(NamedTuple):
    """What Stripe says of a visitor who returns.

    Shape   user_id: who has the purchase or, while Stripe does not say, may have it; session_id: what to look at
            again then; is_unpaid: the session is known to be open or over; gives_access: what was bought lets in
    """

    user_id: str | None
    session_id: str = ""
    is_unpaid: bool = False
    gives_access: bool = True


def come_back(service: Service) -> bottle.HTTPResponse:
    """Converge the user of a session that we made; lead who bought to the welcome page, anybody else to the product.

    A user who bought and is not let in yet, or has a payment on its way, gets a page that reloads itself.
    """
    returned = _converge(service, bottle.request.query.get("session_id", ""))
    again = _count(bottle.request.query.get("again", ""))
    access = _access(service, returned)
    has_bought, is_known = returned.user_id is not None, not returned.session_id
    is_new = access is not None and access.allowed and (has_bought or again > 0)
    to = bottle.request.query.get("to", "")
    product = to if to in service.config.frontend_urls else service.config.frontend_url
    onward = (is_new and service.config.welcome_url) or product
    if (
        access is None
        or not (wants_page() and returned.gives_access)
        or not _is_to_wait(access, again, has_bought=has_bought, is_known=is_known)
    ):
        return bottle.HTTPResponse(status=303, headers={"Location": onward, "Cache-Control": "no-store"})
    return _waiting_page(service, access, again, returned.session_id, onward)


def _converge(service: Service, session_id: str) -> _Return:
    user_id = None
    try:
        user_id = service.user_of(session_id)
        bought = service.come_back(session_id)
        if bought is None:
            return _Return(None, is_unpaid=user_id is not None)
        return _Return(bought.user_id, gives_access=bought.gives_access)
    except BillingError as error:  # the visitor may have paid: nothing of this is theirs to see
        level = logging.INFO if isinstance(error, CheckoutInProgress) else logging.WARNING
        log.log(level, "a returning visitor could not be converged at once: %s: %s", error.code, error)
        return _Return(user_id, session_id if user_id is not None else "")


def _access(service: Service, returned: _Return) -> Access | None:
    """Return the access of the buyer, else of the signed-in user; None when there is nothing to wait for."""
    if returned.is_unpaid:
        return None
    try:
        identity = None if returned.user_id is not None else service.visitor(bottle.request.environ)
        user_id = identity.payer_id if identity else returned.user_id
        return None if user_id is None else service.access(user_id)
    except BillingError as error:
        log.warning("a returning visitor's access cannot be read: %s: %s", error.code, error)
        return None


def _count(text: str) -> int:
    return int(text) if re.fullmatch("[0-9]{1,2}", text) else 0


def _is_to_wait(access: Access, again: int, *, has_bought: bool, is_known: bool) -> bool:
    """Return whether to show the waiting page; once, where a payment on its way lets in already.

    Shape   is_known: what was bought is in the replica
    """
    if access.allowed:
        return access.reason == "payment_pending" and not again
    if access.reason in ("addon_only", "ended") and is_known:  # an add-on is paid, and waiting gives no access
        return False
    return access.reason == "payment_pending" or has_bought or again > 0


def _waiting_page(service: Service, access: Access, again: int, session_id: str, onward: str) -> bottle.HTTPResponse:
    """Return the page that says that the payment is on its way. A Refresh header reloads it, or leads on, without a
    script."""
    visit = service.pages.visit(bottle.request.environ)
    session = {"session_id": session_id} if session_id else {}
    to = {"to": visit.wanted["to"]} if "to" in visit.wanted else {}
    here = visit.link("return", **session, **to, again=str(again + 1))
    page = service.pages.page("return", visit, {"access": access, "again_url": here, "onward_url": onward})
    if access.allowed:
        page.set_header("Refresh", f"{LEAD_ON_SECONDS}; url={onward}")
    elif again < len(WAITS_SECONDS):
        page.set_header("Refresh", f"{WAITS_SECONDS[again]}; url={here}")
    return page
