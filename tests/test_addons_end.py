"""An add-on whose plan ended gives nothing: it is canceled for the end of its period, and the user reads so."""

import time
from dataclasses import replace

import pytest
import requests
import stripe
from buying import bearer, token
from examined import examine
from harness import DAY, PRO, running

from corkage.gateway.client import Transport
from corkage.models import MADE_AT, ChangeRow, NoticeRow, remember
from corkage.plans import Plan
from corkage.simulator import ApiFaults

STORAGE = Plan("storage", "Storage", ("storage_monthly",), limits={"gb": 100}, adds_to=("pro",))
BASIC = Plan("basic", "Basic", ("basic_monthly",))


@pytest.fixture
def app(config, simulator, shop):
    simulator.add_price("storage_monthly", 200)
    simulator.add_price("basic_monthly", 400)
    with running(replace(config, plans=(BASIC, PRO, STORAGE))) as served:
        served.billing.service.catalogue.refresh(served.billing.service.gateway)
        yield served


@pytest.fixture
def held(app, shop, simulator):
    """A customer with a plan, and an add-on as a subscription of its own: their ids."""
    customer = shop.customer()
    base = shop.subscribe(customer)
    addon = shop.subscribe(customer, price_of(simulator, "storage_monthly"))
    app.converge(customer)
    assert app.billing.access("ann").plans == ("pro", "storage")
    return customer, base, addon


def price_of(simulator, key):
    return simulator.world.where("price", lookup_key=key)[0]["id"]


def kinds():
    return [(row.kind, row.subscription_id) for row in NoticeRow.select().order_by(NoticeRow.id)][1:]


def work(app, seconds=0):
    """Do what is due, and what that makes due."""
    worker, now = app.billing.service.worker, time.time() + seconds
    worker.owed.clock = lambda: now
    worker.work_once(now)


def without_plan(app, shop, held):
    """End the plan, and do what follows; return the customer and the add-on."""
    customer, base, addon = held
    shop.client.v1.subscriptions.cancel(base)
    app.converge(customer)
    work(app)
    return customer, addon


def at_stripe(simulator, id_):
    return simulator.world.get("subscription", id_)


def rows():
    return [(row.kind, row.outcome) for row in ChangeRow.select().order_by(ChangeRow.created_at, ChangeRow.kind)]


def page(app):
    headers = bearer(token()) | {"Accept": "text/html"}
    return requests.get(f"{app.url}/account", headers=headers, timeout=30).text


def test_an_addon_whose_plan_ended_is_canceled_for_the_end_of_its_period(app, shop, simulator, held):
    customer, base, addon = held
    work(app)
    assert (kinds(), rows()) == ([], [])
    shop.client.v1.subscriptions.cancel(base)
    app.converge(customer)
    work(app)

    found = at_stripe(simulator, addon)
    assert (found["status"], found["cancel_at_period_end"]) == ("active", True)
    assert found["cancellation_details"]["comment"] == "The plan that it adds to has ended."
    assert kinds() == [("access_revoked", None), ("addon_without_plan", addon), ("cancellation_scheduled", addon)]
    assert "You have no plan that this adds to. It ends on " in page(app)
    work(app)
    app.converge(customer)
    work(app)
    assert rows() == [("end_addon", "done")]
    assert len(kinds()) == 3
    simulator.advance_to("renewal")
    app.converge(customer)
    work(app)
    assert app.billing.access("ann").reason == "ended"
    assert rows() == [("end_addon", "done")]


def test_when_the_plan_comes_back_the_addon_goes_on(app, shop, simulator, held):
    customer, addon = without_plan(app, shop, held)

    shop.subscribe(customer)
    app.converge(customer)
    work(app)

    assert at_stripe(simulator, addon)["cancel_at"] is None
    assert app.billing.access("ann").plans == ("pro", "storage")
    assert rows() == [("end_addon", "done"), ("keep_addon", "done")]
    assert kinds()[-1] == ("cancellation_undone", addon)


