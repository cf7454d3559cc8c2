"""Origins: which pages may post (CSRF) and read (CORS) in a user's name, and where our own pages are."""

import logging
import re
from typing import Any
from urllib.parse import quote, urlsplit

import bottle

from ..config import Config, origin_of
from ..errors import CrossSite
from ..logs.facts import logger
from ..logs.repeats import Repeats
from ..texts import cut

ADMIN = "/admin"
LONGEST_PAGE = 1000
LONGEST_ORIGIN = 200  # that a log shows
LONGEST_ORIGIN = 200
HIDDEN = "null"
FOR_ANYBODY = ("/health", "/metrics", "/style.css", "/webhook")  # no page reads them in a user's name
PAGES = ("pricing", "account")
THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})

log = logger("corkage.http")


def refuse_cross_site(environ: dict[str, Any], config: Config) -> None:
    """Accept a POST from our own pages, from the product's pages, or from a program with a Bearer token.

    Errors  CrossSite for any other page: a sibling subdomain is foreign, too
    Source  Fetch Metadata (w3.org/TR/fetch-metadata), and Origin for browsers that lack it
    """
    origin, site = environ.get("HTTP_ORIGIN"), environ.get("HTTP_SEC_FETCH_SITE")
    if origin is None and site is None:
        if not environ.get("HTTP_AUTHORIZATION", "").lower().startswith("bearer "):
            raise CrossSite("neither Origin nor Sec-Fetch-Site, and no Bearer token")
    elif site != "same-origin" and not is_known_origin(origin, config):
        raise CrossSite(f"Origin {origin!r}, Sec-Fetch-Site {site!r}")


def refuse_browsers(environ: dict[str, Any]) -> None:
    """Accept a request from a program only, and from no page, whosever it is.

    Errors  CrossSite
    """
    origin, site = environ.get("HTTP_ORIGIN"), environ.get("HTTP_SEC_FETCH_SITE")
    if origin is not None or site is not None:
        raise CrossSite(f"to a route for servers: Origin {origin!r}, Sec-Fetch-Site {site!r}")


def refuse_all_but_own_page(environ: dict[str, Any], config: Config) -> None:
    """Accept a POST from a page on our own origin only: the product's pages must not act as the operator.

    Errors  CrossSite
    """
    origin, site = environ.get("HTTP_ORIGIN"), environ.get("HTTP_SEC_FETCH_SITE")
    own = {origin_of(config.billing_url)} if config.billing_url else set()
    is_here = origin is not None and origin.partition("://")[2] == environ.get("HTTP_HOST")
    if site != "same-origin" and (site is not None or not (is_here or origin in own)):
        raise CrossSite(f"to the operator's page: Origin {origin!r}, Sec-Fetch-Site {site!r}")


def is_known_origin(origin: str | None, config: Config) -> bool:
    """Return whether an Origin header names the product's pages, or ours."""
    return origin in _known_origins(config)


def _known_origins(config: Config) -> frozenset[str]:
    return config.frontend_origins | ({origin_of(config.billing_url)} if config.billing_url else set())


def warn_of_unknown_origin(environ: dict[str, Any], config: Config, rule: str, repeats: Repeats) -> None:
    """Log a warning for a page that the settings do not name, and what to do about it.

    Mostly a setting is wrong, the more so where the page differs in scheme, port or name of this machine only. Our own
    page at another port is served, without a warning. Our own page under another name of this machine is served, too,
    but the visitor comes back to the name in the settings, for which the browser has no sign-in cookie.
    """
    origin = environ.get("HTTP_ORIGIN")
    if origin is None or is_known_origin(origin, config) or rule.endswith((ADMIN, *FOR_ANYBODY)):
        return
    if advice := _advice(origin, environ, config):
        origin = cut(origin, LONGEST_ORIGIN)
        repeats.log(log, logging.WARNING, "origin", origin, "%s: the page is on %s, and %s", rule, origin, advice)


