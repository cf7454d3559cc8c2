"""Polling: the product works with no webhook at all, and what a webhook lost is found."""

import time
from dataclasses import replace

import pytest
from harness import DAY, running

from corkage import storage
from corkage.errors import StripeFailed, StripeUnavailable
from corkage.gateway import gateway
from corkage.gateway.events import EventRef
from corkage.gateway.states import Listed
from corkage.models import Cursor, StripeEvent, Subscription
from corkage.sync import inbox, poll
from corkage.sync.converge import Converger

pytestmark = pytest.mark.slow


@pytest.fixture
def app(config):
    with running(replace(config, poll_seconds=10, webhook_secrets=())) as served:
        yield served


CALLS = 2  # for one poll: Stripe takes twenty types a call


def polls(shop):
    return shop.calls("/v1/events")


def test_without_webhooks_a_purchase_and_its_end_arrive_by_polling(app, shop):
    now = time.time()
    app.work(now)
    subscription = shop.subscribe(shop.customer())

    app.work(now + 9)
    assert not app.billing.access("ann").allowed
    app.work(now + 10)
    assert app.billing.access("ann").allowed

    shop.client.v1.subscriptions.cancel(subscription)
    app.work(now + 20)
    assert app.billing.access("ann").reason == "ended"
    assert {event.source for event in StripeEvent.select()} == {"poll"}


def test_an_event_polled_again_is_neither_stored_twice_nor_fetched(app, shop):
    now = time.time()
    shop.subscribe(shop.customer())
    app.work(now)
    events, calls = StripeEvent.select().count(), shop.calls()

    app.work(now + 10)

    assert StripeEvent.select().count() == events > 0
    assert shop.calls() == calls


def test_the_position_is_saved_after_the_last_page_only(app, shop):
    now = time.time()
    app.work(now)
    gateway = app.billing.service.worker.gateway
    fetch = gateway.events_since
    position = Cursor.get_by_id("poll").position

    def break_off(since, types):
        fetch(since, types)
        raise StripeUnavailable("cut between two pages")

    shop.subscribe(shop.customer())
    gateway.events_since = break_off
    app.work(now + 10)
    assert Cursor.get_by_id("poll").position == position
    assert StripeEvent.select().where(StripeEvent.type.startswith("customer")).count() == 0

    gateway.events_since = fetch
    app.work(now + 20)
    assert app.billing.access("ann").allowed


def test_several_processes_poll_once(app, shop):
    now = time.time()
    app.work(now)
    before = polls(shop)

    app.work(now + 10)
    app.work(now + 10)

    assert polls(shop) - before == CALLS


def test_zero_poll_seconds_means_never(config, shop):
    with running(replace(config, poll_seconds=0)) as app:
        app.work(time.time() + DAY)

    assert polls(shop) == 0


def test_the_polled_types_are_fetched_twenty_a_call(app, shop):
    assert len(poll.TYPES) == len(set(poll.TYPES)) <= 20 * CALLS
    app.work()

    assert polls(shop) == CALLS


def polled(app, shop):
    return shop.calls("/v1/subscriptions"), shop.calls("/v1/events")


def test_the_first_poll_of_an_empty_file_fetches_everything(app, shop, simulator):
    shop.subscribe(shop.customer())
    for event in simulator.world.all("event"):
        event["created"] -= DAY

    app.work()

    assert app.billing.access("ann").allowed
    assert polled(app, shop) == (1, CALLS)


def test_a_start_after_forty_days_of_downtime_resyncs_everything(config, shop, simulator):
    now = time.time()
    subscription = shop.subscribe(shop.customer())
    with running(replace(config, poll_seconds=300)) as app:
        app.work(now)
        assert app.billing.access("ann").allowed
    shop.client.v1.subscriptions.cancel(subscription)
    shop.subscribe(shop.customer("bob"), user="bob")
    simulator.advance(40 * DAY)
    for event in simulator.world.all("event"):
        event["created"] -= 31 * DAY

    with running(replace(config, poll_seconds=300)) as app:
        app.work(now + 40 * DAY)

        assert app.billing.access("ann").reason == "ended"
        assert app.billing.access("bob").allowed


@pytest.mark.parametrize(("days", "pages"), [(29, 0), (30, 1)])
def test_a_start_within_stripes_retention_does_not_resync(app, shop, days, pages):
    now = time.time()
    app.work(now)
    position = Cursor.get_by_id("poll").position
    before = shop.calls()

    app.work(position + days * DAY)

    assert shop.calls() - before == pages


def test_the_poll_position_is_in_stripes_time(app, shop, simulator):
    simulator.advance(100 * DAY)
    app.work()

    assert abs(Cursor.get_by_id("poll").position - simulator.world.now) <= 5


def test_webhooks_lost_for_an_hour_are_made_up_by_the_next_poll(config, shop, simulator):
    with running(replace(config, poll_seconds=300)) as app:
        now = time.time()
        app.work(now)
        subscription = shop.subscribe(shop.customer())
        simulator.advance(1800)
        shop.client.v1.subscriptions.update(subscription, params={"cancel_at_period_end": True})
        simulator.advance(1800)

        app.work(now + 300)

        assert app.billing.access("ann").reason == "canceling"


