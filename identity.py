"""Who is asking: the host's own callback, or a token that the product minted. Exactly one of them; else nobody."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt

from .config import Config
from .errors import ConfigError, InvalidToken, NotConfigured
from .models import USER_ID_LENGTH

AUDIENCE = "corkage"
LONGEST_TOKEN_SECONDS = 86_400
LONGEST_TOKEN = 4096
LONGEST_TEXT = 320
COOKIE = "__Host-corkage"
COOKIE_ON_PLAIN_HTTP = "corkage"


@dataclass(frozen=True, slots=True)
class Identity:
    """The user who asks, as the host knows them.

    Shape   user_id: the host's own id, a text of 1 to 200 printable characters; e-mail and name are for Stripe
    Errors  ValueError for any other user_id
    """

    user_id: str
    email: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        fits = isinstance(self.user_id, str) and 0 < len(self.user_id) <= USER_ID_LENGTH and self.user_id.isprintable()
        if not fits:
            raise ValueError(f"a user id is a text of 1 to {USER_ID_LENGTH} printable characters")


Authenticate = Callable[[dict[str, Any]], Identity | None]


def authenticator(config: Config, callback: Authenticate | None) -> Authenticate:
    """Choose how to tell who is asking, from a WSGI environ.

    Errors  ConfigError when there are two ways. With none, each question raises NotConfigured: fail closed.
    """
    if callback is not None and config.auth_secrets:
        raise ConfigError(["BILLING_AUTH_SECRET is set, and authenticate= is given: wanted exactly one of them"])
    if callback is not None:
        return _checked(callback)
    if config.auth_secrets:
        return lambda environ: identity_from_token(environ, config.auth_secrets, time.time())
    return _nobody


def _checked(callback: Authenticate) -> Authenticate:
    def authenticate(environ: dict[str, Any]) -> Identity | None:
        found = callback(environ)
        if found is not None and not isinstance(found, Identity):
            raise TypeError(f"authenticate() returned {type(found).__name__}; wanted an Identity or None")
        return found

    return authenticate


def _nobody(_environ: dict[str, Any]) -> Identity | None:
    raise NotConfigured("set BILLING_AUTH_SECRET, or give Billing an authenticate= callback, to tell users apart")


def mint_token(
    secret: str, user_id: str, *, email: str | None = None, name: str | None = None, now: float, lifetime_seconds: int
) -> str:
    """Make a token as a product would, in any language: a JWT, HS256."""
    claims = {"sub": user_id, "aud": AUDIENCE, "exp": int(now) + lifetime_seconds, "email": email, "name": name}
    return jwt.encode({key: value for key, value in claims.items() if value is not None}, secret, "HS256")


def identity_from_token(environ: dict[str, Any], secrets: tuple[str, ...], now: float) -> Identity | None:
    """Read the identity from the request's token: the Authorization header's or, without that, the cookie's.

    Errors  InvalidToken when there is a token that proves nothing; its text never holds the token
    """
    token = _bearer(environ) or _cookie(environ)
    if token is None:
        return None
    if len(token) > LONGEST_TOKEN:
        raise InvalidToken(f"the token has {len(token)} characters, more than {LONGEST_TOKEN}")
    return _identity(_claims(token, secrets, now))


def _bearer(environ: dict[str, Any]) -> str | None:
    scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _cookie(environ: dict[str, Any]) -> str | None:
    """Read our cookie. Its plain name counts on plain http only: over https, a sibling domain could have set it."""
    pairs = (part.strip().partition("=") for part in environ.get("HTTP_COOKIE", "").split(";"))
    cookies = {name: value for name, _, value in pairs}
    names = (COOKIE,) if environ.get("wsgi.url_scheme") == "https" else (COOKIE, COOKIE_ON_PLAIN_HTTP)
    return next((cookies[name] for name in names if cookies.get(name)), None)


def _claims(token: str, secrets: tuple[str, ...], now: float) -> dict[str, Any]:
    """Verify the token with each secret in turn; times are checked here, against the clock we are given."""
    for secret in secrets:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                secret,
                algorithms=["HS256"],
                audience=AUDIENCE,
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
            raise InvalidToken(f"the token is refused: {error}") from None
        _check_times(claims, now)
        return claims
    raise InvalidToken(f"none of the {len(secrets)} secrets made this token's signature")


def _check_times(claims: dict[str, Any], now: float) -> None:
    expires, begins = claims["exp"], claims.get("nbf", 0)
    if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in (expires, begins)):
        raise InvalidToken("the token's exp and nbf must be numbers, in Unix seconds")
    if not expires > now:  # said this way round, not-a-number is refused too
        raise InvalidToken("the token is expired")
    if expires > now + LONGEST_TOKEN_SECONDS:
        raise InvalidToken(f"the token's exp is more than {LONGEST_TOKEN_SECONDS} s ahead")
    if not begins <= now:
        raise InvalidToken("the token is not valid yet")


def _identity(claims: dict[str, Any]) -> Identity:
    for key in ("email", "name"):
        value = claims.get(key)
        if value is not None and (not isinstance(value, str) or not value or len(value) > LONGEST_TEXT):
            raise InvalidToken(f"the token's {key} must be a text of 1 to {LONGEST_TEXT} characters")
    try:
        return Identity(claims["sub"], claims.get("email"), claims.get("name"))
    except ValueError as error:
        raise InvalidToken(f"the token's sub: {error}") from None
