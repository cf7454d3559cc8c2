"""Delivery of notices: at least once, in order for each user, one user's or receiver's failures no other's matter."""

import asyncio
import logging
import random
import threading
import time
from collections import defaultdict
from dataclasses import replace

import pytest
import requests
from elsewhere import elsewhere
from harness import DAY, running, until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rows import pending_notices, write_notice

from corkage import Identity, Notice, storage
from corkage.models import NoticeDelivery, NoticeReceiver, NoticeRow
from corkage.notices import outbox
from corkage.notices.delivery import Deliverer, DeliveryThread
from corkage.notices.notice import NotDelivered


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr("corkage.notices.notice.QUIET_SECONDS", 0)
    monkeypatch.setattr("corkage.notices.delivery.LOOK_EVERY_SECONDS", 0.05)
    monkeypatch.setattr("corkage.notices.delivery.PATIENCE_SECONDS", 0.1)


class StubReceiver:
    """A receiver that keeps the notices it gets, unless it is to refuse them."""

    ready_at = 0.0

    def __init__(self, name="stub"):
        self.name = name
        self.got = []
        self.refuses = lambda _: None
        outbox.register(name, time.time())

    def notify(self, notice):
        self.got.append(notice)
        refusal = self.refuses(notice)
        if refusal:
            raise refusal
        return "taken"


class Clock:
    def __init__(self):
        self.now = time.time() + 5  # what a test writes is due by then

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def stub(app):
    return StubReceiver()


# What a host sees


def test_a_host_is_notified_of_a_purchase_and_its_end(app, shop):
    heard = []
    app.billing.on("access_granted", heard.append)

    @app.billing.on("access_revoked")
    def revoked(notice):
        heard.append(notice)

    subscription = shop.subscribe(shop.customer())
    app.deliver(shop.event("customer.subscription.created"))
    app.billing.work()
    shop.client.v1.subscriptions.cancel(subscription)
    app.deliver(shop.event("customer.subscription.deleted"))
    app.billing.work()
    app.billing.work()

    until(lambda: pending_notices() == 0)
    assert [(each.kind, each.user_id) for each in heard] == [("access_granted", "ann"), ("access_revoked", "ann")]
    granted, ended = heard
    assert isinstance(granted, Notice)
    assert granted.id.startswith("ntc_")
    assert (granted.before.allowed, granted.after.allowed, granted.after.plan) == (False, True, "pro")
    assert (granted.after, ended.after.reason) == (ended.before, "ended")
    assert revoked is not None


def test_an_unknown_kind_is_refused_at_once_with_the_known_ones(app):
    with pytest.raises(ValueError, match=r"no notice is called 'acces_granted'; there are payment_failed, .* and '\*'"):
        app.billing.on("acces_granted")(print)
    with pytest.raises(TypeError, match="int is not callable"):
        app.billing.on("access_granted", 5)
    assert NoticeReceiver.select().count() == 0


def test_unhandled_kinds_block_nobody_and_a_star_receives_all(app):
    heard, all_of_them = [], []
    app.billing.on("access_revoked", heard.append)
    write_notice(kind="access_granted")
    write_notice(kind="access_revoked")
    until(lambda: len(heard) == 1)
    app.billing.on("*", all_of_them.append)
    write_notice(kind="trial_ending")
    until(lambda: pending_notices() == 0)

    assert [each.kind for each in all_of_them] == ["trial_ending"]
    assert [each.kind for each in heard] == ["access_revoked"]
    assert sorted(row.outcome for row in NoticeDelivery.select()) == ["called", "called", "no callback"]


def test_a_callback_that_raises_is_logged_and_retried(app, stub, caplog, clock):
    stub.refuses = lambda _: ZeroDivisionError("of the host") if len(stub.got) == 1 else None
    message = write_notice()
    deliverer = Deliverer(stub, clock)

    deliverer.deliver_due()
    row = NoticeDelivery.get()
    assert (row.attempts, row.error, row.delivered_at) == (1, "ZeroDivisionError: of the host", None)
    assert "Traceback" in caplog.text
    clock.now = row.next_attempt_at
    deliverer.deliver_due()

    assert [each.id for each in stub.got] == [message, message]
    assert (NoticeDelivery.get().attempts, NoticeDelivery.get().error, pending_notices()) == (2, None, 0)


