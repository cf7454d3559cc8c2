"""The official Stripe CLI drives the simulator, and its signed webhooks reach the app."""

import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from harness import WEBHOOK_SECRET, running

import corkage
from corkage.models import StripeEvent, Subscription

pytestmark = pytest.mark.slow

INSTALL = "install the official Stripe CLI with `npm install @stripe/cli` and name it in STRIPE_CLI"
DOCUMENT = (Path(corkage.__file__).parent / "docs/simulator.md").read_text()
PROMISED = [
    f"{kind}.{what}"
    for kind, whats in {
        "checkout.session": "completed async_payment_succeeded async_payment_failed expired",
        "customer": "created updated deleted",
        "customer.subscription": "created updated deleted paused trial_will_end",
        "invoice": "created finalized paid payment_failed payment_succeeded voided",
        "payment_method": "attached",
        "price": "created updated",
        "product": "created updated deleted",
        "promotion_code": "created",
        "subscription_schedule": "created canceled",
        "test_helpers.test_clock": "advancing",
    }.items()
    for what in whats.split()
]


def documented(marker, rows=r"`([a-z0-9_.]+)`"):
    """Return the triggers that docs/simulator.md lists after a marker."""
    part = DOCUMENT.split(f"<!-- {marker} -->\n")[1].split("\n\n")[0]
    return re.findall(rows, part, re.MULTILINE)


SUPPORTED = documented("triggers")
FAILING = documented("failing-triggers")
WITHOUT_EVENT = documented("other-triggers", r"^\| `([a-z_.]+)` \|")
ONE_OF_EACH_KIND = documented("failing-triggers", r"^\| `([a-z0-9_.]+)`")


@pytest.fixture(scope="session")
def stripe_cli():
    found = os.environ.get("STRIPE_CLI") or shutil.which("stripe")
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(INSTALL)
    return found


