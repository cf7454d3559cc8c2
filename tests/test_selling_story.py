"""What can be sold, in products on Bottle and Flask, and on Node beside `corkage serve`: packs, a lifetime, a team."""

import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from harness import AUTH_SECRET, DAY, WEBHOOK_SECRET, started, until
from programs import missing
from repository import block

pytestmark = pytest.mark.slow

HOSTS = Path(__file__).parent / "hosts" / "selling"
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
PLANS = """
[free]
free = true
limits = { exports = { limit = 2, every = "month" } }

[pro]
prices = ["pro_monthly"]
features = ["api"]

[lifetime]
prices = ["lifetime_once"]
features = ["api"]

[team]
prices = ["team_monthly"]
group = "teams"
seats = { minimum = 2, maximum = 50 }
limits = { gb = 10 }

[storage]
prices = ["storage_monthly"]
adds_to = ["team"]
limits = { gb = 100 }

[pack]
prices = ["pack_10"]
adds = { exports = 10 }
"""
ONCE = {"lifetime_once": 30_000, "pack_10": 500}


class Product:
    """A product of ours, as its users see it."""

    def __init__(self, url, simulator):
        self.url, self.simulator = url, simulator

    def _post(self, path, user, **body):
        return requests.post(f"{self.url}{path}", json=body, headers={"X-User": user}, timeout=30).json()

    def buy(self, user, plan, **wanted):
        return self.simulator.buy(self._post("/buy", user, plan=plan, **wanted)["url"])

    def use(self, user, amount, key=None):
        used = self._post("/use", user, name="exports", amount=amount, key=key)
        return used["allowed"], used["left"]

    def access(self, user):
        return requests.get(f"{self.url}/me", headers={"X-User": user}, timeout=30).json()

    def has(self, user, **wanted):
        """Wait until the access is so."""
        until(lambda: wanted.items() <= self.access(user).items())


@contextmanager
def in_python(module, environ, folder):
    found_in = os.pathsep.join([str(HOSTS), environ["PYTHONPATH"]])
    own = {"PYTHONPATH": found_in, "BILLING_AUTH_SECRET": "", "BILLING_POLL_SECONDS": "0"}
    served = ["--listen", "127.0.0.1:0", f"{module}:app"]
    with started(served, environ | own, folder, "http://127.0.0.1:", module="waitress") as (_, said):
        url = ADDRESS.search(said[-1])[0]
        yield url, f"{url}/billing/webhook"


@contextmanager
def in_node(environ, folder):
    node = os.environ.get("NODE") or shutil.which("node") or missing("install Node 22.13 and name it in NODE")
    shutil.copy(HOSTS / "node_host.mjs", folder)
    recipes = block("docs/sidecar.md", "token-node") + block("docs/sidecar.md", "use-node")
    (folder / "recipes.mjs").write_text(recipes)
    served = environ | {"BILLING_POLL_SECONDS": "0", "BILLING_URL": "https://billing.example.com"}
    with started(["serve", "--port", "0"], served, folder, "http://127.0.0.1:") as (_, said):
        url = ADDRESS.search(said[-1])[0]
        own = {"CORKAGE_URL": url, "BILLING_AUTH_SECRET": AUTH_SECRET}
        command = [node, "node_host.mjs"]
        with subprocess.Popen(command, cwd=folder, env=own, stdout=subprocess.PIPE, text=True) as product:
            try:
                yield ADDRESS.search(product.stdout.readline())[0], f"{url}/webhook"
            finally:
                product.kill()


@pytest.fixture(params=["bottle_host", "flask_host", "node"])
def product(request, environ, simulator, shop, tmp_path):
    (tmp_path / "plans.toml").write_text(PLANS)
    simulator.add_price("team_monthly", 5_000)
    simulator.add_price("storage_monthly", 200)
    thing = shop.client.v1.products.create(params={"name": "Once"}).id
    for key, amount in ONCE.items():
        price = {"product": thing, "currency": "usd", "unit_amount": amount, "lookup_key": key}
        shop.client.v1.prices.create(params=price)
    host = in_node(environ, tmp_path) if request.param == "node" else in_python(request.param, environ, tmp_path)
    with host as (url, webhook):
        simulator.add_webhook_endpoint(webhook, secret=WEBHOOK_SECRET)
        yield Product(url, simulator)


def test_a_pack_is_bought_thrice_used_up_and_refunded(product, shop):
    assert [product.use("ann", 2), product.use("ann", 1)] == [(True, 0), (False, 0)]

    packs = []
    for number in range(1, 4):
        packs.append(product.buy("ann", "pack"))
        until(lambda wanted=10 * number: product.use("ann", 1_000)[1] == wanted)
        product.simulator.advance(60)  # packs of one second have no order
    assert product.access("ann")["allowed"] is False

    assert [product.use("ann", 25, "report-1") for _ in range(2)] == [(True, 5), (True, 5)]
    shop.client.v1.refunds.create(params={"payment_intent": packs[2]["payment_intent"]})
    until(lambda: product.use("ann", 1_000)[1] == 0)
    assert product.use("ann", 1) == (False, 0)

    product.buy("ann", "pack")
    until(lambda: product.use("ann", 1_000)[1] == 10)
    assert [product.use("ann", 10), product.use("ann", 1)] == [(True, 0), (False, 0)]


def test_a_lifetime_takes_the_place_of_a_subscription_and_lasts(product, shop, simulator):
    subscription = product.buy("ann", "pro")["subscription"]
    product.has("ann", allowed=True, plan="pro")

    bought = product.buy("ann", "lifetime")

    product.has("ann", plan="lifetime", reason="active", until=None)
    until(lambda: shop.client.v1.subscriptions.retrieve(subscription).status == "canceled")
    simulator.advance(800 * DAY)
    product.has("ann", allowed=True, plan="lifetime", features=["api"])
    assert len(simulator.world.all("charge")) == 2
    shop.client.v1.refunds.create(params={"payment_intent": bought["payment_intent"]})
    product.has("ann", allowed=False, reason="refunded")


def test_a_team_of_five_has_an_addon_until_it_leaves(product, shop, simulator):
    team = product.buy("acme", "team", quantity=5)["subscription"]
    product.has("acme", plan="team", quantity=5, limits={"exports": 2, "gb": 10})
    storage = product.buy("acme", "storage")["subscription"]
    product.has("acme", plans=["free", "team", "storage"], limits={"exports": 2, "gb": 110})

    shop.client.v1.subscriptions.cancel(team)

    product.has("acme", allowed=False, plans=["free"], limits={"exports": 2})
    until(lambda: shop.client.v1.subscriptions.retrieve(storage).cancel_at_period_end)
    simulator.advance_to("renewal")
    assert shop.client.v1.subscriptions.retrieve(storage).status == "canceled"
