"""A clock that ran ahead and was set right: whatever it stored to be done "not before" is done now."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import requests
from harness import DAY, running, until

from corkage.admin.session import new_session, session_of
from corkage.errors import StripeUnavailable
from corkage.identity import Identity
from corkage.models import CheckoutAttempt, Cursor, NoticeDelivery, StripeEvent, Subscription
from corkage.notices import outbox
from corkage.notices.delivery import Deliverer
from corkage.notices.notice import NotDelivered
from corkage.replica import stale
from corkage.sync import threads

pytestmark = pytest.mark.slow


@pytest.fixture
def polling(config):
    with running(replace(config, poll_seconds=300)) as served:
        yield served


@pytest.mark.parametrize("ahead", [DAY, 300 * DAY])
def test_polling_continues_after_a_restart(polling, config, shop, ahead):
    now = time.time()
    polling.work(now + ahead)
    polling.billing.close()
    shop.subscribe(shop.customer())

    with running(replace(config, poll_seconds=300)) as app:
        assert app.billing.service.worker.next_due_at(now) <= now
        app.work(now)

        assert app.billing.access("ann").allowed
        assert all(row.next_run_at <= now + DAY for row in Cursor.select())
        assert app.billing.service.worker.next_due_at(now) > now


def test_a_poll_waits_until_it_is_due(polling, shop):
    now = time.time()
    polling.work(now)
    shop.subscribe(shop.customer())
    polling.work(now + 299)
    assert not polling.billing.access("ann").allowed
    polling.work(now + 300)
    assert polling.billing.access("ann").allowed


@pytest.mark.parametrize("ahead", [2 * 3600, DAY])
def test_a_failed_event_is_retried(app, shop, ahead):
    now = time.time()
    shop.subscribe(shop.customer())
    app.deliver(shop.event("customer.subscription.created"))
    fetch = app.billing.service.worker.gateway.customer
    app.billing.service.worker.gateway.customer = lambda _: (_ for _ in ()).throw(StripeUnavailable("down"))
    app.work(now + ahead)
    assert StripeEvent.get().next_attempt_at > now + ahead
    app.billing.service.worker.gateway.customer = fetch

    assert app.billing.service.worker.next_due_at(now) <= now
    app.work(now)

    assert app.billing.access("ann").allowed


def test_an_event_in_its_longest_backoff_is_not_retried(app, shop):
    now = time.time()
    shop.subscribe(shop.customer())
    app.deliver(shop.event("customer.subscription.created"))
    StripeEvent.update(next_attempt_at=now + 3600 * 1.25).execute()
    app.work(now)
    assert not app.billing.access("ann").allowed


def test_a_stale_subscription_is_fetched_within_an_hour(app, shop):
    shop.subscribe(shop.customer())
    app.deliver(shop.event("customer.subscription.created"))
    now = time.time()
    app.work(now)
    right = Subscription.get().ask_at
    assert stale.shorten_waits(now) == 0

    Subscription.update(ask_at=right + 5 * DAY).execute()
    calls = shop.calls()
    app.work(now + 3601)
    app.work(now + 3602)

    assert shop.calls() == calls + 1
    assert abs(Subscription.get().ask_at - right) <= 3602


def test_a_backoff_of_a_stale_row_is_not_mistaken_for_a_wrong_clock(app, shop):
    shop.subscribe(shop.customer())
    app.deliver(shop.event("customer.subscription.created"))
    app.work()
    end = Subscription.get().current_period_end - Subscription.get().clock_ahead
    for over_for in (-10, 0, 1, 59, 61, 3600, DAY, 30 * DAY):
        now = end + over_for
        pause = max(60, min(over_for, DAY)) if over_for > 0 else 60
        Subscription.update(ask_at=max(now, end) + pause).execute()
        assert stale.shorten_waits(now) == 0, over_for
        Subscription.update(ask_at=max(now, end) + pause + 1).execute()
        assert stale.shorten_waits(now) == (over_for != -10 or 1), over_for


def test_a_click_ignores_a_claim_dated_tomorrow(app, shop):
    app.work()
    identity = Identity("ann")
    app.billing.checkout_url(identity, "pro", billing_url=app.url)
    claimed = {
        "session_id": None,
        "url": None,
        "claimed_until": time.time() + DAY,
        "created_at": int(time.time()) + DAY,
    }
    CheckoutAttempt.update(claimed).execute()

    began = time.monotonic()
    assert app.billing.checkout_url(identity, "pro", billing_url=app.url)
    assert CheckoutAttempt.get().claimed_until is None
    assert time.monotonic() - began < 60
    app.billing.forget("ann")
    assert CheckoutAttempt.select().count() == 0


def test_admin_sessions_and_sign_in_limits_survive_a_clock_set_back(config):
    config = replace(config, admin_token="t" * 16 + "okenoftheoperator")
    now = time.time()
    ahead, right = (new_session(config, moment) for moment in (now + DAY, now))
    for session, expected in ((ahead, None), (right, right)):
        environ = {"HTTP_COOKIE": f"__Host-corkage-admin={session}", "wsgi.url_scheme": "https"}
        assert session_of(config, environ, now) == expected

    with running(config) as app:
        form, own = {"do": "sign_in", "token": "wrong"}, {"Sec-Fetch-Site": "same-origin"}
        answers = [requests.post(f"{app.url}/admin", form, headers=own, timeout=30).status_code for _ in range(2)]
        assert answers == [401, 401]
        noted = [moment for times in app.billing.service.sign_in_limit._tried.values() for moment in times]
        assert noted
        assert max(noted) <= time.monotonic()


class Receiver:
    name, ready_at = "url", 0.0

    def __init__(self):
        self.got, self.is_down = [], True

    def notify(self, notice):
        if self.is_down:
            raise NotDelivered("down", is_down=True)
        self.got.append(notice.kind)
        return "taken"


def test_failed_notices_are_sent_and_a_receiver_that_was_down_is_retried(app, shop):
    outbox.register("url", time.time())
    shop.subscribe(shop.customer())
    app.deliver(shop.event("customer.subscription.created"))
    now = time.time()
    app.work(now)
    receiver, clock = Receiver(), SimpleNamespace(now=now + DAY)
    deliverer = Deliverer(receiver, lambda: clock.now)
    assert deliverer.deliver_due() == 0
    assert NoticeDelivery.get().next_attempt_at > now + DAY

    clock.now, receiver.is_down = now, False

    assert deliverer.deliver_due() == 1
    assert receiver.got == ["access_granted"]


def test_the_worker_sleeps_by_the_monotonic_clock(monkeypatch):
    wall, looks = SimpleNamespace(now=time.time() + DAY), []
    monkeypatch.setattr(threads, "time", SimpleNamespace(time=lambda: wall.now, monotonic=time.monotonic))

    class Worker:
        def begin_due(self, now, _is_stopping, _on_end):
            looks.append(now)

        def next_due_at(self, now):
            return now + 0.3

        def close(self, _longest_seconds):
            pass

    looking = threads.WorkerThread(Worker)
    looking.start()
    until(lambda: looks)
    wall.now -= DAY
    until(lambda: len(looks) > 2)
    looking.stop()

    assert looks[-1] < looks[0]
