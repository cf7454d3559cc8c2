"""The operator's session: a sign-in with BILLING_ADMIN_TOKEN, and a cookie that is signed with it."""

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
    """Return whether this is the operator's token. The comparison takes constant time."""
    return _is_same(shown, config.admin_token)


def new_session(config: Config, now: float) -> str:
    """Return a new session: its end, a random number, and a signature."""
    unsigned = f"{int(now) + LASTS_SECONDS}.{secrets.token_hex(16)}"
    return f"{unsigned}.{_signature(config, 'session', unsigned)}"


def session_of(config: Config, environ: dict[str, Any], now: float) -> str | None:
    """Return the request's session; None when it has ended or its signature is wrong.

    Of several cookies of this name any may be the session: one planted by another site must not lock the operator out.
    """
    shown = values_of(_cookie_name(config, environ), environ)
    return next((each for each in shown if _is_session(config, each, now)), None)


def shows_session(config: Config, environ: dict[str, Any]) -> bool:
    """Return whether the request has a session's cookie, even one that has ended or is forged."""
    return bool(values_of(_cookie_name(config, environ), environ))


def _is_session(config: Config, shown: str, now: float) -> bool:
    unsigned, _, signature = shown.rpartition(".")
    is_ours = (found := SESSION.fullmatch(shown)) and _is_same(signature, _signature(config, "session", unsigned))
    # one that lasts longer was made while the clock ran ahead
    return bool(found and is_ours and now < int(found[1]) <= now + LASTS_SECONDS)


def form_token(config: Config, session: str) -> str:
    """Return the secret field of this session's forms, which protects them from CSRF."""
    return _signature(config, "form", session)


def check_form(config: Config, session: str, token: str) -> None:
    """Raise for a form without this session's token.

    Errors  CrossSite
    """
    if not _is_same(token, form_token(config, session)):
        raise CrossSite("the form's token is not of this session")


def cookie_header(config: Config, environ: dict[str, Any], session: str) -> str:
    """Return the Set-Cookie header that stores the session or, when it is empty, deletes it.

    Without a path the cookie belongs to the folder of the page, wherever that is mounted; a __Host- cookie needs "/".
    """
    name = _cookie_name(config, environ)
    lasts = LASTS_SECONDS if session else 0
    where = "; Path=/; Secure" if name == COOKIE else ""
    return f"{name}={session}; Max-Age={lasts}{where}; HttpOnly; SameSite=Strict"


def _cookie_name(config: Config, environ: dict[str, Any]) -> str:
    """Behind a proxy that ends TLS all requests look plain, so the configured address decides as well."""
    is_configured_plain = (config.billing_url or config.frontend_url).lower().startswith("http://")
    is_plain = environ.get("wsgi.url_scheme") == "http" and is_configured_plain
    return COOKIE_ON_PLAIN_HTTP if is_plain else COOKIE


def _is_same(shown: str, wanted: str) -> bool:
    return hmac.compare_digest(shown.encode("utf-8", "replace"), wanted.encode())


def _signature(config: Config, purpose: str, text: str) -> str:
    return hmac.new(config.admin_token.encode(), f"corkage {purpose} {text}".encode(), "sha256").hexdigest()
