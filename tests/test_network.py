"""Stripe is slow, silent, cut off, unreachable: webhooks and access are answered, and all is applied afterwards."""

import json
import statistics
import time
from dataclasses import replace

import pytest
from harness import running, until
from torture import size

from corkage.gateway.calls import Calls
from corkage.models import StripeEvent
from corkage.simulator import ApiFaults

pytestmark = [pytest.mark.slow, pytest.mark.torture("network")]

TIMEOUTS = (0.5, 0.5)
TROUBLE = {
    "slow": ApiFaults(latency_seconds=0.3),
    "silent": ApiFaults("hang"),
    "cutting": ApiFaults("cut"),
    "answering half": ApiFaults("cut_within"),
    "saying 429": ApiFaults("rate_limit"),
    "saying 500": ApiFaults("error"),
    "losing every second request": ApiFaults("cut", share=0.5),
}


@pytest.fixture(autouse=True)
def _waits_are_short(monkeypatch):
    monkeypatch.setattr(Calls.__init__, "__defaults__", (None, TIMEOUTS, 0, None))
    monkeypatch.setattr("corkage.gateway.outage.FIRST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr("corkage.gateway.outage.LONGEST_PAUSE_SECONDS", 0.5)


@pytest.fixture
def config(config):
    return replace(config, worker="thread", poll_seconds=0)


def buy(shop, simulator, users):
    """Have users subscribe; return the bodies of the events, which the API cannot list in its trouble."""
    bought = {shop.subscribe(shop.customer(user), user=user) for user in users}
    created = (each for each in simulator.world.all("event") if each["type"] == "customer.subscription.created")
    return [json.dumps(each).encode() for each in created if each["data"]["object"]["id"] in bought]


def pending():
    return StripeEvent.select().where(StripeEvent.applied_at.is_null()).count()


def pace(app, bodies):
    """Deliver these events and read access as often; return the median seconds of either."""
    webhooks, reads = [], []
    for body in bodies:
        for ask, times, status in ((lambda body=body: app.deliver(body), webhooks, 200), (app.ask, reads, 200)):
            began = time.monotonic()
            assert ask().status_code == status
            times.append(time.monotonic() - began)
    return statistics.median(webhooks), statistics.median(reads)


@pytest.mark.parametrize("trouble", TROUBLE)
def test_webhooks_and_access_are_answered_and_all_is_applied_afterwards(trouble, config, shop, simulator, figures):
    users = [f"user{number}" for number in range(size(3, long=40))]
    with running(config) as app:
        usual = pace(app, buy(shop, simulator, [f"before-{user}" for user in users]))
        until(lambda: not pending())
        bodies = buy(shop, simulator, users)
        simulator.api_faults = TROUBLE[trouble]
        meanwhile = pace(app, bodies)
        failed = app.billing.service.worker.gateway.outage
        until(lambda: failed.is_down or trouble in ("slow", "losing every second request"))
        waited = pending()
        simulator.api_faults = ApiFaults()
        began = time.monotonic()
        until(lambda: not pending(), seconds=60)
        drained = time.monotonic() - began

        assert waited or trouble in ("slow", "losing every second request")
        assert all(app.billing.access(user).allowed for user in users)
    webhook, access = (round(now / before, 2) for now, before in zip(meanwhile, usual, strict=True))
    figures.note(
        events=len(bodies), webhook_times_as_long=webhook, access_times_as_long=access, drained_in_s=round(drained, 1)
    )


@pytest.mark.parametrize(
    "base", ["https://127.0.0.1:{port}", "http://stripe.invalid"], ids=["wrong TLS", "no such name"]
)
def test_where_stripe_cannot_be_reached_at_all_events_wait_for_another_address(base, config, shop, simulator, figures):
    bodies = buy(shop, simulator, ["ann"])
    wrong = base.format(port=simulator.url.rpartition(":")[2])
    with running(replace(config, stripe_api_base=wrong)) as app:
        assert app.deliver(bodies[0]).status_code == 200
        assert app.ask().json()["allowed"] is False
        until(lambda: StripeEvent.get().attempts >= 1)
        assert "stripe_unavailable" in StripeEvent.get().error
    with running(config) as app:
        until(lambda: not pending(), seconds=60)
        assert app.billing.access("ann").allowed
    figures.note(events=1)
