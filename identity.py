"""Which user makes a request: by the host's own callback, the product's token, or a proxy's header: one of them."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .addresses import Network, address_of, is_among
from .config import Config
from .cookies import BLANKS, values_of
from .errors import ConfigError, InvalidToken, InvalidUserHeader, NotConfigured, NotSignedIn, UntrustedProxy
from .texts import check_texts, check_user_id

AUDIENCE = "corkage"
SERVER_AUDIENCE = "corkage-server"  # of tokens that a product's server makes for itself, and gives to no browser
LONGEST_TOKEN_SECONDS = 86_400
LEEWAY_SECONDS = 60  # the clocks of two machines differ
LONGEST_TOKEN = 4096
LONGEST_TEXT = 320
COOKIE = "__Host-corkage"
COOKIE_ON_PLAIN_HTTP = "corkage"
REFUSALS = {  # by PyJWT's errors: its own texts may quote the token, and anybody can write one
    "InvalidAlgorithmError": "it is not signed with HS256",
    "MissingRequiredClaimError": "sub, exp or aud is missing",
    "InvalidAudienceError": f"its aud is not {AUDIENCE!r}, or for POST /use {SERVER_AUDIENCE!r}",
    "InvalidSubjectError": "its sub is not a text",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """The user who makes a request, as the host knows them.

    Shape   user_id: the host's own id, a text of 1 to 200 printable characters; e-mail and name are for Stripe, without
            the blanks around them, None where nothing is left; payer: the id of whoever pays for the user, such as an
            organisation; may_buy: whether the user may buy and manage billing; None: only who pays for themselves may;
            email_verified: the host has made sure that the e-mail is the user's
    Errors  ValueError for any other user_id or payer, and for an e-mail or name that no database can store
    """

    user_id: str
    email: str | None = None
    name: str | None = None
    payer: str | None = None
    may_buy: bool | None = None
    email_verified: bool = False

    def __post_init__(self) -> None:
        check_user_id(self.user_id)
        check_user_id(self.payer_id)
        check_texts(email=self.email, name=self.name)
        if self.may_buy not in (None, True, False):
            raise ValueError("may_buy is True, False or None")
        if self.email_verified not in (True, False):
            raise ValueError("email_verified is True or False")
        for field in ("email", "name"):
            value = getattr(self, field)
            object.__setattr__(self, field, value.strip(BLANKS) or None if value else None)

    @property
    def payer_id(self) -> str:
        """Who pays for the user. Access is theirs, and so is what the user buys."""
        return self.payer if self.payer is not None else self.user_id

    @property
    def is_buyer(self) -> bool:
        """Whether the user may buy, and see what was bought: as may_buy says; by default only for themselves."""
        return self.payer_id == self.user_id if self.may_buy is None else self.may_buy

    def check_payer(self, prefix: str) -> None:
        """Raise ValueError where a user and a payer could be mistaken for each other.

        Shape   prefix: how every payer's id begins, and no user's; empty where everybody pays for themselves
        """
        if self.payer_id != self.user_id and not (prefix and self.payer_id.startswith(prefix)):
            raise ValueError(f"the payer's id does not begin with BILLING_PAYER_PREFIX, which is {prefix or 'not set'}")
        if prefix and self.user_id.startswith(prefix):
            raise ValueError("the user's id begins with BILLING_PAYER_PREFIX, as only payers' ids do")


Authenticate = Callable[[dict[str, Any]], Identity | None]


def authenticator(config: Config, callback: Authenticate | None) -> Authenticate:
    """Return the function that finds the user in a WSGI environ.

    Errors  ConfigError when several ways are configured. With none, each call raises NotConfigured: fail closed.
    """
    given = {
        "authenticate= is given": callback,
        "BILLING_AUTH_SECRET is set": config.auth_secrets,
        "BILLING_TRUSTED_USER_HEADER is set": config.trusted_user_header,
    }
    ways = [said for said, way in given.items() if way]
    if len(ways) > 1:
        raise ConfigError([f"{' and '.join(ways)}: wanted exactly one way to identify users"])
    prefix = config.payer_prefix
    if callback is not None:
        return _checked(callback, prefix)
    if config.trusted_user_header:
        return _TrustedHeader(config.trusted_user_header, config.trusted_email_header, config.trusted_proxies, prefix)
    if config.auth_secrets:
        is_open = all(url.lower().startswith("http://") for url in config.frontend_urls)
        return lambda environ: identity_from_token(
            environ, config.auth_secrets, time.time(), plain_cookie=is_open, payer_prefix=prefix
        )
    return _nobody


def _checked(callback: Authenticate, payer_prefix: str) -> Authenticate:
    def authenticate(environ: dict[str, Any]) -> Identity | None:
        found = callback(environ)
        if found is not None and not isinstance(found, Identity):
            raise TypeError(f"authenticate() returned {type(found).__name__}; wanted an Identity or None")
        if found is not None:
            found.check_payer(payer_prefix)
        return found

    return authenticate


def _nobody(_environ: dict[str, Any]) -> Identity | None:
    raise NotConfigured(
        "to identify users set BILLING_AUTH_SECRET or BILLING_TRUSTED_USER_HEADER, or give Billing an authenticate="
    )


@dataclass(frozen=True, slots=True)
class _TrustedHeader:
    """Reads the identity from headers that an authenticating proxy sets.

    REMOTE_ADDR must be what the server's socket saw, as it is under `corkage serve`: what a header says of the address,
    X-Forwarded-For for one, is anybody's word.
    """

    user_header: str
    email_header: str | None
    proxies: tuple[Network, ...]
    payer_prefix: str

    def __call__(self, environ: dict[str, Any]) -> Identity | None:
        user_id = _header(environ, self.user_header)
        if not user_id:
            return None
        self._refuse_strangers(environ.get("REMOTE_ADDR", ""))
        email = _header(environ, self.email_header) if self.email_header else None
        try:
            found = Identity(_one_value(self.user_header, user_id), _one_value(self.email_header, email) or None)
            found.check_payer(self.payer_prefix)
            return found
        except ValueError as error:
            raise InvalidUserHeader(f"{self.user_header}: {error}") from None

    def _refuse_strangers(self, peer: str) -> None:
        if not is_among(address_of(peer), self.proxies):
            raise UntrustedProxy(
                f"{self.user_header} came from {peer or 'no address'}, which is not in BILLING_TRUSTED_PROXIES: "
                "a forgery or, if that is where your proxy is, an address to add there"
            )


def _header(environ: dict[str, Any], name: str) -> str:
    """Read a header as UTF-8, which WSGI hands over as Latin-1."""
    raw: str = environ.get("HTTP_" + name.upper().replace("-", "_"), "")
    try:
        return raw.strip(BLANKS).encode("latin-1").decode("utf-8")
    except UnicodeError:
        raise InvalidUserHeader(f"{name} is not UTF-8") from None


def _one_value(name: str | None, value: str | None) -> str:
    """Return the value. Two values are refused: servers join a forged header and the proxy's own with a comma."""
    if not value:
        return ""
    if "," in value or not _is_text(value):
        raise InvalidUserHeader(f"{name} holds a comma, as if sent twice, or more than {LONGEST_TEXT} characters")
    if value[0] == "{" and value[-1] == "}":  # Caddy's, for a header that its auth server left out
        raise InvalidUserHeader(f"{name} holds a placeholder that the proxy did not fill in")
    return value


