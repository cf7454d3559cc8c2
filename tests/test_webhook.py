"""POST /webhook: a signed, handled event is on disk before the 200; anything else changes nothing."""

import io
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from wsgiref.util import setup_testing_defaults

import pytest
import requests
import stripe
from elsewhere import be_impatient, elsewhere, locked
from harness import WEBHOOK_SECRET, running
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corkage import storage
from corkage.errors import InvalidSignature
from corkage.gateway.signature import verify_signature
from corkage.models import Customer, StripeEvent, Subscription, User

GENTLE = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def assert_nothing_kept():
    assert [table.select().count() for table in (StripeEvent, Customer, User, Subscription)] == [0, 0, 0, 0]


def assert_refused(answer, status, code):
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert answer.headers["Content-Type"] == "application/json"
    assert WEBHOOK_SECRET not in answer.text
    assert_nothing_kept()


def test_a_signed_event_gives_access(app, shop, event):
    assert app.deliver(event).status_code == 200
    assert app.ask().json()["allowed"] is False

    app.work()

    answer = app.ask().json()
    assert answer["allowed"] is True
    assert (answer["reason"], answer["plan"], answer["features"]) == ("active", "pro", ["exports", "api"])
    assert StripeEvent.get().outcome == "converged"


def test_webhook_delivered_fifty_times_at_once_is_applied_once(app, shop, event):
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: app.deliver(event).status_code, range(50)))

    assert answers == [200] * 50
    assert StripeEvent.select().count() == 1
    before = shop.calls()
    app.work()
    app.work()
    assert shop.calls() - before == 1


def test_an_event_delivered_again_after_it_was_applied_stays_applied(app, shop, event):
    app.deliver(event)
    app.work()
    before = shop.calls()

    assert app.deliver(event).status_code == 200
    app.work()

    assert StripeEvent.select().where(StripeEvent.applied_at.is_null()).count() == 0
    assert shop.calls() == before


def test_the_response_comes_after_the_event_is_on_disk(app, event, config):
    app.deliver(event)

    with elsewhere(config.database) as other:
        assert other.execute("SELECT id, applied_at FROM corkage_stripe_event").fetchall() == [(event.id, None)]


def test_a_failing_database_is_a_503_and_the_redelivery_is_applied(app, shop, event, config, monkeypatch):
    be_impatient(monkeypatch)
    app.billing.close()
    with running(config) as slow_to_give_up:
        with locked(config.database):
            refused = slow_to_give_up.deliver(event)
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "database_unavailable"
        assert refused.headers["Retry-After"]
        assert_nothing_kept()

        assert slow_to_give_up.deliver(event).status_code == 200
        slow_to_give_up.work()
        assert slow_to_give_up.billing.access("ann").allowed


@pytest.mark.one_engine("sqlite", "it limits the pages of the file")
@pytest.mark.slow
def test_a_full_disk_is_a_503_loses_nothing_and_recovers(app, event):
    app.deliver(event)
    limit_pages(storage.current().of_thread().execute("PRAGMA page_count").fetchone()[0])
    statuses = [app.deliver(padded(event, number)).status_code for number in range(200)]

    assert set(statuses) == {200, 503}
    assert StripeEvent.select().count() == 1 + statuses.count(200)
    limit_pages(1_000_000)
    assert {app.deliver(padded(event, number)).status_code for number in range(200)} == {200}
    assert StripeEvent.select().count() == 201


def limit_pages(pages):
    """In every connection there is, and in those that the server's threads will open."""
    for connection in storage.current().open_connections():
        connection.execute(f"PRAGMA max_page_count={pages}")
    storage.current().pragma("max_page_count", pages, permanent=True)


def padded(event, number):
    return json.dumps(json.loads(str(event)) | {"id": f"evt_{number:0200}"}).encode()


@pytest.mark.parametrize("age", [-200, 0, 200])
def test_a_recent_signature_passes(app, event, age):
    assert app.deliver(event, at=time.time() - age).status_code == 200


