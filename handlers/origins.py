"""Origins: which pages may post (CSRF) and read (CORS) in a user's name, and where our own pages are."""

from typing import Any
from urllib.parse import quote

import bottle

from ..config import Config, origin_of
from ..errors import CrossSite

ADMIN = "/admin"
PAGES = ("pricing", "account")


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
    own = {origin_of(config.billing_url)} if config.billing_url else set()
    return origin in config.frontend_origins | own


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
        "Access-Control-Expose-Headers": "Retry-After",
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


def sign_in_url(environ: dict[str, Any], config: Config) -> str:
    """Return where to sign in, with the way back to this page where BILLING_SIGN_IN_URL has a place for it."""
    own, page = own_url(environ, config), environ.get("PATH_INFO", "").removeprefix("/")
    plans = config.pricing_url or (f"{own}/pricing" if own else config.frontend_url)
    back = f"{own}/{page}" if own and page in PAGES else plans
    return (config.sign_in_url or config.frontend_url).replace("{next}", quote(back, safe=""))


PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Max-Age": "600",
}
