"""What is paid lets in and what is not does not, end to end: bought at Stripe, heard by webhooks, asked over HTTP."""

import time
from dataclasses import replace

import pytest
from buying import click, url_of
from harness import DAY, PRO, running

from corkage.access import access_at
from corkage.plans import Plan
from corkage.sync.resync import resync

TEAM = Plan("team", "Team", ("team_monthly",), features=("exports", "api", "sso"))


def asked(app, shop):
    """Return the user's answer over HTTP, once every event was delivered and applied."""
    for event in reversed(shop.client.v1.events.list(params={"limit": 100}).data):
        app.deliver(event)
    app.work(time.time() + 1)
    return app.ask().json()


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
            answer, access = asked(app, shop), app.billing.access("ann")
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
        answer = asked(app, shop)
    assert (answer["allowed"], answer["reason"]) == (False, "payment_pending")


def test_the_eleventh_item_counts_too(heard, shop, team):
    product = shop.client.v1.products.create(params={"name": "Small things"}).id
    small = {"product": product, "currency": "usd", "unit_amount": 100, "recurring": {"interval": "month"}}
    others = [shop.client.v1.prices.create(params=small).id for _ in range(10)]
    items = [{"price": price} for price in [*others, team]]
    shop.client.v1.subscriptions.create(params={"customer": shop.customer(), "items": items})

    assert heard()["plan"] == "team"


def test_a_trial_is_not_hidden_by_a_newer_pending_payment(config, shop, simulator):
    customer = shop.customer()
    shop.subscribe(customer, trial_period_days=14)
    simulator.advance(60)
    shop.use_card(customer, "pm_usBankAccount_noAccount")
    shop.subscribe(customer)

    with running(replace(config, plans=(replace(PRO, pending="deny"),))) as app:
        answer = asked(app, shop)
    assert (answer["allowed"], answer["reason"]) == (True, "trialing")


def test_grace_is_that_of_the_debt_after_what_was_paid_last(heard, shop, simulator):
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    shop.use_card(customer, "pm_card_chargeCustomerFail")
    simulator.advance(32 * DAY)
    (second,) = shop.client.v1.invoices.list(params={"subscription": subscription, "status": "open"}).data
    simulator.world.get("invoice", second.id)["next_payment_attempt"] = None  # the operator let it be
    shop.use_card(customer, "pm_card_visa")
    simulator.advance(31 * DAY)
    shop.use_card(customer, "pm_card_chargeCustomerFail")
    simulator.advance(31 * DAY)

    listed = shop.client.v1.invoices.list(params={"subscription": subscription}).data
    assert [each.status for each in listed] == ["open", "paid", "open", "paid"]
    answer = heard()
    assert (answer["allowed"], answer["reason"]) == (True, "grace")


@pytest.mark.parametrize("behavior", ["keep_as_draft", "mark_uncollectible"])
def test_collection_paused_otherwise_lets_in_and_says_so(heard, shop, simulator, behavior):
    subscription = shop.subscribe(shop.customer())
    shop.client.v1.subscriptions.update(subscription, params={"pause_collection": {"behavior": behavior}})
    simulator.advance(93 * DAY)

    answer = heard()

    assert (answer["allowed"], answer["reason"], answer["until"]) == (True, "collection_paused", None)


def test_collection_that_resumed_is_paid_again(heard, shop, simulator):
    subscription = shop.subscribe(shop.customer())
    pause = {"behavior": "void", "resumes_at": simulator.world.now + 40 * DAY}
    shop.client.v1.subscriptions.update(subscription, params={"pause_collection": pause})
    simulator.advance(35 * DAY)
    assert heard()["reason"] == "paused"
    simulator.advance(6 * DAY)

    answer = heard()

    assert (answer["allowed"], answer["reason"]) == (True, "active")


def test_a_trial_made_in_the_dashboard_is_the_one_trial(config, shop, simulator):
    with running(replace(config, billing_url="https://b.example", plans=(replace(PRO, trial_days=14),))) as app:
        subscription = shop.subscribe(shop.customer(), user=None, trial_period_days=3)
        shop.client.v1.subscriptions.cancel(subscription)

        assert asked(app, shop)["reason"] == "ended"
        simulator.buy(url_of(click(app)))

        bought = shop.client.v1.subscriptions.list().data[0]
        assert (bought.status, bought.trial_end) == ("active", None)


def test_grace_of_an_older_subscription_outlives_a_newer_one(heard, shop, simulator):
    customer = shop.customer()
    shop.subscribe(customer)
    simulator.advance(29 * DAY)
    newer = shop.subscribe(customer)
    shop.use_card(customer, "pm_card_chargeCustomerFail")
    simulator.advance(4 * DAY)
    shop.client.v1.subscriptions.cancel(newer)

    answer = heard()

    assert (answer["allowed"], answer["reason"]) == (True, "grace")


def test_a_clock_that_steps_back_an_hour_finds_an_answer(heard, shop):
    shop.subscribe(shop.customer())
    heard()

    assert [access_at("ann", time.time() + later).allowed for later in (-3600, -40 * DAY, 3600)] == [True] * 3


def test_an_old_price_keeps_its_plan_after_its_key_moved_and_the_file_was_lost(config, shop):
    shop.subscribe(shop.customer(), user=None)
    product = shop.client.v1.prices.retrieve(shop.price).product
    dearer = {"product": product, "currency": "usd", "unit_amount": 2900, "recurring": {"interval": "month"}}
    shop.client.v1.prices.create(params=dearer | {"lookup_key": "pro_monthly", "transfer_lookup_key": True})

    with running(config) as app:
        resync(app.billing.service.worker.converger, time.time())

        access = app.billing.access("ann")
    assert (access.allowed, access.plan, access.features) == (True, "pro", ("exports", "api"))
