"""Stripe is down for a while: it is asked with one call at a time, and all goes on with its first answer."""

import time
from itertools import pairwise
from types import SimpleNamespace

import pytest

from corkage import storage
from corkage.errors import StripeUnavailable
from corkage.gateway.client import SLOWEST_CALL_SECONDS
from corkage.gateway.outage import ASKING_SECONDS, DOWN_AFTER, LONGEST_PAUSE_SECONDS, Outage
from corkage.models import Customer, StripeEvent, User
from corkage.simulator import ApiFaults

USERS = [f"user{number:02}" for number in range(20)]
OUTAGE_SECONDS = 75
AFTERWARDS = OUTAGE_SECONDS + 1.25 * LONGEST_PAUSE_SECONDS + 1  # when Stripe is asked again at the latest

FAILURES = {"down": "stripe_unavailable: x", "failed": "stripe_failed: x", "no": "stripe_refused: x"}
READ_USAGE = "SELECT id, next_attempt_at FROM corkage_meter_event"
READ_CHANGES = "SELECT nonce, not_before FROM corkage_change"
ADD_USAGE = """
INSERT INTO corkage_meter_event
    (id, user_id, customer_id, name, event_name, amount, used_at, hour, period_end, created_at, attempts, error,
    next_attempt_at)
VALUES (?, 'user00', 'cus_1', 'api', 'api', 1, 1, 1, 1, 1, 9, ?, ?)
"""
ADD_CHANGE = """
INSERT INTO corkage_change
    (nonce, user_id, subscription_id, kind, wish, turn, attempts, created_at, error, not_before)
VALUES (?, 'user00', 'sub_1', 'cancel', '{}', 0, 9, 1, ?, ?)
"""


@pytest.fixture(autouse=True)
def _calls_are_not_retried(monkeypatch):
    monkeypatch.setattr("corkage.gateway.client.RETRIES", 0)


@pytest.fixture
def now():
    return time.time()


def down(simulator, path="/v1/"):
    simulator.api_faults = ApiFaults("error", path)


def up(simulator):
    simulator.api_faults = ApiFaults()


def buy(app, shop, *users):
    for user in users:
        subscription = shop.subscribe(shop.customer(user), user=user)
        event = next(
            each
            for each in shop.client.v1.events.list(params={"type": "customer.subscription.created"}).data
            if each.data.object["id"] == subscription
        )
        assert app.deliver(event).status_code == 200


def let_in(app, users):
    return [user for user in users if app.billing.access(user).allowed]


def play_outage(app, simulator, now):
    """Let the worker look each second while Stripe is down; return how often it asked."""
    down(simulator)
    before = len(simulator.requests)
    for second in range(OUTAGE_SECONDS):
        app.work(now + second)
    up(simulator)
    return len(simulator.requests) - before


@pytest.mark.parametrize("users", [USERS, USERS[:1]])
def test_what_failed_in_an_outage_is_applied_with_the_first_answer_after_it(app, shop, simulator, now, users):
    app.work(now)
    buy(app, shop, *users)

    asked = play_outage(app, simulator, now)
    assert let_in(app, users) == []
    app.work(now + AFTERWARDS)

    assert let_in(app, users) == users
    assert asked <= 8 + 2 + 10  # a place of the pool each, two more before the third failure, then one at a time


def test_in_an_outage_the_worker_rests_until_the_next_try(app, shop, simulator, now):
    buy(app, shop, *USERS)
    play_outage(app, simulator, now)
    down(simulator)

    next_due_at = app.billing.service.worker.work_once(now + OUTAGE_SECONDS).next_due_at

    assert now + OUTAGE_SECONDS < next_due_at <= now + AFTERWARDS
    assert app.billing.service.worker.work_once(next_due_at).failed == 1


def test_usage_and_changes_that_failed_in_an_outage_are_due_after_it(app, shop, simulator, now):
    buy(app, shop, *USERS[:1])
    play_outage(app, simulator, now)
    later = int(now) + 3600
    with storage.writing():
        User.insert(id=USERS[0], created_at=1).on_conflict_ignore().execute()
        for name, error in (
            ("down", "stripe_unavailable: x"),
            ("failed", "stripe_failed: x"),
            ("no", "stripe_refused"),
        ):
            storage.change(ADD_USAGE, (f"use_{name}", error, later))
            storage.change(ADD_CHANGE, (f"chg_{name}", error, later))

    app.work(now + AFTERWARDS)

    for query in (
        "SELECT id, next_attempt_at FROM corkage_meter_event",
        "SELECT nonce, not_before FROM corkage_change",
    ):
        moved = {name[4:]: at < later for name, at in storage.rows(query)}
        assert moved == {"down": True, "failed": True, "no": False}


