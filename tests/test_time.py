"""What time alone changes: grace that ends, trials that end soon, periods of which nothing was heard."""

import itertools
import json
import time
from dataclasses import replace

import pytest
from harness import DAY, running
from rows import read_view, renew_timelines

from corkage import access, storage
from corkage.models import Customer, NoticeRow, Subscription, User
from corkage.notices import changes
from corkage.notices.notice import AccessSummary
from corkage.replica import stale
from corkage.simulator import ApiFaults, Simulator


@pytest.fixture
def simulator():
    """A Stripe with a frozen clock that only the test moves."""
    with Simulator(now=int(time.time())) as started:
        yield started


@pytest.fixture
def app(config):
    with running(config) as served:
        yield served


@pytest.fixture
def subscription(app, shop, simulator):
    subscription = shop.subscribe(shop.customer())
    hear(app, shop, simulator)
    return subscription


def hear(app, shop, simulator, kind="customer.subscription.created"):
    """Deliver the newest event of a kind, and work, at Stripe's present time."""
    app.deliver(shop.event(kind))
    app.work(max(time.time(), simulator.world.now))


def customer_of(user):
    return Customer.get(Customer.user == user).id


def end_of(subscription):
    return Subscription.get_by_id(subscription).current_period_end


def asked_at():
    """When Stripe is asked, by our clock; Stripe's stands still here, and falls behind by what the test takes."""
    return Subscription.get().ask_at


def kinds():
    return [notice.kind for notice in NoticeRow.select().order_by(NoticeRow.id)]


def fail_the_renewal(app, shop, simulator):
    """Let the renewal be declined, as the app hears from Stripe. Stripe's time is ours again, by one move of its."""
    shop.use_card(shop.client.v1.customers.list().data[0].id, "pm_card_chargeCustomerFail")
    simulator.rules.retry_days = (30,)
    simulator.advance_to("renewal")
    hear(app, shop, simulator, "invoice.payment_failed")


def test_the_end_of_grace_is_notified_once_without_an_event(app, shop, simulator, subscription):
    fail_the_renewal(app, shop, simulator)
    held = Subscription.get()
    end = held.unpaid_since + 7 * DAY - held.clock_ahead
    assert User.get().next_change_at == end
    assert kinds() == ["access_granted", "payment_failed"]
    calls = shop.calls()

    app.work(end - 1)
    assert kinds() == ["access_granted", "payment_failed"]
    app.work(end)
    app.work(end + 1)

    assert kinds() == ["access_granted", "payment_failed", "access_revoked"]
    assert User.get().next_change_at is None
    assert shop.calls() == calls


def test_trial_ending_is_notified_once_three_days_before(app, shop, simulator):
    shop.subscribe(shop.customer(), trial_period_days=10)
    hear(app, shop, simulator)
    held = Subscription.get()
    warning = held.trial_end - 3 * DAY - held.clock_ahead

    app.work(warning - 1)
    assert kinds() == ["access_granted"]
    app.work(warning)
    app.work(warning + 1)

    assert kinds() == ["access_granted", "trial_ending"]


def test_the_worker_knows_when_time_alone_changes_access(app, shop, simulator):
    shop.subscribe(shop.customer(), trial_period_days=10)
    hear(app, shop, simulator)
    Subscription.update(ask_at=None).execute()
    warning = User.get().next_change_at

    work = app.billing.service.worker.work_once(warning - 30)

    assert work.next_due_at == warning


def test_a_stale_period_is_fetched_within_two_minutes(app, shop, simulator, subscription):
    end = end_of(subscription)
    simulator.advance(end - simulator.world.now + 2 * 3600)
    calls = shop.calls()

    assert asked_at() - end in range(stale.FIRST_PAUSE_SECONDS, 2 * stale.FIRST_PAUSE_SECONDS)

    app.work(asked_at() - 1)
    assert shop.calls() == calls
    app.work(asked_at())

    assert shop.calls() == calls + 1
    assert end_of(subscription) > end


def test_until_stripe_answers_access_is_unchanged_and_stale(app, simulator, subscription, monkeypatch):
    later = asked_at()
    monkeypatch.setattr(simulator.world, "get", None)

    app.work(later)

    answer = access.access_at("ann", later)
    assert (answer.allowed, answer.reason, answer.stale) == (True, "active", True)
    assert access.access_at("ann", end_of(subscription) - 1).stale is False


