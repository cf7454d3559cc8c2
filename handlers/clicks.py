"""POST /checkout and POST /portal: the clicks that lead to Stripe."""

import re
from urllib.parse import urlencode

import bottle

from ..cookies import BLANKS
from ..errors import InvalidQuantity, MaybeSubscribed, UnknownPlan
from ..pages.refusal import AGAIN
from ..service import Service
from .origins import own_url, product_page, product_url, refuse_cross_site
from .responses import OUR_PAGES, lead_to, read_form

LOCALES = (
    "bg cs da de el en en-GB es es-419 et fi fil fr fr-CA hr hu id it ja ko lt lv ms mt nb nl pl pt pt-BR ro ru sk sl "
    "sv th tr vi zh zh-HK zh-TW"
).split()
ALIASES = {"no": "nb", "nn": "nb", "zh-hant": "zh-TW", "tl": "fil"}
"""Languages of Stripe's pages (docs.stripe.com/js/appendix/supported_locales), and other names of some."""


def start_checkout(service: Service) -> bottle.HTTPResponse:
    """Redirect to Stripe's Checkout or, for a subscriber, to the portal.

    The body names a plan, a quantity within its seats and a promotion code, and whether they buy after they were asked
    if they pay already; our own pages add that the way back leads to them. Other fields are ignored.

    Errors  CrossSite, NotSignedIn, MayNotBuy, InvalidBody, BodyTooLarge, ReturnAddressNamed,
            UnknownPlan, InvalidQuantity, NeedsPlan, AlreadyBought, MaybeSubscribed, CheckoutInProgress, Busy;
            StripeError
    """
    environ = bottle.request.environ
    identity = service.signed_in(environ)
    refuse_cross_site(environ, service.config)
    form = read_form()
    plan = form.get("plan")
    if not plan:
        raise UnknownPlan("the body names no plan")
    code = form.get("code", "").strip(BLANKS)
    buyer = service.buyer(
        identity,
        own_url(environ, service.config),
        product_url(environ, service.config),
        back=product_page(environ, service.config),
        to_our_pages=form.get("from") == OUR_PAGES,
        locale=_stripe_locale(bottle.request.query.get("lang", "")),
        kept=_kept() | ({"code": code} if code else {}),
    )
    wanted = {name: form[name] for name in ("plan", "quantity", "again") if form.get(name)}
    try:
        lead = service.subscribe(buyer, plan, _quantity(form), code, again=form.get("again") == AGAIN)
    except MaybeSubscribed as error:
        error.fields = wanted | ({"typed": code} if code else {})
        raise
    return lead_to(lead.url, service, lead.note, lead.values | wanted)


def open_portal(service: Service) -> bottle.HTTPResponse:
    """Redirect to the user's own customer portal, or to the flow of it that the body names.

    The body may name one of the user's subscriptions, which the flow is then about.

    Errors  CrossSite, NotSignedIn, InvalidBody, BodyTooLarge, ReturnAddressNamed,
            UnknownFlow, UnknownSubscription, MayNotBuy, NoBillingAccount, Busy; StripeError
    """
    environ = bottle.request.environ
    identity = service.signed_in(environ)
    refuse_cross_site(environ, service.config)
    form, here = read_form(), own_url(environ, service.config)
    to_our_pages = bool(here) and form.get("from") == OUR_PAGES
    product = product_page(environ, service.config) or product_url(environ, service.config)
    back = f"{here}/account?{urlencode({'from': 'portal'} | _kept())}" if to_our_pages else product
    url = service.portal_url(identity, form.get("flow"), back, form.get("subscription"))
    return lead_to(url, service)


def _kept() -> dict[str, str]:
    """Return the query for our pages that the visitor comes back to: the language that was chosen."""
    lang = bottle.request.query.get("lang", "")
    return {"lang": lang} if lang else {}


def _stripe_locale(tag: str) -> str:
    """Return Stripe's name for the language that a visitor chose; empty for the browser's own."""
    known = {each.lower(): each for each in LOCALES}
    fitting = (known.get(each.lower()) for each in (tag, ALIASES.get(tag.lower(), ""), tag.partition("-")[0]))
    return next((each for each in fitting if each), "")


def _quantity(form: dict[str, str]) -> int | None:
    text = form.get("quantity", "")
    if text and not re.fullmatch("[0-9]{1,6}", text):
        raise InvalidQuantity(f"quantity {text!r}")
    return int(text) if text else None
