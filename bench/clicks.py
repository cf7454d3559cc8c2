"""From a click to its redirect, with a Stripe that takes 150 ms an answer; beside another version of Corkage, if named.

BENCH_BEFORE names a folder that holds that version as the package `corkage`, by a link for one.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import jwt
import requests
import servers
import stripe
from results import Line, Result

ANSWER_SECONDS = 0.15
FRONTEND = "https://app.example.com"
BILLING = "https://billing.example.com"
CARD = {"number": "4242424242424242", "expiry": "12/40", "cvc": "123"}
PLANS = '[pro]\nprices = ["pro_monthly"]\n[team]\nprices = ["team_monthly"]\n'


@dataclass(frozen=True)
class Shop:
    """One Corkage to click at, and the Stripe behind it."""

    server: servers.Server
    stripe_url: str
    name: str

    @property
    def client(self) -> stripe.StripeClient:
        return stripe.StripeClient("sk_test_simulator", base_addresses={"api": self.stripe_url})

    def slow(self, seconds: float) -> None:
        requests.post(
            f"{self.stripe_url}/control/faults/api",
            {"latency_seconds": str(seconds)},
            headers={"Accept": "application/json"},
            timeout=30,
        ).raise_for_status()

    def ask(self, user: str, path: str, **body: str) -> requests.Response:
        claims = {"sub": user, "email": f"{user}@example.com", "aud": "corkage", "exp": int(time.time()) + 600}
        token = jwt.encode(claims, servers.AUTH_SECRET, "HS256")
        method = "GET" if path.startswith(("/return", "/account")) else "POST"
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/html" if method == "GET" else "application/json"}
        return requests.request(
            method, f"{self.server.url}{path}", data=body, headers=headers, allow_redirects=False, timeout=60
        )

    def click(self, user: str, plan: str = "pro") -> str:
        answer = self.ask(user, "/checkout", plan=plan)
        answer.raise_for_status()
        return str(answer.json()["url"])

    def pay(self, user: str) -> str:
        """Buy, and return where Stripe leads back to."""
        paid = requests.post(self.click(user), CARD, allow_redirects=False, timeout=30)
        return str(paid.headers["Location"]).replace(BILLING, "")

    def subscribe(self, user: str) -> None:
        self.ask(user, self.pay(user))

    def fall_due(self, user: str) -> None:
        """Have the next payment fail."""
        self.subscribe(user)
        (customer,) = self.client.v1.customers.list(params={"email": f"{user}@example.com"}).data
        (held,) = self.client.v1.subscriptions.list(params={"customer": customer.id}).data
        card = self.client.v1.payment_methods.attach("pm_card_chargeCustomerFail", params={"customer": customer.id}).id
        settings = {"default_payment_method": card}
        self.client.v1.customers.update(customer.id, params={"invoice_settings": settings})
        anew = {"billing_cycle_anchor": {"type": "now"}, "proration_behavior": "none", "default_payment_method": card}
        self.client.v1.subscriptions.update(held.id, params=anew)


Arrange = Callable[[Shop, str], object]
ROWS: tuple[tuple[str, Arrange, Callable[[Shop, str, object], object]], ...] = (
    ("a first click", lambda *_: None, lambda shop, user, _: shop.click(user)),
    ("a second click", lambda shop, user: shop.click(user), lambda shop, user, _: shop.click(user)),
    (
        "another plan, the page open",
        lambda shop, user: shop.click(user),
        lambda shop, user, _: shop.click(user, "team"),
    ),
    ("a subscriber, another plan", Shop.subscribe, lambda shop, user, _: shop.click(user, "team")),
    ("a subscriber with a debt", Shop.fall_due, lambda shop, user, _: shop.click(user)),
    ("the way back from Checkout", Shop.pay, lambda shop, user, back: shop.ask(user, str(back)).raise_for_status()),
    ("the account page", Shop.subscribe, lambda shop, user, _: shop.ask(user, "/account").raise_for_status()),
    (
        "the account page, after the portal",
        Shop.subscribe,
        lambda shop, user, _: shop.ask(user, "/account?from=portal").raise_for_status(),
    ),
)


def measure(quick: bool) -> Result:
    before = os.environ.get("BENCH_BEFORE")
    result = Result(f"From a click to its redirect, at {ANSWER_SECONDS * 1000:.0f} ms an answer of Stripe's")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        versions = {"before": before, "now": None} if before else {"now": None}
        shops = [_open(stack, Path(name) / version, version, path) for version, path in versions.items()]
        for what, arrange, act in ROWS:
            taken: dict[str, list[float]] = {shop.name: [] for shop in shops}
            for number in range(2 if quick else 5):
                for shop in shops:
                    taken[shop.name].append(
                        _time(shop, f"{what.replace(' ', '-').replace(',', '')}-{number}", arrange, act)
                    )
            figures = [f"{each}: {statistics.median(seconds) * 1000:.0f} ms" for each, seconds in taken.items()]
            result.lines.append(Line(what, ", ".join(figures)))
    return result


def _open(stack: ExitStack, folder: Path, name: str, package: str | None) -> Shop:
    folder.mkdir()
    at_stripe = stack.enter_context(servers.stripe(folder))
    client = stripe.StripeClient("sk_test_simulator", base_addresses={"api": at_stripe.url})
    for key, amount in (("pro", 900), ("team", 2900)):
        params = {"currency": "usd", "unit_amount": amount, "recurring": {"interval": "month"}}
        product = {"product_data": {"name": key}, "lookup_key": f"{key}_monthly"}
        client.v1.prices.create(params={**params, **product})
    settings = {"BILLING_URL": BILLING, "BILLING_POLL_SECONDS": "0"} | ({"PYTHONPATH": package} if package else {})
    server = stack.enter_context(servers.corkage(folder, at_stripe.url, PLANS, **settings))
    time.sleep(1)  # its prices are fetched
    return Shop(server, at_stripe.url, name)


def _time(shop: Shop, user: str, arrange: Arrange, act: Callable[[Shop, str, object], object]) -> float:
    arranged = arrange(shop, user)
    shop.slow(ANSWER_SECONDS)
    began = time.perf_counter()
    act(shop, user, arranged)
    took = time.perf_counter() - began
    shop.slow(0)
    return took
