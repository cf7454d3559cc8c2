"""corkage token: mint a token for a user, to try the routes with."""

import time

from ...errors import ConfigError
from ...identity import AUDIENCE, SERVER_AUDIENCE, mint_token
from .. import OK, configured


def mint(user: str, email: str | None, seconds: int, server: bool) -> int:
    """Print a token."""
    config = configured()
    if not config.auth_secrets:
        raise ConfigError(["BILLING_AUTH_SECRET: wanted a secret to mint tokens with; it is not set"])
    audience = SERVER_AUDIENCE if server else AUDIENCE
    now = time.time()
    print(mint_token(config.auth_secrets[0], user, email=email, audience=audience, now=now, lifetime_seconds=seconds))
    return OK
