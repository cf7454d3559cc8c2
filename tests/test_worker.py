"""The worker: settle, lease, pauses, the thread, inline and off."""

import json
import sqlite3
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import replace

import peewee
import pytest
import requests
from elsewhere import be_impatient, elsewhere, hold
from harness import PRO, WEBHOOK_SECRET, running, until
from rows import deciding_subscription
from sabotage import thin

from corkage import storage
from corkage.access import RULE_VERSION
from corkage.errors import ConfigError, DatabaseUnavailable, StripeFailed
from corkage.gateway.gateway import Gateway
from corkage.models import Cursor, Price, StripeEvent, Subscription, remember_once, setting, store_setting
from corkage.plans import Plan
from corkage.replica.timelines import MARK
from corkage.storage.lock import FileLock
from corkage.sync import inbox, jobs
from corkage.sync.threads import WorkerThread
from corkage.sync.worker import LEASE_SECONDS, PRICES_AGAIN_SECONDS, Worker


def deliver_all(app, shop, customer):
    for event in shop.client.v1.events.list(params={"limit": 100}).data:
        if customer in str(event):
            app.deliver(event)


def test_a_burst_of_events_costs_one_call(config, shop):
    with running(replace(config, settle_seconds=60)) as app:
        customer = shop.customer()
        shop.subscribe(customer)
        shop.client.v1.customers.update(customer, params={"email": "new@example.com"})
        deliver_all(app, shop, customer)
        before = shop.calls()
        now = time.time()

        app.work(now)
        assert shop.calls() == before
        app.work(now + 61)
        app.work(now + 62)

    assert shop.calls() - before == 1


def test_an_event_is_due_exactly_after_the_debounce(config, shop):
    with running(replace(config, settle_seconds=2)) as app:
        shop.subscribe(shop.customer())
        app.deliver(shop.event("customer.subscription.created"))
        received = StripeEvent.get().received_at

        app.work(received + 1.99)
        assert not app.billing.access("ann").allowed
        app.work(received + 2)
        assert app.billing.access("ann").allowed


def test_a_leased_customer_is_skipped_until_the_lease_ends(app, shop):
    app.work()
    shop.subscribe(shop.customer())
    app.deliver(shop.event("customer.subscription.created"))
    event, now = StripeEvent.get(), time.time()
    assert inbox.lease(inbox.Subject(event.customer_id), now, now + 100)
    assert not inbox.lease(inbox.Subject(event.customer_id), now, now + 100)

    app.work(now + 99)
    assert not app.billing.access("ann").allowed
    app.work(now + 101)
    assert app.billing.access("ann").allowed


@pytest.mark.one_engine("sqlite", "a server does not say which processes are left")
@pytest.mark.parametrize("is_alone", [True, False])
def test_what_a_killed_process_had_at_hand_is_applied_at_the_next_start_unless_another_lives(config, shop, is_alone):
    with running(config) as app:
        shop.subscribe(shop.customer())
        app.deliver(shop.event("customer.subscription.created"))
        now = time.time()
        assert inbox.lease(inbox.Subject(StripeEvent.get().customer_id), now, now + LEASE_SECONDS)

    with closing(FileLock(config.database)) as other:
        assert is_alone or other.share()
        with running(config) as app:
            app.work()
            assert app.billing.access("ann").allowed is is_alone
            assert inbox.lease(inbox.Subject(StripeEvent.get().customer_id), now, now + LEASE_SECONDS) is False
            app.work(now + LEASE_SECONDS)
            assert app.billing.access("ann").allowed


def test_the_thread_applies_webhooks(config, shop, simulator):
    with running(replace(config, worker="thread")) as app:
        simulator.add_webhook_endpoint(f"{app.url}/webhook", secret=WEBHOOK_SECRET)
        customer = shop.customer()
        subscription = shop.subscribe(customer)
        until(lambda: app.billing.access("ann").allowed)

        shop.client.v1.subscriptions.cancel(subscription)
        until(lambda: app.billing.access("ann").reason == "ended")

        assert requests.get(f"{app.url}/health", timeout=30).json()["worker"] == "thread"


