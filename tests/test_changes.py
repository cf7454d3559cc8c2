"""Changes by the host's code: another plan or number, a cancellation and its undoing, a longer trial."""

import time
from dataclasses import replace

import pytest
from harness import DAY, PRO, running

from corkage.errors import (
    CannotChange,
    CardRefused,
    ChangeInProgress,
    CurrencyRefused,
    InvalidQuantity,
    StripeUnavailable,
    UnknownPlan,
    UnknownSubscription,
)
from corkage.models import ChangeRow, NoticeRow, Subscription
from corkage.plans import Plan
from corkage.simulator import ApiFaults
from corkage.sync import owed
from corkage.sync.client import SLOWEST_CALL_SECONDS

TEAM = Plan("team", "Team", ("team_monthly", "team_yearly"), features=("sharing",), seats=(2, 50))
STORAGE = Plan("storage", "Storage", ("storage_monthly",), limits={"gb": 100}, adds_to=("pro", "team"), seats=(1, 9))
PLANS = (PRO, TEAM, STORAGE)
MONTH = 32 * DAY


@pytest.fixture
def settings(config):
    return replace(config, plans=PLANS, billing_url="https://billing.example.com")


@pytest.fixture
def prices(simulator, shop):
    """The ids of the prices, by their lookup keys."""
    sold = {"team_monthly": (1_000, "month"), "team_yearly": (9_000, "year"), "storage_monthly": (200, "month")}
    made = {key: simulator.add_price(key, amount, interval=interval)["id"] for key, (amount, interval) in sold.items()}
    return made | {"pro_monthly": shop.price}


@pytest.fixture
def app(settings, shop, prices):
    with running(settings) as served:
        served.billing.service.catalogue.refresh(served.billing.service.gateway)
        yield served


def subscribed(app, shop, price=None, quantity=1, **params):
    customer = shop.customer()
    items = [{"price": price or shop.price, "quantity": quantity}]
    id_ = shop.subscribe(customer, **{"items": items} | params)
    app.converge(customer)
    return id_


def test_another_plan_now(app, shop, prices):
    id_ = subscribed(app, shop)
    preview = app.billing.preview("ann", "team", 5)
    access = app.billing.change("ann", "team", 5, prorated_at=preview.prorated_at)
    assert (access.plan, access.quantity, access.price_id) == ("team", 5, prices["team_monthly"])
    print(preview)
    assert app.billing.change("ann", "team", 5) == access
    print([ (r.kind,r.outcome,r.turn) for r in ChangeRow.select()])

def test_at_period_end(app, shop, prices, simulator):
    id_ = subscribed(app, shop, prices["team_monthly"], 5)
    print(app.billing.preview("ann", quantity=3, when="period_end"))
    access = app.billing.change("ann", quantity=3, when="period_end")
    assert access.quantity == 5
    app.billing.change("ann", quantity=3, when="period_end")
    print([ (r.kind,r.outcome,r.turn) for r in ChangeRow.select()])
    simulator.advance(MONTH)
    assert app.billing.sync("ann").quantity == 3
    print([e["total"] for e in simulator.world.all("invoice")])
    app.billing.cancel("ann", feedback="too_expensive", comment="Too dear")
    assert app.billing.access("ann").reason == "canceling"
    app.billing.resume("ann")
    assert app.billing.access("ann").reason == "active"