def mint_token(
    secret: str,
    user_id: str,
    *,
    email: str | None = None,
    name: str | None = None,
    payer: str | None = None,
    may_buy: bool | None = None,
    email_verified: bool = False,
    now: float,
    lifetime_seconds: int = 3600,
    audience: str = AUDIENCE,
) -> str:
    """Return a token as a product makes it, in any language: a JWT, HS256.

    Shape   audience: AUDIENCE for the user's own requests, SERVER_AUDIENCE for those of the product's server
    Errors  as Identity's
    """
    Identity(user_id, email, name, payer, may_buy, email_verified)
    claims = {
        "sub": user_id,
        "aud": audience,
        "exp": int(now) + lifetime_seconds,
        "email": email,
        "name": name,
        "payer": payer,
        "may_buy": may_buy,
        "email_verified": email_verified or None,
    }
    import jwt

    return jwt.encode({key: value for key, value in claims.items() if value is not None}, secret, "HS256")


def identity_from_token(
    environ: dict[str, Any],
    secrets: tuple[str, ...],
    now: float,
    *,
    plain_cookie: bool = True,
    payer_prefix: str = "",
) -> Identity | None:
    """Read the identity from the request's token: the Authorization header's or, without that, the cookie's.

    Shape   plain_cookie: whether the cookie without __Host- counts on plain http. Not where the product is on https:
            behind a proxy that ends TLS all requests look plain, and a sibling domain can set that cookie;
            payer_prefix: how the ids of payers begin
    Errors  InvalidToken when there is a token that proves nothing; its text never holds the token
    """
    token = _bearer(environ) or _cookie(environ, plain_cookie)
    return None if token is None else _identity_of(token, secrets, AUDIENCE, now, payer_prefix)