def _advice(origin: str, environ: dict[str, Any], config: Config) -> str | None:
    """Return how the page's origin is not as the settings say, and what to do; None for a page of ours."""
    page, is_own_page = _parsed(origin), environ.get("HTTP_SEC_FETCH_SITE") == "same-origin"
    for known in sorted(_known_origins(config)):
        near = _parsed(known)
        if page and near and (page == near or (page[0] == near[0] and not is_own_page)):
            shown = cut(origin, LONGEST_ORIGIN)
            return (
                f"the settings say {known}: open the product at {known}, or set FRONTEND_URL to {shown} (several are "
                "separated by commas)"
            )
    if origin == HIDDEN:
        return (
            "the browser hides the page's address, as in a sandboxed frame or with Referrer-Policy: no-referrer: have "
            "your product's pages send it"
        )
    if is_own_page or page is None:
        return None
    return (
        "FRONTEND_URL does not name it: if it is a page of your product, add it there, after a comma; if not, another "
        "site makes requests in your visitors' names, and gets nothing"
    )


def _parsed(origin: str) -> tuple[str, str, int | None] | None:
    """Return an origin's host, scheme and port, with one name for this machine; None when it is no origin."""
    try:
        parts = urlsplit(origin)
        host, port = parts.hostname, parts.port
    except ValueError:  # a Host or Origin header is anybody's word
        return None
    return ("localhost" if host in THIS_MACHINE else host, parts.scheme, port) if host else None


def cors_headers(environ: dict[str, Any], config: Config, rule: str) -> dict[str, str]:
    """Return the CORS headers that let the product's own pages read the response with the user's cookie.

    Other pages get none, and nobody gets any for the operator's page.
    """
    origin = environ.get("HTTP_ORIGIN")
    if origin is None or origin not in config.frontend_origins or rule.endswith(ADMIN):
        return {}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": "Retry-After, HX-Redirect",
    }


def own_url(environ: dict[str, Any], config: Config) -> str | None:
    """Return where these routes are reached: BILLING_URL or, on an origin of the product's own, this request's folder.

    None for any other origin: a Host header is anybody's word, and no place to send visitors to.
    """
    if config.billing_url is not None:
        return config.billing_url
    parts = bottle.BaseRequest(environ).urlparts
    origin = f"{parts.scheme}://{parts.netloc}"
    return origin + parts.path.rpartition("/")[0] if is_known_origin(origin, config) else None


def product_url(environ: dict[str, Any], config: Config) -> str:
    """Return the address in FRONTEND_URL that the request came from; the first where the request does not say."""
    came_from = (environ.get("HTTP_ORIGIN"), _origin_or_none(environ.get("HTTP_REFERER", "")))
    fitting = [url for origin in came_from for url in config.frontend_urls if origin_of(url) == origin]
    return fitting[0] if fitting else config.frontend_url


def product_page(environ: dict[str, Any], config: Config) -> str | None:
    """Return the product's page that the request came from; None where the browser does not name one of the product."""
    page: str = environ.get("HTTP_REFERER", "").partition("#")[0]
    if len(page) > LONGEST_PAGE or not re.fullmatch(r"[\x21-\x7e]+", page) or re.search(r"[\\@]", page):
        return None  # browsers and parsers differ on where such an address leads
    own = own_url(environ, config)
    is_ours = own is not None and page.startswith(f"{own}/")
    names_page = page.rstrip("/") not in config.frontend_origins  # to another origin, browsers name the origin alone
    return page if names_page and _origin_or_none(page) in config.frontend_origins and not is_ours else None


def _origin_or_none(url: str) -> str | None:
    try:
        return origin_of(url)
    except ValueError:
        return None


def sign_in_url(environ: dict[str, Any], config: Config) -> str:
    """Return where to sign in, with the way back to this page where BILLING_SIGN_IN_URL has a place for it."""
    own, page = own_url(environ, config), environ.get("PATH_INFO", "").removeprefix("/")
    plans = config.pricing_url or (f"{own}/pricing" if own else config.frontend_url)
    back = f"{own}/{page}" if own and page in PAGES else plans
    code = bottle.BaseRequest(environ).query.get("code") if page == "pricing" else None
    if code:
        back += f"{'&' if '?' in back else '?'}code={quote(code, safe='')}"
    return (config.sign_in_url or config.frontend_url).replace("{next}", quote(back, safe=""))


HTMX_HEADERS = "HX-Request, HX-Boosted, HX-Current-URL, HX-Prompt, HX-Target, HX-Trigger, HX-Trigger-Name"
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": f"Authorization, Content-Type, {HTMX_HEADERS}",
    "Access-Control-Max-Age": "600",
}
