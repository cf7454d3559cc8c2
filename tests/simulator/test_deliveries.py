"""The simulator's webhooks: signed, retried until they are acknowledged, and faulty on demand."""

import json
import time
from dataclasses import asdict

import pytest
import requests
import stripe
from harness import open_shop, receiving, sdk

from corkage.simulator import Simulator, settings
from corkage.simulator.errors import ApiError
from corkage.simulator.webhooks.faults import DeliveryFaults


def types_of(events):
    return [event["type"] for event in events]


def ids_of(events):
    return [event["id"] for event in events]


def signed_with(secret, body, signature):
    try:
        return stripe.WebhookSignature.verify_header(body.decode(), signature, secret, 300)
    except stripe.SignatureVerificationError:
        return False


def test_webhooks_are_signed_with_the_secret_shown_at_creation(simulator, client, receiver):
    endpoint = client.v1.webhook_endpoints.create(params={"url": receiver.url, "enabled_events": ["customer.created"]})
    client.v1.customers.create()
    client.v1.products.create(params={"name": "Not listened to"})
    simulator.settle()

    ((body, signature),) = receiver.got
    event = stripe.Webhook.construct_event(body, signature, endpoint.secret)
    assert event.type == "customer.created"
    assert not hasattr(client.v1.webhook_endpoints.retrieve(endpoint.id), "secret")


@pytest.mark.parametrize("answer", ["500 Oops", "302 Found", "404 Nothing"])
def test_webhooks_are_retried_until_they_are_acknowledged(simulator, client, receiver, answer):
    receiver.answers = [answer, answer]
    simulator.add_webhook_endpoint(receiver.url)
    client.v1.customers.create()
    receiver.has_got(3)
    simulator.settle()

    assert len({json.loads(body)["id"] for body, _ in receiver.got}) == 1
    assert simulator.deliveries.made[0].answers == [int(answer[:3])] * 2 + [200]


def test_a_disabled_endpoint_gets_nothing(simulator, client, receiver):
    endpoint = simulator.add_webhook_endpoint(receiver.url)
    client.v1.webhook_endpoints.update(endpoint["id"], params={"disabled": True})
    client.v1.customers.create()
    simulator.settle()

    assert receiver.got == []


def test_webhooks_are_sent_after_the_request_that_caused_them(simulator, client, receiver):
    simulator.add_webhook_endpoint(receiver.url)
    with simulator.world.lock:
        simulator.world.emit("customer.updated", {"id": "cus_1", "object": "customer", "deleted": True})
        time.sleep(0.2)
        assert receiver.got == []
    simulator.settle()

    assert types_of(receiver.events) == ["customer.updated"]


def test_without_faults_every_event_arrives_once(simulator, shop, receiver):
    simulator.add_webhook_endpoint(receiver.url)
    shop.subscribe(shop.customer())
    simulator.settle()

    assert sorted(ids_of(receiver.events)) == sorted(each.event["id"] for each in simulator.deliveries.made)
    assert len(set(ids_of(receiver.events))) == len(receiver.got) >= 6


def test_duplicates_are_extra_copies_of_the_same_event(simulator, client, receiver):
    simulator.add_webhook_endpoint(receiver.url)
    simulator.deliveries.faults.duplicates = 2
    client.v1.customers.create()
    simulator.settle()

    assert types_of(receiver.events) == ["customer.created"] * 3
    assert len(set(ids_of(receiver.events))) == 1
    assert len(client.v1.events.list().data) == 1
    assert client.v1.events.list().data[0].pending_webhooks == 0


def test_a_twin_event_has_another_id_and_is_recorded(simulator, client, receiver):
    simulator.add_webhook_endpoint(receiver.url)
    simulator.deliveries.faults.twin_events = True
    client.v1.customers.create(params={"name": "Ann"})
    simulator.settle()

    first, twin = receiver.events
    assert first["id"] != twin["id"]
    same = ("type", "created", "data", "request")
    assert {name: first[name] for name in same} == {name: twin[name] for name in same}
    assert {event.id for event in client.v1.events.list().data} == {first["id"], twin["id"]}


