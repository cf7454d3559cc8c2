"""What was true before is no news: an edit of plans.toml or an old webhook notifies only of what it takes."""

import time
from dataclasses import replace

import pytest
from harness import DAY, PRO, running

from corkage.models import MADE_AT, NoticeRow, store_setting
from corkage.plans import Plan

TEAM = Plan("team", "Team", ("team_monthly",))
FREE = Plan("free", "Free", features=("basics",), free=True)
MOVED = (replace(PRO, prices=("pro_yearly",)), replace(TEAM, prices=("pro_monthly",)))


def kinds():
    return [row.kind for row in NoticeRow.select().order_by(NoticeRow.id)]


def hear(app, shop):
    for event in reversed(shop.client.v1.events.list(params={"limit": 100}).data):
        app.deliver(event)
    app.work(time.time() + 1)


@pytest.mark.parametrize(
    ("is_in_grace", "edited", "expected"),
    [
        (False, (replace(PRO, features=("more",)),), []),
        (False, (replace(PRO, limits={"notes": 3}),), []),
        (False, (FREE, PRO), []),
        (False, (TEAM,), []),  # who holds a plan that left the file keeps it
        (False, MOVED, ["plan_changed"]),
        (True, (replace(PRO, grace_days=30),), []),
        (True, (replace(PRO, grace_days=1),), ["access_revoked"]),
    ],
)
def test_an_edit_of_plans_notifies_once_of_what_it_takes(config, shop, simulator, is_in_grace, edited, expected):
    customer = shop.customer()
    shop.subscribe(customer)
    if is_in_grace:
        shop.use_card(customer, "pm_card_chargeCustomerFail")
        simulator.advance(34 * DAY)
    with running(config) as app:
        hear(app, shop)
        assert app.ask().json()["allowed"]
        before = kinds()
    for _ in range(2):  # started twice with the same plans
        with running(replace(config, plans=edited)) as app:
            app.work(time.time() + 1)
            assert app.ask().json()["allowed"] == ("access_revoked" not in expected)
            assert kinds() == before + expected


def test_webhooks_of_old_customers_are_no_news_before_the_first_sync(config, shop):
    shop.subscribe(shop.customer())
    with running(replace(config, poll_seconds=3600)) as app:
        store_setting(MADE_AT, str(int(time.time()) + 600))  # the file was made after the sale

        app.deliver(shop.event("customer.subscription.created"))
        app.billing.service.worker.work_once(time.time() + 1)

        assert app.ask().json()["allowed"]
        assert kinds() == []