def test_a_stale_fetch_is_retried_in_a_minute_when_stripe_was_down(app, shop, simulator, subscription, monkeypatch):
    end, later = end_of(subscription), asked_at()
    monkeypatch.setattr(simulator.world, "get", None)
    app.work(later)
    monkeypatch.undo()
    simulator.advance(end - simulator.world.now + 2 * 3600)

    app.work(later + stale.FIRST_PAUSE_SECONDS - 1)
    assert end_of(subscription) == end
    app.work(later + stale.FIRST_PAUSE_SECONDS)

    assert end_of(subscription) > end


def test_backoff_of_an_unchanged_stale_row_grows_to_a_day(app, subscription):
    state = app.billing.service.worker.gateway.subscription(subscription)
    asked = [float(state.current_period_end)]
    while asked[-1] < state.current_period_end + 10 * DAY:
        asked.append(stale.ask_at(state, 0, asked[-1]))

    pauses = [after - before for before, after in itertools.pairwise(asked)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (stale.FIRST_PAUSE_SECONDS, DAY)
    assert len(pauses) < 24


def test_a_stopping_worker_fetches_no_stale_row(app, shop, subscription):
    later, calls = asked_at(), shop.calls()

    app.billing.service.worker.work_once(later, lambda: True)

    assert shop.calls() == calls
    assert stale.customers(later, 50)


def test_several_workers_fetch_a_stale_row_once(app, subscription):
    later = asked_at()

    (customer,) = stale.customers(later, 50)
    assert stale.claim(customer, later)
    assert not stale.claim(customer, later)
    assert stale.customers(later, 50) == []


def test_a_stale_customer_with_a_due_event_is_fetched_once(app, shop, simulator, subscription):
    shop.subscribe(shop.customer("bob"), user="bob")
    hear(app, shop, simulator)
    simulator.advance_to("renewal")
    calls, later = shop.calls(), max(row.ask_at for row in Subscription.select())
    for event in shop.client.v1.events.list(params={"type": "customer.subscription.updated"}).data[:2]:
        app.deliver(event)
    simulator.api_faults = ApiFaults(latency_seconds=0.2, path="/v1/subscriptions")  # both are still being fetched

    app.work(later)

    assert shop.calls() == calls + 2
    assert stale.customers(later, 50) == []


@pytest.mark.parametrize("ends", ["trial", "cancel_at"])
def test_an_ended_trial_or_due_cancellation_is_fetched_too(app, shop, simulator, ends):
    at = simulator.world.now + 5 * DAY
    shop.subscribe(shop.customer(), **({"trial_end": at} if ends == "trial" else {"cancel_at": at}))
    hear(app, shop, simulator)
    assert asked_at() - at in range(stale.FIRST_PAUSE_SECONDS, 2 * stale.FIRST_PAUSE_SECONDS)
    simulator.advance(5 * DAY + 2 * 3600)

    app.work(asked_at())

    assert Subscription.get().status == ("active" if ends == "trial" else "canceled")


def test_an_ended_or_unowned_subscription_never_counts_as_stale(app, shop, simulator, subscription):
    shop.client.v1.subscriptions.cancel(subscription)
    hear(app, shop, simulator, "customer.subscription.deleted")
    shop.subscribe(shop.customer(user=None), user=None)
    hear(app, shop, simulator)
    calls = shop.calls()

    app.work(simulator.world.now + 400 * DAY)

    assert Subscription.select().where(Subscription.ask_at.is_null(False)).count() == 0
    assert shop.calls() == calls


def test_access_at_a_time_agrees_with_the_view(app, subscription):
    assert access.access_at("ann", time.time()) == read_view("ann")
    assert access.access_at("nobody", time.time()) == read_view("nobody")


class TestNotices:
    """Once per transition, in order, with what was and what is."""

    def test_a_subscription_sends_a_notice_at_each_step(self, app, shop, simulator, subscription):
        v1 = shop.client.v1
        steps = [
            ({"cancel_at_period_end": True}, "cancellation_scheduled"),
            ({"cancel_at_period_end": False}, "cancellation_undone"),
            (
                {"items": [{"id": v1.subscriptions.retrieve(subscription)["items"].data[0].id, "quantity": 3}]},
                "plan_changed",
            ),
        ]
        for params, _ in steps:
            v1.subscriptions.update(subscription, params=params)
            hear(app, shop, simulator, "customer.subscription.updated")
        v1.subscriptions.cancel(subscription)
        hear(app, shop, simulator, "customer.subscription.deleted")

        assert kinds() == ["access_granted", *(kind for _, kind in steps), "access_revoked"]

    def test_each_notice_begins_with_the_access_of_the_one_before(self, app, shop, simulator, subscription):
        shop.client.v1.subscriptions.cancel(subscription)
        hear(app, shop, simulator, "customer.subscription.deleted")

        granted, revoked = NoticeRow.select().order_by(NoticeRow.id)
        assert json.loads(granted.before)["allowed"] is False
        assert granted.after == revoked.before
        noticed = changes._before(changes.Seen(User.get().notified, {}), AccessSummary(), time.time())
        assert noticed == AccessSummary(**json.loads(revoked.after) | {"plans": (), "price_id": None})
        assert granted.message_id != revoked.message_id

    def test_a_failed_payment_and_its_recovery_are_notified(self, app, shop, simulator, subscription):
        fail_the_renewal(app, shop, simulator)
        hear(app, shop, simulator, "invoice.payment_failed")
        customer = shop.client.v1.customers.list().data[0].id
        shop.use_card(customer, "pm_card_visa")
        shop.client.v1.invoices.pay(shop.client.v1.subscriptions.retrieve(subscription).latest_invoice)
        hear(app, shop, simulator, "invoice.paid")

        assert kinds() == ["access_granted", "payment_failed", "payment_recovered"]

    def test_an_event_that_changes_nothing_makes_no_notice(self, app, shop, simulator, subscription):
        shop.client.v1.subscriptions.update(subscription, params={"metadata": {"colour": "blue"}})
        hear(app, shop, simulator, "customer.subscription.updated")

        assert kinds() == ["access_granted"]


def test_a_live_subscription_without_an_end_is_never_fetched_as_stale(app, subscription):
    state = app.billing.service.worker.gateway.subscription(subscription)

    assert stale.ask_at(replace(state, current_period_end=None), 0, time.time()) is None
    assert stale.ask_at(state, 0, time.time()) is not None


def test_the_worker_wakes_for_the_first_stale_row(app, shop, simulator, subscription):
    assert stale.next_ask_at() == asked_at()
    for user in ("bob", "eve"):
        shop.subscribe(shop.customer(user), user=user)
        hear(app, shop, simulator)
    for user, ask_at in (("bob", 5.0), ("eve", None)):
        Subscription.update(ask_at=ask_at).where(Subscription.customer == customer_of(user)).execute()

    assert stale.next_ask_at() == 5.0
    assert stale.customers(5.0, 50) == [customer_of("bob")]
    Subscription.update(ask_at=None).execute()
    assert stale.next_ask_at() is None


def test_a_live_subscription_without_an_end_is_not_stale_in_the_view(app, subscription):
    Subscription.update(current_period_end=None).execute()
    renew_timelines(app)

    (stale,) = storage.current().of_thread().execute("SELECT stale FROM corkage_access").fetchone()

    assert stale == 0
    assert (app.billing.access("ann").allowed, app.billing.access("ann").until) == (True, None)


@pytest.mark.parametrize(
    ("status", "column"),
    [("active", "current_period_end"), ("active", "cancel_at"), ("trialing", "trial_end"), ("past_due", "cancel_at")],
)
def test_a_subscription_is_stale_from_the_second_of_its_end(app, subscription, status, column):
    far = {"current_period_end": 2_000_000_000, "cancel_at": None, "trial_end": None}
    Subscription.update(far | {"status": status, "clock_ahead": 0, column: 1_900_000_000}).execute()
    renew_timelines(app)

    assert access.access_at("ann", 1_900_000_000).stale is True
    assert access.access_at("ann", 1_899_999_999).stale is False


def test_a_scheduled_end_is_until_rather_than_period_or_trial(app, subscription):
    ends = {"cancel_at": 1_900_000_000, "current_period_end": 2_000_000_000, "trial_end": 2_100_000_000}
    for status in ("active", "trialing"):
        Subscription.update(ends | {"status": status}).execute()
        renew_timelines(app)
        assert (app.billing.access("ann").reason, app.billing.access("ann").until) == ("canceling", 1_900_000_000)


def test_the_view_has_a_row_for_every_user_even_without_a_price(app, subscription):
    User.create(id="bob", created_at=1)
    app.work()

    rows = storage.current().of_thread().execute("SELECT user_id, allowed, reason, features, stale FROM corkage_access")

    assert rows.fetchall()[1:] == [("bob", 0, "no_subscription", "[]", 0)]