def test_callbacks_run_outside_transactions_and_may_read_and_write(app, shop):
    seen = []

    def hook(notice):
        seen.append((storage.current().is_writing(), app.billing.access(notice.user_id).reason))
        with elsewhere(app.billing.config.database) as other:
            other.execute("UPDATE corkage_setting SET value = value")

    app.billing.on("access_granted", hook)
    write_notice()
    until(lambda: pending_notices() == 0)

    assert seen == [(False, "no_subscription")]


def test_a_slow_callback_delays_no_webhook_no_access_no_other_user(config, shop):
    let_go, heard = threading.Event(), []

    def hook(notice):
        if notice.user_id == "slow":
            let_go.wait(30)
        heard.append((notice.user_id, notice.kind))

    with running(replace(config, worker="thread")) as app:
        app.billing.on("*", hook)
        write_notice("slow")
        write_notice("slow", "access_revoked")
        until(lambda: max(each.next_attempt_at for each in NoticeDelivery.select()) > time.time() + 1)
        shop.subscribe(shop.customer())
        began = time.monotonic()
        assert app.deliver(shop.event("customer.subscription.created")).status_code == 200
        assert time.monotonic() - began < 15  # the callback hangs for 30
        until(lambda: app.billing.access("ann").allowed)
        for number in range(5):
            write_notice(f"user{number}")
        until(lambda: len(heard) == 6)
        assert "slow" not in dict(heard)
        until(lambda: requests.get(f"{app.url}/health", timeout=30).json()["notices"]["pending"] == 2)

        let_go.set()
        until(lambda: len(heard) == 8)

    assert [kind for user, kind in heard if user == "slow"] == ["access_granted", "access_revoked"]


def test_slow_callbacks_beyond_the_pool_wait_and_all_are_called(app, monkeypatch):
    monkeypatch.setattr("corkage.notices.delivery.MOST_AT_ONCE", 2)
    let_go, begun = threading.Event(), []

    def hook(notice):
        begun.append(notice.user_id)
        let_go.wait(30)

    app.billing.on("*", hook)
    for number in range(5):
        write_notice(f"user{number}")
    until(lambda: len(begun) == 2)
    time.sleep(0.3)
    assert len(begun) == 2

    let_go.set()
    until(lambda: pending_notices() == 0)
    assert len(set(begun)) == 5


def test_a_notice_resent_during_its_delivery_is_not_sent_twice_at_once(app):
    let_go, begun = threading.Event(), []

    def hook(notice):
        begun.append(notice.id)
        let_go.wait(30)

    app.billing.on("*", hook)
    message = write_notice()
    until(lambda: begun)
    assert outbox.resend(NoticeRow.message_id == message, time.time()) == 1
    time.sleep(0.3)
    assert len(begun) == 1

    let_go.set()
    until(lambda: pending_notices() == 0)
    assert begun == [message]


def test_a_slow_callback_keeps_its_claim_and_does_not_delay_closing(config, monkeypatch):
    monkeypatch.setattr(outbox, "LEASE_SECONDS", 2)
    monkeypatch.setattr("corkage.notices.delivery.STOP_SECONDS", 0.2)
    let_go, begun = threading.Event(), []

    def hook(notice):
        begun.append(notice.id)
        let_go.wait(30)

    with running(config) as app:
        app.billing.on("*", hook)
        write_notice()
        until(lambda: begun)
        other = Deliverer(StubReceiver("callbacks"))
        ends = time.monotonic() + 3
        while time.monotonic() < ends:
            assert other.deliver_due() == 0
            time.sleep(0.05)
        began = time.monotonic()
    assert time.monotonic() - began < 10
    let_go.set()
    assert len(begun) == 1

    with running(config):
        until(lambda: Deliverer(StubReceiver("callbacks")).deliver_due() == 1)


# Order, failures, receivers


def test_a_failing_notice_holds_back_only_its_users_later_ones(stub, clock):
    stub.refuses = lambda notice: NotDelivered("no") if notice.kind == "payment_failed" else None
    write_notice("ann", "payment_failed")
    write_notice("ann", "access_revoked")
    write_notice("bob")

    assert Deliverer(stub, clock).deliver_due() == 1

    assert [(each.user_id, each.kind) for each in stub.got] == [("ann", "payment_failed"), ("bob", "access_granted")]
    assert pending_notices() == 2


