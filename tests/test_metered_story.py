"""Three months on a metered plan, an answer of Stripe's lost in each, in the hosts that people have."""

import time
from dataclasses import replace

import pytest
import requests
from harness import AUTH_SECRET, DAY, WEBHOOK_SECRET
from metered_hosts import host
from spending import METERED, open_meter

from corkage.health import metering
from corkage.identity import mint_token
from corkage.models import MeterEvent
from corkage.simulator.http.faults import ApiFaults

pytestmark = pytest.mark.slow

CENTS = 2
LOST = ("cut_after", "error_after", "cut_within")  # Stripe took the event, and nobody heard of it
HOUR = 3600


def buy(simulator, kind, url):
    """Have ann buy the plan through the product's button."""
    token = mint_token(AUTH_SECRET, "ann", now=time.time())
    who = {"Authorization": f"Bearer {token}"} if kind == "node" else {"Cookie": "user=ann"}
    headers = who | {"Origin": "https://app.example.com", "Accept": "application/json"}
    answer = requests.post(f"{url}/checkout", {"plan": "metered"}, headers=headers, timeout=30)
    assert answer.ok, answer.text
    return simulator.buy(answer.json()["url"])["customer"]


@pytest.mark.parametrize("kind", ["bottle", "flask", "node"])
def test_three_months_are_billed_to_the_call_though_an_answer_is_lost_in_each(kind, config, shop, simulator, tmp_path):
    open_meter(shop.client)
    config = replace(config, plans=(METERED,), billing_url="https://app.example.com/billing")
    with host(kind, config, tmp_path) as (billing, url, call):
        simulator.add_webhook_endpoint(f"{url}/webhook", secret=WEBHOOK_SECRET)
        customer = buy(simulator, kind, url)
        simulator.settle()
        billing.work()
        wanted, ends = [], []
        for month, lost in enumerate(LOST, 1):
            calls = 0
            for week in range(3):
                used = call("ann", 10 * month, f"{month}-{week}")
                again = call("ann", 10 * month, f"{month}-{week}")  # the product lost the answer, and asks again
                calls += 10 * month
                assert (used["repeated"], again["repeated"], again["used"], used["limit"]) == (
                    False, True, calls, "unlimited"
                )  # fmt: skip
                simulator.api_faults = ApiFaults(failure=lost if week == 1 else "none", path="/v1/billing/meter_events")
                billing.work()
                simulator.api_faults = ApiFaults()
                billing.work()
                simulator.advance(7 * DAY)
                simulator.settle()
                billing.work()
            wanted.append(calls * CENTS)
            ends.append(used["resets_at"])
            simulator.advance_to("renewal")
            simulator.advance(2 * HOUR)
            simulator.settle()
            billing.work()

        bills = [each for each in shop.client.v1.invoices.list(params={"customer": customer}).data if each.total]
        assert [each.total for each in reversed(bills)] == wanted == [60, 120, 180]
        assert {each.status for each in bills} == {"paid"}
        assert sorted(set(ends)) == ends
        assert MeterEvent.select().where(MeterEvent.sent_at.is_null()).count() == 0
        worker = billing.service.worker
        assert list(metering.examine(worker.gateway, worker.catalogue.plans.values(), time.time() + 2 * HOUR)) == []
