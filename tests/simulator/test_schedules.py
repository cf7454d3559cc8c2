"""Changes at a period's end, by schedules made from a subscription or with their own phases; pauses of collection."""

import pytest
import stripe
from harness import DAY

pytestmark = [pytest.mark.slow, pytest.mark.seeded]

BEGIN = 1_767_225_600  # 2026-01-01
HOUR = 3600


@pytest.fixture
def v1(client):
    return client.v1


def from_subscription(v1, subscription):
    return v1.subscription_schedules.create(params={"from_subscription": subscription})


def phases_of(schedule):
    return [
        {
            "items": [{"price": item.price, "quantity": item.quantity} for item in phase["items"]],
            "start_date": phase.start_date,
            "end_date": phase.end_date,
        }
        for phase in schedule.phases
    ]


def months(price, count=1, quantity=1, **params):
    duration = {"interval": "month", "interval_count": count}
    return {"items": [{"price": price, "quantity": quantity}], "duration": duration} | params


def totals(v1):
    return [each.total for each in v1.invoices.list(params={"limit": 100}).data][::-1]


def price(v1, amount, interval="month"):
    wanted = {"currency": "usd", "unit_amount": amount, "product_data": {"name": "Other"}}
    return v1.prices.create(params=wanted | {"recurring": {"interval": interval}}).id


def refused(call, *arguments, **params):
    with pytest.raises(stripe.InvalidRequestError) as caught:
        call(*arguments, params=params)
    return caught.value


def test_a_downgrade_at_the_periods_end(simulator, shop, v1):
    subscription = shop.subscribe(shop.customer())
    simulator.advance(10 * DAY)
    schedule = from_subscription(v1, subscription)
    made = v1.subscriptions.retrieve(subscription)
    assert (made.schedule, schedule.status, schedule.end_behavior) == (schedule.id, "active", "release")
    assert (schedule.current_phase.start_date, schedule.current_phase.end_date) == (BEGIN, BEGIN + 31 * DAY)

    v1.subscription_schedules.update(
        schedule.id, params={"phases": [*phases_of(schedule), months(shop.other_price, 1)]}
    )
    simulator.advance(21 * DAY - 1)
    assert v1.subscriptions.retrieve(subscription)["items"].data[0].price.id == shop.price
    simulator.advance(1 + HOUR)

    changed = v1.subscriptions.retrieve(subscription)
    assert [each.price.id for each in changed["items"].data] == [shop.other_price]
    assert totals(v1) == [900, 500]
    assert v1.invoice_items.list().data == []
    simulator.advance(28 * DAY)
    assert v1.subscription_schedules.retrieve(schedule.id).status == "completed"
    assert v1.subscriptions.retrieve(subscription).schedule is None
    assert (v1.subscriptions.retrieve(subscription).status, totals(v1)) == ("active", [900, 500, 500])


def test_a_price_rise_by_schedule(simulator, shop, v1):
    risen = price(v1, 1100)
    wanted = {"customer": shop.customer(), "start_date": "now", "phases": [months(shop.price, 2), months(risen, 2)]}
    schedule = v1.subscription_schedules.create(params=wanted)

    simulator.advance(91 * DAY)

    assert totals(v1) == [900, 900, 1100, 1100]
    assert v1.invoice_items.list().data == []
    assert v1.subscription_schedules.retrieve(schedule.id).current_phase.start_date == BEGIN + 59 * DAY
    kinds = [each.type for each in v1.events.list(params={"types": ["subscription_schedule.*"]}).data]
    assert kinds.count("subscription_schedule.updated") == 2


def test_a_month_becomes_a_year_at_the_periods_end(simulator, shop, v1):
    subscription = shop.subscribe(shop.customer())
    schedule = from_subscription(v1, subscription)
    yearly = {"items": [{"price": price(v1, 9000, "year")}], "duration": {"interval": "year", "interval_count": 1}}
    v1.subscription_schedules.update(schedule.id, params={"phases": [*phases_of(schedule), yearly]})

    simulator.advance(31 * DAY + HOUR)

    item = v1.subscriptions.retrieve(subscription)["items"].data[0]
    assert (item.current_period_start, item.current_period_end) == (BEGIN + 31 * DAY, BEGIN + 396 * DAY)
    assert totals(v1) == [900, 9000]


