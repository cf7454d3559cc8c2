"""The settings that all have, and what each calls them."""

import os
from pathlib import Path

HERE = Path(__file__).parent
SECRET_KEY = "sk_test_" + "ofthecomparison" * 2  # as long as dj-stripe wants one; the simulator takes any
WEBHOOK_SECRET = "whsec_of_the_comparison"
AUTH_SECRET = "a-secret-of-at-least-thirty-two-bytes"
APP = "app.example.com"
USER_KEY = "corkage_user"
"""Where the user's id stands in the metadata of customers and subscriptions: each is told to look there."""

INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE")
"""What is passed on: not the bench's own settings, nor a virtual environment's."""


def metadata_of(user: str) -> dict[str, str]:
    """Return what ties a customer or a subscription to a user, for each of them."""
    return {"corkage_app": APP, USER_KEY: user}


def start_environ(
    port: int,
    database: Path | str,
    api_base: str,
    *,
    secret_key: str = SECRET_KEY,
    webhook_secret: str = WEBHOOK_SECRET,
    auth_secret: str = AUTH_SECRET,
) -> dict[str, str]:
    """Return the environment that any of them is prepared, started and timed in: every name that any of them reads."""
    plain = {name: os.environ[name] for name in INHERITED if name in os.environ}
    stripe = {
        "STRIPE_SECRET_KEY": secret_key,
        "STRIPE_WEBHOOK_SECRET": webhook_secret,
        "STRIPE_API_BASE": api_base,
    }
    peers = {"PORT": str(port), "DATABASE": str(database), "AUTH_SECRET": auth_secret, "NODE_ENV": "production"}
    corkage = {
        "FRONTEND_URL": f"https://{APP}",
        "BILLING_APP": APP,
        "BILLING_DATABASE": str(database),
        "BILLING_AUTH_SECRET": auth_secret,
        "BILLING_PLANS": str(HERE / "corkage.toml"),
        "BILLING_LOG": "warning",
    }
    return {**plain, **stripe, **peers, **corkage}