@pytest.fixture
def stripe(stripe_cli, simulator, tmp_path):
    def run(*arguments):
        return subprocess.run(
            [stripe_cli, *arguments, "--api-key", "sk_test_1234567890abcdef", "--api-base", simulator.url],
            env=os.environ | {"STRIPE_CLI_TELEMETRY_OPTOUT": "1", "XDG_CONFIG_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=240,
        )

    return run


@pytest.fixture
def trigger(stripe):
    return lambda event: stripe("trigger", event)


def newest_customer(client):
    return client.v1.customers.list().data[0].id


@pytest.mark.parametrize("event", ["created", "updated", "deleted"])
def test_stripe_trigger_creates_events_and_the_webhooks_arrive(config, simulator, client, trigger, event):
    with running(config) as app:
        simulator.add_webhook_endpoint(f"{app.url}/webhook", secret=WEBHOOK_SECRET)
        triggered = trigger(f"customer.subscription.{event}")
        assert triggered.returncode == 0, triggered.stdout + triggered.stderr
        simulator.settle()

        kinds = {row.type for row in StripeEvent.select()}
        assert {"customer.subscription.created", f"customer.subscription.{event}", "invoice.paid"} <= kinds
        app.work()
        assert not app.billing.access("ann").allowed

        app.billing.service.worker.converger.link("ann", newest_customer(client), time.time())
        answer = app.ask().json()
        if event == "deleted":
            assert (answer["allowed"], answer["reason"]) == (False, "ended")
        else:
            assert answer["reason"] == "unknown_price"
        assert Subscription.select().count() == 1


def test_a_triggered_subscription_gives_access_until_it_ends(config, simulator, client, trigger):
    assert trigger("customer.subscription.created").returncode == 0
    subscription = client.v1.subscriptions.list().data[0]
    plan = replace(config.plans[0], prices=(subscription["items"].data[0].price.id,))

    with running(replace(config, plans=(plan,))) as app:
        simulator.add_webhook_endpoint(f"{app.url}/webhook", secret=WEBHOOK_SECRET)
        app.billing.service.worker.converger.link("ann", newest_customer(client), time.time())
        app.work()
        assert (app.ask().json()["allowed"], app.ask().json()["reason"]) == (True, "active")

        client.v1.subscriptions.cancel(subscription.id)
        simulator.settle()
        app.work()
        assert (app.ask().json()["allowed"], app.ask().json()["reason"]) == (False, "ended")


def test_stripe_trigger_completes_a_checkout_and_the_app_accepts_it(config, simulator, trigger):
    with running(config) as app:
        simulator.add_webhook_endpoint(f"{app.url}/webhook", secret=WEBHOOK_SECRET)
        triggered = trigger("checkout.session.completed")
        assert triggered.returncode == 0, triggered.stdout + triggered.stderr
        simulator.settle()

    assert "checkout.session.completed" in {each.event["type"] for each in simulator.deliveries.made}
    assert {each.answers[-1] for each in simulator.deliveries.made} == {200}


@pytest.mark.many_alike
@pytest.mark.parametrize("event", SUPPORTED)
def test_stripe_trigger_leaves_the_event_it_names(simulator, client, trigger, event):
    if event.startswith("transfer."):  # as an account has that has sold something
        client.v1.charges.create(params={"amount": 2000, "currency": "usd", "source": "tok_visa"})

    triggered = trigger(event)

    assert triggered.returncode == 0, triggered.stdout + triggered.stderr
    assert event in {each["type"] for each in simulator.world.all("event")}
    assert {request.status for request in simulator.requests} <= {200, 402}


@pytest.mark.parametrize("event", ONE_OF_EACH_KIND)
def test_an_unsupported_trigger_fails_with_a_reason(simulator, trigger, event):
    triggered = trigger(event)

    assert triggered.returncode == 1
    assert "the simulator does not support it" in triggered.stdout + triggered.stderr
    assert event not in {each["type"] for each in simulator.world.all("event")}


@pytest.mark.parametrize("event", WITHOUT_EVENT)
def test_a_trigger_named_after_no_event_leaves_the_documented_one(simulator, trigger, event):
    (leaves,) = re.findall(rf"^\| `{re.escape(event)}` \| `([a-z_.]+)`", DOCUMENT, re.MULTILINE)
    assert trigger(event).returncode == 0

    kinds = {each["type"] for each in simulator.world.all("event")}
    assert leaves in kinds
    assert event not in kinds


def test_every_trigger_that_the_cli_has_is_documented_once(stripe_cli):
    help_text = subprocess.run([stripe_cli, "trigger", "--help"], capture_output=True, text=True, timeout=60).stdout
    listed = re.findall(r"^  ([a-z0-9_]+(?:\.[a-z0-9_]+)+)$", help_text, re.MULTILINE)

    assert len(listed) > 100
    assert sorted(SUPPORTED + FAILING + WITHOUT_EVENT) == sorted(listed)


def test_a_hundred_triggers_succeed():
    assert len(set(SUPPORTED)) >= 100


def test_every_promised_trigger_is_supported():
    assert set(PROMISED) - set(SUPPORTED) == set()
    assert len(PROMISED) == 28


def test_the_cli_makes_prices_and_lists_customers_and_subscriptions(simulator, client, shop, stripe):
    customer = shop.customer()
    over, running = shop.subscribe(customer), shop.subscribe(customer)
    client.v1.subscriptions.cancel(over)
    product = client.v1.products.list().data[0].id

    made = stripe(
        "prices", "create", "--product", product, "--currency", "usd", "--unit-amount", "700",
        "--recurring.interval", "year", "-d", "lookup_key=yearly",
    )  # fmt: skip
    customers = stripe("customers", "list", "--limit", "3")
    subscriptions = stripe("subscriptions", "list", "--status", "all")
    still = stripe("subscriptions", "list")

    (price,) = client.v1.prices.list(params={"lookup_keys": ["yearly"]}).data
    assert json.loads(made.stdout)["id"] == price.id
    assert (price.unit_amount, price.recurring.interval) == (700, "year")
    assert [each["id"] for each in json.loads(customers.stdout)["data"]] == [customer]
    assert [each["id"] for each in json.loads(subscriptions.stdout)["data"]] == [running, over]
    assert [each["id"] for each in json.loads(still.stdout)["data"]] == [running]


def test_stripe_events_resend_sends_an_event_again(simulator, client, receiver, stripe):
    endpoint = simulator.add_webhook_endpoint(receiver.url)["id"]
    client.v1.customers.create()
    event = client.v1.events.list().data[0].id
    receiver.has_got(1)

    resent = stripe("events", "resend", event, f"--webhook-endpoint={endpoint}")
    receiver.has_got(2)

    assert resent.returncode == 0, resent.stdout + resent.stderr
    assert event in resent.stdout
    assert [each["id"] for each in receiver.events] == [event, event]


def test_stripe_events_resend_without_an_endpoint_is_refused(simulator, client, stripe):
    client.v1.customers.create()
    event = client.v1.events.list().data[0].id

    for words in ((), ("--webhook-endpoint=we_nothing",)):
        resent = stripe("events", "resend", event, *words)
        assert "error" in resent.stdout + resent.stderr
    assert simulator.deliveries.made == []
