"""The simulator's API through the real SDK: responses and refusals."""

import itertools
import time
from types import SimpleNamespace

import pytest
import requests
import stripe
from harness import DAY, sdk

from corkage.simulator import Simulator
from corkage.simulator.http.route import Route, RouteTable


def kinds_of(client, subject):
    """Return the types of the events about this object, oldest first."""
    return [
        event.type for event in reversed(client.v1.events.list(params={"limit": 100}).data) if subject in str(event)
    ]


def get(simulator, path, key="sk_test_x", **options):
    return requests.get(f"{simulator.url}{path}", headers={"Authorization": f"Bearer {key}"}, timeout=30, **options)


def post(simulator, path, data, **headers):
    return requests.post(
        f"{simulator.url}{path}", data=data, headers={"Authorization": "Bearer sk_test_x"} | headers, timeout=30
    )


@pytest.mark.parametrize(
    ("key", "status"),
    [("sk_test_x", 200), ("rk_test_x", 200), ("sk_live_x", 401), ("pk_test_x", 401), ("nonsense", 401), ("", 401)],
)
def test_any_test_key_is_accepted_and_no_other(simulator, key, status):
    assert get(simulator, "/v1/customers", key).status_code == status


def test_a_key_may_come_as_basic_auth(simulator):
    assert requests.get(f"{simulator.url}/v1/customers", auth=("sk_test_x", ""), timeout=30).status_code == 200
    assert requests.get(f"{simulator.url}/v1/customers", timeout=30).status_code == 401


def test_responses_carry_stripes_headers(simulator):
    answer = get(simulator, "/v1/customers")

    assert answer.headers["Request-Id"].startswith("req_")
    assert answer.headers["Stripe-Version"] == "2026-10-28.endive"
    assert "Date" in answer.headers


@pytest.mark.parametrize(
    ("path", "data", "status", "code", "param"),
    [
        ("/v1/customers", {"favourite_colour": "red"}, 400, "parameter_unknown", "favourite_colour"),
        ("/v1/customers", {"invoice_settings[x]": "1"}, 400, "parameter_unknown", "invoice_settings[x]"),
        ("/v1/customers", {"balance": "much"}, 400, "parameter_invalid_integer", "balance"),
        ("/v1/customers", {"metadata[" + "k" * 41 + "]": "x"}, 400, None, "metadata[" + "k" * 41 + "]"),
        ("/v1/products", {}, 400, "parameter_missing", "name"),
        ("/v1/prices", {"currency": "usd", "unit_amount": "5"}, 400, "parameter_missing", "product"),
        (
            "/v1/prices",
            {"currency": "usd", "unit_amount": "5", "product": "prod_x"},
            400,
            "resource_missing",
            "product",
        ),
        ("/v1/subscriptions", {"customer": "cus_x", "items[0][price]": "p"}, 400, "resource_missing", "customer"),
        ("/v1/customers/cus_x", {"name": "A"}, 404, "resource_missing", "id"),
        ("/v1/nothing", {}, 404, None, None),
    ],
)
def test_errors_have_stripes_shape(simulator, path, data, status, code, param):
    answer = post(simulator, path, data)

    error = answer.json()["error"]
    assert (answer.status_code, error.get("code"), error.get("param")) == (status, code, param)
    assert error["type"] == "invalid_request_error"
    assert error["message"]


def test_an_unsupported_route_is_refused_with_a_reason(simulator, shop):
    customer = shop.customer()
    answer = post(
        simulator,
        "/v1/subscriptions",
        {"customer": customer, "items[0][price]": shop.price, "payment_behavior": "pending_if_incomplete"},
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "simulator_not_played")


def test_lists_come_newest_first_in_pages(client):
    made = [client.v1.customers.create(params={"name": str(number)}).id for number in range(7)]

    first = client.v1.customers.list(params={"limit": 3})
    second = client.v1.customers.list(params={"limit": 3, "starting_after": first.data[-1].id})
    before = client.v1.customers.list(params={"limit": 2, "ending_before": second.data[-1].id})

    assert [each.id for each in first.data] == made[:3:-1]
    assert (first.has_more, second.has_more, before.has_more) == (True, True, True)
    assert [each.id for each in before.data] == [second.data[0].id, second.data[1].id]
    assert [each.id for each in client.v1.customers.list(params={"limit": 2}).auto_paging_iter()] == made[::-1]


@pytest.mark.parametrize(("limit", "status"), [(0, 400), (1, 200), (100, 200), (101, 400)])
def test_a_page_has_1_to_100(simulator, limit, status):
    assert get(simulator, f"/v1/customers?limit={limit}").status_code == status


