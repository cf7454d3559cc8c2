"""corkage events: pending and failing events are listed, replayed, isolated, and pruned when old."""

import time
from dataclasses import replace

import pytest
from elsewhere import elsewhere
from harness import DAY, running
from rows import event_row, fail, record_event

from corkage import storage
from corkage.errors import StripeRefused, StripeUnavailable
from corkage.gateway import events
from corkage.gateway.gateway import Gateway
from corkage.models import Customer, StripeEvent, Subscription, User
from corkage.simulator import ApiFaults
from corkage.sync import inbox, jobs
from corkage.sync.replay import concerns_us, failing, find, replay, since

pytestmark = pytest.mark.slow


def test_events_are_listed_by_state_failing_ones_first_with_reason(corkage, app):
    now = time.time()
    record_event("evt_waits", "cus_1", received_at=now - 7200)
    failed = {"attempts": 3, "error": "stripe_failed: HTTP 500", "next_attempt_at": now + 3.5 * 3600}
    record_event("evt_fails", "cus_2", received_at=now - 5.5 * 3600, **failed)
    record_event("evt_done", "cus_3", applied_at=now, outcome="converged")

    listed = corkage("events").stdout.splitlines()

    kind = "customer.subscription.updated"
    assert listed == [
        f"failing  evt_fails  {kind}  cus_2  5 h ago  3 tries, next in 3 h  stripe_failed: HTTP 500",
        f"pending  evt_waits  {kind}  cus_1  2 h ago  next in 0 s",
    ]


def test_one_state_can_be_listed_alone_up_to_the_limit(corkage, app):
    now = time.time()
    for number in range(3):
        record_event(f"evt_{number}", "cus_1", applied_at=now + number, outcome="converged")

    listed = corkage("events", "--state", "applied", "--limit", "2").stdout.splitlines()
    none = corkage("events", "--state", "failing").stdout

    assert [line.split()[1] for line in listed[:2]] == ["evt_2", "evt_1"]
    assert listed[2] == "and more applied events; --limit shows more than 2"
    assert len(listed) == 3
    assert none == "no failing events\n"


def test_a_lost_event_is_fetched_by_its_id_and_applied(corkage, app, shop):
    shop.subscribe(shop.customer())
    lost = shop.event("customer.subscription.created").id

    replayed = corkage("events", "replay", lost)

    assert replayed.returncode == 0
    assert replayed.stdout.startswith(f"applied  {lost}  customer.subscription.created")
    assert (event_row(lost).source, event_row(lost).outcome) == ("replay", "converged")
    assert app.billing.access("ann").allowed


def test_replaying_an_applied_event_converges_again(corkage, app, shop):
    subscription = shop.subscribe(shop.customer())
    event = shop.event("customer.subscription.created")
    app.deliver(event)
    app.work()
    shop.client.v1.subscriptions.cancel(subscription)
    assert app.billing.access("ann").allowed

    assert corkage("events", "replay", event.id).returncode == 0

    assert app.billing.access("ann").reason == "ended"
    assert (StripeEvent.select().count(), event_row(event.id).source) == (1, "webhook")


def test_an_event_gone_at_stripe_is_replayed_from_the_database(corkage, app, shop):
    customer = shop.customer()
    shop.subscribe(customer)
    record_event("evt_of_long_ago", customer, applied_at=time.time(), outcome="converged")

    assert corkage("events", "replay", "evt_of_long_ago").returncode == 0
    assert app.billing.access("ann").allowed


def test_an_event_that_cannot_be_replayed_is_an_error_and_leaves_no_row(corkage, app, shop):
    shop.customer()
    unwanted = shop.event("customer.created").id

    unknown, other = corkage("events", "replay", "evt_typo"), corkage("events", "replay", unwanted)

    assert (unknown.returncode, other.returncode) == (1, 1)
    assert "known neither to Stripe" in unknown.stderr
    assert "concerns nothing that Corkage holds" in other.stderr
    assert StripeEvent.select().count() == 0


def test_a_failed_replay_stays_pending_and_says_why(corkage, app, shop, simulator):
    record_event("evt_1", shop.customer())
    simulator.api_faults = ApiFaults(failure="error", path="/v1/subscriptions")

    replayed = corkage("events", "replay", "evt_1")

    assert replayed.returncode == 1
    assert replayed.stdout.startswith("failing  evt_1")
    assert "stripe_failed" in replayed.stdout
    assert (event_row("evt_1").applied_at, event_row("evt_1").attempts) == (None, 1)


def test_an_event_of_a_customer_that_stripe_does_not_know_is_applied(corkage, app):
    record_event("evt_of_nobody", "cus_nobody")

    replayed = corkage("events", "replay", "evt_of_nobody")

    assert (replayed.returncode, replayed.stdout.split()[:2]) == (0, ["applied", "evt_of_nobody"])
    assert event_row("evt_of_nobody").outcome == "missing"


