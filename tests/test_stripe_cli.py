"""The official Stripe CLI drives the simulator, and its signed webhooks reach the app."""

import os
import shutil
import subprocess
import time
from dataclasses import replace

import pytest
from harness import WEBHOOK_SECRET, running

from corkage.models import StripeEvent, Subscription

INSTALL = "install the official Stripe CLI with `npm install @stripe/cli` and name it in STRIPE_CLI"


@pytest.fixture(scope="session")
def stripe_cli():
    found = os.environ.get("STRIPE_CLI") or shutil.which("stripe")
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(INSTALL)
    return found


@pytest.fixture
def trigger(stripe_cli, simulator, tmp_path):
    def run(event):
        environ = os.environ | {"STRIPE_CLI_TELEMETRY_OPTOUT": "1", "XDG_CONFIG_HOME": str(tmp_path)}
        return subprocess.run(
            [stripe_cli, "trigger", event, "--api-key", "sk_test_1234567890abcdef", "--api-base", simulator.url],
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def newest_customer(client):
    return client.v1.customers.list().data[0].id


@pytest.mark.parametrize("event", ["created", "updated", "deleted"])
def test_stripe_trigger_drives_the_simulator_and_the_webhooks_arrive(config, simulator, client, trigger, event):
    with running(config) as app:
        simulator.add_webhook_endpoint(f"{app.url}/webhook", secret=WEBHOOK_SECRET)
        triggered = trigger(f"customer.subscription.{event}")
        assert triggered.returncode == 0, triggered.stdout + triggered.stderr
        simulator.settle()

        kinds = {row.type for row in StripeEvent.select()}
        assert {"customer.subscription.created", f"customer.subscription.{event}", "invoice.paid"} <= kinds
        app.work()
        assert not app.billing.access("ann").allowed

        app.billing.worker.converger.link("ann", newest_customer(client), time.time())
        answer = app.ask().json()
        if event == "deleted":
            assert (answer["allowed"], answer["reason"]) == (False, "ended")
        else:
            assert answer["reason"] == "unknown_price"
        assert Subscription.select().count() == 1


def test_a_triggered_subscription_to_a_plan_lets_in_and_its_end_lets_out(config, simulator, client, trigger):
    assert trigger("customer.subscription.created").returncode == 0
    subscription = client.v1.subscriptions.list().data[0]
    plan = replace(config.plans[0], prices=(subscription["items"].data[0].price.id,))

    with running(replace(config, plans=(plan,))) as app:
        simulator.add_webhook_endpoint(f"{app.url}/webhook", secret=WEBHOOK_SECRET)
        app.billing.worker.converger.link("ann", newest_customer(client), time.time())
        app.work()
        assert (app.ask().json()["allowed"], app.ask().json()["reason"]) == (True, "active")

        client.v1.subscriptions.cancel(subscription.id)
        simulator.settle()
        app.work()
        assert (app.ask().json()["allowed"], app.ask().json()["reason"]) == (False, "ended")


def test_stripe_trigger_completes_a_checkout_and_the_app_answers_its_webhooks(config, simulator, trigger):
    with running(config) as app:
        simulator.add_webhook_endpoint(f"{app.url}/webhook", secret=WEBHOOK_SECRET)
        triggered = trigger("checkout.session.completed")
        assert triggered.returncode == 0, triggered.stdout + triggered.stderr
        simulator.settle()

    assert "checkout.session.completed" in {each.event["type"] for each in simulator.deliveries.made}
    assert {each.answers[-1] for each in simulator.deliveries.made} == {200}
