"""Changes by the host's code: another plan or number, a cancellation and its undoing, a longer trial."""

import itertools
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest
from harness import DAY, PRO, running
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from once import LIFETIME, stock
from sabotage import Killed, at_step, kill

from corkage.errors import (
    CannotChange,
    CardRefused,
    ChangeInProgress,
    CurrencyRefused,
    InvalidQuantity,
    PriceRefused,
    StripeError,
    StripeUnavailable,
    UnknownPlan,
    UnknownSubscription,
)
from corkage.gateway.client import SLOWEST_CALL_SECONDS, Transport
from corkage.models import ChangeRow, Customer, NoticeRow, Subscription, User
from corkage.plans import Plan
from corkage.replica import owed
from corkage.selling.portal import ask_to_resume
from corkage.simulator import ApiFaults

TEAM = Plan("team", "Team", ("team_monthly", "team_yearly"), features=("sharing",), seats=(2, 50))
STORAGE = Plan("storage", "Storage", ("storage_monthly",), limits={"gb": 100}, adds_to=("pro", "team"), seats=(1, 9))
PLANS = (PRO, TEAM, STORAGE)
MONTH = 32 * DAY


@pytest.fixture
def configured(config):
    return replace(config, plans=PLANS, billing_url="https://billing.example.com")


@pytest.fixture
def prices(simulator, shop):
    """The ids of the prices, by their lookup keys."""
    sold = {"team_monthly": (1_000, "month"), "team_yearly": (9_000, "year"), "storage_monthly": (200, "month")}
    made = {key: simulator.add_price(key, amount, interval=interval)["id"] for key, (amount, interval) in sold.items()}
    return made | {"pro_monthly": shop.price}


@pytest.fixture
def app(configured, shop, prices):
    with running(configured) as served:
        served.billing.service.catalogue.refresh(served.billing.service.gateway)
        yield served


def subscribed(app, shop, price=None, quantity=1, **params):
    customer = shop.customer()
    items = [{"price": price or shop.price, "quantity": quantity}]
    id_ = shop.subscribe(customer, **{"items": items} | params)
    app.converge(customer)
    return id_


def totals(simulator):
    """The totals of the invoices, oldest first."""
    return [each["total"] for each in reversed(simulator.world.all("invoice"))]


def writes(simulator):
    """The requests so far that change a subscription or a schedule."""
    paths = ("/v1/subscriptions/", "/v1/subscription_schedules")
    return [
        (each.method, each.path.partition("sub_")[0])
        for each in simulator.requests
        if each.method != "GET" and each.path.startswith(paths)
    ]


def rows():
    return [(row.kind, row.outcome) for row in ChangeRow.select().order_by(ChangeRow.created_at, ChangeRow.nonce)]


def kinds(user="ann"):
    return [row.kind for row in NoticeRow.select().where(NoticeRow.user == user).order_by(NoticeRow.id)]


def at_stripe(simulator, id_):
    return simulator.world.get("subscription", id_)


# What a change does, and costs


def test_a_change_now_is_there_when_the_call_returns_and_is_charged_with_the_next_invoice(app, shop, simulator, prices):
    id_ = subscribed(app, shop)
    preview = app.billing.preview("ann", "team", 5)
    assert writes(simulator) == []

    access = app.billing.change("ann", "team", 5, prorated_at=preview.prorated_at)

    assert access == app.billing.access("ann")
    assert (access.plan, access.quantity, access.price_id) == ("team", 5, prices["team_monthly"])
    assert kinds() == ["access_granted", "plan_changed"]
    assert rows() == [("change", "done")]
    assert (preview.charged_now, preview.currency) == (0, "usd")
    assert preview.next_at == Subscription.get().current_period_end
    assert totals(simulator) == [900]
    simulator.advance_to("renewal")
    assert totals(simulator) == [900, preview.next_amount]
    assert app.billing.sync("ann").quantity == 5
    assert at_stripe(simulator, id_)["metadata"]["corkage_user"] == "ann"


