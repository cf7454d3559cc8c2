"""Requests in older API versions are answered in those versions' shape."""

import inspect
import json
import re

import pytest
import requests
import stripe
from harness import sdk

from corkage.simulator import Simulator
from corkage.simulator.errors import ApiError
from corkage.simulator.versions import ACACIA, BASIL, CLOVER, DAHLIA, VERSIONS

NEWEST = VERSIONS[-1]
MONTHLY = ("2024-10-28.acacia", "2025-02-24.acacia", "2025-04-30.basil", "2025-10-29.clover", "2026-08-26.dahlia")


def get(simulator, path, version=None):
    headers = {"Authorization": "Bearer sk_test_x"} | ({"Stripe-Version": version} if version is not None else {})
    return requests.get(f"{simulator.url}{path}", headers=headers, timeout=30)


def post(simulator, path, data, version, **headers):
    headers = {"Authorization": "Bearer sk_test_x", "Stripe-Version": version} | headers
    return requests.post(f"{simulator.url}{path}", data=data, headers=headers, timeout=30)


def discounted(shop):
    """Subscribe a customer with a coupon; return the coupon's and the subscription's id."""
    coupon = shop.client.v1.coupons.create(params={"percent_off": 10, "duration": "forever"}).id
    return coupon, shop.subscribe(shop.customer(), discounts=[{"coupon": coupon}])


def test_the_versions_are_those_that_stripe_python_names():
    source = inspect.getsource(stripe.params.WebhookEndpointCreateParams)
    names = re.findall(r'"(\d{4}-\d\d-\d\d\.[a-z]+)"', source)

    assert [each for each in names if not each.endswith(".dashboard")] == list(VERSIONS)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_response_names_the_version_of_the_request(simulator, version):
    answer = get(simulator, "/v1/customers", version)

    assert (answer.status_code, answer.headers["Stripe-Version"]) == (200, version)


@pytest.mark.parametrize("version", ["2024-06-20", "2020-08-27", "2023-10-16"])
def test_a_version_older_than_acacia_is_refused_with_a_sentence(simulator, version):
    answer = get(simulator, "/v1/customers", version)

    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "simulator_not_played")
    assert f"API version {version}. It supports {ACACIA} to {NEWEST}." in error["message"]
    assert answer.headers["Stripe-Version"] == NEWEST


@pytest.mark.parametrize("version", ["", "x", "endive", "2030-01-01.grenache", "2025-04-31.basil", f"{BASIL}; beta=v1"])
def test_a_version_that_stripe_does_not_have_is_refused(simulator, version):
    answer = get(simulator, "/v1/customers", version)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(f"Invalid Stripe API version: {version}")
    assert "code" not in answer.json()["error"]


@pytest.mark.parametrize("version", [ACACIA, *MONTHLY, BASIL, CLOVER, DAHLIA, NEWEST])
def test_a_subscription_comes_in_the_shape_of_its_release(simulator, shop, version):
    subscription = get(simulator, f"/v1/subscriptions/{shop.subscribe(shop.customer())}", version).json()
    item = subscription["items"]["data"][0]

    is_acacia = version.endswith(".acacia")
    assert ("current_period_end" in subscription) is is_acacia
    assert ("current_period_end" in item) is not is_acacia
    assert ("aggregate_usage" in item["price"]["recurring"]) is is_acacia


def test_every_object_of_a_list_comes_in_the_requests_version(simulator, shop):
    for name in ("ann", "bob"):
        shop.subscribe(shop.customer(name))

    older = get(simulator, "/v1/invoices?limit=2", ACACIA).json()["data"]
    newer = get(simulator, "/v1/invoices?limit=2").json()["data"]
    assert [each["subscription"] for each in older] == [
        each["parent"]["subscription_details"]["subscription"] for each in newer
    ]
    assert all("parent" not in each for each in older)
    assert all("subscription" not in each and "paid" not in each for each in newer)


def test_expanded_objects_come_in_the_requests_version(simulator, shop):
    coupon, subscription = discounted(shop)
    path = f"/v1/subscriptions/{subscription}?expand[]=latest_invoice.subscription&expand[]=discounts"

    found = get(simulator, path, ACACIA).json()
    assert found["latest_invoice"]["paid"] is True
    assert "parent" not in found["latest_invoice"]
    assert found["latest_invoice"]["subscription"]["current_period_end"] == found["current_period_end"]
    assert found["discounts"][0]["coupon"]["id"] == coupon
    assert "source" not in found["discounts"][0]