def test_a_webhook_signed_with_a_wrong_secret_fails_verification(simulator, client, receiver):
    secret = simulator.add_webhook_endpoint(receiver.url)["secret"]
    simulator.deliveries.faults.wrong_secret = True
    client.v1.customers.create()
    simulator.settle()
    simulator.deliveries.faults.wrong_secret = False
    client.v1.customers.create()
    simulator.settle()

    assert [signed_with(secret, *message) for message in receiver.got] == [False, True]


def arrivals(seed, faults, act):
    """Return the event types that an action causes, in the order of arrival and in the order of creation."""
    with Simulator(seed=seed) as simulator, receiving() as receiver:
        shop = open_shop(simulator, sdk(simulator))
        simulator.add_webhook_endpoint(receiver.url)
        settings.change(simulator.deliveries.faults, faults)
        act(shop)
        made = simulator.deliveries.made
        receiver.has_got(sum(1 for each in made if not each.is_lost))
        simulator.settle()
        return types_of(receiver.events), [each.event["type"] for each in made]


def subscribe(shop):
    shop.subscribe(shop.customer())


def test_disorder_shuffles_the_same_way_with_the_same_seed():
    came, made = arrivals(3, {"disorder": True}, subscribe)

    assert came != made
    assert sorted(came) == sorted(made)
    assert arrivals(3, {"disorder": True}, subscribe)[0] == came
    assert arrivals(4, {"disorder": True}, subscribe)[0] != came


def test_disorder_with_a_delay_shuffles_across_requests():
    def create_and_delete(shop):
        for _ in range(4):
            shop.client.v1.customers.delete(shop.client.v1.customers.create().id)

    came, made = arrivals(1, {"disorder": True, "delay_seconds": 1.5}, create_and_delete)

    assert came != made == ["customer.created", "customer.deleted"] * 4
    assert sorted(came) == sorted(made)


def test_loss_drops_its_share_and_the_same_one_with_the_same_seed():
    def create(shop):
        for _ in range(30):
            shop.client.v1.customers.create()

    came, made = arrivals(1, {"loss": 0.5}, create)

    assert len(made) == 30
    assert 5 <= len(came) <= 25
    assert arrivals(1, {"loss": 0.5}, create)[0] == came


@pytest.mark.parametrize(("loss", "count"), [(0, 1), (1, 0)])
def test_a_lost_webhook_is_never_sent_and_counts_as_delivered(simulator, client, receiver, loss, count):
    simulator.add_webhook_endpoint(receiver.url)
    simulator.deliveries.faults.loss = loss
    client.v1.customers.create()
    simulator.settle()

    assert len(receiver.got) == count
    assert client.v1.events.list().data[0].pending_webhooks == 0
    assert [each.is_lost for each in simulator.deliveries.made] == [loss == 1]


def test_a_delay_postpones_the_first_attempt_only(simulator, client, receiver):
    simulator.add_webhook_endpoint(receiver.url)
    simulator.deliveries.faults.delay_seconds = 0.3
    began = time.monotonic()
    client.v1.customers.create()
    simulator.settle()
    receiver.has_got(1)

    assert time.monotonic() - began >= 0.3


def test_an_endpoint_that_is_down_for_some_attempts_gets_the_retry(simulator, client, receiver):
    simulator.add_webhook_endpoint(receiver.url)
    simulator.deliveries.faults.down_attempts = 2
    client.v1.customers.create()
    receiver.has_got(1)
    simulator.settle()

    assert simulator.deliveries.made[0].answers == [0, 0, 200]
    assert simulator.deliveries.faults.down_attempts == 0


def test_events_are_listed_by_delivery_success(simulator, client, receiver):
    taken = client.v1.customers.create().id
    simulator.add_webhook_endpoint(receiver.url)
    simulator.deliveries.faults.down_seconds = 60
    waiting = client.v1.customers.create().id
    simulator.settle()

    def listed(success):
        events = client.v1.events.list(params={"delivery_success": success}).data
        return [event.data.object.id for event in events]

    assert (listed(True), listed(False)) == ([taken], [waiting])


