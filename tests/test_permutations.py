"""Every order of one story's events ends in the same rows, and so does every tenth with each event delivered twice.

Of the 5,040 orders each engine plays every twenty-fourth with CI=true, each day others; elsewhere every fortieth.
ALL_ORDERS=true plays all, which takes half an hour. Of a story of two subscriptions it is every thirty-seventh of
these.
"""

import itertools
import math
import os
import random
import time

import pytest
from elsewhere import without_fsync
from harness import running
from peewee import fn
from sampling import TODAY

from corkage import storage
from corkage.access import FOREVER
from corkage.gateway.events import read_event
from corkage.models import TABLES, AnswerRow, NoticeRow, StripeEvent, Subscription, SubscriptionItem, User
from corkage.sync import inbox

pytestmark = [pytest.mark.slow, pytest.mark.every_run]

PARTS = 8  # for several processes to share
DOUBLED_EVERY = 10
ENDLESS = (None, 0, FOREVER)
EVERY = 1 if os.environ.get("ALL_ORDERS") == "true" else 24 if os.environ.get("CI") == "true" else 40
FIRST = {"sqlite": TODAY % EVERY, "postgresql": (TODAY + EVERY // 2) % EVERY}


@pytest.fixture
def events(simulator, shop):
    """The handled events of a purchase, a renewal, an upgrade and a cancellation."""
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    simulator.advance_to("renewal")
    item = shop.client.v1.subscriptions.retrieve(subscription)["items"].data[0].id
    shop.client.v1.subscriptions.update(subscription, params={"items": [{"id": item, "price": shop.other_price}]})
    shop.client.v1.subscriptions.update(subscription, params={"cancel_at_period_end": True})
    shop.client.v1.subscriptions.cancel(subscription)
    return handled(shop, customer)


@pytest.fixture
def events_of_two(simulator, shop):
    """The handled events of two subscriptions: a second item, a pause of collection, an end."""
    customer = shop.customer()
    first = shop.subscribe(customer)
    items = [{"price": shop.other_price, "quantity": 2}]
    shop.client.v1.subscriptions.update(first, params={"items": items})
    second = shop.subscribe(customer, price=shop.other_price)
    shop.client.v1.subscriptions.update(second, params={"pause_collection": {"behavior": "void"}})
    shop.client.v1.subscriptions.cancel(first)
    return handled(shop, customer)


def handled(shop, customer):
    events = shop.client.v1.events.list(params={"limit": 100}).data
    read = [read_event(event.to_dict()) for event in events]
    return [event for event in read if event.is_wanted and event.customer_id == customer]


@pytest.fixture
def app(config):
    with running(config) as served:
        without_fsync()
        served.work()
        yield served


def play(app, orders, chance, now):
    """Deliver the events in this order to an empty database, with the worker at random moments."""
    with storage.writing():
        for table in reversed(TABLES):
            if table.__name__ not in ("Setting", "Cursor", "Price", "PlanRow"):
                table.delete().execute()
    for event in orders:
        inbox.record(event, "webhook", now, now)
        if chance.random() < 0.1:
            app.work(now)
    app.work(now)
    assert inbox.backlog(now).backlog == 0
    return rows()


def rows():
    """All that was written of the story, but when."""
    user = User.get()
    return (
        (user.id, user.email, user.stripe_customer_id, user.notified),
        [{**row, "ask_at": None, "clock_ahead": 0} for row in Subscription.select().order_by(Subscription.id).dicts()],
        sorted(SubscriptionItem.select().tuples()),
        [by_stripes_clock(row) for row in AnswerRow.select().order_by(AnswerRow.user_id, AnswerRow.starts_at).dicts()],
        [(each.kind, each.subscription_id, each.after) for each in NoticeRow.select().order_by(NoticeRow.id)],
        sorted(event.id for event in StripeEvent.select()),
    )


def by_stripes_clock(answer):
    """An answer with its moments by the clock of the simulator, which goes on while the histories are played."""
    ahead = Subscription.select(fn.MAX(Subscription.clock_ahead)).scalar()
    moments = {name: answer[name] for name in ("starts_at", "ends_at", "stale_at") if answer[name] not in ENDLESS}
    return answer | {name: moment + ahead for name, moment in moments.items()}


@pytest.mark.parametrize("part", range(PARTS))
def test_every_order_of_events_even_doubled_ends_in_the_same_rows(app, engine, events, part):
    assert math.factorial(len(events)) == 5_040
    chance, now = random.Random(part), time.time()
    expected = play(app, events, chance, now)
    assert [row["status"] for row in expected[1]] == ["canceled"]

    orders = itertools.islice(itertools.permutations(events), part + PARTS * FIRST[engine], None, PARTS * EVERY)
    for number, order in enumerate(orders):
        assert play(app, order, chance, now) == expected
        if number % DOUBLED_EVERY == 0:
            assert play(app, chance.sample(order * 2, len(order) * 2), chance, now) == expected


def test_orders_of_events_of_two_subscriptions_end_in_the_same_rows(app, events_of_two):
    chance, now = random.Random(7), time.time()
    expected = play(app, events_of_two, chance, now)
    assert sorted(row["status"] for row in expected[1]) == ["active", "canceled"]
    assert len(expected[2]) == 3

    for order in itertools.islice(itertools.permutations(events_of_two), 0, None, 37 * EVERY):
        assert play(app, order, chance, now) == expected
        assert play(app, chance.sample(order * 2, len(order) * 2), chance, now) == expected