@pytest.mark.parametrize(("behaviour", "items"), [("create_prorations", 2), ("none", 0)])
def test_the_current_phase_can_be_changed_at_once(simulator, shop, v1, behaviour, items):
    subscription = shop.subscribe(shop.customer())
    schedule = from_subscription(v1, subscription)
    simulator.advance(DAY)
    (current,) = phases_of(schedule)
    current["items"][0]["quantity"] = 3

    v1.subscription_schedules.update(schedule.id, params={"phases": [current], "proration_behavior": behaviour})

    assert v1.subscriptions.retrieve(subscription)["items"].data[0].quantity == 3
    assert len(v1.invoice_items.list().data) == items


def test_a_phase_that_ends_now_begins_the_next(simulator, shop, v1):
    subscription = shop.subscribe(shop.customer())
    schedule = from_subscription(v1, subscription)
    simulator.advance(DAY)
    (current,) = phases_of(schedule)

    phases = [current | {"end_date": "now"}, months(shop.other_price)]
    v1.subscription_schedules.update(schedule.id, params={"phases": phases})

    assert v1.subscriptions.retrieve(subscription)["items"].data[0].price.id == shop.other_price
    assert v1.subscription_schedules.retrieve(schedule.id).current_phase.start_date == BEGIN + DAY


def test_what_a_schedule_replaces_does_not_happen(simulator, shop, v1):
    subscription = shop.subscribe(shop.customer())
    schedule = from_subscription(v1, subscription)
    first = phases_of(schedule)
    v1.subscription_schedules.update(schedule.id, params={"phases": [*first, months(shop.other_price)]})
    v1.subscription_schedules.update(
        schedule.id, params={"phases": [*first, months(price(v1, 700), 3)], "end_behavior": "cancel"}
    )
    assert v1.subscriptions.retrieve(subscription).cancel_at == BEGIN + 120 * DAY

    simulator.advance(119 * DAY)
    assert totals(v1) == [900, 700, 700, 700]
    simulator.advance(DAY)

    assert v1.subscriptions.retrieve(subscription).status == "canceled"
    assert v1.subscription_schedules.retrieve(schedule.id).status in ("canceled", "completed")


def test_a_schedule_is_refused_for_what_it_cannot_be_made_from(shop, v1):
    subscription = shop.subscribe(shop.customer())
    schedule = from_subscription(v1, subscription)
    ended = shop.subscribe(shop.customer("bob"))
    v1.subscriptions.cancel(ended)

    create, update = v1.subscription_schedules.create, v1.subscription_schedules.update
    assert refused(create, from_subscription=subscription).param == "from_subscription"
    assert refused(create, from_subscription=ended).param == "from_subscription"
    assert refused(create, from_subscription=subscription, phases=[months(shop.price)]).param == "phases"
    assert refused(create).param == "customer"
    late = [months(shop.price, start_date=BEGIN + DAY)]
    assert refused(update, schedule.id, phases=late).param == "phases[0][start_date]"
    gap = [*phases_of(schedule), months(shop.price, start_date=BEGIN + 40 * DAY)]
    assert refused(update, schedule.id, phases=gap).param == "phases[1][start_date]"
    assert v1.subscription_schedules.retrieve(schedule.id).phases == schedule.phases


@pytest.mark.parametrize(
    ("behavior", "status"), [("void", "void"), ("mark_uncollectible", "uncollectible"), ("keep_as_draft", "draft")]
)
def test_paused_collection_and_unpaused(simulator, shop, v1, behavior, status):
    subscription = shop.subscribe(shop.customer())
    v1.subscriptions.update(subscription, params={"pause_collection": {"behavior": behavior}})

    simulator.advance(31 * DAY + HOUR)
    paused = v1.subscriptions.retrieve(subscription)
    invoice = v1.invoices.list().data[0]
    assert (paused.status, paused.pause_collection.behavior, invoice.status) == ("active", behavior, status)
    assert paused["items"].data[0].current_period_start == BEGIN + 31 * DAY

    v1.subscriptions.update(subscription, params={"pause_collection": ""})
    simulator.advance(28 * DAY + HOUR)

    assert v1.subscriptions.retrieve(subscription).pause_collection is None
    newest, kept, _first = v1.invoices.list().data
    assert (newest.status, newest.amount_paid, kept.id, kept.status) == ("paid", 900, invoice.id, status)
    assert kept.auto_advance is False
    if behavior == "keep_as_draft":
        v1.invoices.finalize_invoice(kept.id)
        assert v1.invoices.pay(kept.id).status == "paid"


