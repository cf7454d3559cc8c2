"""A state file that the first published simulator wrote goes on working, with what came later."""

import gzip
import json
from pathlib import Path

import pytest
import requests
from contract import problems
from harness import DAY, sdk

from corkage.simulator import Simulator

pytestmark = pytest.mark.slow

WRITTEN = Path(__file__).with_name("state_of_november_2026.json.gz")
READ = (
    "billing_portal.configuration checkout.session coupon customer event invoice invoiceitem payment_method price "
    "product promotion_code subscription subscription_schedule test_helpers.test_clock webhook_endpoint"
).split()
CHANGING = {"pending_webhooks", "secret"}  # an answer counts deliveries anew, and hides the secret


@pytest.fixture
def old(tmp_path):
    """A simulator that continues from the file."""
    file = tmp_path / "stripe.json"
    file.write_bytes(gzip.decompress(WRITTEN.read_bytes()))
    with Simulator(file=file) as started:
        yield started


def customer_named(v1, name):
    return next(each for each in v1.customers.list().data if each.email == f"{name}@example.com")


def statuses(v1):
    """Return the status of each user's subscription on the simulator's own clock."""
    names = {each.id: each.email.partition("@")[0] for each in v1.customers.list().data if each.email}
    return {names[each.customer]: each.status for each in v1.subscriptions.list(params={"status": "all"}).data}


@pytest.mark.parametrize("kind", READ)
def test_every_object_of_the_file_is_read_as_it_was(old, kind):
    written = json.loads(gzip.decompress(WRITTEN.read_bytes()))["world"]["objects"][kind]
    assert written

    for object_id, each in written.items():
        path = f"/v1/{kind.replace('.', '/')}s/{object_id}"
        answer = requests.get(old.url + path, auth=("sk_test_x", ""), timeout=30).json()
        assert problems(answer) == []
        assert {name: answer[name] for name in each.keys() - CHANGING} == {
            name: value for name, value in each.items() if name not in CHANGING
        }


def test_rules_and_statuses_are_as_they_were(old):
    assert statuses(sdk(old).v1) == {"ann": "active", "bob": "active", "eve": "past_due", "fay": "active"}
    assert old.rules.after_retries == "unpaid"


def test_what_was_scheduled_happens(old):
    v1 = sdk(old).v1
    ann, fay = customer_named(v1, "ann").id, customer_named(v1, "fay").id
    old.advance(32 * DAY)

    newest = v1.invoices.list(params={"customer": ann, "limit": 1}).data[0]
    assert (newest.billing_reason, newest.status, newest.total) == ("subscription_cycle", "paid", 1620 + 225)
    assert statuses(v1) == {"ann": "active", "bob": "active", "eve": "unpaid", "fay": "active"}
    old.advance(40 * DAY)
    assert v1.subscription_schedules.list(params={"customer": fay}).data[0].status == "completed"


def test_the_open_checkout_session_and_the_portal_still_work(old):
    v1 = sdk(old).v1
    (session,) = v1.checkout.sessions.list(params={"status": "open"}).data
    portal = old.world.all("billing_portal.session")[0]["url"]

    bought = old.buy(session.url.replace(session.url[: session.url.index("/c/pay")], old.url))
    shown = requests.get(old.url + portal[portal.index("/p/session") :], timeout=30)

    assert (bought["status"], bought["payment_status"]) == ("complete", "paid")
    assert v1.subscriptions.retrieve(bought["subscription"]).status == "active"
    assert shown.status_code == 200
    assert "Cancel" in shown.text


def test_an_idempotency_key_of_the_file_is_replayed(old):
    answer = requests.post(
        f"{old.url}/v1/customers",
        {"name": "Once"},
        auth=("sk_test_x", ""),
        headers={"Idempotency-Key": "kept"},
        timeout=30,
    )

    assert answer.headers["Idempotent-Replayed"] == "true"
    assert [each.id for each in sdk(old).v1.customers.list().data if each.name == "Once"] == [answer.json()["id"]]


def test_an_old_subscription_is_changed_declined_and_canceled(old):
    v1 = sdk(old).v1
    ann = customer_named(v1, "ann").id
    subscription = v1.subscriptions.list(params={"customer": ann}).data[0]
    (yearly,) = v1.prices.list(params={"lookup_keys": ["gold_yearly"]}).data

    item = subscription["items"].data[0].id
    v1.subscriptions.update(subscription.id, params={"items": [{"id": item, "price": yearly.id}]})
    old.use_card(ann, "pm_card_chargeCustomerFail")
    old.advance(367 * DAY)
    assert v1.subscriptions.retrieve(subscription.id).status == "past_due"
    assert v1.subscriptions.cancel(subscription.id).status == "canceled"


def test_the_file_is_written_again_and_read_again(tmp_path):
    file = tmp_path / "stripe.json"
    file.write_bytes(gzip.decompress(WRITTEN.read_bytes()))
    with Simulator(file=file) as first:
        before = statuses(sdk(first).v1)
    with Simulator(file=file) as second:
        assert statuses(sdk(second).v1) == before
