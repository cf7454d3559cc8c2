"""What keeping the replica true costs in calls to Stripe."""

import json
import time
from dataclasses import replace

import pytest
import stripe
from harness import APP, running
from sabotage import thin

from corkage.gateway.events import read_event
from corkage.models import StripeEvent, Subscription
from corkage.simulator import Simulator
from corkage.simulator.api.customers import create_customer
from corkage.simulator.api.subscriptions import create_subscription
from corkage.sync import inbox

pytestmark = pytest.mark.slow

CUSTOMERS = 100
BURST_SECONDS = 1.5


@pytest.fixture
def simulator():
    """A Stripe with a frozen clock that only the test moves."""
    with Simulator(now=int(time.time())) as started:
        yield started


@pytest.fixture
def customers(simulator, shop):
    """Subscribers by the hundred, made where the simulator makes them, without a request for each."""
    world, made = simulator.world, []
    with world.lock:
        for number in range(CUSTOMERS):
            ours = {"corkage_app": APP, "corkage_user": f"user{number}"}
            card = {"default_payment_method": "pm_card_visa"}
            customer = create_customer(world, {"metadata": ours, "invoice_settings": card})["id"]
            create_subscription(world, {"customer": customer, "items": [{"price": shop.price}], "metadata": ours})
            made.append(customer)
    return made


def renew(simulator):
    """Let everybody renew, each change sent as two events; return each customer's events of it, oldest first."""
    simulator.deliveries.faults.twin_events = True
    before = len(simulator.world.all("event"))
    simulator.advance_to("renewal")
    new = simulator.world.all("event")[: len(simulator.world.all("event")) - before]
    events_of = {}
    for event in reversed(new):
        if event["data"]["object"].get("customer"):
            events_of.setdefault(event["data"]["object"]["customer"], []).append(event)
    return events_of


def arrivals(events_of, began):
    """When which event arrives: each customer's within a second and a half, made at Stripe in the same moments."""
    for events in events_of.values():
        for position, event in enumerate(events):
            after = BURST_SECONDS * position / (len(events) - 1)
            event["created"] = began + int(after)
            yield after, stripe.Event.construct_from(event, None)


@pytest.mark.parametrize("is_all_on", [False, True], ids=["snapshot events", "snapshot and thin events, and polling"])
def test_a_renewal_burst_costs_at_most_a_third_call_more_per_customer(config, simulator, customers, is_all_on):
    with running(replace(config, settle_seconds=2, poll_seconds=5 if is_all_on else 0)) as app:
        worker = app.billing.service.worker
        for customer in customers:
            worker.converger.converge(customer, time.time())
        events_of = renew(simulator)
        assert {len(events) for events in events_of.values()} == {16}
        Subscription.update(ask_at=None).execute()  # nobody is overdue: the hour of the invoice's draft was skipped
        began, asked_before = simulator.world.now, len(simulator.requests)
        coming = sorted(arrivals(events_of, began), key=lambda each: each[0])

        for tenth in range(100):
            present = began + tenth / 10
            simulator.world.clock.advance_to(int(present))
            while coming and coming[0][0] <= tenth / 10:
                event = coming.pop(0)[1]
                for body in (str(event).encode(), thin(event)) if is_all_on else (str(event).encode(),):
                    take(body, present)
            worker.work_once(present)

        asked = [each.path for each in simulator.requests[asked_before:]]
        assert ("/v1/events" in asked) is is_all_on
        assert StripeEvent.select().where(StripeEvent.applied_at.is_null()).count() == 0
        assert Subscription.select().where(Subscription.current_period_end > began).count() == CUSTOMERS
        assert CUSTOMERS <= asked.count("/v1/subscriptions") <= 1.3 * CUSTOMERS
        assert len(asked) - asked.count("/v1/events") <= 1.3 * CUSTOMERS


def take(body, now):
    event = read_event(json.loads(body))
    if event.is_wanted:
        inbox.record(event, "webhook", now, now + 2)
