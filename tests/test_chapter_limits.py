"""The examples of the page on limits: each plans.toml is valid, and each piece of code does what the page says."""

from dataclasses import replace

import pytest
from harness import running
from repository import block
from spending import open_meter

from corkage.errors import UnknownLimit
from corkage.models import MeterEvent
from corkage.plans import read_plans

PAGE = "docs/what-you-can-sell.md"


@pytest.fixture
def serve(config, tmp_path):
    """Serve with the plans of an example."""

    def served(name):
        (tmp_path / "plans.toml").write_text(block(PAGE, f"plans: {name}"))
        return running(replace(config, plans=read_plans(tmp_path / "plans.toml")))

    return served


def run(name, app, **given):
    """Run the code of an example; return its names."""
    names = {"billing": app.billing, **given}
    exec(compile(block(PAGE, f"code: {name}"), PAGE, "exec"), names)
    return names


def test_a_number_to_ask_for(serve):
    with serve("number") as app:
        assert run("number", app, projects=["one"] * 2)["may_add"] is True
        assert run("number", app, projects=["one"] * 3)["may_add"] is False
        app.billing.grant("ann", "pro")
        assert run("number", app, projects=["one"] * 3)["most"] == "unlimited"
        with pytest.raises(UnknownLimit):
            app.billing.limit("ann", "project")


def test_so_many_a_month(serve, capsys):
    with serve("counted") as app:
        names = run("counted", app)
        assert (names["used"].allowed, names["used"].repeated, names["usage"].used) == (True, False, 1)
        assert capsys.readouterr().out == f"2 left until {names['used'].resets_at}\n"
        assert run("counted", app)["used"].repeated is True
        app.billing.use("ann", "exports", 2)
        assert not app.billing.use("ann", "exports", key="export-8")
        app.billing.grant("ann", "pro")
        assert (app.billing.usage("ann", "exports").left, app.billing.usage("ann", "logos").resets_at) == (97, None)


def test_billed_by_use(serve, shop, capsys):
    with serve("metered") as app:
        open_meter(shop.client)
        app.billing.service.catalogue.refresh(app.billing.service.worker.gateway)
        customer = shop.customer()
        (price,) = shop.client.v1.prices.list(params={"lookup_keys": ["calls_metered"]}).data
        shop.subscribe(customer, price.id)
        app.converge(customer)

        run("metered", app)

        assert capsys.readouterr().out == "unlimited 25\n"
        assert [row.amount for row in MeterEvent.select()] == [25]
