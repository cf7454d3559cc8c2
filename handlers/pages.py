"""GET /, /pricing, /account, /cancel and /style.css: our pages, whole or as fragments for the host's own pages."""

import time
from typing import TYPE_CHECKING, Any

import bottle

from ..access import for_member
from ..cookies import BLANKS
from ..errors import BillingError, NotConfigured, NotFound, error_with
from ..logs.facts import logger
from ..pages.notes import NOTES
from ..selling import CODE_UNKNOWN, LONGEST_CODE
from ..service import Service
from .origins import own_url, sign_in_url
from .responses import json_response, wants_page

if TYPE_CHECKING:
    from ..pages.page import Visit

log = logger("corkage.pages")


def show_home(service: Service) -> bottle.HTTPResponse:
    """Say what this server is: a page with the ways to the plans and the account, for programs their addresses."""
    environ, config = bottle.request.environ, service.config
    if wants_page():
        visit = service.pages.visit(environ)
        return service.pages.page("home", visit, {"pricing_url": service.pages.pricing_url(visit)})
    base = own_url(environ, config) or environ.get("SCRIPT_NAME", "")
    return json_response(
        {
            "about": f"Billing for {config.name}. It runs Corkage.",
            "product": config.frontend_url,
            "pricing": config.pricing_url or f"{base}/pricing",
            "account": f"{base}/account",
            "access": f"{base}/access",
        }
    )


def show_pricing(service: Service) -> bottle.HTTPResponse:
    """Show the plans, to anybody.

    Errors  DatabaseUnavailable
    """
    return _show(service, "pricing")


def show_account(service: Service) -> bottle.HTTPResponse:
    """Show the signed-in user's plan, how it stands, and the latest invoices.

    Errors  NotSignedIn, InvalidToken, NotConfigured, DatabaseUnavailable
    """
    return _show(service, "account")


def show_cancel(service: Service) -> bottle.HTTPResponse:
    """Show the plans to a visitor who left Checkout without buying, and say that nothing was bought, unless they hold
    a subscription: they may have paid in another tab. With BILLING_PRICING_URL they are redirected there instead.

    Errors  DatabaseUnavailable
    """
    _try(lambda: service.look_at_attempts(service.visitor(bottle.request.environ)))
    if service.config.pricing_url:
        headers = {"Location": service.config.pricing_url, "Cache-Control": "no-store"}
        return bottle.HTTPResponse(status=303, headers=headers)
    return _show(service, "pricing", left_checkout=True)


def show_refusal(service: Service) -> bottle.HTTPResponse:
    """Show the page of an error or of a note. The query names its code. Turbo and htmx lead here after a click."""
    environ, code = bottle.request.environ, bottle.request.query.get("code", "")
    if code in NOTES:
        return _show_note(service, code)
    page = service.pages.error(error_with(code), environ, sign_in_url(environ, service.config))
    page.status = 200  # Turbo would show an error's page at the address of the product's page
    return page


def _show_note(service: Service, note: str) -> bottle.HTTPResponse:
    """Show a note. Its button leads to the portal's home or, after an invalid code, to Checkout without the code."""
    from ..pages.account import Action  # loads Babel

    visit = service.pages.visit(bottle.request.environ)
    sentence = visit.words.gettext(NOTES[note], code=visit.wanted.get("typed", ""))
    fields = [(name, visit.wanted[name]) for name in ("plan", "quantity", "again") if name in visit.wanted]
    route, sent = ("checkout", fields) if note == CODE_UNKNOWN else ("portal", [("flow", "")])
    action = Action(visit.words.gettext("Continue"), route, tuple(sent), is_main=True)
    return service.pages.page("leading", visit, {"url": "", "note": sentence, "action": action})


def show_style(service: Service) -> bottle.HTTPResponse:
    """Return the stylesheet."""
    return service.pages.style(bottle.request.query.get("v", ""))


def fragment(service: Service, view: str, environ: dict[str, Any], base: str | None) -> str:
    """Render the inside of a page, for a page of the host's.

    Errors  NotFound for another view; NotConfigured when the address of our routes is unknown; as the page's own
    """
    if view not in DESCRIBED:
        raise NotFound(f"no fragment {view!r}; there are {', '.join(DESCRIBED)}")
    base = base or service.config.billing_url
    if base is None:
        raise NotConfigured("set BILLING_URL to where Corkage is reached: a fragment's buttons lead there")
    visit = service.pages.visit(environ, base, is_whole=False)
    return service.pages.fragment(view, visit, DESCRIBED[view](service, visit, environ))


def _show(service: Service, view: str, **more: object) -> bottle.HTTPResponse:
    environ = bottle.request.environ
    if bottle.request.query.get("fragment"):
        inside = fragment(service, view, environ, own_url(environ, service.config))
        return bottle.HTTPResponse(inside, 200, service.pages.headers | {"Cache-Control": "no-store"})
    visit = service.pages.visit(environ)
    page = service.pages.page(view, visit, DESCRIBED[view](service, visit, environ) | more)
    if view == "pricing":
        page.set_header("Cache-Control", "private, no-cache")  # so that Back shows it at once
    return page


def _pricing(service: Service, visit: "Visit", environ: dict[str, Any]) -> dict[str, Any]:
    from ..pages.pricing import PriceList, visitor_of  # loads Babel

    service.learn_prices()
    identity = service.visitor(environ)
    may_buy = identity is None or identity.is_buyer
    access = service.access(identity.payer_id) if identity else None
    buyer_id = identity.user_id if identity else None
    visitor = visitor_of(access, service.catalogue.plans, buyer_id=buyer_id, may_buy=may_buy)
    prices = PriceList(service.config.plans, service.catalogue.sold(), service.catalogue.unsold())
    return {
        "pricing": prices.describe(visitor, visit.wanted, visit.words),
        "code": visit.wanted.get("code", "").strip(BLANKS)[:LONGEST_CODE] if service.config.promotion_codes else "",
        "sign_in_url": sign_in_url(environ, service.config),
        "is_signed_in": identity is not None,
        "may_buy": may_buy,
        "left_checkout": False,
        "is_subscriber": bool(visitor.held),
    }


def _account(service: Service, visit: "Visit", environ: dict[str, Any]) -> dict[str, Any]:
    from ..pages.account import describe_account, describe_invoices, describe_member  # loads Babel
    from ..pages.usage import describe_usage  # loads Babel

    identity = service.signed_in(environ)
    who = identity.name or identity.email or identity.user_id
    if not identity.is_buyer:
        access = for_member(service.access(identity.payer_id))
        usage = describe_usage(service.usage(identity.payer_id).values(), visit.words)
        account = describe_member(access, service.config.plans, visit.words)
        return {"account": account, "who": who, "usage": usage, "invoices": ()}
    after_portal = visit.wanted.get("from") == "portal"
    invoices = _try(lambda: service.invoices(identity.payer_id, after_portal=after_portal))
    access, terms = service.access(identity.payer_id), service.catalogue.timelines.plans
    return {
        "account": describe_account(access, service.config.plans, terms, visit.words, time.time()),
        "who": who,
        "usage": describe_usage(service.usage(identity.payer_id).values(), visit.words),
        "invoices": None if invoices is None else describe_invoices(invoices, visit.words),
    }


DESCRIBED = {"pricing": _pricing, "account": _account}


def _try(ask: Any) -> Any:
    """Fetch something that the page can do without; return None when Stripe does not answer."""
    try:
        return ask()
    except BillingError as error:
        log.warning("a page is shown without data from Stripe: %s: %s", error.code, error)
        return None
