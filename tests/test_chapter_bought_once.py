"""The examples of the page on what is bought once: each plans.toml is valid, and the code does what the page says."""

import time
from dataclasses import replace

import pytest
from harness import DAY, running
from once import VISA, hear
from repository import ROOT, block

from corkage import Identity
from corkage.errors import AlreadyBought
from corkage.models import NoticeRow, Subscription
from corkage.plans import read_plans
from corkage.selling.credits import credits_of
from corkage.simulator import visitor

PAGE = "docs/what-you-can-sell.md"
ONCE = {"lifetime_once": 30_000, "pass_once": 900, "pack_100": 500}
ANN = Identity("ann")


@pytest.fixture
def serve(config, shop, simulator, tmp_path):
    """Serve with the plans of an example."""
    product = shop.client.v1.products.create(params={"name": "Once"}).id
    for key, amount in ONCE.items():
        price = {"product": product, "currency": "usd", "unit_amount": amount, "lookup_key": key}
        shop.client.v1.prices.create(params=price)

    def served(name):
        (tmp_path / "plans.toml").write_text(block(PAGE, f"plans: {name}"))
        plans = read_plans(tmp_path / "plans.toml")
        return running(replace(config, plans=plans, billing_url="https://app.example.com/billing"))

    return served


def run(name, app, *, pays=True):
    """Run the code of an example; pay on each page that it opens, before it goes on. Return its names."""
    names = {"billing": app.billing, "ann": ANN, "time": time}
    for part in block(PAGE, f"code: {name}").split("\n\n"):
        exec(compile(part, PAGE, "exec"), names)
        if pays and "url" in names:
            visitor.pay(names["url"], VISA)
            app.billing.service.come_back(names.pop("url").rpartition("/")[2])
    return names


def test_a_plan_for_good(serve, shop, capsys):
    with serve("lifetime") as app:
        app.billing.checkout_url(ANN, "pro")
        subscription = shop.subscribe(shop.customer())
        hear(app, shop)
        run("lifetime", app)
        assert capsys.readouterr().out == "lifetime active None\n"
        app.work()
        assert shop.client.v1.subscriptions.retrieve(subscription).status == "canceled"
        assert NoticeRow.select().where(NoticeRow.kind == "subscription_replaced").count() == 1
        for offer in ("lifetime", "pro"):
            with pytest.raises(AlreadyBought):
                app.billing.checkout_url(ANN, offer)


def test_a_plan_for_some_days(serve, capsys):
    with serve("days") as app:
        run("days", app)
        first = app.billing.access("ann").until
        run("days", app)
        assert capsys.readouterr().out == "True\nTrue\n"
        assert 30 * DAY - 5 <= app.billing.access("ann").until - first <= 30 * DAY


def test_a_pack(serve):
    with serve("pack") as app:
        names = run("pack", app, pays=False)
        assert names["again"] == names["url"]
        visitor.pay(names["url"], VISA)
        app.billing.service.come_back(names["url"].rpartition("/")[2])
        assert [each.left for each in credits_of("ann")] == [100]
        assert not app.billing.access("ann").allowed


def test_refunds_and_disputes(serve, shop, capsys):
    with serve("refunds") as app:
        run("refunds", app)
        subscription = shop.subscribe(shop.customer())
        hear(app, shop)
        paid = shop.client.v1.charges.list().data[0]
        shop.client.v1.refunds.create(params={"charge": paid.id})
        hear(app, shop)
        assert app.billing.access("ann").reason == "refunded"
        app.billing.work()
        assert capsys.readouterr().out == f"ann {subscription}\n"
        assert Subscription.get().status == "active"


@pytest.mark.parametrize("name", ["lifetime", "days", "pack", "refunds"])
def test_the_page_has_the_example_that_is_run(name):
    text = (ROOT / PAGE).read_text()

    assert [text.count(f"<!-- {kind}: {name} -->") for kind in ("plans", "code")] == [1, 1]
