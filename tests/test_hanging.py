"""A call to Stripe that hangs takes one of the worker's places. Everything else goes on."""

import json
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from harness import running, until
from sabotage import thin
from stripe import Event

from corkage import storage
from corkage.models import Customer, StripeEvent
from corkage.simulator import ApiFaults
from corkage.sync import jobs

pytestmark = pytest.mark.slow


@pytest.fixture
def app(config):
    with running(replace(config, worker="thread", poll_seconds=1)) as served:
        until(lambda: jobs.position("poll") > 0)
        yield served


@pytest.fixture
def hang(simulator):
    """Have every call to a path hang, until the test ends."""

    def begin(path):
        simulator.api_faults = ApiFaults("hang", path)

    yield begin
    simulator.api_faults = ApiFaults()


def is_running(app, key):
    return app.billing.service.worker._pool.is_running(key)


def event_of(simulator, kind, object_id):
    """The event of this kind about this object; read from the world, since the API may hang."""
    (found,) = [
        event
        for event in simulator.world.all("event")
        if event["type"] == kind and event["data"]["object"]["id"] == object_id
    ]
    return found


def deliver(app, simulator, kind, object_id):
    body = json.dumps(event_of(simulator, kind, object_id)).encode()
    assert app.deliver(body).status_code == 200


def test_a_hanging_call_for_one_customer_delays_no_other(app, shop, simulator, hang):
    stuck = shop.customer("bob")
    with storage.writing():
        Customer.insert(id=stuck, missing_at=1).execute()  # so that it is fetched by itself, before its subscriptions
    hang(f"/v1/customers/{stuck}")
    deliver(app, simulator, "customer.subscription.created", shop.subscribe(stuck, user="bob"))
    until(lambda: is_running(app, f"customer {stuck}"))

    deliver(app, simulator, "customer.subscription.created", shop.subscribe(shop.customer("ann")))
    until(lambda: app.billing.access("ann").allowed)
    polled = jobs.position("poll")
    until(lambda: jobs.position("poll") > polled)

    assert is_running(app, f"customer {stuck}")
    assert not app.billing.access("bob").allowed
    simulator.api_faults = ApiFaults()
    until(lambda: app.billing.access("bob").allowed)


@pytest.mark.parametrize(("path", "key"), [("/v1/prices", "catalogue"), ("/v1/events", "poll")])
def test_hanging_prices_and_polls_delay_no_customer(app, shop, simulator, hang, path, key):
    hang(path)
    deliver(app, simulator, "product.created", shop.client.v1.products.create(params={"name": "Another"}).id)
    until(lambda: is_running(app, key))

    deliver(app, simulator, "customer.subscription.created", shop.subscribe(shop.customer("ann")))
    until(lambda: app.billing.access("ann").allowed)

    assert is_running(app, key)
    simulator.api_faults = ApiFaults()
    until(lambda: StripeEvent.get(StripeEvent.type == "product.created").applied_at)


def test_hanging_thin_events_of_two_subscriptions_delay_no_customer(config, shop, simulator, hang):
    with running(replace(config, worker="thread")) as app:  # a poll would find the snapshot events first
        hang("/v1/subscriptions/")
        stuck = []
        for user in ("bob", "eve"):
            stuck.append(shop.subscribe(shop.customer(user), user=user))
            created = event_of(simulator, "customer.subscription.created", stuck[-1])
            app.deliver(thin(Event.construct_from(created, None)))
        until(lambda: all(is_running(app, f"object {each}") for each in stuck))

        deliver(app, simulator, "customer.subscription.created", shop.subscribe(shop.customer("ann")))
        until(lambda: app.billing.access("ann").allowed)

        simulator.api_faults = ApiFaults()
        until(lambda: app.billing.access("bob").allowed and app.billing.access("eve").allowed)


def test_a_hanging_call_is_not_repeated_meanwhile(app, monkeypatch):
    asked, released = [], SimpleNamespace(is_set=False)

    def hang(*_):
        asked.append(time.monotonic())
        until(lambda: released.is_set)
        return fetch(*_)

    fetch = app.billing.service.worker.gateway.events_since
    monkeypatch.setattr(app.billing.service.worker.gateway, "events_since", hang)
    until(lambda: asked)
    due = jobs.next_runs(time.time(), {"poll": 1})["poll"]
    until(lambda: time.time() > due + 1)  # a second poll would have been due

    assert len(asked) == 1
    released.is_set = True
    until(lambda: len(asked) > 1)