def test_events_pending_at_the_stop_are_applied_after_the_next_start(config, shop):
    shop.subscribe(shop.customer())
    with running(config) as app:
        app.deliver(shop.event("customer.subscription.created"))

    with running(replace(config, worker="thread")) as app:
        until(lambda: app.billing.access("ann").allowed)


def test_inline_applies_before_the_response(config, shop):
    with running(replace(config, worker="inline", settle_seconds=9)) as app:
        shop.subscribe(shop.customer())
        assert app.deliver(shop.event("customer.subscription.created")).status_code == 200

        assert app.billing.access("ann").allowed


def test_inline_returns_503_while_stripe_is_down_and_then_recovers(config, shop, simulator):
    shop.subscribe(shop.customer())
    event = shop.event("customer.subscription.created")
    with running(replace(config, worker="inline", stripe_api_base="http://127.0.0.1:1")) as app:
        app.billing.service.worker._account_checked = True
        assert app.deliver(event).status_code == 503
        assert StripeEvent.get().applied_at is None

    with running(replace(config, worker="inline")) as app:
        assert app.deliver(event).status_code == 200
        assert app.billing.access("ann").allowed
        before = shop.calls()
        assert app.deliver(event).status_code == 200
        assert shop.calls() == before


def test_worker_off_leaves_events_to_another_process(app, shop):
    shop.subscribe(shop.customer())
    app.deliver(shop.event("customer.subscription.created"))
    time.sleep(0.3)

    assert StripeEvent.get().applied_at is None
    assert requests.get(f"{app.url}/health", timeout=30).json()["worker"] == "off"


def test_an_outdated_process_takes_webhooks_says_so_once_and_leaves_them_to_the_newer(
    config, shop, caplog, monkeypatch
):
    monkeypatch.setattr("corkage.sync.threads.LONGEST_SLEEP_SECONDS", 0.01)
    shop.subscribe(shop.customer())
    with running(replace(config, worker="thread", settle_seconds=0)) as app:
        until(lambda: app.billing.service.worker_state() == "thread")
        ours = setting(MARK)
        store_setting(MARK, json.dumps([7, RULE_VERSION + 1, "digest"]))
        assert app.deliver(shop.event("customer.subscription.created")).status_code == 200
        until(lambda: "restart it with the same" in caplog.text)
        time.sleep(0.1)

        health = requests.get(f"{app.url}/health", timeout=30)
        assert (health.status_code, health.json()["outdated"], health.json()["backlog"]) == (200, True, 1)
        assert len([each for each in caplog.records if each.levelname == "ERROR"]) == 1
        assert not app.billing.access("ann").allowed

        store_setting(MARK, ours)
        until(lambda: app.billing.access("ann").allowed)
        assert caplog.text.count("events are applied again, after") == 1
        assert requests.get(f"{app.url}/health", timeout=30).json()["outdated"] is False


def test_health_shows_the_backlog_and_503_when_the_thread_died(config, shop):
    with running(replace(config, worker="thread", settle_seconds=60)) as app:
        shop.subscribe(shop.customer())
        app.deliver(shop.event("customer.subscription.created"))
        well = requests.get(f"{app.url}/health", timeout=30)
        app.billing.service._thread.stop()
        ill = requests.get(f"{app.url}/health", timeout=30)

    assert (well.status_code, well.json()["backlog"], well.json()["failing"]) == (200, 1, 0)
    assert (ill.status_code, ill.json()["status"]) == (503, "failing")


def test_a_bug_in_one_customer_does_not_stop_the_others(app, shop):
    shop.subscribe(shop.customer("bob"), user="bob")
    app.deliver(shop.event("customer.subscription.created"))
    shop.subscribe(shop.customer("ann"))
    app.deliver(shop.event("customer.subscription.created"))
    gateway = app.billing.service.worker.gateway
    fetch, bobs = gateway.subscriptions_of, StripeEvent.select().order_by(StripeEvent.received_at).get().customer_id

    def stumble(customer_id, *known, **options):
        if customer_id == bobs:
            raise ZeroDivisionError
        return fetch(customer_id, *known, **options)

    gateway.subscriptions_of = stumble
    app.work()

    assert app.billing.access("ann").allowed
    assert StripeEvent.get(StripeEvent.customer_id == bobs).error == "bug: ZeroDivisionError"