def test_an_endpoint_that_is_down_for_a_while_gets_the_retry(simulator, client, receiver):
    simulator.add_webhook_endpoint(receiver.url)
    simulator.deliveries.faults.down_seconds = 60
    client.v1.customers.create()
    simulator.settle()
    assert receiver.got == []
    assert set(simulator.deliveries.made[0].answers) == {0}

    simulator.deliveries.faults.down_seconds = 0
    receiver.has_got(1)
    simulator.settle()
    assert simulator.deliveries.made[0].answers[-1] == 200


def test_faults_are_set_by_name_from_json_and_from_forms():
    faults = DeliveryFaults()
    settings.change(
        faults, {"duplicates": "2", "disorder": "true", "loss": "0.25", "down_seconds": 5, "wrong_secret": True}
    )

    assert json.loads(json.dumps(asdict(faults))) == {
        "duplicates": 2,
        "disorder": True,
        "delay_seconds": 0.0,
        "loss": 0.25,
        "twin_events": False,
        "wrong_secret": True,
        "down_seconds": 5.0,
        "down_attempts": 0,
    }


@pytest.mark.parametrize(
    "given",
    [
        {"loss": 1.01},
        {"loss": -0.1},
        {"loss": "nan"},
        {"delay_seconds": -1},
        {"delay_seconds": "inf"},
        {"duplicates": "1.5"},
        {"duplicates": None},
        {"disorder": "perhaps"},
        {"colour": "red"},
    ],
)
def test_an_impossible_fault_is_refused_and_nothing_is_set(given):
    faults = DeliveryFaults()

    with pytest.raises(ApiError, match=next(iter(given))):
        settings.change(faults, {"twin_events": True} | given)
    assert faults == DeliveryFaults()


def test_an_impossible_fault_is_refused_in_python_too():
    with pytest.raises(ValueError, match=r"loss cannot be 1\.5"):
        DeliveryFaults(loss=1.5)


def resend(simulator, event, **data):
    headers = {"Authorization": "Bearer sk_test_x"}
    return requests.post(f"{simulator.url}/v1/events/{event}/retry", data, headers=headers, timeout=30)


def test_an_event_is_sent_again_to_the_named_endpoint(simulator, client, receiver):
    named = simulator.add_webhook_endpoint(receiver.url, ("price.created",))
    simulator.add_webhook_endpoint("http://127.0.0.1:9/")
    client.v1.customers.create()
    event = client.v1.events.list().data[0].id
    assert receiver.got == []

    answer = resend(simulator, event, webhook_endpoint=named["id"])
    receiver.has_got(1)

    assert (answer.status_code, answer.json()["id"]) == (200, event)
    assert ids_of(receiver.events) == [event]


def test_an_event_is_not_sent_to_a_disabled_or_unknown_endpoint(simulator, client, receiver):
    disabled = simulator.add_webhook_endpoint(receiver.url)
    client.v1.webhook_endpoints.update(disabled["id"], params={"disabled": True})
    client.v1.customers.create()
    event = client.v1.events.list().data[0].id

    answers = [
        resend(simulator, event, webhook_endpoint=disabled["id"]),
        resend(simulator, event, webhook_endpoint="we_nothing"),
        resend(simulator, event, for_stripecli="true"),
        resend(simulator, event, webhook_endpoint=disabled["id"], account="acct_1"),
        resend(simulator, "evt_nothing", webhook_endpoint=disabled["id"]),
    ]
    simulator.settle()

    errors = [answer.json()["error"] for answer in answers]
    assert [answer.status_code for answer in answers] == [400, 400, 400, 400, 404]
    assert [error.get("code") for error in errors] == [
        None,
        "resource_missing",
        "simulator_not_played",
        "simulator_not_played",
        "resource_missing",
    ]
    assert receiver.got == []
