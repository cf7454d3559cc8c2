"""The hosts of docs/embedding, and one with modules named like ours: the same story in each."""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from harness import DAY, WEBHOOK_SECRET, started, until
from host_browser import Browser
from once import stock

import corkage as package
from corkage.simulator import visitor

pytestmark = pytest.mark.slow

ROOT = Path(package.__file__).parent
EXAMPLES, OWN = ROOT / "docs" / "embedding", ROOT / "tests" / "hosts" / "own_names"
PRODUCT = "http://notes.example"
PLANS = """
[pro]
name = "Pro"
prices = ["pro_monthly"]
features = ["exports"]
grace_days = 7

[lifetime]
name = "Lifetime"
prices = ["lifetime_once"]
features = ["exports"]

[pack]
name = "A hundred exports"
prices = ["pack_100"]
adds = { exports = 100 }
"""
HOSTS = {
    "bottle_app:app": EXAMPLES,
    "flask_app:app": EXAMPLES,
    "django_app:application": EXAMPLES,
    "fastapi_app:app": EXAMPLES,
    "wsgi_app:app": EXAMPLES,
    "app:app": OWN,
}
SERVERS = {"fastapi_app:app": ["uvicorn", "--port", "0"]}
ON_WAITRESS = ["waitress", "--listen", "127.0.0.1:0"]


@pytest.fixture(params=HOSTS)
def browser(request, environ, tmp_path, simulator):
    """The example, served as its first line says, with its webhooks."""
    (tmp_path / "plans.toml").write_text(PLANS)
    paths = filter(None, [str(HOSTS[request.param]), environ["PYTHONPATH"]])
    environ = environ | {"FRONTEND_URL": PRODUCT, "PYTHONPATH": os.pathsep.join(paths), "SECRET_KEY": "x" * 32}
    environ |= {"BILLING_AUTH_SECRET": "", "BILLING_POLL_SECONDS": "0"}
    module, *options = SERVERS.get(request.param, ON_WAITRESS)
    with started([*options, request.param], environ, tmp_path, "http://127.0.0.1:", module=module) as (_, said):
        url = re.search(r"http://127\.0\.0\.1:\d+", said[-1])[0]
        simulator.add_webhook_endpoint(f"{url}/billing/webhook", secret=WEBHOOK_SECRET)
        yield Browser(url)


def test_a_host_sells_gives_access_ends_it_and_gives_it_again(browser, shop, simulator):
    assert browser.may_export() == 401
    assert browser.get("/billing/access").status_code == 401
    browser.sign_in("ann")
    assert browser.may_export() == 402

    bought = simulator.buy(browser.led_to("/billing/checkout", plan="pro"))
    back = urlsplit(bought["success_url"].replace("{CHECKOUT_SESSION_ID}", bought["id"]))
    assert f"{back.scheme}://{back.netloc}{back.path}" == f"{PRODUCT}/billing/return"
    assert browser.get(f"{back.path}?{back.query}").headers["Location"] == PRODUCT
    assert browser.may_export() == 200

    simulator.use_card(bought["customer"], "pm_card_chargeCustomerFail")
    simulator.advance_to("renewal")
    browser.is_told("grace")
    assert browser.may_export() == 200
    simulator.advance(8 * DAY)
    browser.is_told("past_due")
    assert browser.may_export() == 402

    portal = browser.led_to("/billing/portal", flow="payment_method_update")
    visitor.pay(f"{portal}/card", "pm_card_visa")
    simulator.advance(7 * DAY)  # the next retry charges the new card
    browser.is_told("active")
    assert browser.may_export() == 200

    portal = browser.led_to("/billing/portal", flow="subscription_cancel")
    requests.post(f"{portal}/cancel/{bought['subscription']}", allow_redirects=False, timeout=30)
    browser.is_told("canceling")
    assert browser.may_export() == 200
    simulator.advance_to("renewal")
    browser.is_told("ended")
    assert browser.may_export() == 402

    until(lambda: browser.get("/billing/health").json()["backlog"] == 0)
    assert len(simulator.world.all("subscription")) == len(simulator.world.all("customer")) == 1
    assert browser.post("/billing/webhook", "{}").status_code == 400


@pytest.mark.parametrize("browser", ["bottle_app:app", "flask_app:app"], indirect=True)
def test_a_host_sells_packs_again_and_again_and_a_lifetime_in_the_place_of_a_subscription(browser, shop, simulator):
    def buy(plan):
        session = simulator.buy(browser.led_to("/billing/checkout", plan=plan))
        back = urlsplit(session["success_url"].replace("{CHECKOUT_SESSION_ID}", session["id"]))
        assert browser.get(f"{back.path}?{back.query}").headers["Location"] == PRODUCT
        return session

    stock(shop)
    browser.sign_in("ann")
    first, *_ = [buy("pack") for _ in range(3)]
    assert browser.may_export() == 402
    assert browser.get("/billing/account").text.count("Exports: 100 of 100 left") == 3

    shop.client.v1.refunds.create(params={"payment_intent": first["payment_intent"]})
    until(lambda: "Refunded" in browser.get("/billing/account").text)
    assert browser.get("/billing/account").text.count("Exports: 100 of 100 left") == 2

    subscription = buy("pro")["subscription"]
    assert browser.may_export() == 200
    lifetime = buy("lifetime")
    until(lambda: shop.client.v1.subscriptions.retrieve(subscription).status == "canceled")
    simulator.advance(400 * DAY)
    assert browser.get("/billing/access").json()["plan"] == "lifetime"
    assert browser.may_export() == 200
    assert browser.post("/billing/checkout", {"plan": "pro"}).status_code == 409

    shop.client.v1.refunds.create(params={"payment_intent": lifetime["payment_intent"]})
    browser.is_told("refunded")
    assert browser.may_export() == 402


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_every_example_is_short_tested_and_documented(path):
    lines = [line.strip() for line in path.read_text().splitlines()]
    code = [line for line in lines if line and not line.startswith(("#", '"""'))]

    assert len(code) < 30
    assert f"(embedding/{path.name})" in (ROOT / "docs" / "embedding.md").read_text()
    assert path.name == "django_settings.py" or any(host.startswith(f"{path.stem}:") for host in HOSTS)
    assert path.name == "django_settings.py" or any(f" {host}" in lines[0] for host in HOSTS)
