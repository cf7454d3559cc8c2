"""Whatever Stripe answers, or fails to: one of our errors, nothing written, the event stays pending."""

import time

import pytest
import requests
import responses
from harness import running

from corkage.errors import (
    CardRefused,
    StripeError,
    StripeFailed,
    StripeNotSetUp,
    StripeRefused,
    StripeUnavailable,
    UnknownCustomer,
)
from corkage.gateway import client as client_module
from corkage.gateway.gateway import Gateway
from corkage.models import Customer, StripeEvent, Subscription

pytestmark = pytest.mark.slow

BASE = "https://stripe.test"
KEY = "sk_test_verysecretkey"


@pytest.fixture
def gateway(monkeypatch):
    monkeypatch.setattr(client_module, "RETRIES", 0)
    return Gateway(KEY, BASE)


@pytest.fixture
def stripe_says():
    with responses.RequestsMock(assert_all_requests_are_fired=False) as playing:
        yield playing


def error(kind, message="No.", **more):
    return {"error": {"type": kind, "message": message, **more}}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, error("invalid_request_error"), StripeRefused),
        (401, error("invalid_request_error", f"Invalid API Key provided: {KEY}"), StripeNotSetUp),
        (402, error("card_error", code="card_declined"), CardRefused),
        (403, error("invalid_request_error"), StripeNotSetUp),
        (404, error("invalid_request_error", code="resource_missing", param="id"), UnknownCustomer),
        (409, error("idempotency_error"), StripeUnavailable),
        (409, error("invalid_request_error", code="lock_timeout"), StripeUnavailable),
        (429, error("rate_limit_error"), StripeUnavailable),
        (429, error("invalid_request_error", code="rate_limit"), StripeUnavailable),
        (500, error("api_error"), StripeFailed),
        (503, "<html>down</html>", StripeFailed),
        (200, "garbage", StripeError),
        (200, "", StripeError),
        (200, "[]", StripeError),
        (200, "{}", StripeError),
        (200, '"text"', StripeError),
        (200, {"object": "list", "data": [{"object": "subscription"}]}, StripeError),
        (200, {"object": "list", "data": [None]}, StripeError),
    ],
    ids=str,
)
def test_every_error_of_stripe_becomes_one_of_ours_without_the_key(gateway, stripe_says, status, body, expected):
    options = {"json": body} if isinstance(body, dict) else {"body": body}
    stripe_says.get(f"{BASE}/v1/subscriptions", status=status, **options)

    with pytest.raises(StripeError) as raised:
        gateway.subscriptions_of("cus_1")

    assert type(raised.value) is expected
    assert KEY not in str(raised.value)


@pytest.mark.parametrize(
    "failure",
    [requests.ConnectionError("cut"), requests.Timeout("slow"), requests.exceptions.ChunkedEncodingError("half")],
    ids=repr,
)
def test_a_cut_or_slow_connection_is_unavailable(gateway, stripe_says, failure):
    stripe_says.get(f"{BASE}/v1/subscriptions", body=failure)

    with pytest.raises(StripeUnavailable):
        gateway.subscriptions_of("cus_1")


def test_a_restricted_key_without_account_permission_is_no_error(gateway, stripe_says):
    stripe_says.get(f"{BASE}/v1/account", status=403, json=error("invalid_request_error"))

    assert gateway.account_id() is None


def test_a_wrong_key_is_an_error_when_reading_the_account(gateway, stripe_says):
    stripe_says.get(f"{BASE}/v1/account", status=401, json=error("invalid_request_error"))

    with pytest.raises(StripeRefused):
        gateway.account_id()


def test_every_page_of_a_list_is_fetched(shop, monkeypatch):
    monkeypatch.setattr("corkage.gateway.gateway.PAGE", 2)
    customer = shop.customer()
    bought = {shop.subscribe(customer) for _ in range(5)}

    found = Gateway(shop.simulator.api_key, shop.simulator.url).subscriptions_of(customer)

    assert sorted(state.id for state in found.items) == sorted(bought)
    assert abs(found.as_of - time.time()) <= 3


@pytest.mark.parametrize("status", [401, 402, 404, 409, 429, 500])
def test_an_event_waits_and_nothing_is_stored_while_stripe_refuses(config, shop, status, monkeypatch):
    monkeypatch.setattr(client_module, "RETRIES", 0)
    shop.subscribe(shop.customer())
    event = shop.event("customer.subscription.created")
    with running(config) as app:
        app.deliver(event)
        with responses.RequestsMock(assert_all_requests_are_fired=False) as playing:
            playing.get(f"{config.stripe_api_base}/v1/account", status=status, json=error("api_error"))
            playing.get(f"{config.stripe_api_base}/v1/prices", status=status, json=error("api_error"))
            customer = StripeEvent.get().customer_id
            playing.get(f"{config.stripe_api_base}/v1/customers/{customer}", status=status, json=error("api_error"))
            playing.get(f"{config.stripe_api_base}/v1/subscriptions", status=status, json=error("api_error"))
            app.work()

        waiting = StripeEvent.get()
        assert (waiting.applied_at, waiting.attempts) == (None, 1)
        assert f"HTTP {status}" in waiting.error
        assert (Subscription.select().count(), Customer.select().count()) == (0, 0)

        app.work(time.time() + 60)
        assert app.billing.access("ann").allowed


