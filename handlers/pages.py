"""GET /pricing, /account, /cancel and /style.css: what people look at, whole or inside the host's own pages."""

import logging
from typing import TYPE_CHECKING, Any

import bottle

from ..errors import BillingError, NotConfigured, NotFound

if TYPE_CHECKING:
    from ..billing_app import Billing
    from ..pages.page import Visit

log = logging.getLogger("corkage.pages")


def show_pricing(billing: "Billing") -> bottle.HTTPResponse:
    """Show the plans, to anybody.

    Errors  DatabaseUnavailable
    """
    return _show(billing, "pricing")


def show_account(billing: "Billing") -> bottle.HTTPResponse:
    """Show the signed-in user's plan, how it stands, and the latest invoices.

    Errors  NotSignedIn, InvalidToken, NotConfigured, DatabaseUnavailable
    """
    return _show(billing, "account")


def show_cancel(billing: "Billing") -> bottle.HTTPResponse:
    """Receive who left Checkout without buying: say that nothing happened, and show the plans again.

    Errors  DatabaseUnavailable
    """
    return _show(billing, "pricing", nothing_bought=True)


def show_style(billing: "Billing") -> bottle.HTTPResponse:
    """Answer with the one stylesheet."""
    return billing.pages.style(bottle.request.query.get("v", ""))


def fragment(billing: "Billing", view: str, environ: dict[str, Any], base: str | None) -> str:
    """Make the inside of a page, for a page of the host's.

    Errors  NotFound for another view; NotConfigured when it is not said where our routes are; as the page's own
    """
    if view not in DESCRIBED:
        raise NotFound(f"no fragment {view!r}; there are {', '.join(DESCRIBED)}")
    base = base or billing.config.billing_url
    if base is None:
        raise NotConfigured("set BILLING_URL to where Corkage is reached: a fragment's buttons lead there")
    visit = billing.pages.visit(environ, base, is_whole=False)
    return billing.pages.fragment(view, visit, DESCRIBED[view](billing, visit, environ))


def _show(billing: "Billing", view: str, **more: object) -> bottle.HTTPResponse:
    environ = bottle.request.environ
    if bottle.request.query.get("fragment"):
        inside = fragment(billing, view, environ, billing.own_url(environ))
        return bottle.HTTPResponse(inside, 200, billing.pages.headers | {"Cache-Control": "no-store"})
    visit = billing.pages.visit(environ)
    page = billing.pages.page(view, visit, DESCRIBED[view](billing, visit, environ) | more)
    if view == "pricing":
        page.set_header("Cache-Control", "private, no-cache")  # so that Back shows it at once
    return page


def _pricing(billing: "Billing", visit: "Visit", environ: dict[str, Any]) -> dict[str, Any]:
    from ..pages.offers import PriceList, visitor_of

    billing.learn_prices()
    identity = billing.visitor(environ)
    visitor = visitor_of(billing.access(identity.user_id) if identity else None)
    prices = PriceList(billing.config.plans, billing.catalogue.sold())
    return {
        "pricing": prices.describe(visitor, visit.wanted, visit.words),
        "sign_in_url": billing.sign_in_url(environ),
        "is_signed_in": identity is not None,
        "nothing_bought": False,
    }


def _account(billing: "Billing", visit: "Visit", environ: dict[str, Any]) -> dict[str, Any]:
    from ..pages.account import describe_account, describe_invoices

    identity = billing.signed_in(environ)
    if visit.wanted.get("from") == "portal":
        _try(lambda: billing.look_again(identity.user_id))
    account = describe_account(billing.access(identity.user_id), billing.config.plans, visit.words)
    invoices = _try(lambda: billing.invoices(identity.user_id)) if account.has_customer else ()
    return {
        "account": account,
        "who": identity.name or identity.email or identity.user_id,
        "invoices": None if invoices is None else describe_invoices(invoices, visit.words),
    }


DESCRIBED = {"pricing": _pricing, "account": _account}


def _try(ask: Any) -> Any:
    """Ask Stripe for what the page can do without; None when it does not answer."""
    try:
        return ask()
    except BillingError as error:
        log.warning("a page goes without what Stripe was asked: %s: %s", error.code, error)
        return None