def test_a_plan_that_is_back_before_anything_was_done_leaves_the_addon_as_it_is(app, shop, simulator, held):
    customer, base, addon = held
    shop.client.v1.subscriptions.cancel(base)
    app.converge(customer)
    shop.subscribe(customer)
    app.converge(customer)

    work(app)

    assert rows() == [("end_addon", "already"), ("keep_addon", "already")]
    assert "cancellation_scheduled" not in dict(kinds())
    assert at_stripe(simulator, addon)["canceled_at"] is None


def test_a_cancellation_whose_answer_was_lost_is_undone_after_it_is_known(monkeypatch, app, shop, simulator, held):
    """The plan came back before anybody knew that the add-on was canceled."""
    customer, base, addon = held
    shop.client.v1.subscriptions.cancel(base)
    app.converge(customer)
    send = Transport.request

    def cut_after_writing(self, method, *arguments, **options):
        answer = send(self, method, *arguments, **options)
        if method == "post":
            raise stripe.APIConnectionError("the connection was cut", should_retry=False)
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(Transport, "request", cut_after_writing)
        work(app)
    assert at_stripe(simulator, addon)["cancel_at_period_end"]
    ChangeRow.update(created_at=ChangeRow.created_at - 1).execute()
    shop.subscribe(customer)
    app.converge(customer)
    ChangeRow.update(not_before=0).where(ChangeRow.kind == "keep_addon").execute()
    keep = ChangeRow.get(ChangeRow.kind == "keep_addon")

    assert app.billing.service.worker.owed.carry_on(keep.nonce) is None
    assert rows() == [("end_addon", None), ("keep_addon", None)]
    work(app, 100)
    work(app, 200)

    assert rows() == [("end_addon", "done"), ("keep_addon", "done")]
    assert not at_stripe(simulator, addon)["cancel_at_period_end"]
    assert app.billing.access("ann").plans == ("pro", "storage")


def test_what_the_user_canceled_stays_canceled_when_the_plan_comes_back(app, shop, simulator, held):
    customer, base, addon = held
    shop.client.v1.subscriptions.update(addon, params={"cancel_at_period_end": True})
    shop.client.v1.subscriptions.cancel(base)
    app.converge(customer)
    work(app)

    shop.subscribe(customer)
    app.converge(customer)
    work(app)

    assert at_stripe(simulator, addon)["cancel_at_period_end"]
    assert rows() == [("end_addon", "already"), ("keep_addon", "already")]


def test_what_the_user_canceled_by_the_host_since_stays_canceled(app, shop, simulator, held):
    customer, addon = without_plan(app, shop, held)
    app.billing.cancel("ann", subscription=addon)
    ChangeRow.update(done_at=ChangeRow.done_at + 1).where(ChangeRow.kind == "cancel").execute()

    shop.subscribe(customer)
    app.converge(customer)
    work(app)

    assert at_stripe(simulator, addon)["cancel_at_period_end"]


def test_another_plan_to_which_it_does_not_add_ends_it_too(app, shop, simulator, held):
    _, _, addon = held

    app.billing.change("ann", "basic")
    work(app)

    assert at_stripe(simulator, addon)["cancel_at_period_end"]
    app.billing.change("ann", "pro")
    work(app)
    assert not at_stripe(simulator, addon)["cancel_at_period_end"]


