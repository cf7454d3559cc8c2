"""What is sold in different ways, held by one user: a lifetime, an add-on, a change that is owed, a grant, a pack."""

import time
from dataclasses import replace

import pytest
from harness import running
from once import PLANS, buy, hear, stock

from corkage.models import ChangeRow, Credit, Grant, MeterEvent, NoticeRow, Purchase, Subscription, Usage, User
from corkage.plans import Plan

pytestmark = pytest.mark.slow

STORAGE = Plan("storage", "Storage", ("storage_monthly",), adds_to=("lifetime", "pro"), limits={"gb": 5})
LATER = 400  # when whatever was tried once is due again


@pytest.fixture
def app(config, shop, simulator):
    stock(shop)
    simulator.add_price("storage_monthly", 200)
    with running(replace(config, plans=(*PLANS, STORAGE), billing_url="https://billing.example.com")) as served:
        served.billing.service.catalogue.refresh(served.billing.service.gateway)
        yield served


def settle(app, shop):
    """Deliver all events, and do what they make due."""
    hear(app, shop)
    app.work(time.time() + LATER)


def test_a_lifetime_ends_a_subscription_that_a_schedule_is_to_change(app, shop):
    subscription = buy(app, "pro")["subscription"]
    settle(app, shop)
    app.billing.change("ann", "better", when="period_end")
    assert shop.client.v1.subscriptions.retrieve(subscription).schedule

    buy(app, "lifetime")
    settle(app, shop)

    assert shop.client.v1.subscriptions.retrieve(subscription).status == "canceled"
    made = sorted((row.kind, row.outcome) for row in ChangeRow.select())
    assert made == [("change", "done"), ("end_replaced", "done")]


def test_a_dearer_subscription_goes_on_beside_a_lifetime_with_the_change_that_is_to_come(app, shop):
    subscription = buy(app, "better")["subscription"]
    settle(app, shop)
    app.billing.change("ann", "pro", when="period_end")

    buy(app, "lifetime")
    settle(app, shop)

    held = shop.client.v1.subscriptions.retrieve(subscription)
    assert (held.status, bool(held.schedule)) == ("active", True)


def test_an_addon_to_a_lifetime_ends_with_its_refund_and_goes_on_with_the_next(app, shop):
    bought = buy(app, "lifetime")
    settle(app, shop)
    storage = buy(app, "storage")["subscription"]
    settle(app, shop)
    assert app.billing.access("ann").limits == {"gb": 5}

    shop.client.v1.refunds.create(params={"payment_intent": bought["payment_intent"]})
    settle(app, shop)
    assert app.billing.access("ann").limits == {}
    assert shop.client.v1.subscriptions.retrieve(storage).cancel_at_period_end is True

    buy(app, "lifetime")
    settle(app, shop)
    assert app.billing.access("ann").limits == {"gb": 5}
    assert shop.client.v1.subscriptions.retrieve(storage).cancel_at_period_end is False
    assert NoticeRow.select().where(NoticeRow.kind == "addon_without_plan").count() == 1


def test_an_addon_to_a_plan_that_was_given_ends_with_the_grant(app, shop):
    app.billing.grant("ann", "pro")
    storage = buy(app, "storage")["subscription"]
    settle(app, shop)
    assert app.billing.access("ann").limits == {"gb": 5}

    app.billing.revoke("ann", "pro")
    settle(app, shop)

    assert shop.client.v1.subscriptions.retrieve(storage).cancel_at_period_end is True


def test_who_is_forgotten_leaves_nothing_of_all_that_they_held(app, shop):
    for plan in ("pro", "pack"):
        buy(app, plan)
    settle(app, shop)
    app.billing.use("ann", "exports", 5)
    app.billing.grant("ann", "better")
    app.billing.change("ann", "better", when="period_end")

    app.billing.forget("ann")

    tables = (User, Subscription, Purchase, Credit, Usage, Grant, ChangeRow, MeterEvent, NoticeRow)
    assert [table.__name__ for table in tables if table.select().exists()] == []
    settle(app, shop)
    assert not User.select().exists()
