"""The operator's session: a sign-in with BILLING_ADMIN_TOKEN, and a cookie that is signed with it.

No session is stored, only which were ended by signing out, until they would have ended by themselves.
"""

import hmac
import json
import re
import secrets
from collections.abc import Callable
from typing import Any, NamedTuple

from .. import storage
from ..config import Config
from ..cookies import values_of
from ..errors import CrossSite
from ..models import setting, store_setting

COOKIE = "__Host-corkage-admin"
COOKIE_ON_PLAIN_HTTP = "corkage-admin"
LASTS_SECONDS = 8 * 3600
LEEWAY_SECONDS = 60  # the clocks of two hosts differ
ENDED = "admin_sessions_ended"  # the name of the setting
MOST_ENDED = 50
SESSION = re.compile(r"([0-9]{1,12})\.([0-9a-f]{32})\.[0-9a-f]{64}")  # what new_session() makes


def is_token(config: Config, shown: str) -> bool:
    """Return whether this is the operator's token. The comparison takes constant time."""
    return _is_same(shown, config.admin_token)


def new_session(config: Config, now: float) -> str:
    """Return a new session: its end, a random number, and a signature."""
    unsigned = f"{int(now) + LASTS_SECONDS}.{secrets.token_hex(16)}"
    return f"{unsigned}.{_signature(config, 'session', unsigned)}"


def session_of(
    config: Config, environ: dict[str, Any], now: float, is_ended: Callable[[str], bool] = lambda _: False
) -> str | None:
    """Return the request's session; None when it has ended or its signature is wrong.

    Of several cookies of this name any may be the session: one planted by another site must not lock the operator out.

    Shape   is_ended: returns whether a session that is signed was ended by signing out
    """
    shown = values_of(_cookie_name(config, environ), environ)
    return next((each for each in shown if _is_session(config, each, now) and not is_ended(each)), None)


class _Ended(NamedTuple):
    """The sessions that were ended. all_before: those that began earlier, too; ends_at: of others, by random number."""

    all_before: float
    ends_at: dict[str, int]


def is_ended(session: str) -> bool:
    """Return whether the session was ended by signing out, here or in another process.

    Errors  DatabaseUnavailable
    """
    ends_at, nonce = _parts(session)
    ended = _ended()
    return nonce in ended.ends_at or ends_at - LASTS_SECONDS < ended.all_before


def end_session(session: str, now: float) -> None:
    """End a session, with every copy of its cookie. Where very many were ended, end all that have begun.

    Errors  DatabaseUnavailable
    """
    ends_at, nonce = _parts(session)
    with storage.writing():
        before = _ended()
        others = {name: at for name, at in before.ends_at.items() if at > now}
        is_full = len(others) >= MOST_ENDED
        ended = _Ended(now, {}) if is_full else _Ended(before.all_before, others)
        store_setting(ENDED, json.dumps(ended._replace(ends_at=ended.ends_at | {nonce: ends_at})))


def _parts(session: str) -> tuple[int, str]:
    ends_at, nonce, _ = session.split(".")
    return int(ends_at), nonce


def _ended() -> _Ended:
    stored = setting(ENDED)
    return _Ended(*json.loads(stored)) if stored else _Ended(0.0, {})


def shows_session(config: Config, environ: dict[str, Any]) -> bool:
    """Return whether the request has a session's cookie, even one that has ended or is forged."""
    return bool(values_of(_cookie_name(config, environ), environ))


def _is_session(config: Config, shown: str, now: float) -> bool:
    unsigned, _, signature = shown.rpartition(".")
    is_ours = (found := SESSION.fullmatch(shown)) and _is_same(signature, _signature(config, "session", unsigned))
    # one that lasts longer was made while the clock ran ahead
    return bool(found and is_ours and now < int(found[1]) <= now + LASTS_SECONDS + LEEWAY_SECONDS)


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