def test_acacia_expands_the_payment_of_an_invoice_and_the_invoice_of_a_payment(simulator, shop):
    subscription = shop.subscribe(shop.customer())
    paths = "expand[]=latest_invoice.payment_intent.invoice&expand[]=latest_invoice.charge"
    path = f"/v1/subscriptions/{subscription}?{paths}"

    invoice = get(simulator, path, ACACIA).json()["latest_invoice"]
    assert (invoice["payment_intent"]["status"], invoice["charge"]["status"]) == ("succeeded", "succeeded")
    assert invoice["payment_intent"]["invoice"]["id"] == invoice["charge"]["invoice"] == invoice["id"]
    assert invoice["payment_intent"]["latest_charge"] == invoice["charge"]["id"]
    assert invoice["payment_intent"]["invoice"]["paid"] is True
    assert get(simulator, path, BASIL).status_code == 400


def test_what_a_version_does_not_have_cannot_be_expanded_in_it(simulator, shop):
    _coupon, subscription = discounted(shop)
    path = f"/v1/subscriptions/{subscription}?expand[]=latest_invoice.subscription"

    refused = get(simulator, path).json()["error"]
    assert refused["message"] == "This property cannot be expanded (latest_invoice.subscription)."
    assert get(simulator, path, ACACIA).status_code == 200


def test_an_idempotency_key_replays_the_answer_in_the_first_requests_version(simulator, shop):
    data = {"customer": shop.customer(), "items[0][price]": shop.price}
    first = post(simulator, "/v1/subscriptions", data, ACACIA, **{"Idempotency-Key": "k"})
    again = post(simulator, "/v1/subscriptions", data, ACACIA, **{"Idempotency-Key": "k"})

    assert first.json() == again.json()
    assert "current_period_end" in again.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(shop.client.v1.subscriptions.list().data) == 1


def test_an_event_keeps_the_version_of_its_creation(simulator, shop):
    subscription = shop.subscribe(shop.customer())
    path = "/v1/events?type=customer.subscription.created"

    newer, older = get(simulator, path).json()["data"], get(simulator, path, ACACIA).json()["data"]
    assert newer == older
    assert (older[0]["api_version"], older[0]["data"]["object"]["id"]) == (NEWEST, subscription)
    assert "current_period_end" not in older[0]["data"]["object"]


def test_the_accounts_version_is_that_of_requests_endpoints_and_events(receiver):
    with Simulator(seed=1, api_version="2025-01-27.acacia") as simulator:
        simulator.add_webhook_endpoint(receiver.url)
        price = simulator.add_price("gold", 500)["id"]
        customer = sdk(simulator).v1.customers.create(params={"payment_method": "pm_card_visa"}).id
        params = {"customer": customer, "items": [{"price": price}], "default_payment_method": "pm_card_visa"}
        sdk(simulator).v1.subscriptions.create(params=params)
        simulator.settle()

        answer = get(simulator, "/v1/subscriptions")
        listed = get(simulator, "/v1/events?type=customer.subscription.created", NEWEST).json()["data"][0]
        newest = get(simulator, "/v1/subscriptions", NEWEST).json()["data"][0]

    received = next(each for each in receiver.events if each["type"] == "customer.subscription.created")
    assert answer.headers["Stripe-Version"] == "2025-01-27.acacia"
    for event in (received, listed):
        assert event["api_version"] == "2025-01-27.acacia"
        assert "current_period_end" in event["data"]["object"]
    assert "current_period_end" in answer.json()["data"][0]
    assert "current_period_end" not in newest


def test_an_account_cannot_have_an_unknown_version():
    with pytest.raises(ApiError, match=r"Invalid Stripe API version: 2025-01-28\.acacia"):
        Simulator(api_version="2025-01-28.acacia")