def test_metadata_merges_and_an_empty_value_removes(client):
    customer = client.v1.customers.create(params={"metadata": {"a": "1", "b": "2"}})

    customer = client.v1.customers.update(customer.id, params={"metadata": {"b": "", "c": "3"}})
    assert customer.metadata.to_dict() == {"a": "1", "c": "3"}
    customer = client.v1.customers.update(customer.id, params={"metadata": ""})
    assert customer.metadata.to_dict() == {}


def test_a_request_with_an_idempotency_key_is_executed_once(simulator, client):
    first = post(simulator, "/v1/customers", {"name": "A"}, **{"Idempotency-Key": "k"})
    second = post(simulator, "/v1/customers", {"name": "A"}, **{"Idempotency-Key": "k"})
    other = post(simulator, "/v1/customers", {"name": "B"}, **{"Idempotency-Key": "k"})

    assert first.json() == second.json()
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert (other.status_code, other.json()["error"]["type"]) == (400, "idempotency_error")
    assert len(client.v1.customers.list().data) == 1


def test_an_idempotency_key_replays_a_decline_and_no_invalid_parameter(simulator):
    declined = {"payment_method": "pm_card_chargeDeclined"}
    for _ in range(2):
        answer = post(simulator, "/v1/customers", declined, **{"Idempotency-Key": "declined"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (402, "card_declined")
    assert answer.headers["Idempotent-Replayed"] == "true"

    assert post(simulator, "/v1/customers", {"x": "1"}, **{"Idempotency-Key": "typo"}).status_code == 400
    assert post(simulator, "/v1/customers", {"name": "1"}, **{"Idempotency-Key": "typo"}).status_code == 200


def test_a_lookup_key_moves_only_with_transfer_lookup_key(client, shop):
    product = client.v1.prices.retrieve(shop.price).product
    params = {"product": product, "currency": "usd", "unit_amount": 1, "lookup_key": "pro_monthly"}
    params["recurring"] = {"interval": "month"}

    with pytest.raises(stripe.InvalidRequestError, match="already uses that lookup key"):
        client.v1.prices.create(params=params)
    moved = client.v1.prices.create(params=params | {"transfer_lookup_key": True})

    assert [each.id for each in client.v1.prices.list(params={"lookup_keys": ["pro_monthly"]}).data] == [moved.id]
    assert client.v1.prices.retrieve(shop.price).lookup_key is None


def test_a_new_subscription_sends_its_events_in_order(client, shop):
    customer = shop.customer()
    subscription = client.v1.subscriptions.retrieve(shop.subscribe(customer), params={"expand": ["latest_invoice"]})

    assert subscription.status == "active"
    assert not hasattr(subscription, "current_period_end")
    item = subscription["items"].data[0]
    assert 28 * DAY <= item.current_period_end - item.current_period_start <= 31 * DAY
    invoice = subscription.latest_invoice
    assert (invoice.status, invoice.amount_paid, invoice.billing_reason) == ("paid", 900, "subscription_create")
    assert invoice.parent.subscription_details.subscription == subscription.id
    assert kinds_of(client, subscription.id) == [
        "invoice.created",
        "customer.subscription.created",
        "invoice.finalized",
        "invoice.paid",
        "invoice.payment_succeeded",
    ]


def test_a_card_that_declines_leaves_an_incomplete_subscription(client, shop):
    customer = shop.customer(card="pm_card_chargeCustomerFail")
    subscription = shop.subscribe(customer)

    assert client.v1.subscriptions.retrieve(subscription).status == "incomplete"
    with pytest.raises(stripe.CardError):
        shop.subscribe(customer, payment_behavior="error_if_incomplete")
    invoice = client.v1.invoices.list(params={"subscription": subscription}).data[0]
    client.v1.invoices.pay(invoice.id, params={"payment_method": "pm_card_visa"})
    assert client.v1.subscriptions.retrieve(subscription).status == "active"


def test_a_subscription_without_a_card_is_refused_and_not_created(client, shop):
    customer = client.v1.customers.create().id

    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source"):
        shop.subscribe(customer)
    assert client.v1.subscriptions.list(params={"customer": customer, "status": "all"}).data == []


def test_the_list_omits_canceled_subscriptions_by_default(client, shop):
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    client.v1.subscriptions.cancel(subscription)

    def listed(**params):
        return [each.id for each in client.v1.subscriptions.list(params={"customer": customer} | params).data]

    assert listed() == []
    assert listed(status="all") == listed(status="canceled") == [subscription]
    with pytest.raises(stripe.InvalidRequestError, match="No such"):
        client.v1.subscriptions.cancel(subscription)
    with pytest.raises(stripe.InvalidRequestError) as unknown:
        client.v1.subscriptions.list(params={"customer": "cus_nobody"})
    assert unknown.value.code == "resource_missing"


def test_a_deleted_customer_is_a_stub_and_its_subscriptions_end(client, shop):
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    client.v1.customers.delete(customer)

    assert client.v1.customers.retrieve(customer).deleted
    assert client.v1.subscriptions.retrieve(subscription).status == "canceled"
    assert kinds_of(client, customer)[-2:] == ["customer.subscription.deleted", "customer.deleted"]
    assert client.v1.customers.list().data == []


def test_updated_events_hold_the_previous_values_of_what_changed(client):
    customer = client.v1.customers.create(params={"name": "A"})
    client.v1.customers.update(customer.id, params={"name": "A"})
    client.v1.customers.update(customer.id, params={"name": "B"})

    (event,) = client.v1.events.list(params={"type": "customer.updated"}).data
    assert event.data.previous_attributes.to_dict() == {"name": "A"}


def test_events_are_listed_by_time_and_types(client):
    client.v1.customers.create()
    now = int(time.time())

    assert client.v1.events.list(params={"created": {"gte": now - 5}, "types": ["customer.created"]}).data
    assert not client.v1.events.list(params={"created": {"gte": now + 5}}).data
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.events.list(params={"types": ["customer.created"] * 21})


def test_advancing_time_renews_and_a_failed_renewal_is_past_due():
    with Simulator(now=int(time.time()) - 90 * DAY, seed=1) as simulator:
        client = sdk(simulator)
        from harness import open_shop

        shop = open_shop(simulator, client)
        customer = shop.customer()
        subscription = shop.subscribe(customer)
        simulator.advance(40 * DAY)
        assert len(client.v1.invoices.list(params={"subscription": subscription}).data) == 2
        shop.use_card(customer, "pm_card_chargeCustomerFail")
        simulator.advance(31 * DAY)
        assert client.v1.subscriptions.retrieve(subscription).status == "past_due"
        shop.use_card(customer, "pm_card_visa")
        client.v1.invoices.pay(client.v1.invoices.list(params={"status": "open"}).data[0].id)
        assert client.v1.subscriptions.retrieve(subscription).status == "active"


def test_a_scheduled_cancellation_happens_at_its_time():
    with Simulator(now=int(time.time()) - 90 * DAY) as simulator:
        from harness import open_shop

        shop = open_shop(simulator, sdk(simulator))
        subscription = shop.subscribe(shop.customer())
        shop.client.v1.subscriptions.update(subscription, params={"cancel_at_period_end": True})
        simulator.advance(32 * DAY)
        ended = shop.client.v1.subscriptions.retrieve(subscription)

    assert (ended.status, ended.ended_at) == ("canceled", ended.cancel_at)


def test_with_a_seed_the_ids_repeat():
    made = []
    for _ in range(2):
        with Simulator(seed=7) as simulator:
            made.append(sdk(simulator).v1.customers.create().id)

    assert made[0] == made[1]


def test_the_invoice_pdf_shows_the_invoice(shop, simulator):
    shop.subscribe(shop.customer())
    (invoice,) = shop.client.v1.invoices.list().data

    file = requests.get(invoice.invoice_pdf, timeout=30)

    assert file.headers["Content-Type"] == "application/pdf"
    assert file.content.startswith(b"%PDF-1.4\n")
    assert f"(Invoice {invoice.number}) Tj".encode() in file.content
    assert b"(Total: $9.00) Tj" in file.content
    table = int(file.content.rsplit(b"startxref\n", 1)[1].split(b"\n")[0])
    assert file.content[table:].startswith(b"xref\n0 6\n")


def test_a_path_without_an_id_wins_over_one_with_an_id():
    def route(method, path):
        return Route(method, path, lambda *_: {})

    whole, of_id, inner = route("POST", "/v1/a/preview"), route("POST", "/v1/a/<id>"), route("GET", "/v1/a/<id>/b/<id>")
    table = RouteTable((of_id, whole, inner))

    assert table.find("POST", "/v1/a/preview") == (whole, [])
    assert table.find("POST", "/v1/a/x y") == (of_id, ["x y"])
    assert table.find("GET", "/v1/a/1/b/2") == (inner, ["1", "2"])
    for method, path in (("GET", "/v1/a/1"), ("POST", "/v1/a/"), ("POST", "/v1/a"), ("POST", "/v1/a/1/"), ("GET", "/")):
        assert table.find(method, path) == (None, [])


def test_all_of_one_request_happens_in_the_same_second(shop, client, monkeypatch):
    """A new subscription's anchor was refused as past when a second ended between two readings of the clock."""
    customer = shop.customer()
    seconds = itertools.count(int(time.time()) + 1)
    monkeypatch.setattr("corkage.simulator.clock.time", SimpleNamespace(time=lambda: next(seconds)))

    subscription = client.v1.subscriptions.retrieve(shop.subscribe(customer))

    assert subscription.created == subscription.billing_cycle_anchor == subscription.start_date
