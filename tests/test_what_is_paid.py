"""What is paid lets in and what is not does not, end to end: bought at Stripe, heard by webhooks, asked over HTTP."""

import time
from dataclasses import replace

import pytest
from harness import DAY, PRO, running

from corkage.plans import Plan

TEAM = Plan("team", "Team", ("team_monthly",), features=("exports", "api", "sso"))


@pytest.fixture
def team(shop):
    product = shop.client.v1.products.create(params={"name": "Team"}).id
    params = {"product": product, "currency": "usd", "unit_amount": 2900, "recurring": {"interval": "month"}}
    return shop.client.v1.prices.create(params=params | {"lookup_key": "team_monthly"}).id


@pytest.fixture
def heard(config, shop, team):
    """Return the answer once every event was delivered and applied."""
    with running(replace(config, plans=(PRO, TEAM))) as app:

        def ask():
            for event in reversed(shop.client.v1.events.list(params={"limit": 100}).data):
                app.deliver(event)
            app.work(time.time() + 1)
            answer, access = app.ask().json(), app.billing.access("ann")
            assert (answer["allowed"], answer["reason"]) == (access.allowed, access.reason)
            return answer

        yield ask


def test_a_newer_cheap_plan_takes_nothing_of_a_dear_one(heard, shop, team, simulator):
    customer = shop.customer()
    shop.subscribe(customer, team)
    simulator.advance(60)
    shop.subscribe(customer)

    answer = heard()

    assert (answer["plan"], answer["features"]) == ("team", ["exports", "api", "sso"])


def test_a_plan_counts_that_is_not_the_first_item(heard, shop, team):
    customer = shop.customer()
    items = [{"price": shop.price}, {"price": team}]
    shop.client.v1.subscriptions.create(params={"customer": customer, "items": items})

    answer = heard()

    assert (answer["allowed"], answer["plan"]) == (True, "team")


def test_each_of_two_customers_of_a_user_counts(heard, shop, team, simulator):
    shop.subscribe(shop.customer(), team)
    simulator.advance(60)
    shop.subscribe(shop.customer())

    assert heard()["plan"] == "team"


def test_a_newer_trial_does_not_hide_what_is_paid(heard, shop, simulator):
    customer = shop.customer()
    shop.subscribe(customer)
    simulator.advance(60)
    shop.subscribe(customer, trial_period_days=14)

    assert heard()["reason"] == "active"


def test_collection_paused_for_ever_with_void_is_not_paid(heard, shop, simulator):
    subscription = shop.subscribe(shop.customer())
    shop.client.v1.subscriptions.update(subscription, params={"pause_collection": {"behavior": "void"}})
    paused = heard()
    assert (paused["allowed"], paused["reason"]) == (True, "collection_paused")
    simulator.advance(93 * DAY)

    assert shop.client.v1.subscriptions.retrieve(subscription).status == "active"
    answer = heard()
    assert (answer["allowed"], answer["reason"]) == (False, "paused")


def test_a_bounced_bank_payment_then_yearly_is_still_pending(config, shop, team, simulator):
    product = shop.client.v1.prices.retrieve(shop.price).product
    params = {"product": product, "currency": "usd", "unit_amount": 9000, "recurring": {"interval": "year"}}
    yearly = shop.client.v1.prices.create(params=params | {"lookup_key": "pro_yearly"}).id
    plan = replace(PRO, prices=("pro_monthly", "pro_yearly"), pending="deny")
    customer = shop.customer(card="pm_usBankAccount_noAccount")
    subscription = shop.subscribe(customer)
    item = shop.client.v1.subscriptions.retrieve(subscription)["items"].data[0].id
    simulator.advance(8 * DAY)
    shop.client.v1.subscriptions.update(subscription, params={"items": [{"id": item, "price": yearly}]})

    assert {each.status for each in shop.client.v1.invoices.list().data if each.total > 0} == {"open"}
    assert shop.client.v1.subscriptions.retrieve(subscription).status == "active"
    with running(replace(config, plans=(plan,))) as app:
        for event in reversed(shop.client.v1.events.list(params={"limit": 100}).data):
            app.deliver(event)
        app.work(time.time() + 1)
        answer = app.ask().json()
    assert (answer["allowed"], answer["reason"]) == (False, "payment_pending")