def test_the_thread_survives_a_database_that_cannot_be_written(config, shop, caplog, monkeypatch):
    be_impatient(monkeypatch)
    with running(replace(config, worker="thread", settle_seconds=1)) as app, elsewhere(config.database) as file:
        shop.subscribe(shop.customer())
        assert app.deliver(shop.event("customer.subscription.created")).status_code == 200
        hold(file)
        until(lambda: "the database is unavailable, trying again" in caplog.text)
        assert app.billing.service.worker_state() == "thread"
        assert not app.billing.access("ann").allowed

        file.execute("ROLLBACK")
        until(lambda: app.billing.access("ann").allowed)


@pytest.mark.one_engine("sqlite", "what SQLite says of them")
@pytest.mark.slow
def test_a_wrong_statement_is_a_bug_not_an_unavailable_database(app, caplog):
    storage.execute("ALTER TABLE corkage_cursor RENAME TO away")
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        app.work()
    too_many = StripeEvent.select().where(StripeEvent.id.in_([str(number) for number in range(300_000)]))
    with pytest.raises(peewee.OperationalError, match="too many SQL variables"):
        list(too_many)

    assert "unavailable" not in caplog.text


def test_the_thread_survives_a_bug(config, shop, caplog, monkeypatch):
    monkeypatch.setattr("corkage.sync.threads.AFTER_A_BUG_SECONDS", 0.05)
    with running(replace(config, worker="thread", poll_seconds=3600)) as app:
        events_since = app.billing.service.worker.gateway.events_since
        app.billing.service.worker.gateway.events_since = lambda *_: 1 / 0
        jobs.make_due("poll", 0)
        app.billing.service._thread.wake()
        until(lambda: "ZeroDivisionError" in caplog.text)
        app.billing.service.worker.gateway.events_since = events_since
        shop.subscribe(shop.customer())
        app.deliver(shop.event("customer.subscription.created"))

        until(lambda: app.billing.access("ann").allowed)
        assert app.billing.service.worker_state() == "thread"


@pytest.mark.parametrize("error", [MemoryError(), OSError(24, "Too many open files")])
def test_a_worker_without_memory_or_file_handles_says_so_once_and_goes_on(config, shop, caplog, monkeypatch, error):
    monkeypatch.setattr("corkage.sync.threads.AFTER_A_BUG_SECONDS", 0.05)
    with running(replace(config, worker="thread", poll_seconds=3600)) as app:
        begin_due, tries = Worker.begin_due, []
        monkeypatch.setattr(Worker, "begin_due", lambda *_: tries.append(1) or raise_(error))
        shop.subscribe(shop.customer())
        app.deliver(shop.event("customer.subscription.created"))
        until(lambda: len(tries) > 3)
        said = requests.get(f"{app.url}/health", timeout=30)
        monkeypatch.setattr(Worker, "begin_due", begin_due)

        until(lambda: app.billing.access("ann").allowed)
        until(lambda: requests.get(f"{app.url}/health", timeout=30).json()["problems"] == [])

    assert said.status_code == 503
    assert [each.rpartition(": ")[2] for each in said.json()["problems"]] == [str(error) or "no memory is left"]
    assert caplog.text.count("nothing is applied, and it is tried again") == 1
    assert "Traceback" not in caplog.text


def raise_(error):
    raise error


@pytest.mark.parametrize("error", [MemoryError(), SystemExit(1)])
def test_a_thread_goes_on_whatever_ends_it_and_ends_when_it_is_stopped(config, shop, caplog, monkeypatch, error):
    monkeypatch.setattr("corkage.pacing.lasting.AGAIN_SECONDS", 0.05)
    with running(replace(config, worker="thread")) as app:
        pause, ended = WorkerThread._pause, []
        monkeypatch.setattr(WorkerThread, "_pause", lambda _: ended.append(1) or raise_(error))
        app.billing.service._thread.wake()
        until(lambda: len(ended) > 3)
        monkeypatch.setattr(WorkerThread, "_pause", pause)
        shop.subscribe(shop.customer())
        app.deliver(shop.event("customer.subscription.created"))

        until(lambda: app.billing.access("ann").allowed)
        thread = app.billing.service._thread
    assert not thread.is_alive()
    assert "the thread corkage-worker goes on after" in caplog.text