def identity_from_server(environ: dict[str, Any], config: Config, now: float) -> Identity:
    """Read for whom the product's server makes a request, from a token that it gives to no browser.

    A user's own token will not do: with it a visitor could spend keys before the server does. Nor will a proxy's
    header, which the proxy sets for visitors, too.

    Errors  NotConfigured without BILLING_AUTH_SECRET; NotSignedIn without a token; InvalidToken
    """
    if not config.auth_secrets:
        raise NotConfigured("POST /use takes tokens: set BILLING_AUTH_SECRET")
    token = _bearer(environ)
    if token is None:
        raise NotSignedIn("the request has no Authorization: Bearer token of the product's server")
    return _identity_of(token, config.auth_secrets, SERVER_AUDIENCE, now, config.payer_prefix)


def _identity_of(token: str, secrets: tuple[str, ...], audience: str, now: float, payer_prefix: str) -> Identity:
    if len(token) > LONGEST_TOKEN:
        raise InvalidToken(f"the token has {len(token)} characters, more than {LONGEST_TOKEN}")
    claims = _claims(token, secrets, audience)
    _check_times(claims, now)
    return _identity(claims, payer_prefix)


def _fingerprint(token: str) -> str:
    """Return what keeps two tokens apart in memory, and is no token."""
    return hashlib.sha256(token.encode()).hexdigest()


def _bearer(environ: dict[str, Any]) -> str | None:
    scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").strip(BLANKS).partition(" ")
    return token.strip(BLANKS) or None if scheme.lower() == "bearer" else None


def _cookie(environ: dict[str, Any], plain_cookie: bool) -> str | None:
    is_plain = plain_cookie and environ.get("wsgi.url_scheme") == "http"
    for name in (COOKIE, COOKIE_ON_PLAIN_HTTP) if is_plain else (COOKIE,):
        values = values_of(name, environ)
        if len(values) > 1:
            raise InvalidToken(f"{len(values)} different cookies are called {name}, and which is the user's is unknown")
        if values:
            return values[0]
    return None


def _claims(token: str, secrets: tuple[str, ...], audience: str) -> dict[str, Any]:
    """Return the claims of a token that one of the secrets signed. Its times are checked by _check_times()."""
    import jwt  # not needed where users are identified in another way

    for secret in secrets:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                secret,
                algorithms=["HS256"],
                audience=audience,
                options={
                    "require": ["sub", "exp", "aud"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.InvalidSignatureError:
            continue
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            reason = REFUSALS.get(type(error).__name__, "it cannot be read")
            raise InvalidToken(f"the token is refused: {reason}", owner=_fingerprint(token)) from None
        return claims
    raise InvalidToken(f"none of the {len(secrets)} secrets made this token's signature", "secret", _fingerprint(token))


def _check_times(claims: dict[str, Any], now: float) -> None:
    times = [claims["exp"], *(claims[name] for name in ("nbf", "iat") if name in claims)]
    if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in times):
        raise InvalidToken("the token's exp, nbf and iat must be numbers, in Unix seconds")
    expires, *begins = times
    owner = str(claims["sub"])
    if not expires > now - LEEWAY_SECONDS:  # in this form, so that not-a-number is refused, too
        raise InvalidToken("the token is expired", "expired", owner)
    if expires > now + LONGEST_TOKEN_SECONDS + LEEWAY_SECONDS:
        raise InvalidToken(f"the token's exp is more than {LONGEST_TOKEN_SECONDS} s ahead", "too_long", owner)
    if not all(each <= now + LEEWAY_SECONDS for each in begins):
        raise InvalidToken("the token is not valid yet: its nbf or iat lies ahead", "not_yet", owner)


def _identity(claims: dict[str, Any], payer_prefix: str) -> Identity:
    for key in ("email", "name"):
        value = claims.get(key)
        if value not in (None, "") and not _is_text(value):
            raise InvalidToken(f"the token's {key} must be a text of up to {LONGEST_TEXT} printable characters")
    try:
        payer, may_buy = (None if claims.get(name) == "" else claims.get(name) for name in ("payer", "may_buy"))
        found = Identity(
            claims["sub"],
            claims.get("email"),
            claims.get("name"),
            payer,
            may_buy,
            email_verified=claims.get("email_verified") is True,  # what providers write in its place is no proof
        )
        found.check_payer(payer_prefix)
        return found
    except ValueError as error:
        raise InvalidToken(f"the token's sub, payer or may_buy: {error}") from None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT and value.isprintable()