def test_a_change_that_is_charged_now_costs_what_the_preview_said(app, shop, simulator):
    subscribed(app, shop)
    preview = app.billing.preview("ann", "team", 5, charge="now")

    app.billing.change("ann", "team", 5, charge="now", prorated_at=preview.prorated_at)

    assert totals(simulator) == [900, preview.charged_now]
    simulator.advance_to("renewal")
    assert totals(simulator) == [900, preview.charged_now, preview.next_amount]
    assert preview.next_amount == 5_000


def test_a_change_of_which_nothing_is_charged_costs_the_new_price_from_the_next_invoice_on(app, shop, simulator):
    subscribed(app, shop)
    preview = app.billing.preview("ann", "team", 5, charge="nothing")

    app.billing.change("ann", "team", 5, charge="nothing")

    simulator.advance_to("renewal")
    assert totals(simulator) == [900, 5_000]
    assert (preview.charged_now, preview.next_amount) == (0, 5_000)


def test_another_interval_begins_a_period_that_is_charged_at_once(app, shop, simulator, prices):
    subscribed(app, shop, prices["team_monthly"], 2)
    preview = app.billing.preview("ann", "team:team_yearly")

    access = app.billing.change("ann", "team:team_yearly", prorated_at=preview.prorated_at)

    assert (access.price_id, access.quantity) == (prices["team_yearly"], 2)
    assert totals(simulator) == [2_000, preview.charged_now]
    assert preview.next_amount == 18_000


def test_a_plan_is_taken_at_the_interval_that_the_user_pays_in(app, shop, prices):
    subscribed(app, shop, prices["team_yearly"], 2)
    assert app.billing.change("ann", quantity=3).price_id == prices["team_yearly"]
    assert app.billing.change("ann", "team", 4).price_id == prices["team_yearly"]

    access = app.billing.change("ann", "pro")  # sold by the month only

    assert (access.plan, access.quantity, access.price_id) == ("pro", 1, prices["pro_monthly"])


def test_a_change_at_the_end_of_the_period_takes_nothing_away_before(app, shop, simulator, prices):
    id_ = subscribed(app, shop, prices["team_monthly"], 5)
    preview = app.billing.preview("ann", "pro", when="period_end")

    access = app.billing.change("ann", "pro", when="period_end")

    assert (access.plan, access.quantity) == ("team", 5)
    assert preview[:3] == (0, 900, Subscription.get().current_period_end)
    simulator.advance_to("renewal")
    access = app.billing.sync("ann")
    assert (access.plan, access.quantity) == ("pro", 1)
    assert totals(simulator) == [5_000, 900]
    simulator.advance(2 * DAY)
    assert at_stripe(simulator, id_)["schedule"] is None
    simulator.advance_to("renewal")
    assert totals(simulator) == [5_000, 900, 900]
    assert kinds() == ["access_granted", "plan_changed"]


def test_a_change_at_the_end_of_the_period_keeps_the_discount_and_the_metadata(app, shop, simulator, prices):
    coupon = shop.client.v1.coupons.create(params={"percent_off": 50, "duration": "forever"}).id
    id_ = subscribed(app, shop, prices["team_monthly"], 4, discounts=[{"coupon": coupon}])
    before = at_stripe(simulator, id_)["metadata"]

    app.billing.change("ann", quantity=2, when="period_end")

    assert len(at_stripe(simulator, id_)["discounts"]) == 1
    simulator.advance_to("renewal")
    assert totals(simulator) == [2_000, 1_000]
    assert at_stripe(simulator, id_)["metadata"] == before


def test_a_change_at_the_end_of_the_period_keeps_the_tax_of_each_item(app, shop, simulator, prices):
    rate = shop.client.v1.tax_rates.create(params={"display_name": "VAT", "inclusive": False, "percentage": 10}).id
    items = [{"price": prices["team_monthly"], "quantity": 4, "tax_rates": [rate]}]
    subscribed(app, shop, items=items)

    app.billing.change("ann", "pro", when="period_end")

    simulator.advance_to("renewal")
    assert totals(simulator) == [4_400, 990]