@pytest.mark.parametrize("happens", ["past_due", "canceling", "unknown", "granted", "paused"])
def test_while_the_plan_has_not_ended_nothing_happens_to_the_addon(app, shop, simulator, held, happens):
    customer, base, addon = held
    subscriptions = shop.client.v1.subscriptions
    if happens == "past_due":
        shop.use_card(customer, "pm_card_chargeCustomerFail")
        simulator.advance_to("renewal")
    elif happens == "canceling":
        subscriptions.update(base, params={"cancel_at_period_end": True})
    elif happens == "paused":
        subscriptions.pause(base, params={"type": "subscription"})
    elif happens == "granted":
        app.billing.grant("ann", "pro", until=int(time.time()) + 9 * DAY)
        subscriptions.cancel(base)
    else:  # it is of ours, at a price that no plan names
        item = subscriptions.retrieve(base)["items"].data[0].id
        subscriptions.update(base, params={"items": [{"id": item, "price": shop.other_price}]})
    app.converge(customer)
    work(app)

    assert "addon_without_plan" not in dict(kinds())
    assert not at_stripe(simulator, addon)["cancel_at_period_end"]


def test_an_addon_is_canceled_when_the_grant_that_it_adds_to_ends_by_time_alone(app, shop, simulator, held):
    customer, base, addon = held
    app.billing.grant("ann", "pro", until=int(time.time()) + 5 * DAY)
    shop.client.v1.subscriptions.cancel(base)
    app.converge(customer)

    work(app, 5 * DAY - 60)
    assert not at_stripe(simulator, addon)["cancel_at_period_end"]
    work(app, 5 * DAY + 1)
    work(app, 5 * DAY + 2)

    assert at_stripe(simulator, addon)["cancel_at_period_end"]
    assert [kind for kind, _ in kinds()].count("addon_without_plan") == 1


def test_what_stripe_fails_to_do_is_done_later(app, shop, simulator, held):
    customer, base, addon = held
    shop.client.v1.subscriptions.cancel(base)
    app.converge(customer)
    simulator.api_faults = ApiFaults("error", path=f"/v1/subscriptions/{addon}")
    work(app)
    assert rows() == [("end_addon", None)]
    simulator.api_faults = ApiFaults()
    (finding,) = [each for each in examine(app) if "end_addon" in each.what]
    assert f"end_addon of {addon}, user ann, is not made at Stripe after 1 tries: stripe_failed" in finding.what

    work(app, 60)

    assert rows() == [("end_addon", "done")]
    assert at_stripe(simulator, addon)["cancel_at_period_end"]


def test_the_doctor_names_an_addon_that_could_not_be_canceled(app, shop, simulator, held):
    customer, base, addon = held
    made = shop.client.v1.subscription_schedules.create(params={"from_subscription": addon})
    shop.client.v1.subscription_schedules.update(made.id, params={"end_behavior": "cancel"})
    simulator.world.get("subscription", addon)["cancel_at"] = None
    shop.client.v1.subscriptions.cancel(base)
    app.converge(customer)
    work(app)
    assert rows() == [("end_addon", "cannot_change")]

    (finding,) = [each for each in examine(app) if "add-on" in each.what]

    assert "more to do than one change of its items" in finding.what
    assert finding.repair == f"corkage user cancel ann --subscription {addon}"
    shop.subscribe(customer)
    app.converge(customer)
    assert not [each for each in examine(app) if "add-on" in each.what]


def test_an_addon_that_another_product_sold_is_not_canceled(app, shop, simulator, held):
    customer, base, addon = held
    shop.client.v1.subscriptions.update(addon, params={"metadata": {"corkage_app": "another"}})
    shop.client.v1.subscriptions.cancel(base)
    app.converge(customer)
    work(app)

    assert not at_stripe(simulator, addon)["cancel_at_period_end"]
    assert rows() == []


def test_what_was_so_before_this_database_was_made_is_left_as_it_is(app, shop, simulator):
    remember(MADE_AT, str(int(time.time()) + DAY))
    customer = shop.customer()
    addon = shop.subscribe(customer, price_of(simulator, "storage_monthly"))

    for _ in range(2):
        app.converge(customer)
        work(app)

    assert app.billing.access("ann").reason == "addon_only"
    assert rows() == []
    assert not at_stripe(simulator, addon)["cancel_at_period_end"]