def test_two_receivers_neither_wait_for_each_other_nor_get_duplicates(stub, clock):
    other = StubReceiver("other")
    stub.refuses = lambda _: NotDelivered("no") if len(stub.got) < 3 else None
    message = write_notice()
    for _ in range(4):
        for receiver in (stub, other):
            Deliverer(receiver, clock).deliver_due()
        clock.now += 1000

    assert [each.id for each in stub.got] == [message] * 3
    assert [each.id for each in other.got] == [message]
    assert pending_notices() == 0


def test_backoff_grows_to_an_hour_and_retries_never_stop(stub, clock):
    stub.refuses = lambda _: NotDelivered("no")
    write_notice()
    pauses = []
    for _ in range(14):
        Deliverer(stub, clock).deliver_due()
        pauses.append(NoticeDelivery.get().next_attempt_at - clock.now)
        clock.now = NoticeDelivery.get().next_attempt_at

    assert 3.75 <= pauses[0] <= 6.25
    assert 7.5 <= pauses[1] <= 12.5
    assert all(2700 <= each <= 4500 for each in pauses[10:])
    assert len(stub.got) == 14


def test_delivery_to_a_receiver_that_is_down_backs_off_as_a_whole(stub, clock):
    stub.refuses = lambda _: NotDelivered("no answer", is_down=True)
    for number in range(50):
        write_notice(f"user{number}")
    deliverer = Deliverer(stub, clock)
    asked = []
    for _ in range(6):
        deliverer.deliver_due()
        asked.append(len(stub.got))
        clock.now = deliverer.paused_until
    assert asked == [1, 2, 3, 4, 5, 6]
    assert 59 < deliverer.paused_until - clock.now + 60 < 61

    stub.refuses = lambda _: None
    clock.now += 70
    assert deliverer.deliver_due() >= 44


@pytest.mark.parametrize("notices", [1, 30])
def test_after_an_outage_of_hours_a_notice_waits_for_a_minute_and_a_quarter_at_most(stub, clock, notices):
    stub.refuses = lambda _: NotDelivered("no answer", is_down=True)
    for number in range(notices):
        write_notice(f"user{number}")
    deliverer, began = Deliverer(stub, clock), clock.now
    while clock.now < began + 4 * 3600:
        deliverer.deliver_due()
        clock.now += 30

    stub.refuses = lambda _: None
    clock.now += 75
    assert deliverer.deliver_due() == notices


def test_a_notice_that_alone_seems_to_be_an_outage_waits_ever_longer(stub, clock):
    """As one does of which the receiver dies each time: others are delivered in between."""
    stub.refuses = lambda notice: NotDelivered("no answer", is_down=True) if notice.user_id == "poison" else None
    write_notice("poison")
    deliverer = Deliverer(stub, clock)
    for number in range(12):
        deliverer.deliver_due()
        clock.now = max(deliverer.paused_until, clock.now + 1)
        write_notice(f"user{number}", at=clock.now)
        deliverer.deliver_due()
        waiting = NoticeDelivery.get(NoticeDelivery.delivered_at.is_null())
        pause, clock.now = waiting.next_attempt_at - clock.now, waiting.next_attempt_at

    assert pause > 2600


def test_nothing_is_sent_before_retry_after_has_passed(stub, clock):
    stub.refuses = lambda _: NotDelivered("busy", is_down=True, retry_after_seconds=600) if len(stub.got) < 2 else None
    write_notice("ann")
    write_notice("bob")
    deliverer = Deliverer(stub, clock)
    deliverer.deliver_due()
    clock.now += 599
    deliverer.deliver_due()
    assert len(stub.got) == 1

    clock.now += 2
    assert deliverer.deliver_due() == 2


def test_two_processes_claim_each_notice_once(stub, clock):
    write_notice()
    first, second = outbox.claim_next("stub", clock.now), outbox.claim_next("stub", clock.now)
    assert (first is not None, second) == (True, None)

    assert outbox.claim_next("stub", clock.now + outbox.LEASE_SECONDS - 1) is None
    assert outbox.claim_next("stub", clock.now + outbox.LEASE_SECONDS) is not None