def test_another_interval_at_the_end_of_the_period(app, shop, simulator, prices):
    subscribed(app, shop, prices["team_monthly"], 4)
    preview = app.billing.preview("ann", "team:team_yearly", 2, when="period_end")

    app.billing.change("ann", "team:team_yearly", 2, when="period_end")

    assert preview[:3] == (0, 18_000, Subscription.get().current_period_end)
    simulator.advance_to("renewal")
    assert totals(simulator) == [4_000, 18_000]
    assert app.billing.sync("ann").price_id == prices["team_yearly"]


def test_what_is_billed_by_usage_takes_no_number(app, shop, simulator, prices):
    meter = shop.client.v1.billing.meters.create(
        params={"display_name": "Calls", "event_name": "calls", "default_aggregation": {"formula": "sum"}}
    ).id
    recurring = {"interval": "month", "usage_type": "metered", "meter": meter}
    params = {"currency": "usd", "unit_amount": 2, "product_data": {"name": "Calls"}, "recurring": recurring}
    made = [
        shop.client.v1.prices.create(params=params | {"lookup_key": key}).id for key in ("calls_monthly", "api_monthly")
    ]
    plans = (*PLANS, Plan("calls", "Calls", ("calls_monthly",)), Plan("api", "API", ("api_monthly",)))
    app.billing.close()
    with running(replace(app.billing.config, plans=plans)) as other:
        other.billing.service.catalogue.refresh(other.billing.service.gateway)
        customer = shop.customer()
        id_ = shop.subscribe(customer, items=[{"price": made[0]}])
        other.converge(customer)
        with pytest.raises(InvalidQuantity, match="billed by usage"):
            other.billing.change("ann", quantity=2)

        assert other.billing.change("ann", "api").plan == "api"
        assert other.billing.change("ann", "team", 3).quantity == 3
        other.billing.change("ann", "calls", when="period_end")

        simulator.advance_to("renewal")
        assert other.billing.sync("ann").plan == "calls"
        assert at_stripe(simulator, id_)["items"]["data"][0].get("quantity") is None


def test_a_scheduled_change_that_stripe_refuses_leaves_no_schedule(app, shop, simulator, prices):
    id_ = subscribed(app, shop, prices["team_monthly"], 4)
    shop.client.v1.prices.update(prices["pro_monthly"], params={"active": False})

    with pytest.raises(PriceRefused):
        app.billing.change("ann", "pro", when="period_end")

    assert at_stripe(simulator, id_)["schedule"] is None
    assert app.billing.cancel("ann").reason == "canceling"


def test_a_change_at_the_end_of_a_trial_keeps_the_trial(app, shop, simulator, prices):
    id_ = subscribed(app, shop, prices["team_monthly"], 4, trial_period_days=10)
    trial_end = at_stripe(simulator, id_)["trial_end"]

    app.billing.change("ann", quantity=2, when="period_end")

    held = at_stripe(simulator, id_)
    assert (held["status"], held["trial_end"]) == ("trialing", trial_end)
    simulator.advance(10 * DAY + 60)
    assert app.billing.sync("ann").quantity == 2
    assert [total for total in totals(simulator) if total] == [2_000]


def test_in_a_trial_a_change_costs_nothing_now(app, shop, simulator):
    subscribed(app, shop, trial_period_days=10)
    preview = app.billing.preview("ann", "team", 3)

    access = app.billing.change("ann", "team", 3)

    assert (access.plan, access.reason) == ("team", "trialing")
    assert preview[:2] == (0, 3_000)
    assert [total for total in totals(simulator) if total] == []


def test_an_item_of_an_addon_is_changed_beside_its_plan(app, shop, simulator, prices):
    items = [{"price": prices["pro_monthly"]}, {"price": prices["storage_monthly"], "quantity": 2}]
    id_ = subscribed(app, shop, items=items)

    assert app.billing.change("ann", "storage", 4).limits == {"gb": 400}
    assert app.billing.change("ann", "team", 2).plans == ("team", "storage")
    app.billing.change("ann", "storage", 1, when="period_end")

    assert app.billing.access("ann").limits == {"gb": 400}
    simulator.advance_to("renewal")
    assert app.billing.sync("ann").limits == {"gb": 100}
    held = {each["price"]["id"]: each["quantity"] for each in at_stripe(simulator, id_)["items"]["data"]}
    assert held == {prices["team_monthly"]: 2, prices["storage_monthly"]: 1}