def test_paused_collection_resumes_by_itself(simulator, shop, v1):
    subscription = shop.subscribe(shop.customer())
    pause = {"behavior": "void", "resumes_at": BEGIN + 40 * DAY}
    v1.subscriptions.update(subscription, params={"pause_collection": pause})

    simulator.advance(60 * DAY)

    assert v1.subscriptions.retrieve(subscription).pause_collection is None
    assert [each.status for each in v1.invoices.list().data] == ["paid", "void", "paid"]


def test_what_was_on_a_deleted_test_clock_is_unknown(simulator, shop, v1):
    clock = v1.test_helpers.test_clocks.create(params={"frozen_time": BEGIN})
    customer = shop.customer(test_clock=clock.id)
    subscription = shop.subscribe(customer)
    item = v1.subscriptions.retrieve(subscription)["items"].data[0].id
    schedule = from_subscription(v1, subscription).id
    pending = v1.invoice_items.create(params={"customer": customer, "amount": 1, "currency": "usd"}).id
    invoice = v1.invoices.list(params={"customer": customer}).data[0].id
    other = shop.customer("bob")

    v1.test_helpers.test_clocks.delete(clock.id)

    for retrieve, gone in (
        (v1.customers.retrieve, customer),
        (v1.subscriptions.retrieve, subscription),
        (v1.subscription_items.retrieve, item),
        (v1.subscription_schedules.retrieve, schedule),
        (v1.invoice_items.retrieve, pending),
        (v1.invoices.retrieve, invoice),
    ):
        assert refused(retrieve, gone).code == "resource_missing"
    error = refused(v1.checkout.sessions.create, mode="subscription", customer=customer, success_url="https://x",
                    line_items=[{"price": shop.price, "quantity": 1}])  # fmt: skip
    assert (error.code, error.param) == ("resource_missing", "customer")
    assert v1.customers.retrieve(other).id == other
    simulator.advance(62 * DAY)
    assert v1.events.list().data[0].type == "test_helpers.test_clock.ready"


def test_what_a_phase_leaves_out_is_taken_from_the_subscription(simulator, shop, v1):
    coupon = v1.coupons.create(params={"percent_off": 50, "duration": "forever"}).id
    discounted = shop.subscribe(shop.customer(), discounts=[{"coupon": coupon}])
    trialing = shop.subscribe(shop.customer("bob"), user="bob", trial_period_days=10)
    for subscription in (discounted, trialing):
        schedule = from_subscription(v1, subscription)
        first = schedule.phases[0]
        assert bool(first.discounts) is (subscription == discounted)
        assert (first.trial_end is not None) is (subscription == trialing)
        v1.subscription_schedules.update(schedule.id, params={"phases": [*phases_of(schedule), months(shop.price)]})

    assert v1.subscriptions.retrieve(discounted).discounts == []
    assert v1.subscriptions.retrieve(trialing).status == "active"


def test_what_a_phase_repeats_stays(simulator, shop, v1):
    coupon = v1.coupons.create(params={"percent_off": 50, "duration": "forever"}).id
    subscription = shop.subscribe(shop.customer(), discounts=[{"coupon": coupon}], trial_period_days=10)
    schedule = from_subscription(v1, subscription)
    (phase,) = phases_of(schedule)
    kept = {"discounts": [{"discount": schedule.phases[0].discounts[0].discount}]}
    phases = [phase | kept | {"trial_end": schedule.phases[0].trial_end}, months(shop.price) | kept]
    v1.subscription_schedules.update(schedule.id, params={"phases": phases})

    held = v1.subscriptions.retrieve(subscription)
    assert (held.status, len(held.discounts)) == ("trialing", 1)
    simulator.advance(11 * DAY)
    assert [total for total in totals(v1) if total] == [450]


def test_a_schedule_decides_when_its_subscription_ends_or_is_paused(shop, v1):
    subscription = shop.subscribe(shop.customer())
    schedule = from_subscription(v1, subscription)
    for params in (
        {"cancel_at_period_end": True},
        {"cancel_at": BEGIN + 40 * DAY},
        {"pause_collection": {"behavior": "void"}},
    ):
        error = refused(v1.subscriptions.update, subscription, **params)
        assert f"managed by the subscription schedule `{schedule.id}`" in str(error)
    v1.subscription_schedules.release(schedule.id)

    assert v1.subscriptions.update(subscription, params={"cancel_at_period_end": True}).cancel_at