def test_all_failed_events_are_replayed_before_their_backoff_ends(corkage, app, shop):
    customer = shop.customer()
    shop.subscribe(customer)
    later = time.time() + 3000
    for event_id in ("evt_1", "evt_2"):
        record_event(event_id, customer, attempts=9, error="stripe_failed: HTTP 500", next_attempt_at=later)
    record_event("evt_of_another", "cus_other", next_attempt_at=later)
    calls = shop.calls()

    replayed = corkage("events", "replay", "--failed")

    assert [line.split()[:2] for line in replayed.stdout.splitlines()] == [["applied", "evt_1"], ["applied", "evt_2"]]
    assert shop.calls() - calls == 1
    assert event_row("evt_of_another").applied_at is None
    assert corkage("events", "replay", "--failed").stdout == "there is nothing to replay\n"


def test_replaying_since_a_time_converges_each_customer_once(corkage, app, shop, simulator):
    shop.subscribe(shop.customer())
    simulator.advance(2 * DAY)
    shop.subscribe(shop.customer("bob"), user="bob")
    calls = shop.calls()

    replayed = corkage("events", "replay", "--since", simulator_time(simulator, -3600))

    assert replayed.returncode == 0
    assert {line.split()[0] for line in replayed.stdout.splitlines()} == {"applied"}
    assert shop.calls() - calls == 1
    assert app.billing.access("bob").allowed
    assert not app.billing.access("ann").allowed


def simulator_time(simulator, seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(simulator.world.now + seconds))


def test_replaying_beyond_stripes_retention_points_to_sync(corkage, app):
    assert "corkage sync" in corkage("events", "replay", "--since", "31d").stderr
    assert corkage("events", "replay", "--since", "29d").stderr == ""


def test_a_failing_customer_is_tried_once_for_all_its_events(corkage, app, shop, simulator):
    came, customer = time.time() - 7200.5, shop.customer()
    for event_id in ("evt_1", "evt_2"):
        record_event(event_id, customer, received_at=came, attempts=4, error="stripe_failed: HTTP 500")
    simulator.api_faults = ApiFaults(failure="error", path="/v1/subscriptions")

    replayed = corkage("events", "replay", "--failed")

    assert replayed.returncode == 1
    assert replayed.stdout.count("2 h ago  1 tries") == 2
    assert [(event_row(id_).attempts, event_row(id_).received_at) for id_ in ("evt_1", "evt_2")] == [(1, came)] * 2


def test_an_invalid_time_is_refused_with_an_example(corkage):
    refused = corkage("events", "replay", "--since", "yesterday")

    assert refused.returncode == 2
    assert "2026-11-01T12:00" in refused.stderr


def test_a_poisoned_event_never_blocks_others(app, shop):
    good, poisoned = shop.customer(), shop.customer("eve")
    shop.subscribe(good)
    now = time.time()
    record_event("evt_1_refused", "cus_refused", received_at=now - 60)
    Customer.create(id="cus_refused", user=User.create(id="bob", created_at=now), fetched_at=1)
    record_event("evt_2_poisoned", poisoned, received_at=now - 30)
    record_event("evt_3_good", good, received_at=now)
    fetch = app.billing.service.worker.gateway.subscriptions_of

    def choke(customer_id, *more, **options):
        if customer_id == poisoned:
            raise ZeroDivisionError("a bug that this customer brings to light")
        if customer_id == "cus_refused":
            raise StripeRefused("HTTP 400")
        return fetch(customer_id, *more, **options)

    app.billing.service.worker.gateway.subscriptions_of = choke
    app.work(now + 1)

    assert event_row("evt_3_good").applied_at is not None
    assert app.billing.access("ann").allowed
    assert [event_row(id_).attempts for id_ in ("evt_1_refused", "evt_2_poisoned")] == [1, 1]
    assert event_row("evt_2_poisoned").error == "bug: ZeroDivisionError"


def test_event_backoff_grows_to_an_hour_with_jitter_and_never_stops(app, shop):
    record_event("evt_1", "cus_1")
    pauses = []
    for _ in range(20):
        fail("evt_1", "stripe_failed", 1000.0)
        pauses.append(event_row("evt_1").next_attempt_at - 1000.0)

    for tries, pause in enumerate(pauses):
        assert 0.75 <= pause / min(5 * 2**tries, 3600) <= 1.25
    assert len({round(pause, 3) for pause in pauses[-5:]}) > 1