def test_a_notice_claimed_by_another_process_is_skipped(stub, clock, monkeypatch):
    write_notice("ann")
    write_notice("bob")
    move, lost = outbox._move, []

    def overtaken(row, now):
        if not lost:
            lost.append(row.user_id)
            move(row, now)
        return move(row, now)

    monkeypatch.setattr(outbox, "_move", overtaken)
    assert outbox.claim_next("stub", clock.now).notice.user_id == "bob"
    assert lost == ["ann"]


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_users_notices_arrive_in_order_whatever_fails(app, data):
    """Three users' notices, of which any try may fail, be down, or be taken and not be written down."""
    with storage.writing():
        for table in (NoticeDelivery, NoticeRow, NoticeReceiver):
            table.delete().execute()
    clock, stub = Clock(), StubReceiver()
    users = data.draw(st.lists(st.sampled_from(["ann", "bob", "eve"]), min_size=1, max_size=8))
    wanted = defaultdict(list)
    for user in users:
        wanted[user].append(write_notice(user))
    fates = iter(data.draw(st.lists(st.sampled_from(["taken", "refused", "down", "lost"]), max_size=15)))
    heard = defaultdict(list)
    deliverer = Deliverer(stub, clock)
    for _ in range(200):
        while held := deliverer.claim():
            fate = next(fates, "taken")
            if fate in ("taken", "lost"):
                heard[held.notice.user_id].append(held.notice.message_id)
            if fate != "lost":
                deliverer.store_outcome(
                    held, "taken" if fate == "taken" else NotDelivered(fate, is_down=fate == "down")
                )
        clock.now += 3600
        if not pending_notices():
            break

    assert pending_notices() == 0
    assert {user: list(dict.fromkeys(ids)) for user, ids in heard.items()} == wanted


def test_slow_callbacks_in_threads_keep_each_users_order(app):
    chance, heard = random.Random(7), defaultdict(list)

    def hook(notice):
        time.sleep(chance.choice([0, 0, 0, 0.15]))
        heard[notice.user_id].append(notice.id)

    app.billing.on("*", hook)
    wanted = defaultdict(list)
    for number in range(30):
        wanted[f"user{number % 5}"].append(write_notice(f"user{number % 5}"))
    until(lambda: pending_notices() == 0)

    assert heard == wanted


# Who is owed what


def test_a_new_receiver_gets_only_new_notices(app, clock):
    write_notice("ann")
    assert pending_notices() == 0

    stub = StubReceiver()
    new = write_notice("bob")
    Deliverer(stub).deliver_due()

    assert [each.id for each in stub.got] == [new]
    assert NoticeRow.select().count() == 2


def test_an_absent_receiver_keeps_its_notices_for_a_week(stub, clock):
    began = clock.now
    NoticeReceiver.update(seen_at=began).execute()
    write_notice("ann", at=began + 7 * DAY - 1)
    write_notice("bob", at=began + 7 * DAY)
    assert [row.user_id for row in NoticeDelivery.select()] == ["ann"]

    outbox.register("stub", began + 7 * DAY - 1)
    assert pending_notices() == 1
    NoticeReceiver.update(seen_at=began).execute()
    outbox.register("stub", began + 7 * DAY)

    assert (pending_notices(), NoticeDelivery.get().outcome) == (0, "away")
    write_notice("eve", at=began + 7 * DAY)
    assert pending_notices() == 1


def test_the_thread_keeps_the_receiver_registered(stub, clock):
    thread = DeliveryThread(Deliverer(stub, clock))
    thread._turn()
    clock.now += 3 * DAY
    thread._turn()

    assert NoticeReceiver.get().seen_at == clock.now


@pytest.mark.slow
def test_a_process_without_callbacks_leaves_them_to_the_host(config, corkage):
    heard = []
    with running(config) as app:
        app.billing.on("*", heard.append)
        app.billing.service.receivers.stop()
        write_notice()

        assert corkage("work", "--once", BILLING_POLL_SECONDS="0").returncode == 0
        assert (heard, pending_notices()) == ([], 1)

        app.billing.service.receivers.start("callbacks")
        until(lambda: heard)


