"""Doubles, through doctor: what a user pays for twice, and the end that costs the user nothing."""

from dataclasses import replace

import pytest
from examined import examine
from harness import running

from corkage.plans import Plan

pytestmark = pytest.mark.slow

BASIC = Plan("basic", "Basic", ("basic_monthly",), features=("exports",))
PRO = Plan("pro", "Pro", ("pro_monthly",), features=("exports", "api"), grace_days=7)
REPORTS = Plan("reports", "Reports", ("reports_monthly",), features=("reports",))
SEATS = Plan("seats", "Seats", ("seats_monthly",), adds_to=("pro",), limits={"seats": 5})


@pytest.fixture
def app(config):
    with running(replace(config, plans=(BASIC, PRO, REPORTS, SEATS))) as served:
        yield served


@pytest.fixture
def holds(app, shop, simulator):
    """Have Ann subscribe to prices, one after the other, and return the ids."""
    customer = shop.customer()
    product = shop.client.v1.products.create(params={"name": "Others"}).id
    for key in ("basic_monthly", "reports_monthly", "seats_monthly"):
        recurring = {"interval": "month"}
        params = {"product": product, "currency": "usd", "unit_amount": 300, "recurring": recurring, "lookup_key": key}
        shop.client.v1.prices.create(params=params)

    def subscribe(*keys, **params):
        found = []
        for key in keys:
            price = key if key.startswith("price_") else prices()[key]
            found.append(shop.subscribe(customer, price=price, **params))
            simulator.advance(60)
        app.converge(customer)
        return found

    def prices():
        return {each.lookup_key: each.id for each in shop.client.v1.prices.list(params={"limit": 100}).data}

    return subscribe


def advice(app):
    """The repairs of doubles, None where doctor has no command."""
    found = examine(app)
    return [each.repair for each in found if "several subscriptions" in each.what]


def ends(subscription):
    return [f"stripe subscriptions update {subscription} -d cancel_at_period_end=true"]


def test_a_newer_cheap_plan_is_spare_and_never_the_dear_one(app, holds):
    _, cheap = holds("pro_monthly", "basic_monthly")

    assert advice(app) == ends(cheap)
    assert app.billing.access("ann").features == ("exports", "api")


def test_of_the_same_plan_twice_one_is_spare(app, holds):
    old, _ = holds("pro_monthly", "pro_monthly")

    assert advice(app) == ends(old)


def test_plans_that_each_give_something_have_no_command(app, holds):
    holds("basic_monthly", "reports_monthly")

    assert advice(app) == [None]


def test_the_one_with_more_seats_is_not_spare(app, holds, shop):
    price = shop.price
    customer_pays_for = {"items": [{"price": price, "quantity": 5}]}
    (many,) = holds("pro_monthly", **customer_pays_for)
    (one,) = holds("pro_monthly")

    assert advice(app) == ends(one)
    assert many != one


def test_an_addon_beside_its_plan_is_no_double(app, holds):
    holds("pro_monthly", "seats_monthly")

    assert advice(app) == []


def test_what_belongs_to_another_product_is_no_double(app, holds, shop):
    holds("pro_monthly")
    holds(shop.other_price, user=None)

    assert advice(app) == []


def test_following_the_advice_ends_the_complaint(app, holds, shop):
    old, _ = holds("pro_monthly", "pro_monthly")
    ended = shop.client.v1.subscriptions.update(old, params={"cancel_at_period_end": True})

    app.converge(ended.customer)

    assert advice(app) == []


def test_a_plan_that_ends_anyway_makes_no_other_spare(app, holds, shop):
    (dear, _) = holds("pro_monthly", "basic_monthly")
    ended = shop.client.v1.subscriptions.update(dear, params={"cancel_at_period_end": True})

    app.converge(ended.customer)

    assert advice(app) == []


def test_what_is_paid_is_not_spare_beside_a_longer_trial(app, holds):
    holds("pro_monthly")
    (trial,) = holds("pro_monthly", trial_period_days=90)

    assert advice(app) == ends(trial)