@pytest.mark.parametrize("keep_days", [31, 90])
def test_events_are_kept_exactly_as_long_as_configured(config, keep_days):
    with running(replace(config, keep_events_days=keep_days)) as app:
        now = time.time()
        cut = now - keep_days * DAY
        record_event("evt_on_the_day", "cus_1", received_at=cut, applied_at=cut)
        record_event("evt_over", "cus_1", received_at=cut, applied_at=cut - 0.001)
        record_event("evt_pending", "cus_1", received_at=cut - 999 * DAY, next_attempt_at=now + DAY)

        app.work(now)

        assert {each.id for each in StripeEvent.select()} == {"evt_on_the_day", "evt_pending"}


def test_pruning_runs_once_a_day_across_all_processes(app):
    now = time.time()
    app.work(now)
    record_event("evt_old", "cus_1", applied_at=now - 91 * DAY)

    app.work(now + DAY - 1)
    assert StripeEvent.select().count() == 1
    app.work(now + DAY)
    assert StripeEvent.select().count() == 0


def test_other_writers_get_in_between_pruning_batches(app, config, monkeypatch):
    monkeypatch.setattr(jobs, "BATCH", 2)
    now, left = time.time(), []
    for number in range(5):
        record_event(f"evt_{number}", "cus_1", applied_at=now - 91 * DAY)
    writing = storage.writing

    def write_and_look():
        with elsewhere(config.database) as other:
            other.execute("UPDATE corkage_setting SET value = value")  # refused while anybody holds the lock
            left.append(other.execute("SELECT count(*) FROM corkage_stripe_event").fetchone()[0])
        return writing()

    monkeypatch.setattr(jobs.storage, "writing", write_and_look)
    jobs.prune(now, 90)

    assert [events for events in left if events][-3:] == [5, 3, 1]
    assert StripeEvent.select().count() == 0


def test_an_event_reopened_during_pruning_is_kept(app, monkeypatch):
    now = time.time()
    record_event("evt_1", "cus_1", applied_at=now - 91 * DAY)
    column = storage.column

    def list_and_reopen(query):
        found = column(query)
        inbox.reopen(events.EventRef("evt_1", "x", 1, False, None, "cus_1", None), "replay", now)
        return found

    monkeypatch.setattr(jobs.storage, "column", list_and_reopen)
    jobs.prune(now, 90)

    assert event_row("evt_1").applied_at is None


def test_a_replay_that_is_killed_is_finished_by_the_worker(app, shop):
    shop.subscribe(shop.customer())
    worker, now = app.billing.service.worker, time.time()
    events = since(worker.gateway, now - 60, livemode=False)
    fetch = worker.gateway.subscriptions_of

    def cut(customer_id, *known, **options):
        raise StripeUnavailable("no answer")

    worker.gateway.subscriptions_of = cut
    rows = replay(worker, events, now)
    assert [each.applied_at for each in rows if each.customer_id] == [None] * sum(bool(e.customer_id) for e in events)
    assert Subscription.select().count() == 0

    worker.gateway.subscriptions_of = fetch
    app.work(now + 60)
    assert app.billing.access("ann").allowed


def test_an_event_is_found_at_stripe_or_in_the_database_or_nowhere(app, shop):
    subscription = shop.subscribe(shop.customer())
    event = shop.event("customer.subscription.created")
    record_event("evt_of_long_ago", "cus_1", received_at=1_700_000_000)
    record_event("evt_thin", kind="customer.subscription.updated")
    gateway = app.billing.service.worker.gateway

    at_stripe, held, thin = (find(gateway, each) for each in (event.id, "evt_of_long_ago", "evt_thin"))

    assert (at_stripe.type, at_stripe.object_id, at_stripe.is_thin) == (event.type, subscription, False)
    assert (held.created, held.customer_id, held.is_thin, held.is_wanted) == (1_700_000_000, "cus_1", False, True)
    assert (thin.customer_id, thin.is_thin) == (None, True)
    assert find(gateway, "evt_typo") is None


def test_an_outage_of_stripe_does_not_replay_from_the_database(app):
    record_event("evt_1", "cus_1")

    with pytest.raises(StripeUnavailable):
        find(Gateway("sk_test_x", "http://127.0.0.1:1", retries=0), "evt_1")


def test_only_events_that_were_tried_count_as_failing(app):
    record_event("evt_failed", "cus_1", attempts=1)
    record_event("evt_waits", "cus_1")
    record_event("evt_applied_at_last", "cus_1", attempts=3, applied_at=1.0)

    assert [each.id for each in failing(10)] == ["evt_failed"]


@pytest.mark.parametrize("change", [{"livemode": True}, {"account": "acct_other"}, {"type": "charge.succeeded"}])
def test_events_of_another_account_or_mode_do_not_count(change):
    event = events.EventRef("evt_1", "invoice.paid", 1, False, None, "cus_1", None)

    assert concerns_us(event, livemode=False)
    assert not concerns_us(replace(event, **change), livemode=False)