# Cancel, resume, a longer trial


def test_a_cancellation_says_why_and_can_be_undone(app, shop, simulator):
    id_ = subscribed(app, shop)

    access = app.billing.cancel("ann", feedback="too_expensive", comment="It costs more than it gives.")

    assert (access.allowed, access.reason) == (True, "canceling")
    details = at_stripe(simulator, id_)["cancellation_details"]
    assert (details["feedback"], details["comment"]) == ("too_expensive", "It costs more than it gives.")
    assert app.billing.resume("ann").reason == "active"
    assert app.billing.resume("ann").reason == "active"
    assert kinds() == ["access_granted", "cancellation_scheduled", "cancellation_undone"]
    assert rows().count(("resume", "done")) == 1


def test_a_cancellation_made_in_the_portal_is_undone_in_the_other_of_stripes_fields(app, shop, simulator):
    id_ = subscribed(app, shop)
    end = at_stripe(simulator, id_)["items"]["data"][0]["current_period_end"]
    shop.client.v1.subscriptions.update(id_, params={"cancel_at": end})
    assert app.billing.sync("ann").reason == "canceling"

    assert app.billing.resume("ann").reason == "active"
    assert at_stripe(simulator, id_)["cancel_at"] is None


def test_canceled_now_is_canceled_once_and_a_second_call_changes_nothing(app, shop, simulator):
    id_ = subscribed(app, shop)

    assert app.billing.cancel("ann", when="now").reason == "ended"
    assert app.billing.cancel("ann", when="now").reason == "ended"
    assert app.billing.cancel("ann", when="now", subscription=id_).reason == "ended"

    assert [method for method, _ in writes(simulator)] == ["DELETE"]
    with pytest.raises(CannotChange):
        app.billing.resume("ann", subscription=id_)


def test_of_several_subscriptions_none_is_ended_now_unless_it_is_named(app, shop, simulator, prices):
    subscribed(app, shop)
    storage = subscribed(app, shop, prices["storage_monthly"])

    with pytest.raises(CannotChange, match="say which is to end now"):
        app.billing.cancel("ann", when="now")
    assert writes(simulator) == []
    app.billing.cancel("ann", when="now", subscription=storage)

    assert app.billing.access("ann").plans == ("pro",)


def test_collection_that_was_paused_goes_on(app, shop, simulator):
    id_ = subscribed(app, shop)
    shop.client.v1.subscriptions.update(id_, params={"pause_collection": {"behavior": "keep_as_draft"}})
    assert app.billing.sync("ann").reason == "collection_paused"

    assert app.billing.resume("ann").reason == "active"


def test_a_paused_subscription_is_resumed_and_charged(app, shop, simulator):
    id_ = subscribed(app, shop)
    shop.client.v1.subscriptions.pause(id_, params={"type": "subscription"})
    assert app.billing.sync("ann").reason == "paused"

    assert app.billing.resume("ann").reason == "active"
    assert totals(simulator) == [900, 900]


def test_a_longer_trial_is_charged_at_its_new_end(app, shop, simulator):
    subscribed(app, shop, trial_period_days=10)
    until = int(time.time()) + 20 * DAY

    assert app.billing.extend_trial("ann", until).until == until
    assert app.billing.extend_trial("ann", until).until == until

    assert rows() == [("extend_trial", "done"), ("extend_trial", "already")] or len(writes(simulator)) == 1
    simulator.advance(15 * DAY)
    assert [total for total in totals(simulator) if total] == []
    simulator.advance(6 * DAY)
    assert [total for total in totals(simulator) if total] == [900]


