"""The eight bugs of the well-known tutorial's design, each seen not to be here."""

import json
import time
from dataclasses import replace

import pytest
from buying import click, pay, url_of
from harness import APP, running
from rows import deciding_subscription

from corkage.errors import StripeUnavailable
from corkage.models import StripeEvent, Subscription

pytestmark = pytest.mark.slow


@pytest.fixture
def app(config):
    with running(replace(config, billing_url="https://billing.example.com")) as served:
        yield served


def deliver(app, shop, kind):
    assert app.deliver(shop.event(kind)).status_code == 200


def test_a_failed_update_is_retried_although_its_event_is_stored(app, shop):
    pay(url_of(click(app)))
    gateway = app.billing.service.worker.gateway
    fetch, tries = gateway.subscriptions_of, []

    def fail_once(customer_id, *known, **options):
        tries.append(customer_id)
        if len(tries) == 1:
            raise StripeUnavailable("down")
        return fetch(customer_id, *known, **options)

    gateway.subscriptions_of = fail_once
    deliver(app, shop, "customer.subscription.created")
    app.work()
    assert not app.billing.access("ann").allowed

    deliver(app, shop, "customer.subscription.created")
    app.work(time.time() + 60)
    assert app.billing.access("ann").allowed


def test_subscription_created_before_checkout_completed_is_not_lost(app, shop):
    pay(url_of(click(app)))

    deliver(app, shop, "customer.subscription.created")
    app.work()
    assert app.billing.access("ann").allowed
    deliver(app, shop, "checkout.session.completed")
    app.work()
    assert app.billing.access("ann").allowed


def test_user_and_price_never_come_from_the_body(app, shop):
    body = {"plan": "pro", "user_id": "eve", "client_reference_id": "eve"}
    pay(url_of(click(app, body=body | {"price_id": shop.other_price, "price": shop.other_price})))
    deliver(app, shop, "customer.subscription.created")
    app.work()

    assert app.billing.access("ann").price_id == shop.price
    assert not app.billing.access("eve").allowed


def test_a_user_has_one_customer_and_an_email_may_be_shared(app, shop):
    for _ in range(3):
        url_of(click(app, email="same@example.com"))
    url_of(click(app, user="bob", email="same@example.com"))

    customers = shop.client.v1.customers.list().data
    assert sorted(each.metadata.to_dict()["corkage_user"] for each in customers) == ["ann", "bob"]
    assert {each.email for each in customers} == {"same@example.com"}
    asked = [each for each in shop.simulator.requests if each.path == "/v1/checkout/sessions" and each.method == "POST"]
    assert all("customer_email" not in each.params for each in asked)


def test_the_period_is_read_from_the_items(app, shop):
    pay(url_of(click(app)))
    deliver(app, shop, "customer.subscription.created")
    app.work()

    (subscription,) = shop.client.v1.subscriptions.list().data
    assert not hasattr(subscription, "current_period_end")
    assert app.billing.access("ann").until == subscription["items"].data[0].current_period_end


def test_an_unpaid_checkout_is_distinguished_from_a_paid_one(app, shop, simulator):
    pay(url_of(click(app)))
    held = next(iter(simulator.world.all("subscription")))
    invoice = simulator.world.get("invoice", held["latest_invoice"])
    invoice["status"] = "open"
    deliver(app, shop, "checkout.session.completed")
    app.work()
    assert app.billing.access("ann").reason == "payment_pending"

    held["status"] = "incomplete_expired"
    payload = json.loads(str(shop.event("checkout.session.completed")))
    payload |= {"id": "evt_failed", "type": "checkout.session.async_payment_failed"}
    app.deliver(json.dumps(payload).encode())
    app.work()
    assert not app.billing.access("ann").allowed


def test_a_missed_webhook_is_made_up_by_polling(config, shop):
    with running(replace(config, billing_url="https://billing.example.com", poll_seconds=300)) as app:
        now = time.time()
        app.work(now)
        pay(url_of(click(app)))

        app.work(now + 301)

        assert app.billing.access("ann").allowed
        assert {each.source for each in StripeEvent.select()} == {"poll"}


def test_the_end_of_an_old_subscription_leaves_the_new_ones_access(app, shop):
    pay(url_of(click(app)))
    (old,) = shop.client.v1.subscriptions.list().data
    shop.client.v1.subscriptions.cancel(old.id)
    canceled = shop.event("customer.subscription.deleted")
    pay(url_of(click(app)))

    app.deliver(canceled)
    app.work()

    assert app.billing.access("ann").allowed
    assert {row.status for row in Subscription.select()} == {"active", "canceled"}
    assert deciding_subscription() != old.id
    assert app.billing.config.app == APP