def test_price_events_refresh_the_prices(app, shop):
    app.work()
    yearly = shop.client.v1.prices.create(
        params={
            "product": shop.client.v1.prices.retrieve(shop.price).product,
            "currency": "usd",
            "unit_amount": 100,
            "recurring": {"interval": "month"},
            "lookup_key": "pro_monthly",
            "transfer_lookup_key": True,
        }
    ).id

    app.deliver(shop.event("price.created"))
    app.work()

    assert {row.id: (row.plan, row.sold) for row in Price.select()} == {
        shop.price: ("pro", False),
        yearly: ("pro", True),
    }
    assert StripeEvent.get().outcome == "refreshed"


def test_a_price_that_lost_its_lookup_key_still_counts(app, shop):
    customer = shop.customer()
    shop.subscribe(customer)
    test_price_events_refresh_the_prices(app, shop)

    app.converge(customer)

    assert app.billing.access("ann").plan == "pro"


def test_an_unnamed_price_of_a_plans_product_counts_as_that_plan(app, shop):
    app.work()
    unnamed = shop.client.v1.prices.create(
        params={
            "product": shop.client.v1.prices.retrieve(shop.price).product,
            "currency": "usd",
            "unit_amount": 5,
            "recurring": {"interval": "month"},
        }
    ).id
    customer = shop.customer()
    shop.subscribe(customer, price=unnamed)
    app.converge(customer)

    assert (app.billing.access("ann").plan, Price.get_by_id(unnamed).sold) == ("pro", False)


def test_a_price_without_a_plan_gets_it_once_its_product_has_one(app, shop):
    product = shop.client.v1.prices.retrieve(shop.price).product
    params = {"product": product, "currency": "usd", "unit_amount": 5, "recurring": {"interval": "month"}}
    unnamed = shop.client.v1.prices.create(params=params).id
    customer, others = shop.customer(), shop.customer("bob")
    shop.subscribe(customer, price=unnamed)
    shop.subscribe(others, user="bob")
    app.converge(customer)
    assert Price.get_by_id(unnamed).plan is None

    app.converge(others)
    app.converge(customer)

    assert app.billing.access("ann").plan == "pro"


def test_a_price_that_changed_is_stored_with_its_subscription(app, shop):
    customer = shop.customer()
    shop.subscribe(customer)
    app.converge(customer)
    shop.client.v1.prices.update(shop.price, params={"lookup_key": "pro_of_before"})

    app.converge(customer)

    assert (Price.get().lookup_key, Price.get().plan) == ("pro_of_before", "pro")


def test_our_paid_price_without_a_plan_gives_access_without_features(app, shop):
    customer = shop.customer()
    shop.subscribe(customer, price=shop.other_price)
    app.converge(customer)

    access = app.billing.access("ann")
    assert (access.allowed, access.plan, access.features) == (True, None, ())


def test_a_price_named_later_counts_from_the_next_refresh(app, shop, config):
    customer = shop.customer()
    shop.subscribe(customer, price=shop.other_price)
    app.converge(customer)
    app.billing.close()

    plans = (PRO, Plan("plus", "Plus", (shop.other_price,), features=("more",)))
    with running(replace(config, plans=plans)) as app:
        assert app.billing.access("ann").plan == "plus"
        assert app.billing.access("ann").features == ("more",)


def test_lookup_keys_and_ids_may_look_like_anything(config, shop):
    product = shop.client.v1.prices.retrieve(shop.price).product
    price = {"product": product, "currency": "usd", "unit_amount": 100, "recurring": {"interval": "month"}}
    by_key = shop.client.v1.prices.create(params=price | {"lookup_key": "price_basic_monthly"}).id
    with shop.simulator.world.lock:
        world = shop.simulator.world
        world.add("price", world.get("price", shop.other_price) | {"id": "plan_Gold2019"})

    plans = (Plan("basic", "Basic", ("price_basic_monthly",)), Plan("gold", "Gold", ("plan_Gold2019",)))
    with running(replace(config, plans=plans)) as app:
        app.work()
        assert {row.id: row.plan for row in Price.select().where(Price.sold)} == {
            by_key: "basic",
            "plan_Gold2019": "gold",
        }