@pytest.mark.parametrize("days", [-1, 5])
def test_a_trial_is_not_made_shorter(app, shop, simulator, days):
    subscribed(app, shop, trial_period_days=10)

    with pytest.raises((CannotChange, ValueError)):
        app.billing.extend_trial("ann", int(time.time()) + days * DAY)

    assert writes(simulator) == []


def test_what_is_in_no_trial_gets_none(app, shop, simulator):
    subscribed(app, shop)

    with pytest.raises(CannotChange, match="in no trial"):
        app.billing.extend_trial("ann", int(time.time()) + DAY)

    assert rows() == [("extend_trial", "cannot_change")]


# Schedules


def test_a_later_wish_takes_the_place_of_a_scheduled_one(app, shop, simulator, prices):
    id_ = subscribed(app, shop, prices["team_monthly"], 5)
    app.billing.change("ann", quantity=3, when="period_end")
    first = at_stripe(simulator, id_)["schedule"]

    app.billing.change("ann", quantity=4, when="period_end")
    assert at_stripe(simulator, id_)["schedule"] not in (None, first)
    app.billing.change("ann", quantity=5, when="period_end")  # as it is: nothing is to change any more
    assert at_stripe(simulator, id_)["schedule"] is None
    app.billing.change("ann", quantity=3, when="period_end")
    app.billing.cancel("ann")

    assert at_stripe(simulator, id_)["schedule"] is None
    assert app.billing.access("ann").reason == "canceling"
    with pytest.raises(CannotChange):
        app.billing.change("ann", quantity=3, when="period_end")


def test_a_schedule_that_somebody_made_with_more_to_do_stays(app, shop, simulator, prices):
    id_ = subscribed(app, shop, prices["team_monthly"], 5)
    made = shop.client.v1.subscription_schedules.create(params={"from_subscription": id_})
    phase = made.phases[0]
    items = [{"price": prices["team_monthly"], "quantity": 5}]
    month = {"duration": {"interval": "month", "interval_count": 1}}
    phases = [
        {"items": items, "start_date": phase.start_date, "end_date": phase.end_date},
        {"items": [items[0] | {"quantity": 6}]} | month,
        {"items": [items[0] | {"quantity": 7}]} | month,
    ]
    shop.client.v1.subscription_schedules.update(made.id, params={"phases": phases})
    until = int(time.time()) + DAY

    for call in (
        lambda: app.billing.change("ann", "pro"),
        lambda: app.billing.change("ann", quantity=9, when="period_end"),
        lambda: app.billing.cancel("ann"),
        lambda: app.billing.cancel("ann", when="now"),
    ):
        with pytest.raises(CannotChange, match="more to do than one change"):
            call()
    with pytest.raises(CannotChange):
        app.billing.extend_trial("ann", until)

    assert at_stripe(simulator, id_)["schedule"] == made.id
    assert app.billing.access("ann").quantity == 5


# Refusals


def test_what_is_paid_once_takes_no_subscriptions_place_and_stripe_is_not_asked_to(configured, shop, simulator, prices):
    stock(shop)
    with running(replace(configured, plans=(*PLANS, LIFETIME))) as app:
        app.billing.service.catalogue.refresh(app.billing.service.gateway)
        subscribed(app, shop)
        for call in (app.billing.change, app.billing.preview):
            with pytest.raises(CannotChange, match="is paid once, in Checkout"):
                call("ann", "lifetime")

    assert writes(simulator) == []