@pytest.mark.parametrize(("age", "passes"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_a_signature_passes_up_to_300_seconds_old_or_ahead(age, passes):
    body, signed_at = b'{"object": "event"}', 1_900_000_000
    header = stripe.WebhookSignature.generate_signature_header(body.decode(), WEBHOOK_SECRET, signed_at)

    with nullcontext() if passes else pytest.raises(InvalidSignature, match="301 s"):
        assert verify_signature(body, header, (WEBHOOK_SECRET,), signed_at + age) == {"object": "event"}


@pytest.mark.parametrize("age", [-400, 400, 10**9])
def test_a_signature_too_old_or_too_far_ahead_is_refused(app, event, age):
    assert_refused(app.deliver(event, at=max(0, time.time() - age)), 400, "invalid_signature")


def test_wrong_secret_is_refused(app, event):
    assert_refused(app.deliver(event, secret="whsec_other"), 400, "invalid_signature")


def test_every_secret_of_the_list_verifies(app, event, config):
    app.billing.close()
    with running(replace(config, webhook_secrets=("whsec_new", WEBHOOK_SECRET))) as rotating:
        assert rotating.deliver(event).status_code == 200
        assert rotating.deliver(event, secret="whsec_new").status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        "t=,v1=",
        "t=abc,v1=00",
        "v1=00",
        "t=1,t=2,v1=00",
        "t=99999999999999999999,v1=00",
        "t=²,v1=00",
        "t={now}",
        "t={now},v0=00",
        "t={now},v1=",
        "t={now},v1=zz",
        "t={now},v1=ä".encode().decode("latin-1"),
    ],
)
def test_a_broken_signature_header_is_refused(app, event, header):
    now = int(time.time())
    headers = {} if header is None else {"Stripe-Signature": header.format(now=now).encode("latin-1", "replace")}

    assert_refused(
        requests.post(f"{app.url}/webhook", str(event), headers=headers, timeout=30), 400, "invalid_signature"
    )


def test_one_changed_byte_is_refused(app, event):
    body = str(event).encode()
    signature = stripe.WebhookSignature.generate_signature_header(body.decode(), WEBHOOK_SECRET)
    changed = body.replace(b"active", b"Active", 1)

    answer = requests.post(f"{app.url}/webhook", changed, headers={"Stripe-Signature": signature}, timeout=30)

    assert_refused(answer, 400, "invalid_signature")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b"7",
        b'"event"',
        b"{}",
        b'{"object": "event"}',
        b'{"object": "event", "id": 1, "type": "x", "created": 1, "data": {"object": {}}}',
        b'{"object": "event", "id": "", "type": "x", "created": 1, "data": {"object": {}}}',
        b'{"object": "event", "id": "evt_1", "type": [], "created": 1, "data": {"object": {}}}',
        b'{"object": "event", "id": "evt_1", "type": "x", "created": true, "data": {"object": {}}}',
        b'{"object": "event", "id": "evt_1", "type": "x", "created": -1, "data": {"object": {}}}',
        b'{"object": "event", "id": "evt_1", "type": "x", "created": 1, "data": []}',
        b'{"object": "event", "id": "evt_1", "type": "x", "created": 1, "data": {"object": null}}',
        b'{"object": "customer", "id": "cus_1"}',
        b'{"object": "event", "id": "evt_\\ud800", "type": "x", "created": 1, "data": {"object": {}}}',
        b'{"object": "event", "id": "evt_1\\n2", "type": "x", "created": 1, "data": {"object": {}}}',
        b'{"object": "event", "id": "evt_1", "type": "x\\u0000", "created": 1, "data": {"object": {}}}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_a_signed_body_that_is_not_an_event_is_refused(app, body):
    assert_refused(app.deliver(body), 400, "invalid_body")


def test_a_body_that_is_not_utf8_is_refused(app):
    now = int(time.time())
    headers = {"Stripe-Signature": f"t={now},v1={'0' * 64}"}

    assert_refused(requests.post(f"{app.url}/webhook", b"\xff\xfe{}", headers=headers, timeout=30), 400, "invalid_body")


def test_a_body_of_two_mebibytes_is_refused(app):
    assert_refused(app.deliver(b" " * (2 * 1024 * 1024)), 413, "body_too_large")


def test_a_body_of_exactly_one_mebibyte_is_read(app):
    assert_refused(app.deliver(b" " * (1024 * 1024)), 400, "invalid_body")
    assert_refused(app.deliver(b" " * (1024 * 1024 + 1)), 413, "body_too_large")