def test_a_subscriptions_coupon_is_taken_before_basil_only(simulator, shop):
    coupon = shop.client.v1.coupons.create(params={"percent_off": 10, "duration": "forever"}).id
    data = {"customer": shop.customer(), "items[0][price]": shop.price, "coupon": coupon}

    refused = post(simulator, "/v1/subscriptions", data, BASIL).json()["error"]
    made = post(simulator, "/v1/subscriptions", data, "2025-02-24.acacia").json()
    cleared = post(simulator, f"/v1/subscriptions/{made['id']}", {"coupon": ""}, ACACIA).json()
    both = post(simulator, "/v1/subscriptions", data | {"discounts[0][coupon]": coupon}, ACACIA).json()["error"]

    assert (refused["code"], refused["param"]) == ("parameter_unknown", "coupon")
    assert (made["discount"]["coupon"]["id"], len(made["discounts"])) == (coupon, 1)
    assert (cleared["discount"], cleared["discounts"]) == (None, [])
    assert both["param"] == "discounts"


def test_an_invoice_items_price_is_taken_before_basil_only(simulator, shop):
    data = {"customer": shop.customer(), "price": shop.price}

    refused = post(simulator, "/v1/invoiceitems", data, BASIL).json()["error"]
    made = post(simulator, "/v1/invoiceitems", data, ACACIA).json()
    assert (refused["code"], refused["param"]) == ("parameter_unknown", "price")
    assert made["price"]["id"] == shop.price


def test_a_promotion_codes_coupon_stands_where_the_version_has_it(simulator, shop):
    coupon = shop.client.v1.coupons.create(params={"percent_off": 10, "duration": "once"}).id
    older = post(simulator, "/v1/promotion_codes", {"coupon": coupon, "code": "OLD"}, BASIL).json()
    newer = get(simulator, f"/v1/promotion_codes/{older['id']}").json()

    assert older["coupon"]["id"] == coupon
    assert newer["promotion"] == {"coupon": coupon, "type": "coupon"}
    assert "coupon" not in newer


@pytest.mark.parametrize(
    ("version", "mode"), [(ACACIA, "hosted"), ("2026-02-25.clover", "hosted"), (DAHLIA, "hosted_page")]
)
def test_a_sessions_ui_mode_is_called_hosted_before_dahlia(simulator, shop, version, mode):
    data = {"mode": "subscription", "line_items[0][price]": shop.price, "success_url": "https://x"}
    other = {"hosted": "hosted_page", "hosted_page": "hosted"}[mode]

    refused = post(simulator, "/v1/checkout/sessions", data | {"ui_mode": other}, version)
    made = post(simulator, "/v1/checkout/sessions", data | {"ui_mode": mode}, version).json()
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "ui_mode")
    assert (made["ui_mode"], made["url"].startswith(simulator.url)) == (mode, True)


@pytest.mark.parametrize(("version", "mode"), [("2025-08-27.basil", "classic"), (CLOVER, "flexible")])
def test_new_subscriptions_are_billed_flexibly_since_clover(simulator, shop, version, mode):
    data = {"mode": "subscription", "line_items[0][price]": shop.price, "success_url": "https://x"}
    session = post(simulator, "/v1/checkout/sessions", data, version).json()
    bought = get(simulator, f"/v1/subscriptions/{simulator.buy(session['url'])['subscription']}").json()
    data = {"customer": shop.customer(), "items[0][price]": shop.price}
    made = post(simulator, "/v1/subscriptions", data, version).json()
    chosen = post(simulator, "/v1/subscriptions", data | {"billing_mode[type]": "flexible"}, version).json()

    assert [each["billing_mode"]["type"] for each in (bought, made, chosen)] == [mode, mode, "flexible"]


@pytest.mark.seeded
def test_an_older_versions_answer_does_not_change_what_is_stored(simulator, shop):
    discounted(shop)
    before = json.dumps(simulator.world.to_state()["objects"])

    for kind in ("subscriptions", "invoices", "events", "coupons", "customers", "prices"):
        assert get(simulator, f"/v1/{kind}", ACACIA).status_code == 200
    assert json.dumps(simulator.world.to_state()["objects"]) == before


def test_deletions_come_alike_in_every_version(simulator, shop):
    item = {"customer": shop.customer(), "amount": "250", "currency": "usd"}
    made = post(simulator, "/v1/invoiceitems", item, ACACIA).json()["id"]
    answer = requests.delete(
        f"{simulator.url}/v1/invoiceitems/{made}",
        headers={"Authorization": "Bearer sk_test_x", "Stripe-Version": ACACIA},
        timeout=30,
    )

    assert answer.json() == {"id": made, "object": "invoiceitem", "deleted": True}
