"""Stripe's test clocks are honoured: what is answered follows a moved clock at once, without any of ours moving."""

import time
from dataclasses import replace

import pytest
from harness import DAY, WEBHOOK_SECRET, running

from corkage.models import Customer, Subscription, User
from corkage.replica import stale
from corkage.sync import inbox, lookups

pytestmark = pytest.mark.slow


@pytest.fixture
def app(config, simulator):
    with running(replace(config, settle_seconds=0)) as served:
        simulator.add_webhook_endpoint(f"{served.url}/webhook", secret=WEBHOOK_SECRET)
        yield served


def work(app, simulator):
    simulator.settle()
    app.work()
    return app.billing.access("ann")


def test_a_year_passes_on_a_test_clock_and_grace_ends_by_it(app, simulator, shop):
    customer = shop.customer()
    shop.subscribe(customer)
    simulator.rules.retry_days = (3, 5, 7, 21)
    simulator.advance(335 * DAY)
    assert work(app, simulator)[1:3] == (True, "active")

    shop.use_card(customer, "pm_card_chargeCustomerFail")
    simulator.advance_to("renewal")
    failed = work(app, simulator)
    assert failed[1:3] == (True, "grace")
    assert failed.until - simulator.world.now in range(7 * DAY - 4000, 7 * DAY)

    simulator.advance(6 * DAY)
    assert work(app, simulator).reason == "grace"
    simulator.advance(DAY)
    assert work(app, simulator)[1:3] == (False, "past_due")


def clock_of(clock_id):
    return inbox.Subject(object_id=clock_id, is_clock=True)


def test_the_ready_event_alone_moves_the_test_clock(app, simulator, shop):
    customer = shop.customer()
    shop.subscribe(customer)
    work(app, simulator)
    calls = shop.calls()

    simulator.advance(3 * DAY)
    answer = work(app, simulator)

    assert shop.calls() == calls
    assert answer.reason == "active"
    assert abs(Subscription.get().clock_ahead - 3 * DAY) <= 60


def test_a_test_clock_moves_time_only_for_its_customers(app, simulator, shop):
    v1 = shop.client.v1
    begin = int(time.time()) - 400 * DAY
    clock = v1.test_helpers.test_clocks.create(params={"frozen_time": begin}).id
    shop.subscribe(shop.customer("bob", test_clock=clock), user="bob")
    shop.subscribe(shop.customer())
    work(app, simulator)
    ahead = {row.customer.user_id: row.clock_ahead for row in Subscription.select()}
    assert abs(ahead["bob"] + 400 * DAY) <= 60
    assert abs(ahead["ann"]) <= 60
    assert app.billing.access("bob").stale is False

    v1.test_helpers.test_clocks.advance(clock, params={"frozen_time": begin + 33 * DAY})
    work(app, simulator)

    ahead = {row.customer.user_id: row.clock_ahead for row in Subscription.select()}
    assert abs(ahead["bob"] + 367 * DAY) <= 60
    assert abs(ahead["ann"]) <= 60
    assert app.billing.access("bob")[1:3] == (True, "active")


def test_a_test_clock_that_moves_during_a_fetch_wins(app, simulator, shop, monkeypatch):
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    work(app, simulator)
    gateway, timelines = app.billing.service.worker.gateway, app.billing.service.worker.timelines
    fetch, moved = gateway.subscriptions_of, []

    def moved_meanwhile(customer_id, *known, **options):
        found = fetch(customer_id, *known, **options)
        if not moved:
            moved.append(Subscription.get_by_id(subscription).test_clock)
            simulator.advance(2 * DAY)
            lookups.advance_clock(gateway, timelines, clock_of(moved[0]), time.time())
        return found

    monkeypatch.setattr(gateway, "subscriptions_of", moved_meanwhile)
    app.converge(customer)

    assert abs(Subscription.get().clock_ahead - 2 * DAY) <= 60


def test_a_deleted_test_clock_is_no_error(app, simulator, shop):
    v1 = shop.client.v1
    clock = v1.test_helpers.test_clocks.create(params={"frozen_time": 1_900_000_000}).id
    v1.test_helpers.test_clocks.advance(clock, params={"frozen_time": 1_900_086_400})
    simulator.settle()
    v1.test_helpers.test_clocks.delete(clock)

    assert app.billing.service.worker.work_once(time.time()).failed == 0


def test_the_next_change_is_given_in_our_own_time(app, simulator, shop):
    customer = shop.customer()
    shop.subscribe(customer)
    shop.use_card(customer, "pm_card_chargeCustomerFail")
    simulator.advance_to("renewal")
    work(app, simulator)
    user, held = User.get(), Subscription.get()
    assert user.next_change_at == held.unpaid_since + 7 * DAY - held.clock_ahead

    simulator.advance(DAY)
    work(app, simulator)

    moved, held = User.get(), Subscription.get()
    assert moved.next_change_at == held.unpaid_since + 7 * DAY - held.clock_ahead
    assert abs(user.next_change_at - moved.next_change_at - DAY) <= 60


def test_a_clock_moved_again_reschedules_the_fetch_in_our_own_time(app, simulator, shop):
    shop.subscribe(shop.customer())
    work(app, simulator)
    calls = shop.calls()

    for days in (3, 5):
        simulator.advance(days * DAY)
        work(app, simulator)
        held = Subscription.get()
        assert abs(held.ask_at + held.clock_ahead - held.current_period_end - stale.FIRST_PAUSE_SECONDS) <= 60

    assert abs(held.clock_ahead - 8 * DAY) <= 60
    assert shop.calls() == calls


def test_a_moved_clock_covers_unowned_customers_and_no_other_rows(app, simulator, shop):
    v1 = shop.client.v1
    clock = v1.test_helpers.test_clocks.create(params={"frozen_time": int(time.time())}).id
    stranger = shop.customer(None, test_clock=clock)
    shop.subscribe(stranger, user=None)
    ann = shop.customer()
    shop.subscribe(ann)
    work(app, simulator)
    before = {row.id: row.revision for row in Customer.select()}

    v1.test_helpers.test_clocks.advance(clock, params={"frozen_time": int(time.time()) + DAY})
    simulator.settle()
    worker = app.billing.service.worker
    lookups.advance_clock(worker.gateway, worker.timelines, clock_of(clock), time.time())

    ahead = {row.customer_id: row.clock_ahead for row in Subscription.select()}
    assert abs(ahead[stranger] - DAY) <= 60
    assert abs(ahead[ann]) <= 60
    assert {row.id: row.revision - before[row.id] for row in Customer.select()} == {stranger: 1, ann: 0}
    assert [user.id for user in User.select()] == ["ann"]
