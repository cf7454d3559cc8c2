"""A product with billing mounted, at the simulated Stripe, and users in every state, for the tests of the pages."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import bottle
from harness import APP, DAY, Shop, sdk, stop
from waitress.server import create_server

from corkage import Billing, Config, Identity
from corkage.identity import Authenticate
from corkage.models import MADE_AT, store_setting
from corkage.plans import Plan
from corkage.simulator import Simulator

SCRIPT = "<script>alert(1)</script>"
LONG = "Plus" * 50
PRO = Plan(
    "pro",
    "Pro",
    ("pro_monthly", "pro_yearly"),
    features=("exports",),
    trial_days=14,
    grace_days=7,
    description="For whoever writes a lot.",
    points=("As many notes as you like", "Export to every format", "Help within a day"),
    limits={"exports": 100, "calls": "unlimited"},
    every={"exports": "month", "calls": "day"},
)
TEAM = Plan(
    "team",
    "Team",
    ("team_monthly", "team_yearly"),
    features=("exports", "sharing"),
    description="For writing together.",
    points=("All of Pro", "Share notes with others", "One invoice for everybody"),
    pending="deny",
)
LONG_NAMED = Plan("long", LONG, ("long_monthly",), features=("exports", "feature_with_a_long_name" * 8),
                  limits={"exports": 7, "limit_with_a_long_name_" * 8: 1_000_000},
                  every={"exports": "month", "limit_with_a_long_name_" * 8: "never"})  # fmt: skip
AMOUNTS = {
    "pro_monthly": (900, "month"),
    "pro_yearly": (9000, "year"),
    "team_monthly": (2900, "month"),
    "team_yearly": (29000, "year"),
    "long_monthly": (123456789, "month"),
}


@dataclass
class Host:
    """A product: at its address `/`, with billing at /billing, for whom the cookie `user` names."""

    url: str
    billing: Billing
    simulator: Simulator
    shop: Shop
    prices: dict[str, str]

    def converge(self) -> None:
        """Make the replica equal to what the simulated Stripe holds."""
        for customer in self.shop.client.v1.customers.list(params={"limit": 100}).data:
            self.billing.service.worker.converger.converge(customer.id, time.time())


def signed_in(environ: dict[str, Any]) -> Identity | None:
    user = bottle.BaseRequest(environ).get_cookie("user")
    return Identity(unquote(user)) if user else None


@contextmanager
def hosted(
    folder: Path,
    plans: tuple[Plan, ...] = (PRO, TEAM),
    *,
    authenticate: Authenticate = signed_in,
    now: int | None = None,
    **settings: Any,
) -> Iterator[Host]:
    """Serve the product on a free port, with every price of the plans at Stripe.

    Units   now: when the time at Stripe begins, in Unix seconds; None for years ago
    """
    app = bottle.Bottle()
    app.route("/", "GET", lambda: "<!doctype html><html lang=en><title>Notes</title><h1>The product</h1>")
    server: Any = create_server(app, host="127.0.0.1", port=0, threads=8)
    thread = threading.Thread(target=server.run, daemon=True)
    url = f"http://127.0.0.1:{server.effective_port}"
    with Simulator(seed=7, now=now) as simulator:
        prices = {key: _add_price(simulator, key) for plan in plans for key in plan.prices}
        config = Config(
            stripe_secret_key=simulator.api_key,
            stripe_api_base=simulator.url,
            frontend_urls=(url,),
            app=APP,
            plans=plans,
            billing_url=f"{url}/billing",
            database=str(folder / "pages.db"),
            poll_seconds=0,
            **{"name": "Notes", "worker": "off", **settings},
        )
        billing = Billing(config, authenticate=authenticate)
        store_setting(MADE_AT, "0")  # the simulator's clock begins years ago, and what is sold from now on is news
        app.mount("/billing/", billing.wsgi)
        app.route("/paid", "GET", billing.requires()(lambda: "paid for"))
        thread.start()
        try:
            yield Host(url, billing, simulator, Shop(simulator, sdk(simulator), "", ""), prices)
        finally:
            stop(server, thread)
            billing.close()


def _add_price(simulator: Simulator, key: str) -> str:
    amount, interval = AMOUNTS[key]
    return str(simulator.add_price(key, amount, interval=interval)["id"])


def bring_into_every_state(host: Host) -> None:
    """Have a user called after each state, brought there by what happens at Stripe."""
    shop, client = host.shop, host.shop.client

    def subscribe(user: str, price: str, card: str = "pm_card_visa", **params: Any) -> tuple[str, str]:
        customer = shop.customer(user, card=card, email=f"{user[:20]}@example.com".replace("<", "").replace(">", ""))
        return customer, shop.subscribe(customer, host.prices[price], user, **params)

    failing = {
        "grace": subscribe("grace", "pro_monthly"),
        "past_due": subscribe("past_due", "team_monthly"),
        "unpaid": subscribe("unpaid", "team_monthly"),
    }
    for customer, _ in failing.values():
        host.simulator.use_card(customer, "pm_card_chargeCustomerFail")
    host.simulator.advance_to("renewal")
    host.simulator.advance(2 * DAY)
    host.simulator.give_up(failing["unpaid"][1], "unpaid")
    subscribe("active", "team_monthly")
    subscribe("trial", "pro_yearly", trial_period_days=14)
    subscribe(SCRIPT, "pro_monthly")
    subscribe("long", "long_monthly")
    client.v1.subscriptions.update(subscribe("canceling", "pro_monthly")[1], params={"cancel_at_period_end": True})
    client.v1.subscriptions.cancel(subscribe("ended", "pro_monthly")[1])
    subscribe("pending", "team_monthly", "pm_usBankAccount_success")
    subscribe("incomplete", "pro_monthly", "pm_card_chargeCustomerFail", payment_behavior="allow_incomplete")
    host.converge()
