"""Each example of the chapter on seats, add-ons, changes and price rises is run."""

import time
from dataclasses import replace

import pytest
from harness import DAY, running
from repository import block

from corkage.models import ChangeRow
from corkage.plans import read_plans

CHAPTER = "docs/what-you-can-sell.md"
AMOUNTS = {
    "team_monthly": (1_000, "month"),
    "solo_monthly": (500, "month"),
    "solo_yearly": (5_000, "year"),
    "studio_monthly": (2_000, "month"),
    "studio_yearly": (20_000, "year"),
    "storage_monthly": (200, "month"),
    "pro_2027": (1_200, "month"),
}


@pytest.fixture
def host(config, shop, simulator, tmp_path):
    """Serve the plans of an example; run its code."""
    for key, (amount, interval) in AMOUNTS.items():
        simulator.add_price(key, amount, interval=interval)
    served = []

    def start(name):
        (tmp_path / "plans.toml").write_text(block(CHAPTER, f"plans: {name}"))
        context = running(replace(config, plans=read_plans(tmp_path / "plans.toml")))
        served.append(context)
        app = context.__enter__()
        app.billing.service.catalogue.refresh(app.billing.service.gateway)
        return app

    yield start
    for context in served:
        context.__exit__(None, None, None)


def subscribed(app, shop, simulator, user, key, customer=None, **params):
    customer = customer or shop.customer(user)
    price = simulator.world.where("price", lookup_key=key)[0]["id"]
    id_ = shop.subscribe(customer, price, user, **params)
    app.converge(customer)
    return customer, id_


def play(app, name, **given):
    exec(compile(block(CHAPTER, f"code: {name}"), name, "exec"), {"billing": app.billing, **given})


def test_seats(host, shop, simulator, capsys):
    app = host("seats")
    price = simulator.world.where("price", lookup_key="team_monthly")[0]["id"]
    subscribed(app, shop, simulator, "acme", "team_monthly", items=[{"price": price, "quantity": 3}])

    play(app, "seats")

    assert capsys.readouterr().out == "0 7000 usd\nteam 5\n"


def test_another_plan(host, shop, simulator):
    app = host("plans")
    _, id_ = subscribed(app, shop, simulator, "ann", "solo_monthly")

    play(app, "plans")

    held = simulator.world.get("subscription", id_)
    assert (held["schedule"], app.billing.access("ann").plan) == (None, "studio")
    assert held["items"]["data"][0]["price"]["lookup_key"] == "studio_yearly"


def test_cancel_and_go_on(host, shop, simulator):
    app = host("cancel")
    subscribed(app, shop, simulator, "ann", "pro_monthly", trial_period_days=14)

    play(app, "cancel")

    assert app.billing.access("ann").reason == "ended"
    assert [row.outcome for row in ChangeRow.select()] == ["done"] * 4


def test_an_addon(host, shop, simulator, capsys):
    app = host("addon")
    customer, plan = subscribed(app, shop, simulator, "ann", "pro_monthly")
    _, addon = subscribed(app, shop, simulator, "ann", "storage_monthly", customer)

    play(app, "addon", plan_of_ann=plan)

    assert capsys.readouterr().out == "300\n"
    simulator.advance(32 * DAY)
    app.converge(customer)
    app.work()
    assert simulator.world.get("subscription", addon)["cancel_at_period_end"]


def test_a_price_rise(host, shop, simulator, corkage):
    app = host("rise")
    _, id_ = subscribed(app, shop, simulator, "ann", "pro_monthly")
    dry, begun, undone = [line.partition("#")[0].split()[1:] for line in block(CHAPTER, "commands: rise").splitlines()]

    assert "ann" in corkage(*dry).stdout
    assert "1 moves were stored" in corkage(*begun).stdout
    later = time.time() + 31 * DAY
    app.billing.service.worker.owed.clock = lambda: later
    app.work(later)
    assert simulator.world.get("subscription", id_)["items"]["data"][0]["price"]["lookup_key"] == "pro_2027"
    assert "1 subscriptions are to be moved back" in corkage(*undone).stdout
    assert simulator.world.get("subscription", id_)["items"]["data"][0]["price"]["lookup_key"] == "pro_monthly"