def test_a_payment_that_fails_changes_nothing_and_a_later_call_may_succeed(app, shop, simulator):
    id_ = subscribed(app, shop)
    customer = at_stripe(simulator, id_)["customer"]
    shop.use_card(customer, "pm_card_chargeCustomerFail")

    with pytest.raises(CardRefused):
        app.billing.change("ann", "team", 5, charge="now")
    assert app.billing.sync("ann").plan == "pro"
    assert totals(simulator) == [900]
    shop.use_card(customer, "pm_card_visa")

    assert app.billing.change("ann", "team", 5, charge="now").plan == "team"
    assert sorted(rows()) == [("change", "card_refused"), ("change", "done")]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"plan": "nothing"}, UnknownPlan),
        ({"plan": "team", "quantity": 1}, InvalidQuantity),
        ({"plan": "team", "quantity": 51}, InvalidQuantity),
        ({"quantity": 2}, InvalidQuantity),
        ({"plan": "storage", "quantity": 2}, UnknownSubscription),
        ({"plan": "team:pro_monthly"}, UnknownPlan),
        ({"plan": "team", "subscription": "sub_of_another"}, UnknownSubscription),
    ],
)
def test_a_change_that_does_not_fit_is_refused_and_changes_nothing(app, shop, simulator, arguments, error):
    subscribed(app, shop)
    bobs = shop.customer("bob")
    shop.subscribe(bobs, user="bob")
    app.converge(bobs)

    for call in (app.billing.change, app.billing.preview):
        with pytest.raises(error):
            call("ann", **arguments)

    assert writes(simulator) == []
    assert not [row for row in ChangeRow.select() if row.done_at is None]


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("change", {}),
        ("change", {"quantity": 0}),
        ("change", {"quantity": True}),
        ("change", {"quantity": 1_000_000}),
        ("change", {"plan": 7}),
        ("change", {"plan": "team", "when": "tomorrow"}),
        ("change", {"plan": "team", "charge": "never"}),
        ("change", {"plan": "team", "prorated_at": 1.5}),
        ("preview", {}),
        ("cancel", {"when": "at once"}),
        ("cancel", {"feedback": "dull"}),
        ("cancel", {"comment": "x" * 501}),
        ("cancel", {"comment": "a\0b"}),
        ("extend_trial", {"until": 5}),
        ("extend_trial", {"until": 2.5e9}),
    ],
)
def test_an_argument_that_does_not_fit_is_a_value_error_without_a_call(app, shop, simulator, call, arguments):
    subscribed(app, shop)
    before = len(simulator.requests)

    with pytest.raises(ValueError, match=r"name a plan|is one of|is a text|is a whole number|is a time|is that of"):
        getattr(app.billing, call)("ann", **arguments)

    assert len(simulator.requests) == before
    assert rows() == []


def test_nobody_changes_anothers_subscription(app, shop, simulator):
    subscribed(app, shop)
    bobs = shop.customer("bob")
    theirs = shop.subscribe(bobs, user="bob")
    app.converge(bobs)
    before = len(simulator.requests)

    for call in (app.billing.cancel, app.billing.resume):
        with pytest.raises(UnknownSubscription):
            call("ann", subscription=theirs)
        with pytest.raises(UnknownSubscription):
            call("carl")

    assert len(simulator.requests) == before


def test_what_is_owed_comes_before_another_plan(app, shop, simulator):
    id_ = subscribed(app, shop)
    shop.use_card(at_stripe(simulator, id_)["customer"], "pm_card_chargeCustomerFail")
    simulator.advance_to("renewal")
    app.billing.sync("ann")

    with pytest.raises(CannotChange, match="what is owed comes first"):
        app.billing.change("ann", "team", 2)
    assert app.billing.cancel("ann", when="now").reason == "ended"


def test_a_price_that_is_not_sold_in_the_users_currency_is_refused(app, shop, simulator):
    simulator.add_price("euro_monthly", 900, currency="eur")
    plans = (replace(PRO, prices=("pro_monthly", "euro_monthly")), TEAM, STORAGE)
    app.billing.close()
    with running(replace(app.billing.config, plans=plans)) as other:
        subscribed(other, shop, simulator.world.where("price", lookup_key="euro_monthly")[0]["id"])
        with pytest.raises(CurrencyRefused):
            other.billing.change("ann", "team", 2)
        assert writes(simulator) == []


# Cut, answered 500, killed, at once


@pytest.fixture
def without_retries(monkeypatch):
    """Each call of the gateway is one request, so that every failure reaches us."""
    monkeypatch.setattr("corkage.gateway.client.RETRIES", 0)


