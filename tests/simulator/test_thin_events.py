"""The simulator's thin events: delivered, then fetched through the v2 API with the real SDK."""

import json
import re

import pytest
import requests
import stripe
from harness import DAY
from stripe.events._event_classes import get_v2_event_notification_class

from corkage.simulator.versions import ACACIA, VERSIONS

INCLUDE = ["webhook_endpoint.signing_secret", "webhook_endpoint.url"]


@pytest.fixture
def destinations(client):
    return client.v2.core.event_destinations


@pytest.fixture
def register(destinations, receiver):
    def create(*events, payload="thin", include=("webhook_endpoint.signing_secret",), **params):
        return destinations.create(
            params={
                "name": "Of the tests",
                "type": "webhook_endpoint",
                "event_payload": payload,
                "enabled_events": list(events),
                "webhook_endpoint": {"url": receiver.url},
                "include": list(include),
            }
            | params
        )

    return create


def ask(simulator, method, path, data=None, **headers):
    headers = {"Authorization": "Bearer sk_test_x"} | headers
    return requests.request(method, f"{simulator.url}{path}", data=data, headers=headers, timeout=30)


def test_a_thin_event_names_its_object_and_holds_nothing_of_it(simulator, client, receiver, register):
    register("v1.customer.created")
    customer = client.v1.customers.create(params={"name": "Ann"}).id
    client.v1.products.create(params={"name": "Not listened to"})
    simulator.settle()

    (event,) = receiver.events
    assert re.fullmatch(r"evt_test_\w{24}", event.pop("id"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event.pop("created"))
    assert event == {
        "object": "v2.core.event",
        "context": None,
        "livemode": False,
        "related_object": {"id": customer, "type": "customer", "url": f"/v1/customers/{customer}"},
        "type": "v1.customer.created",
    }


def test_the_sdk_verifies_a_thin_event_and_fetches_its_object(simulator, client, receiver, register):
    secret = register("v1.customer.created").webhook_endpoint.signing_secret
    client.v1.customers.create(params={"name": "Ann"}, options={"idempotency_key": "once"})
    simulator.settle()
    ((body, signature),) = receiver.got

    notification = client.parse_event_notification(body, signature, secret)
    assert notification.fetch_related_object().name == "Ann"
    fetched = notification.fetch_event()
    assert (fetched.id, fetched.type, fetched.created) == (notification.id, notification.type, notification.created)
    assert fetched.snapshot_event == client.v1.events.list().data[0].id
    assert fetched.reason.request.idempotency_key == "once"
    assert client.v2.core.events.retrieve(notification.id).related_object.id == notification.related_object.id
    with pytest.raises(stripe.SignatureVerificationError):
        client.parse_event_notification(body, signature, secret + "x")


def test_the_sdk_knows_every_thin_event_of_a_subscriptions_life(simulator, shop, receiver, register):
    register("*")
    customer = shop.customer()
    shop.subscribe(customer, trial_period_days=3)
    simulator.advance(40 * DAY)
    shop.client.v1.customers.delete(customer)
    simulator.settle()

    types = {event["type"] for event in receiver.events}
    assert len(types) >= 12
    assert {"v1.customer.subscription.trial_will_end", "v1.invoice.paid", "v1.customer.deleted"} <= types
    assert [each for each in types if not hasattr(get_v2_event_notification_class(each), "LOOKUP_TYPE")] == []
    for event in receiver.events:
        if event["type"] == "v1.customer.subscription.updated":
            assert ask(simulator, "GET", event["related_object"]["url"]).status_code == 200


def test_snapshot_and_thin_destinations_get_the_same_change(simulator, client, receiver, register):
    register("v1.customer.created")
    register("customer.created", payload="snapshot", snapshot_api_version=ACACIA)
    client.v1.customers.create()
    simulator.settle()

    thin, snapshot = sorted(receiver.events, key=lambda event: event["object"], reverse=True)
    assert client.v2.core.events.retrieve(thin["id"]).snapshot_event == snapshot["id"]
    assert (snapshot["object"], snapshot["type"], snapshot["api_version"]) == ("event", "customer.created", ACACIA)


def test_a_destination_shows_its_secret_only_at_creation(destinations, register, receiver):
    created = register("v1.customer.created", include=INCLUDE)
    assert created.webhook_endpoint.signing_secret.startswith("whsec_")
    assert created.webhook_endpoint.url == receiver.url
    assert (created.status, created.snapshot_api_version, created.event_payload) == ("enabled", None, "thin")

    silent = destinations.retrieve(created.id)
    assert (silent.webhook_endpoint.signing_secret, silent.webhook_endpoint.url) == (None, None)
    params = {"include": ["webhook_endpoint.url"]}
    assert destinations.retrieve(created.id, params=params).webhook_endpoint.url == receiver.url
    assert destinations.list(params=params).data[0].webhook_endpoint.url == receiver.url
    assert register("customer.created", payload="snapshot").snapshot_api_version == VERSIONS[-1]


def test_a_disabled_destination_gets_nothing_until_it_is_enabled(simulator, client, receiver, destinations, register):
    destination = register("*").id
    assert destinations.disable(destination).status_details.disabled.reason == "user"
    client.v1.customers.create()
    simulator.settle()
    assert receiver.got == []

    assert destinations.enable(destination).status == "enabled"
    client.v1.customers.create()
    simulator.settle()
    assert len(receiver.got) == 1


def test_a_deleted_destination_is_gone(simulator, client, receiver, destinations, register):
    destination = register("*").id

    assert destinations.delete(destination).id == destination
    client.v1.customers.create()
    simulator.settle()

    assert receiver.got == []
    assert destinations.list().data == []
    with pytest.raises(stripe.InvalidRequestError) as gone:
        destinations.retrieve(destination)
    assert (gone.value.http_status, gone.value.code) == (404, "not_found")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"enabled_events": ["customer.created"]}, "not an event that comes with a thin payload"),
        ({"enabled_events": ["v1.customer.created"], "event_payload": "snapshot"}, "comes with a snapshot payload"),
        ({"enabled_events": []}, "enabled_events"),
        ({"enabled_events": ["v1.customer.subscription.past_due"]}, "the simulator does not support it"),
        ({"enabled_events": ["v2.core.account.updated"]}, "the simulator does not support it"),
        ({"events_from": ["@accounts"]}, "the simulator does not support it"),
        ({"type": "amazon_eventbridge"}, "Invalid type"),
        ({"webhook_endpoint": None}, "webhook_endpoint.url"),
        ({"snapshot_api_version": ACACIA}, "not pinned"),
        ({"event_payload": "snapshot", "enabled_events": ["*"], "snapshot_api_version": "2020"}, "Invalid Stripe API"),
        ({"name": 5}, "Invalid string"),
        ({"name": None}, "name"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_an_invalid_destination_is_refused_in_the_v2_apis_shape(simulator, destinations, wrong, words):
    sound = {
        "name": "Thin",
        "type": "webhook_endpoint",
        "event_payload": "thin",
        "enabled_events": ["v1.customer.created"],
        "webhook_endpoint": {"url": "http://127.0.0.1:9/"},
    }
    answer = ask(simulator, "POST", "/v2/core/event_destinations", json.dumps(sound | wrong))

    assert answer.status_code == 400
    assert answer.json()["error"].keys() == {"code", "message", "type"}
    assert words in answer.json()["error"]["message"]
    assert destinations.list().data == []


@pytest.mark.parametrize("body", ["name=Thin&type=webhook_endpoint", "[]", "{", "5"])
def test_the_v2_api_accepts_only_json_objects(simulator, body):
    answer = ask(simulator, "POST", "/v2/core/event_destinations", body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")


@pytest.mark.parametrize("path", ["/v2/core/events/evt_test_nothing", "/v2/core/events/evt_1", "/v2/core/accounts"])
def test_an_unknown_id_is_not_found(simulator, path):
    answer = ask(simulator, "GET", path)

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert answer.json()["error"].keys() == {"code", "message", "type"}


def test_the_v2_api_requires_a_key_too(simulator):
    answer = ask(simulator, "GET", "/v2/core/events", Authorization="")

    assert (answer.status_code, answer.json()["error"].keys()) == (401, {"code", "message", "type"})


def test_an_idempotency_key_with_other_parameters_is_a_conflict(simulator):
    def create(name):
        sound = {"name": name, "type": "webhook_endpoint", "event_payload": "thin", "enabled_events": ["v1.x"]}
        body = json.dumps(sound | {"webhook_endpoint": {"url": "http://127.0.0.1:9/"}})
        return ask(simulator, "POST", "/v2/core/event_destinations", body, **{"Idempotency-Key": "k"})

    first, second, other = create("A"), create("A"), create("B")

    assert first.json()["id"] == second.json()["id"]
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_error")


def test_a_failed_v2_request_is_executed_again_and_not_replayed(simulator):
    path, key = "/v2/core/event_destinations/ed_test_nothing/disable", {"Idempotency-Key": "k"}
    answers = [ask(simulator, "POST", path, **key) for _ in range(2)]

    assert [answer.json()["error"]["code"] for answer in answers] == ["not_found"] * 2
    assert "Idempotent-Replayed" not in answers[1].headers


def test_thin_events_are_listed_in_pages_by_type_object_and_time(simulator, client):
    made = [client.v1.customers.create().id for _ in range(5)]
    client.v1.products.create(params={"name": "Pro"})
    events = client.v2.core.events

    of_customers = events.list(params={"types": ["v1.customer.created"], "limit": 2})
    assert len(of_customers.data) == 2
    assert [each.related_object.id for each in of_customers.auto_paging_iter()] == made[::-1]
    (only,) = events.list(params={"object_id": made[0]}).data
    assert (only.type, only.related_object.id) == ("v1.customer.created", made[0])
    assert len(events.list(params={"created": {"gte": only.created}}).data) == 6
    assert events.list(params={"created": {"lt": only.created}}).data == []
    with pytest.raises(stripe.InvalidRequestError, match="RFC 3339"):
        events.list(params={"created": {"gt": "yesterday"}})


def test_previous_page_url_leads_to_the_previous_page(simulator, client):
    for _ in range(3):
        client.v1.customers.create()
    first = ask(simulator, "GET", "/v2/core/events?limit=2").json()
    second = ask(simulator, "GET", first["next_page_url"]).json()

    assert (first["previous_page_url"], second["next_page_url"]) == (None, None)
    assert ask(simulator, "GET", second["previous_page_url"]).json() == first
    assert ask(simulator, "GET", "/v2/core/events?limit=0").status_code == 400
    assert ask(simulator, "GET", "/v2/core/events?page=x").status_code == 400


def test_a_thin_event_is_sent_again_to_its_destination(simulator, client, receiver, register):
    destination = register("v1.customer.created").id
    client.v1.customers.create()
    event = client.v1.events.list().data[0].id
    answer = ask(simulator, "POST", f"/v1/events/{event}/retry", {"webhook_endpoint": destination})
    receiver.has_got(2)

    assert answer.status_code == 200
    assert receiver.events[0] == receiver.events[1]
