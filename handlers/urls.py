"""Where our own pages are, as the browser that makes the request knows them."""

from typing import Any
from urllib.parse import quote

import bottle

from ..config import Config
from .csrf import is_known_origin

PAGES = ("pricing", "account")


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
    back = f"{own}/{page if page in PAGES else PAGES[0]}" if own else config.frontend_url
    return (config.sign_in_url or config.frontend_url).replace("{next}", quote(back, safe=""))