def in_a_while(app, hours=6):
    """Have the worker do what is owed, hour by hour."""
    worker = app.billing.service.worker
    for number in range(1, hours + 1):
        later = time.time() + number * 3600
        worker.owed.clock = lambda later=later: later
        for nonce in worker.owed.due(later):
            worker.owed.carry_on(nonce)


def test_a_change_that_was_cut_off_is_made_by_the_worker(without_retries, app, shop, simulator):
    subscribed(app, shop)
    with failing(simulator, [("cut_after", 2)]), pytest.raises(StripeUnavailable):
        app.billing.change("ann", "team", 5)  # the first request reads
    assert rows() == [("change", None)]
    assert app.billing.access("ann").plan == "pro"
    worker = app.billing.service.worker
    due_at = owed.next_due_at(time.time())
    assert worker.next_due_at(time.time()) <= due_at <= time.time() + 10

    worker.owed.clock = lambda: due_at + 1
    app.work(due_at + 1)

    assert app.billing.access("ann").plan == "team"
    assert rows() == [("change", "done")]
    assert len(simulator.world.all("invoiceitem")) == 2


def test_an_end_of_which_the_answer_was_cut_off_is_no_refusal(without_retries, app, shop, simulator):
    subscribed(app, shop)
    with failing(simulator, [("cut_after", 2)]), pytest.raises(StripeUnavailable):
        app.billing.cancel("ann", when="now")

    assert app.billing.cancel("ann", when="now").reason == "ended"

    assert rows() == [("cancel", "done")]


@pytest.mark.parametrize("hours", [22, 24])
def test_after_a_day_it_is_looked_up_first_what_became_of_a_change(
    without_retries, app, shop, simulator, monkeypatch, hours
):
    """Until then the same key is sent again, without a look; later Stripe has forgotten it."""
    id_ = subscribed(app, shop)
    with failing(simulator, [("cut_after", 2)]), pytest.raises(StripeUnavailable):
        app.billing.change("ann", "team", 5)
    shop.client.v1.subscriptions.update(id_, params={"metadata": {"of": "the host"}})
    before, later = len(simulator.requests), time.time() + hours * 3600
    worker = app.billing.service.worker
    worker.owed.clock = lambda: later

    assert worker.owed.carry_on(owed.due(later)[0]) is None

    first = simulator.requests[before]
    assert first.method == ("POST" if hours == 22 else "GET")
    assert rows() == [("change", "done" if hours == 22 else "already")]
    assert len(simulator.world.all("invoiceitem")) == 2


def test_two_processes_at_once_make_one_change(app, shop, simulator):
    subscribed(app, shop)

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: app.billing.change("ann", "team", 5), range(2)))

    assert {(each.plan, each.quantity) for each in found} == {("team", 5)}
    assert len(writes(simulator)) == 1
    assert len(simulator.world.all("invoiceitem")) == 2


def test_another_wish_waits_for_the_one_that_is_being_sent(app, shop, simulator):
    id_ = subscribed(app, shop)
    owed.begin("ann", id_, "change", {"of": "a process that hangs"}, time.time())
    before = len(simulator.requests)

    with pytest.raises(ChangeInProgress):
        app.billing.change("ann", "team", 5)

    assert len(simulator.requests) == before
    in_a_while_ago = time.time() - owed.CLAIM_SECONDS
    ChangeRow.update(claimed_until=in_a_while_ago).execute()
    assert app.billing.change("ann", "team", 5).plan == "team"
    assert sorted(rows()) == [("change", "done"), ("change", "superseded")]


def test_a_claim_lasts_longer_than_the_calls_of_a_change():
    assert owed.CLAIM_SECONDS > 6 * SLOWEST_CALL_SECONDS


CALLS = {
    "change": lambda billing, user: billing.change(user, "team", 5),
    "charge": lambda billing, user: billing.change(user, "team", 5, charge="now"),
    "later": lambda billing, user: billing.change(user, "team", 5, when="period_end"),
    "cancel": lambda billing, user: billing.cancel(user, feedback="unused"),
    "end": lambda billing, user: billing.cancel(user, when="now"),
}
FAILURES = ("cut", "cut_after", "cut_within", "error", "error_after", "rate_limit")


