"""`corkage demo`: a sample product with billing, beside an offline Stripe or a real test account."""

import secrets
import tempfile
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from waitress.server import create_server

from .. import models, schema, storage
from ..config import Config
from ..errors import ConfigError
from ..gateway.gateway import Gateway
from ..plans import Plan
from ..simulator import Simulator
from .notes import make_app

PLANS = (
    Plan(
        "pro",
        "Pro",
        ("corkage_demo_pro", "corkage_demo_pro_yearly"),
        features=("exports",),
        grace_days=7,
        description="For whoever writes a lot.",
        points=("As many notes as you like", "Export at any time"),
    ),
    Plan(
        "team",
        "Team",
        ("corkage_demo_team", "corkage_demo_team_yearly"),
        features=("exports", "sharing"),
        grace_days=7,
        description="For writing together.",
        points=("All of Pro", "Share notes with others"),
    ),
)
AMOUNTS = {
    "corkage_demo_pro": (900, "month"),
    "corkage_demo_pro_yearly": (9000, "year"),
    "corkage_demo_team": (2900, "month"),
    "corkage_demo_team_yearly": (29000, "year"),
}
THREADS = 8


def run_demo(port: int, secret_key: str | None = None, keep: str | None = None) -> None:
    """Run the sample product until Ctrl-C: with a test key against that Stripe account, else against the simulator.

    Shape   keep: the path of a database that stays afterwards; without it nothing is left behind
    Errors  ConfigError for a live key; StripeError when the account cannot be prepared; OSError for a taken port
    """
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="corkage-demo-"))
        config = _config(port, keep or str(Path(folder) / "demo.db"))
        simulator = None if secret_key else stack.enter_context(Simulator())
        if simulator:
            config = replace(config, stripe_secret_key=simulator.api_key, stripe_api_base=simulator.url)
            simulator.add_webhook_endpoint(f"{config.frontend_url}/billing/webhook", secret=config.webhook_secrets[0])
        else:
            config = replace(config, stripe_secret_key=_test_key(secret_key or ""), poll_seconds=5)
        _offer(Gateway(config.stripe_secret_key, config.stripe_api_base))
        app, billing = make_app(config, secrets.token_urlsafe(32))
        stack.enter_context(closing(billing))
        billing.start()
        server: Any = create_server(
            app, host="127.0.0.1", port=port, threads=THREADS, ident="corkage-demo", asyncore_use_poll=True
        )
        at_stripe = "an offline Stripe: a simulation, no money moves" if simulator else "your Stripe test account"
        print(f"Open {config.frontend_url} ({at_stripe}). Ctrl-C ends it.", flush=True)
        if simulator:
            print(f"Stripe's side, with its clock: {simulator.control_url}", flush=True)
        print(f"The operator's page: {config.billing_url}/admin (token: {config.admin_token})", flush=True)
        server.run()


def _config(port: int, database: str) -> Config:
    url = f"http://127.0.0.1:{port}"
    return Config(
        stripe_secret_key="",
        frontend_urls=(url,),
        app=_app(port, database),
        name="Notes",
        plans=PLANS,
        billing_url=f"{url}/billing",
        database=database,
        admin_token=secrets.token_urlsafe(24),
        webhook_secrets=(f"whsec_{secrets.token_urlsafe(24)}",),
        settle_seconds=0,
    )


def _app(port: int, database: str) -> str:
    """Return the demo's name at Stripe: by its port, so that two demos stay apart, and a kept file keeps its own."""
    storage.open_database(database)
    try:
        schema.bring_up_to_date(f"corkage-demo-{port}")
        return models.remember_once(models.APP, f"corkage-demo-{port}")
    finally:
        storage.close_database()


def _test_key(secret_key: str) -> str:
    if not secret_key.startswith(("sk_test_", "rk_test_")):
        raise ConfigError(["STRIPE_SECRET_KEY: the demo takes a test key (sk_test_...), never a live one"])
    return secret_key


def _offer(gateway: Gateway) -> None:
    """Create the demo's prices at Stripe that do not exist yet."""
    there = {price.lookup_key for price in gateway.prices_by_lookup_key(list(AMOUNTS))}
    for plan in PLANS:
        for lookup_key in plan.prices:
            if lookup_key not in there:
                gateway.create_price(lookup_key, plan.name, AMOUNTS[lookup_key][0], "usd", AMOUNTS[lookup_key][1])