def test_a_customer_that_always_fails_stops_no_other_and_is_not_retried_with_each_answer(app, shop, simulator, now):
    stuck = shop.customer("bob")
    with storage.writing():
        Customer.insert(id=stuck, missing_at=1).execute()  # so that it is fetched by itself, before its subscriptions
    shop.subscribe(stuck, user="bob")
    app.deliver(shop.event("customer.subscription.created"))
    down(simulator, f"/v1/customers/{stuck}")
    for number, user in enumerate(USERS[:5]):
        buy(app, shop, user)
        app.work(now + 1000 * (number + 1))

    assert let_in(app, USERS[:5]) == USERS[:5]
    assert StripeEvent.get(StripeEvent.customer_id == stuck).attempts == 5  # one for each of its own pauses
    buy(app, shop, USERS[5])
    app.work(now + 5001)
    assert let_in(app, USERS[5:6]) == USERS[5:6]
    assert StripeEvent.get(StripeEvent.customer_id == stuck).attempts == 5


def test_stripe_counts_as_down_after_three_failures_without_an_answer_in_between():
    outage = Outage()
    for _ in range(DOWN_AFTER - 1):
        outage.note_failure(100.0)
    assert not outage.is_down
    assert outage.admits(100.0)
    outage.note_answer()
    assert not outage.take_end()

    for _ in range(DOWN_AFTER):
        outage.note_failure(100.0)
    assert outage.is_down
    assert not outage.admits(100.5)


def test_one_call_is_made_after_each_pause_and_pauses_grow_and_end():
    outage = Outage()
    for _ in range(DOWN_AFTER):
        outage.note_failure(1000.0)
    tries = [second for second in range(1000, 4600) if outage.admits(second) and not outage.note_failure(second)]

    pauses = [after - before for before, after in pairwise(tries)]
    assert tries[0] <= 1005
    assert max(pauses[:2]) < 15
    assert max(pauses) <= 1.25 * LONGEST_PAUSE_SECONDS + 1
    assert min(pauses[10:]) >= 0.75 * LONGEST_PAUSE_SECONDS


def test_while_one_call_hangs_no_other_is_made_and_the_pause_begins_with_its_outcome():
    outage = Outage()
    for _ in range(DOWN_AFTER):
        outage.note_failure(1000.0)

    assert outage.admits(1010.0)
    assert not any(outage.admits(1010.0 + second) for second in range(44))
    outage.note_failure(1054.0)
    assert not outage.admits(1055.0)
    assert not outage.admits(1053.0)  # who looked at the clock before it failed
    assert outage.admits(1054.0 + 1.25 * LONGEST_PAUSE_SECONDS)


def test_a_call_whose_outcome_is_lost_holds_up_the_next_for_a_minute_only():
    outage = Outage()
    for _ in range(DOWN_AFTER):
        outage.note_failure(1000.0)

    assert outage.admits(1010.0)
    assert outage.admits(1010.0 + ASKING_SECONDS)
    assert ASKING_SECONDS > SLOWEST_CALL_SECONDS


def test_a_job_that_hung_failed_when_it_ended(app, now, monkeypatch):
    passed = iter([100.0, 139.0])
    monkeypatch.setattr("corkage.sync.worker.time", SimpleNamespace(monotonic=lambda: next(passed)))
    outage = app.billing.service.gateway.outage
    for _ in range(DOWN_AFTER):
        outage.note_failure(now)

    app.billing.service.worker._noting_outage(lambda: StripeUnavailable("it hung"), now)

    assert outage.next_try_at > now + 39


def test_an_answer_ends_the_outage_once():
    outage = Outage()
    for _ in range(DOWN_AFTER):
        outage.note_failure(1000.0)
    assert not outage.take_end()
    outage.note_answer()

    assert not outage.is_down
    assert outage.admits(1000.0)
    assert outage.take_end()
    assert not outage.take_end()


def test_a_clock_that_is_set_back_prolongs_no_pause():
    outage = Outage()
    for _ in range(DOWN_AFTER):
        outage.note_failure(1000.0)
    assert outage.admits(500.0)