def test_a_stopping_worker_interrupts_a_full_sync_and_resumes_it_later(app, shop):
    shop.subscribe(shop.customer())
    now = time.time()

    app.billing.service.worker.work_once(now, lambda: True)
    assert not app.billing.access("ann").allowed

    app.billing.service.worker.work_once(now)
    assert app.billing.access("ann").allowed


def test_a_stopping_worker_claims_no_customer(app, shop):
    app.work()
    shop.subscribe(shop.customer())
    app.work(time.time() + 10)
    Subscription.update(status="canceled").execute()
    StripeEvent.update(applied_at=None, next_attempt_at=0).execute()

    app.billing.service.worker.work_once(time.time(), lambda: True)
    assert StripeEvent.select().where(StripeEvent.next_attempt_at != 0).count() == 0

    app.work()
    assert Subscription.get().status == "active"


def test_a_customer_that_fails_is_logged_and_blocks_no_other(app, shop, caplog, monkeypatch):
    shop.subscribe(shop.customer())
    shop.subscribe(shop.customer("bob"), user="bob")
    write = Converger.compare_and_set

    def refuse_bob(self, held, fetched, event_ids, now):
        if fetched.customer.user_id == "bob":
            raise StripeFailed("HTTP 500")
        return write(self, held, fetched, event_ids, now)

    monkeypatch.setattr(Converger, "compare_and_set", refuse_bob)
    app.work()

    assert app.billing.access("ann").allowed
    assert "could not be fetched, `corkage sync` tries again" in caplog.text
    assert Cursor.get_by_id("poll").position


def test_polling_skips_events_of_another_account_or_mode(app, shop):
    app.work()
    customer = shop.customer()
    shop.subscribe(customer)
    gateway = app.billing.service.worker.gateway
    listed = gateway.events_since
    ours = EventRef("evt_ours", "invoice.paid", int(time.time()), False, None, customer, None)
    others = (replace(ours, id="evt_1", account="acct_x"), replace(ours, id="evt_2", livemode=True))
    gateway.events_since = lambda since, types: Listed((*others, ours), listed(since, types).as_of)

    app.work(time.time() + 10)

    recorded = {each.id for each in StripeEvent.select()}
    assert "evt_ours" in recorded
    assert not recorded & {"evt_1", "evt_2"}


def test_every_handled_event_type_is_polled():
    assert set(poll.TYPES) == {
        "checkout.session.completed",
        "checkout.session.async_payment_succeeded",
        "checkout.session.async_payment_failed",
        "customer.deleted",
        "customer.updated",
        "customer.subscription.created",
        "customer.subscription.deleted",
        "customer.subscription.paused",
        "customer.subscription.resumed",
        "customer.subscription.updated",
        "invoice.paid",
        "invoice.payment_failed",
        "charge.dispute.closed",
        "charge.dispute.created",
        "charge.dispute.funds_reinstated",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.updated",
        "charge.refunded",
        "refund.created",
        "refund.failed",
        "refund.updated",
        "price.created",
        "price.deleted",
        "price.updated",
        "product.created",
        "product.deleted",
        "product.updated",
        "test_helpers.test_clock.ready",
    }


def test_without_a_date_header_the_position_is_in_our_time(app):
    gateway = app.billing.service.worker.gateway
    gateway.events_since = lambda *_: Listed((), 0)
    now = time.time()

    app.work(now)

    assert Cursor.get_by_id("poll").position == int(now)


def test_a_failed_poll_is_counted(app):
    app.work()

    def refuse(since, types):
        raise StripeFailed("HTTP 500")

    app.billing.service.worker.gateway.events_since = refuse

    assert app.billing.service.worker.work_once(time.time() + 10).failed == 1


def test_events_are_read_page_by_page_so_that_a_long_list_takes_no_memory(app, shop, simulator, monkeypatch):
    product = shop.client.v1.prices.retrieve(shop.price).product
    for number in range(101):
        shop.client.v1.products.update(product, params={"name": f"Pro {number}"})
    read, asked = gateway.read_event, []

    def noting(event):
        asked.append(shop.calls("/v1/events"))
        return read(event)

    monkeypatch.setattr(gateway, "read_event", noting)
    before = shop.calls("/v1/events")
    found = app.billing.service.gateway.events_since(0, poll.TYPES)

    assert len(found.items) == len(asked) > 100
    assert min(asked) < max(asked) == shop.calls("/v1/events") > before + 1


def test_lists_of_any_length_are_stored_by_statements_of_few_sizes(app, monkeypatch):
    """A connection keeps its last statements: those of a hundred sizes would take tens of megabytes for each thread."""
    lengths, sizes, with_rows = (1, 7, 10, 99, 101, 234, 650), set(), storage.with_rows
    monkeypatch.setattr(storage, "with_rows", lambda sql, rows: sizes.add(len(rows)) or with_rows(sql, rows))
    for length in lengths:
        events = [an_event(f"evt_{length}_{number}") for number in range(length)]
        assert inbox.record_all(events, "poll", 1.0, 2.0) == length
        assert inbox.record_all(events, "poll", 1.0, 2.0) == 0

    assert StripeEvent.select().count() == sum(lengths)
    assert len(sizes) <= 3


def an_event(id_):
    return EventRef(id_, "invoice.paid", 1, False, None, "cus_1", None)
