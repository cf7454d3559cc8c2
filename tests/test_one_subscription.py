"""Never two subscriptions of one group: an open Checkout page sells nothing more once its user pays otherwise."""

import time
from dataclasses import replace

import pytest
from buying import click, pay, url_of
from harness import PRO, running

from corkage.models import CheckoutAttempt
from corkage.plans import Plan
from corkage.simulator import ApiFaults
from corkage.sync.resync import resync

pytestmark = pytest.mark.slow

COURSE = Plan("course", "Course", ("course_monthly",), group="school")


@pytest.fixture
def app(config, shop):
    product = shop.client.v1.products.create(params={"name": "Course"}).id
    price = {"product": product, "currency": "usd", "unit_amount": 300, "recurring": {"interval": "month"}}
    shop.client.v1.prices.create(params=price | {"lookup_key": "course_monthly"})
    with running(replace(config, plans=(PRO, COURSE), billing_url="https://b.example", poll_seconds=600)) as served:
        yield served


def customer_of(shop):
    return shop.client.v1.customers.list().data[0].id


def sold_otherwise(shop):
    """Make a subscription for the user's customer, as in the Dashboard."""
    shop.use_card(customer_of(shop), "pm_card_visa")
    return shop.subscribe(customer_of(shop), user=None)


def subscriptions(shop):
    return [each.id for each in shop.client.v1.subscriptions.list(params={"status": "all"}).data]


def session(shop):
    return shop.client.v1.checkout.sessions.list().data[0]


def heard(app, shop):
    app.deliver(shop.event("customer.subscription.created"))
    app.work(time.time() + 1)


def by_webhook(app, shop, customer):
    heard(app, shop)


def by_resync(app, shop, customer):
    resync(app.billing.service.worker.converger, time.time())
    app.work()


def by_polling(app, shop, customer):
    app.billing.service.worker.work_at_once(time.time() + 1)


@pytest.mark.parametrize("comes", [by_webhook, by_resync, by_polling])
def test_an_open_page_sells_nothing_once_the_dashboard_has_sold(app, shop, comes):
    url = url_of(click(app))
    bought = sold_otherwise(shop)

    comes(app, shop, customer_of(shop))

    assert session(shop).status == "expired"
    pay(url)
    assert subscriptions(shop) == [bought]
    assert CheckoutAttempt.select().count() == 0


def test_an_open_page_sells_nothing_once_another_customer_is_linked(app, shop):
    url = url_of(click(app))
    other = shop.customer(None)
    bought = shop.subscribe(other, user=None)

    app.billing.service.worker.converger.link("ann", other, time.time())
    app.work()

    assert session(shop).status == "expired"
    pay(url)
    assert subscriptions(shop) == [bought]


def test_a_click_that_leads_to_the_portal_closes_the_old_page(app, shop):
    url = url_of(click(app))
    bought = sold_otherwise(shop)

    assert "/p/session/" in url_of(click(app))

    assert session(shop).status == "expired"
    pay(url)
    assert subscriptions(shop) == [bought]


def test_a_page_of_another_group_stays_open(app, shop):
    url = url_of(click(app, body={"plan": "course"}))
    sold_otherwise(shop)

    heard(app, shop)

    assert session(shop).status == "open"
    assert pay(url).status_code == 303
    assert len(subscriptions(shop)) == 2


def test_a_page_that_was_paid_in_the_same_moment_is_reported(app, shop, caplog):
    url = url_of(click(app))
    first = sold_otherwise(shop)
    assert pay(url).status_code == 303

    heard(app, shop)

    assert CheckoutAttempt.select().count() == 0
    assert "pays for several subscriptions of one group" in caplog.text
    assert first in caplog.text


def test_an_own_purchase_ends_its_attempt_without_expiring_anything(app, shop, simulator):
    assert pay(url_of(click(app))).status_code == 303
    simulator.requests.clear()

    heard(app, shop)

    assert CheckoutAttempt.select().count() == 0
    assert not [each.path for each in simulator.requests if each.path.endswith("/expire")]


def test_while_stripe_fails_the_page_is_closed_later(app, shop, simulator):
    url_of(click(app))
    sold_otherwise(shop)
    simulator.api_faults = ApiFaults(failure="error", path="/v1/checkout/sessions")
    now = time.time()
    app.deliver(shop.event("customer.subscription.created"))
    app.work(now + 1)
    app.work(now + 2)
    failed = [each for each in simulator.requests if each.path.startswith("/v1/checkout/sessions/")]
    assert 1 <= len(failed) <= 4  # with the retries of one attempt: it is not tried again at once

    simulator.api_faults = ApiFaults()
    app.work(now + 1000)
    assert session(shop).status == "expired"
