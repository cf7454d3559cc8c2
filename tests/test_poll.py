"""Polling: the product works with no webhook at all, and what a webhook lost is found."""

import time
from dataclasses import replace

import pytest
from harness import DAY, running

from corkage.errors import StripeUnavailable
from corkage.models import Cursor, StripeEvent
from corkage.sync import poll


@pytest.fixture
def app(config):
    with running(replace(config, poll_seconds=10, webhook_secrets=())) as served:
        yield served


def polls(shop):
    return shop.calls("/v1/events")


def test_without_any_webhook_a_purchase_and_its_end_are_seen_at_the_next_poll(app, shop):
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


def test_an_event_seen_again_in_the_overlap_is_not_recorded_twice_and_costs_no_call(app, shop):
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
    gateway = app.billing.worker.gateway
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

    assert polls(shop) - before == 1


def test_zero_means_never(config, shop):
    with running(replace(config, poll_seconds=0)) as app:
        app.work(time.time() + DAY)

    assert polls(shop) == 0


def test_the_types_fit_into_one_call():
    assert len(poll.TYPES) == len(set(poll.TYPES)) <= 20
