"""The operator: signed in with BILLING_ADMIN_TOKEN, known by a cookie that is derived from it, and slow to guess."""

import hmac
import re
import secrets
from typing import Any

from ..config import Config
from ..cookies import values_of
from ..errors import CrossSite

COOKIE = "__Host-corkage-admin"
COOKIE_ON_PLAIN_HTTP = "corkage-admin"
LASTS_SECONDS = 8 * 3600
SESSION = re.compile(r"([0-9]{1,12})\.[0-9a-f]{32}\.[0-9a-f]{64}")  # what new_session() makes


def is_token(config: Config, shown: str) -> bool:
    """Compare what was shown with the token, in a time that tells nothing of either."""
    return _are_same(shown, config.admin_token)


def new_session(config: Config, now: float) -> str:
    """Make a session: when it ends, a number of its own, and the proof that we made it."""
    begun = f"{int(now) + LASTS_SECONDS}.{secrets.token_hex(16)}"
    return f"{begun}.{_proof(config, 'session', begun)}"


def session_of(config: Config, environ: dict[str, Any], now: float) -> str | None:
    """Return the request's session; None when it is over, or when we did not make it.

    Of several cookies of this name any may be the session: a planted one has no proof, and shuts nobody out.
    """
    shown = values_of(_cookie_name(config, environ), environ)
    return next((each for each in shown if _is_session(config, each, now)), None)


def shows_session(config: Config, environ: dict[str, Any]) -> bool:
    """Return whether the request shows a session, be it over or forged."""
    return bool(values_of(_cookie_name(config, environ), environ))


def _is_session(config: Config, shown: str, now: float) -> bool:
    begun, _, proof = shown.rpartition(".")
    is_ours = (found := SESSION.fullmatch(shown)) and _are_same(proof, _proof(config, "session", begun))
    return bool(found and is_ours and now < int(found[1]) <= now + LASTS_SECONDS)  # longer: of a clock that ran ahead


def form_token(config: Config, session: str) -> str:
    """Tell what a form of this session holds, and no other page knows."""
    return _proof(config, "form", session)


def check_form(config: Config, session: str, token: str) -> None:
    """Refuse a form that is not of a page which this session was shown.

    Errors  CrossSite
    """
    if not _are_same(token, form_token(config, session)):
        raise CrossSite("the form's token is not of this session")


def cookie_header(config: Config, environ: dict[str, Any], session: str) -> str:
    """Write the header that has the browser keep the session, or forget it when it is empty.

    Without a path the cookie is of the folder that the page is in, wherever that is mounted; the name on https wants /.
    """
    name = _cookie_name(config, environ)
    lasts = LASTS_SECONDS if session else 0
    where = "; Path=/; Secure" if name == COOKIE else ""
    return f"{name}={session}; Max-Age={lasts}{where}; HttpOnly; SameSite=Strict"


def _cookie_name(config: Config, environ: dict[str, Any]) -> str:
    """Behind a proxy that ends TLS all requests look plain: what is said to be on https counts as that."""
    is_said_plain = (config.billing_url or config.frontend_url).lower().startswith("http://")
    is_plain = environ.get("wsgi.url_scheme") == "http" and is_said_plain
    return COOKIE_ON_PLAIN_HTTP if is_plain else COOKIE


def _are_same(shown: str, wanted: str) -> bool:
    return hmac.compare_digest(shown.encode("utf-8", "replace"), wanted.encode())


def _proof(config: Config, purpose: str, text: str) -> str:
    return hmac.new(config.admin_token.encode(), f"corkage {purpose} {text}".encode(), "sha256").hexdigest()
