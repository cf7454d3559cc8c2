"""Support for hosts' own tests: the fixture, a visitor, and Billing.work()."""

import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from harness import DAY, running

import corkage
from corkage import Billing
from corkage.gateway.events import EventRef
from corkage.models import StripeEvent
from corkage.simulator import Simulator
from corkage.simulator.errors import ApiError
from corkage.simulator.visitor import Refused
from corkage.sync import inbox

DOCUMENT = (Path(corkage.__file__).parent / "docs/testing.md").read_text()


def example():
    return DOCUMENT.split("<!-- host-test -->\n```python\n")[1].split("```")[0]


def run_pytest(folder, *arguments):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
def test_the_documented_test_of_a_host_runs_as_it_stands(tmp_path):
    (tmp_path / "test_host.py").write_text(example())

    ran = run_pytest(tmp_path, "-W", "error")

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r"^1 passed", ran.stdout, re.MULTILINE)
    assert len([line for line in example().split("\n\n\n")[1].splitlines() if line]) < 20


def test_the_document_names_only_what_exists():
    named = re.findall(r"^\| `(stripe_simulator|billing)\.(\w+)", DOCUMENT, re.MULTILINE)

    assert len(named) >= 10
    for owner, name in named:
        assert hasattr({"stripe_simulator": Simulator, "billing": Billing}[owner], name)


def test_the_fixture_needs_no_setup_and_each_test_has_its_own(stripe_simulator):
    assert stripe_simulator.world.all("customer") == []
    assert stripe_simulator.world.all("event") == []


def test_ids_repeat_and_time_stands_still(stripe_simulator):
    with Simulator(seed=1) as another:
        assert another.add_price("pro", 1)["id"] == stripe_simulator.add_price("pro", 1)["id"]
    began = stripe_simulator.world.now

    stripe_simulator.advance(DAY)

    assert stripe_simulator.world.now == began + DAY


def page(client, price, **params):
    wanted = {"mode": "subscription", "line_items": [{"price": price, "quantity": 1}], "success_url": "https://x.test/"}
    return client.v1.checkout.sessions.create(params=wanted | params).url


@pytest.mark.parametrize("card", ["pm_card_visa", "4242 4242 4242 4242", "4000002760003184", "000123456789"])
def test_a_visitor_buys_with_any_card_that_pays(simulator, client, shop, card):
    bought = simulator.buy(page(client, shop.price), card)

    assert bought["status"] == "complete"
    assert client.v1.subscriptions.retrieve(bought["subscription"]).customer == bought["customer"]
    assert client.v1.subscriptions.retrieve(bought["subscription"]).status == "active"


@pytest.mark.parametrize(
    ("card", "sentence"),
    [("pm_card_visa_chargeDeclined", "was declined"), ("4000000000009995", "insufficient funds")],
)
def test_a_declined_visitor_gets_the_pages_error_and_buys_nothing(simulator, client, shop, card, sentence):
    url = page(client, shop.price)
    with pytest.raises(Refused, match=sentence):
        simulator.buy(url, card)

    assert client.v1.subscriptions.list(params={"status": "all"}).data == []
    assert simulator.buy(url)["status"] == "complete"


def test_a_mistake_in_a_test_raises_a_clear_error(simulator, client, shop):
    with pytest.raises(ValueError, match="not one of the test cards"):
        simulator.buy(page(client, shop.price), "4111 1111 1111 1111")
    with pytest.raises(ApiError, match=r"No such checkout\.session"):
        simulator.buy(f"{simulator.url}/c/pay/cs_test_none")
    with pytest.raises(ApiError, match="No such customer"):
        simulator.use_card("cus_none", "pm_card_visa")


def test_use_card_changes_the_card_of_running_subscriptions(simulator, client, shop):
    customer = shop.customer()
    mine = shop.subscribe(customer, default_payment_method="pm_card_visa")
    simulator.use_card(customer, "pm_card_chargeCustomerFail")
    simulator.advance_to("renewal")
    assert client.v1.subscriptions.retrieve(mine).status == "past_due"

    simulator.use_card(customer, "pm_card_mastercard")
    simulator.advance(3 * DAY)

    assert client.v1.subscriptions.retrieve(mine).status == "active"


def test_an_added_price_can_be_bought_at_once(simulator, client):
    made = simulator.add_price("team", 2900, currency="eur", interval="year", product="Team")

    (price,) = client.v1.prices.list(params={"lookup_keys": ["team"], "expand": ["data.product"]}).data
    assert (price.id, price.unit_amount, price.currency, price.recurring.interval, price.product.name) == (
        made["id"],
        2900,
        "eur",
        "year",
        "Team",
    )


def test_work_applies_at_once_what_would_wait_for_the_next_poll(config, simulator, shop):
    with running(replace(config, poll_seconds=300, settle_seconds=3600, webhook_secrets=())) as app:
        app.billing.work()
        subscription = shop.subscribe(shop.customer())
        assert app.billing.work().converged == 1
        assert app.billing.access("ann").allowed

        shop.client.v1.subscriptions.cancel(subscription)
        app.work()
        assert app.billing.access("ann").allowed
        assert app.billing.work().failed == 0
        assert not app.billing.access("ann").allowed
        assert StripeEvent.select().where(StripeEvent.applied_at.is_null()).count() == 0


def test_work_counts_what_failed_and_leaves_it_pending(config, shop):
    of_nobody = EventRef("evt_1", "customer.updated", 0, False, None, "cus_none", None)
    with running(config) as app:
        inbox.record(of_nobody, "webhook", time.time(), time.time() + 3600)
        shop.simulator.world.add("customer", {"id": "cus_none", "object": "customer"})  # Stripe's answer has no shape
        work = app.billing.work()

        assert (work.converged, work.failed) == (0, 1)
        assert StripeEvent.get_by_id("evt_1").applied_at is None


def test_work_fetches_no_events_where_polling_is_off(config, shop):
    with running(config) as app:
        shop.subscribe(shop.customer())
        app.billing.work()

        assert StripeEvent.select().count() == 0
    assert shop.calls("/v1/events") == 0