def test_plans_toml_applies_at_startup_without_a_call(app, shop, config):
    customer = shop.customer()
    shop.subscribe(customer)
    app.converge(customer)
    app.billing.close()
    before = len(shop.simulator.requests)

    with running(replace(config, plans=(replace(PRO, features=("new",), grace_days=1),))) as app:
        assert app.billing.access("ann").features == ("new",)
        assert app.billing.service.catalogue.timelines.plans["pro"].grace_seconds == 86_400
    assert len(shop.simulator.requests) == before


def test_an_old_foreign_subscription_does_not_hide_a_plan_of_ours(app, shop):
    customer = shop.customer()
    paid = shop.subscribe(customer)
    shop.subscribe(customer, price=shop.other_price, user=None)
    app.converge(customer)

    assert deciding_subscription() == paid
    assert app.billing.access("ann").reason == "active"
    assert Subscription.select().count() == 2


def test_one_price_in_two_plans_is_logged(app, shop, config):
    app.billing.close()
    plans = (PRO, Plan("plus", "Plus", (shop.price,)))
    with running(replace(config, plans=plans)) as app, pytest.raises(ConfigError, match="a price has one plan"):
        app.billing.service.worker.catalogue.refresh(app.billing.service.worker.gateway)


def test_recurring_work_is_claimed_once(app):
    now = time.time()

    assert jobs.claim("poll", now, 10)
    assert not jobs.claim("poll", now + 9.9, 10)
    assert jobs.claim("poll", now + 10, 10)
    jobs.make_due("poll", now + 12)
    assert jobs.next_runs(now + 10, {"poll": 10})["poll"] == now + 12


@contextmanager
def locked_from(config, gateway, call):
    """Have another process lock the file while Stripe is asked; yield the calls."""
    ask, asked = getattr(gateway, call), []

    def ask_and_lock(*arguments, **options):
        answer = ask(*arguments, **options)
        hold(other)
        asked.append(call)
        return answer

    setattr(gateway, call, ask_and_lock)
    with elsewhere(config.database) as other:
        yield asked
    setattr(gateway, call, ask)


@pytest.mark.parametrize("call", ["subscriptions_of", "prices_by_lookup_key", "events_since"])
def test_a_database_locked_during_a_fetch_fails_no_event_and_delays_none(config, shop, call, monkeypatch):
    be_impatient(monkeypatch, 1.0)  # the jobs at once wait for each other, too
    with running(replace(config, poll_seconds=10)) as app:
        shop.subscribe(shop.customer())
        app.deliver(shop.event("customer.subscription.created"))
        jobs.save_position("poll", int(time.time()))

        with locked_from(config, app.billing.service.worker.gateway, call) as asked, pytest.raises(DatabaseUnavailable):
            app.work()

        assert asked == [call]
        assert (StripeEvent.get().attempts, StripeEvent.get().error) == (0, None)
        app.work()
        assert app.billing.access("ann").allowed


def test_work_on_demand_polls_at_once_and_skips_the_debounce(config, shop):
    with running(replace(config, poll_seconds=3600, settle_seconds=3600)) as app:
        app.work()
        shop.subscribe(shop.customer())
        app.work()
        assert not app.billing.access("ann").allowed

        did = app.billing.work()

        assert app.billing.access("ann").allowed
        assert (did.converged, did.failed) == (1, 0)
        assert did.next_due_at > time.time() + 60


def test_inline_returns_503_when_the_events_customer_is_unknown(config, shop, simulator):
    with running(replace(config, worker="inline")) as app:
        app.work()
        shop.subscribe(shop.customer())
        body = thin(shop.event("customer.subscription.created"))
        app.billing.service.worker.gateway = Gateway(simulator.api_key, "http://127.0.0.1:1", retries=0)

        assert app.deliver(body).status_code == 503

        assert (StripeEvent.get().applied_at, StripeEvent.get().attempts) == (None, 1)
        assert not app.billing.access("ann").allowed


def test_the_thread_runs_on_and_logs_a_key_of_another_account(config, shop, caplog):
    with running(config):
        remember_once("account", "acct_another")
    with running(replace(config, worker="thread")) as app:
        shop.subscribe(shop.customer())
        app.deliver(shop.event("customer.subscription.created"))
        until(lambda: "the worker cannot work with this configuration" in caplog.text)

        assert app.billing.service.worker_state() == "thread"
        assert "acct_another" in caplog.text
        assert StripeEvent.get().attempts == 0
        assert not app.billing.access("ann").allowed