@pytest.mark.parametrize("kind", ["charge.succeeded", "something.that.is.new", "customer.created", "v1.x"])
def test_an_unhandled_event_gets_a_200_and_is_not_stored(app, event, kind):
    payload = json.loads(str(event)) | {"type": kind}

    assert app.deliver(json.dumps(payload).encode()).status_code == 200
    assert_nothing_kept()


@pytest.mark.parametrize("change", [{"livemode": True}, {"account": "acct_connected"}])
def test_an_event_of_another_mode_or_account_gets_a_200_and_no_effect(app, event, change):
    assert app.deliver(json.dumps(json.loads(str(event)) | change).encode()).status_code == 200
    assert_nothing_kept()


def test_ids_are_read_from_expanded_objects_too(app, shop, event):
    payload = json.loads(str(event))
    payload["data"]["object"]["customer"] = {"id": payload["data"]["object"]["customer"], "object": "customer"}

    app.deliver(json.dumps(payload).encode())
    app.work()

    assert app.billing.access("ann").allowed


@pytest.mark.parametrize("customer", ["cus_\ud800", "cus_1\nERROR forged", "", "c" * 256, 7, {"id": None}])
def test_an_event_with_an_invalid_customer_id_is_not_stored(app, shop, customer):
    subject = {"object": "subscription", "id": "sub_1", "customer": customer}
    payload = {"object": "event", "id": "evt_1", "type": "customer.subscription.updated", "created": 1}

    answer = app.deliver(json.dumps(payload | {"livemode": False, "data": {"object": subject}}).encode())

    assert answer.status_code == 200
    assert StripeEvent.select().count() == 0


def test_without_a_webhook_secret_the_route_returns_503(app, event, config):
    app.billing.close()
    with running(replace(config, webhook_secrets=())) as unconfigured:
        assert_refused(unconfigured.deliver(event), 503, "not_configured")


@pytest.mark.slow
@GENTLE
@given(
    body=st.binary(max_size=300), header=st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=80)
)
def test_no_unsigned_body_is_ever_accepted(app, body, header):
    answer = requests.post(
        f"{app.url}/webhook", body, headers={"Stripe-Signature": header.encode("latin-1").strip()}, timeout=30
    )

    assert answer.status_code == 400
    assert_nothing_kept()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(["object", "id", "type", "created", "data", "livemode", "account"])


@GENTLE
@given(damage=st.dictionaries(keys, json_values, min_size=1, max_size=3))
def test_a_signed_event_with_any_damaged_field_does_not_crash(app, damage):
    payload = {
        "object": "event",
        "id": "evt_1",
        "type": "customer.updated",
        "created": 1,
        "livemode": False,
        "data": {"object": {"object": "customer", "id": "cus_1"}},
    }

    assert app.deliver(json.dumps(payload | damage).encode()).status_code in (200, 400)


def test_a_truncated_body_is_refused_even_if_the_rest_is_signed(app, event):
    body = str(event).encode()
    signature = stripe.WebhookSignature.generate_signature_header(body.decode(), WEBHOOK_SECRET, int(time.time()))
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/webhook", "HTTP_STRIPE_SIGNATURE": signature}
    answered = []

    def deliver(announced):
        request = environ | {"CONTENT_LENGTH": str(announced), "wsgi.input": io.BytesIO(body)}
        setup_testing_defaults(request)
        return json.loads(b"".join(app.billing.wsgi(request, lambda status, *_: answered.append(status))))

    assert deliver(len(body) + 1)["error"]["code"] == "invalid_body"
    assert_nothing_kept()
    assert deliver(len(body)) == {"received": True}
    assert [status[:3] for status in answered] == ["400", "200"]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (None, "no Stripe-Signature header"),
        ("t=1,v1=é", "Stripe-Signature is not ASCII"),
        ("t=1000,v1=00", "the signature is 9000 s old"),
        ("t=19000,v1=00", "the signature is 9000 s ahead of our clock"),
        ("v1=00", "Stripe-Signature has no single timestamp"),
        ("t=10000,v1=00", "none of the 1 webhook secrets made this signature"),
    ],
)
def test_the_log_says_what_is_wrong_with_a_signature(header, words):
    with pytest.raises(InvalidSignature, match=words):
        verify_signature(b"{}", header, ("whsec_1",), 10_000)