@pytest.mark.parametrize(
    ("param", "expected"),
    [("customer", UnknownCustomer), ("flow_data[subscription_cancel][subscription]", StripeRefused)],
)
def test_only_a_missing_customer_is_an_unknown_customer(gateway, stripe_says, param, expected):
    missing = error("invalid_request_error", "No such thing.", code="resource_missing", param=param)
    stripe_says.post(f"{BASE}/v1/billing_portal/sessions", json=missing, status=404)

    with pytest.raises(expected):
        gateway.create_portal_session("cus_1", {})


MISSING = error("invalid_request_error", "No such thing.", code="resource_missing", param="id")


@pytest.mark.parametrize(
    ("ask", "path"),
    [
        (lambda gateway: gateway.subscription("x"), "/v1/subscriptions/x"),
        (lambda gateway: gateway.event("x"), "/v1/events/x"),
        (lambda gateway: gateway.price("x"), "/v1/prices/x"),
        (lambda gateway: gateway.test_clock_time("x"), "/v1/test_helpers/test_clocks/x"),
    ],
    ids=["subscription", "event", "price", "test clock"],
)
def test_a_missing_object_is_none_and_a_refused_one_an_error(gateway, stripe_says, ask, path):
    stripe_says.get(f"{BASE}{path}", json=MISSING, status=404)
    assert ask(gateway) is None

    stripe_says.replace("GET", f"{BASE}{path}", json=error("invalid_request_error"), status=403)
    with pytest.raises(StripeRefused):
        ask(gateway)


def test_a_price_is_fetched_by_its_id(shop):
    price = Gateway(shop.simulator.api_key, shop.simulator.url).price(shop.price)

    assert (price.lookup_key, price.unit_amount, price.currency) == ("pro_monthly", 900, "usd")
    assert (price.interval, price.interval_count) == ("month", 1)


def test_a_created_price_is_found_by_its_lookup_key(shop):
    gateway = Gateway(shop.simulator.api_key, shop.simulator.url)

    made = gateway.create_price("team_yearly", "Team", 29_900, "eur", "year")

    assert (made.unit_amount, made.currency, made.interval) == (29_900, "eur", "year")
    assert [each.id for each in gateway.prices_by_lookup_key(["team_yearly", "of_nothing"])] == [made.id]
    assert shop.client.v1.products.retrieve(made.product_id).name == "Team"


@pytest.mark.parametrize("key", ["sk_live_x", "sk_test_x"])
def test_live_mode_never_fetches_test_clocks(stripe_says, key):
    stripe_says.get(f"{BASE}/v1/subscriptions", json={"object": "list", "data": [], "has_more": False})

    Gateway(key, BASE).subscriptions_of("cus_1")

    assert ("test_clock" in stripe_says.calls[0].request.url) is (key == "sk_test_x")


def test_an_open_invoice_without_subscription_does_not_count(shop):
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    world = shop.simulator.world
    with world.lock:
        world.get("subscription", subscription)["status"] = "past_due"
        invoice = world.get("invoice", world.get("subscription", subscription)["latest_invoice"])
        invoice |= {"status": "open", "created": 1_800_000_000}
        world.add("invoice", invoice | {"id": "in_by_hand", "parent": None, "created": 1_700_000_000})

    gateway = Gateway(shop.simulator.api_key, shop.simulator.url)
    (found,) = gateway.subscriptions_of(customer).items
    ((_, listed),) = next(gateway.every_subscription()).items

    assert (found.unpaid_since, listed.unpaid_since) == (1_800_000_000, 1_800_000_000)


@pytest.mark.parametrize(
    ("invoice", "since"),
    [({"status": "paid", "created": 5}, 5), ({"status": "paid", "created": 5, "due_date": 9}, 9), (None, 1)],
    ids=["by its latest invoice", "by that one's due date", "by its own age"],
)
def test_past_due_counts_even_without_an_open_invoice(shop, invoice, since):
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    world = shop.simulator.world
    with world.lock:
        held = world.get("subscription", subscription)
        held |= {"status": "past_due", "created": 1}
        if invoice is None:
            world.remove("invoice", held["latest_invoice"])
            held["latest_invoice"] = None
        else:
            world.get("invoice", held["latest_invoice"]).update(invoice)

    gateway = Gateway(shop.simulator.api_key, shop.simulator.url)
    (listed,) = gateway.subscriptions_of(customer).items

    assert listed.unpaid_since == since
    assert [state.unpaid_since for page in gateway.every_subscription() for _, state in page.items] == [since]


@pytest.mark.parametrize(("email", "name"), [("ann@example.com", "Ann"), (None, None)])
def test_a_created_customer_has_our_metadata_and_the_users_fields(shop, email, name):
    gateway = Gateway(shop.simulator.api_key, shop.simulator.url)

    made = gateway.customer(gateway.create_customer("app.example.com", "ann", email, name, "key"))

    assert (made.app, made.user_id, made.email, made.name) == ("app.example.com", "ann", email, name)