def test_a_stopping_worker_fetches_no_stale_row(app, shop):
    customer = shop.customer()
    shop.subscribe(customer)
    app.converge(customer)
    app.work()
    Subscription.update(ask_at=0).execute()
    calls = shop.calls()

    app.billing.service.worker.work_once(time.time(), lambda: True)
    assert (Subscription.get().ask_at, shop.calls()) == (0, calls)

    app.work()
    assert Subscription.get().ask_at > time.time()
    assert shop.calls() == calls + 1


def test_a_retired_price_counts_for_its_plan_and_is_not_sold(config, shop):
    with running(replace(config, plans=(replace(PRO, retired=(shop.other_price,)),))) as app:
        app.billing.service.worker.catalogue.refresh(app.billing.service.worker.gateway)

        assert {row.id: (row.plan, row.sold) for row in Price.select()} == {
            shop.price: ("pro", True),
            shop.other_price: ("pro", False),
        }


def test_the_thread_has_ended_when_stop_returns(config, shop):
    asked = threading.Event()

    def slow():
        asked.set()
        time.sleep(0.3)
        raise ZeroDivisionError

    thread = WorkerThread(slow)
    thread.start()
    assert asked.wait(30)
    assert thread.is_alive()

    thread.stop()

    assert not thread.is_alive()


def test_a_cursor_moved_by_another_worker_cannot_be_claimed(app):
    jobs.claim("poll", 100, 10)
    as_read = Cursor.get_by_id("poll")

    assert jobs._move(as_read, 200)
    assert not jobs._move(as_read, 300)
    assert jobs.next_runs(195, {"poll": 10})["poll"] == 200


def test_a_failed_price_refresh_is_retried_soon_and_its_event_waits(app, shop):
    now = time.time()
    app.work(now)
    shop.client.v1.prices.update(shop.price, params={"nickname": "new"})
    app.deliver(shop.event("price.updated"))
    gateway = app.billing.service.worker.gateway
    fetch = gateway.prices_by_lookup_key

    def refuse(names):
        raise StripeFailed("HTTP 500")

    gateway.prices_by_lookup_key = refuse
    assert app.billing.service.worker.work_once(now + 5).failed == 1
    assert (StripeEvent.get().attempts, StripeEvent.get().applied_at) == (1, None)
    assert now + 5 < StripeEvent.get().next_attempt_at < now + 12

    gateway.prices_by_lookup_key = fetch
    app.work(now + 12)
    assert StripeEvent.get().outcome == "refreshed"


def test_a_failed_hourly_price_refresh_is_retried_soon(app):
    now = time.time()
    fetch = app.billing.service.worker.gateway.prices_by_lookup_key

    def refuse(names):
        raise StripeFailed("HTTP 500")

    app.billing.service.worker.gateway.prices_by_lookup_key = refuse
    assert app.billing.service.worker.work_once(now).failed == 1
    assert jobs.next_runs(now, {"prices": 3600})["prices"] == now + PRICES_AGAIN_SECONDS

    app.billing.service.worker.gateway.prices_by_lookup_key = fetch
    assert app.billing.service.worker.work_once(now + PRICES_AGAIN_SECONDS).failed == 0
    assert jobs.next_runs(now + 60, {"prices": 3600})["prices"] == now + PRICES_AGAIN_SECONDS + 3600


def test_only_a_wake_before_the_next_look_changes_the_wait():
    looks, rounds = [], threading.Event()

    class Idle:
        def begin_due(self, now, _is_stopping, _on_end):
            looks.append(now)
            rounds.set()

        def next_due_at(self, now):
            return now + 3600

        def close(self, _longest_seconds):
            pass

    looking = WorkerThread(Idle)
    looking.start()
    assert rounds.wait(30)
    rounds.clear()
    looking.wake(3600)
    assert not rounds.wait(0.3)
    assert len(looks) == 1

    looking.wake(0.2)
    assert rounds.wait(30)
    assert looks[1] >= looks[0] + 0.2
    looking.stop()