def test_inline_a_webhook_gets_200_whatever_the_callback_does(config, shop):
    heard = []

    def hook(notice):
        heard.append(notice.kind)
        raise RuntimeError("of the host")

    with running(replace(config, worker="inline")) as app:
        app.billing.on("*", hook)
        shop.subscribe(shop.customer())
        assert app.deliver(shop.event("customer.subscription.created")).status_code == 200
        assert heard == ["access_granted"]
        assert pending_notices() == 1


def test_the_first_call_waits_a_moment_after_callbacks_are_registered(app, monkeypatch):
    monkeypatch.setattr("corkage.notices.notice.QUIET_SECONDS", 0.6)
    heard = []
    app.billing.on("access_granted", lambda _: heard.append(time.monotonic()))
    write_notice()
    time.sleep(0.3)
    app.billing.on("access_granted", print)
    given = time.monotonic()
    until(lambda: heard)

    assert heard[0] - given >= 0.55


def test_notices_older_than_the_retention_are_deleted(stub, caplog):
    caplog.set_level(logging.INFO)
    now = time.time()
    old, taken = write_notice("ann", at=now - 91 * DAY), write_notice("bob", at=now - 90.1 * DAY)
    NoticeDelivery.update(delivered_at=now).where(NoticeDelivery.user_id == "bob").execute()
    kept = write_notice("eve", at=now - 89 * DAY)
    from corkage.sync.jobs import prune

    prune(now, 90)

    assert [row.message_id for row in NoticeRow.select()] == [kept]
    assert NoticeDelivery.select().count() == 1
    assert "deleted 2 notices, over 90 days old; 1 were not delivered" in caplog.text
    assert old != taken


def test_a_purchase_before_the_first_full_sync_is_notified(config, shop, simulator):
    with running(replace(config, poll_seconds=3600)) as app:
        heard = []
        app.billing.on("access_granted", lambda notice: heard.append(notice.user_id))
        simulator.buy(app.billing.checkout_url(Identity("ann"), "pro", billing_url="https://a.example"))
        app.billing.work()
        until(lambda: heard == ["ann"])


def test_a_rebuilt_database_sends_nothing_for_a_users_two_customers(config, shop):
    shop.client.v1.subscriptions.cancel(shop.subscribe(shop.customer()))
    shop.subscribe(shop.customer())
    with running(replace(config, poll_seconds=3600)) as app:
        app.work()
        assert app.billing.access("ann").allowed
        assert NoticeRow.select().count() == 0


def test_a_forked_child_calls_callbacks_from_its_own_thread(app):
    heard = []
    app.billing.on("*", heard.append)
    parents = app.billing.service.receivers._threads["callbacks"]
    parents.end()
    parents.join()  # as the child finds it
    app.billing.service = app.billing.service.of_child()
    app.billing.start()
    write_notice()

    until(lambda: heard)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("error", [SystemExit, asyncio.CancelledError])
def test_a_callback_that_ends_its_thread_is_retried(app, error):
    heard = []

    def hook(notice):
        heard.append(notice)
        if len(heard) == 1:
            raise error

    app.billing.on("*", hook)
    write_notice()
    until(lambda: NoticeDelivery.get().attempts == 1)
    NoticeDelivery.update(next_attempt_at=0).execute()
    until(lambda: pending_notices() == 0)


def test_a_rebuilt_database_notifies_only_of_later_changes(config, shop, simulator):
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    with running(replace(config, poll_seconds=3600)) as app:
        heard = []
        app.billing.on("*", lambda notice: heard.append((notice.user_id, notice.kind)))
        app.work()
        assert app.billing.access("ann").allowed
        assert NoticeRow.select().count() == 0

        shop.client.v1.subscriptions.cancel(subscription)
        shop.subscribe(shop.customer("bob"), user="bob")
        app.billing.work()
        from corkage.sync.resync import resync

        shop.subscribe(shop.customer("eve"), user="eve")
        resync(app.billing.service.worker.converger, time.time())
        until(lambda: len(heard) == 3)

    assert sorted(heard) == [("ann", "access_revoked"), ("bob", "access_granted"), ("eve", "access_granted")]