@contextmanager
def failing(simulator, failures):
    """Have requests fail: (how, the how manieth), counted from the one before."""
    send, left, count = Transport.request, list(failures), itertools.count(1)

    def request(self, *arguments, **options):
        nonlocal count
        if left and next(count) == left[0][1]:
            simulator.api_faults = ApiFaults(left.pop(0)[0], requests=1)
            count = itertools.count(1)
        return send(self, *arguments, **options)

    Transport.request = request
    try:
        yield
    finally:
        Transport.request = send
        simulator.api_faults = ApiFaults()


def made(simulator, id_):
    """What became of a subscription at Stripe: all that a second change would add to."""
    held, world = at_stripe(simulator, id_), simulator.world
    mine = {"customer": held["customer"]}
    schedules = world.where("subscription_schedule", **mine)
    return (
        held["status"],
        held["cancel_at_period_end"],
        held["cancellation_details"],
        [(each["price"]["id"], each["quantity"]) for each in held["items"]["data"]],
        [each["phases"][-1]["items"][0]["quantity"] for each in schedules if each["status"] == "active"],
        sorted(each["amount"] > 0 for each in world.where("invoiceitem", **mine)),
        len(world.where("invoice", **mine)),
    )


@pytest.mark.slow
@pytest.mark.one_engine("sqlite", "what Stripe does, and how its failures are read")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(CALLS)),
    failures=st.lists(st.tuples(st.sampled_from(FAILURES), st.integers(1, 6)), max_size=5),
    calls_again=st.booleans(),
)
def test_whatever_fails_and_however_often_it_is_called_one_change_is_made(
    without_retries, app, shop, simulator, name, failures, calls_again
):
    found = []
    for user, faults in ((f"u{uuid.uuid4()}", []), (f"u{uuid.uuid4()}", failures)):
        customer = shop.customer(user)
        id_ = shop.subscribe(customer, user=user)
        app.converge(customer)
        with failing(simulator, faults):
            for _ in range(len(failures) + 1 if calls_again else 1):
                with suppress(StripeError):
                    CALLS[name](app.billing, user)
        in_a_while(app)
        app.converge(customer)
        found.append(made(simulator, id_))
        assert [
            row.outcome for row in ChangeRow.select().where(ChangeRow.user == user, ChangeRow.done_at.is_null())
        ] == []

    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_a_process_that_is_killed_at_any_step_leaves_one_change(app, shop, simulator, name):
    """The worker of another process makes what was stored, when the claim of the dead one is over."""
    for step in itertools.count():
        user = f"user_{step}"
        customer = shop.customer(user)
        id_ = shop.subscribe(customer, user=user)
        app.converge(customer)
        is_killed = False
        try:
            with at_step(step, kill):
                CALLS[name](app.billing, user)
        except Killed:
            is_killed = True
        is_stored = ChangeRow.select().where(ChangeRow.user == user).exists()
        in_a_while(app)
        if step == 0:
            wanted_without = made(simulator, id_)
        if not is_killed:
            break
        found = made(simulator, id_)
        assert (found != wanted_without) == is_stored or step == 0
        if is_stored:
            CALLS[name](app.billing, user)
            assert made(simulator, id_) == found
    assert step > 5
    assert made(simulator, id_) == found


def test_only_a_paused_subscription_is_noted_as_to_be_resumed_when_a_card_is_given(app):
    User.insert(id="ann", created_at=1).on_conflict_ignore().execute()
    Customer.insert(id="cus_9", user="ann").execute()
    for id_, status in (("sub_paused", "paused"), ("sub_active", "active"), ("sub_other", "paused")):
        Subscription.create(id=id_, customer="cus_9", status=status, created=1)

    for asked in ("sub_paused", "sub_active", None):
        ask_to_resume(asked)

    noted = Subscription.select(Subscription.id).where(Subscription.resume_asked_at.is_null(False))
    assert [each.id for each in noted] == ["sub_paused"]
