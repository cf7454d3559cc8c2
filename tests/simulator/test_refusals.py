"""What Stripe refuses, the simulator refuses: each line is a request, and the status, code and param of its error.

To add a refusal, append a line to REFUSALS. `{name}` in a request stands for an id that `world` makes.
"""

import json

import pytest
import requests
from harness import open_shop, sdk

from corkage.simulator import Simulator

pytestmark = pytest.mark.slow

BEGIN = 1_767_225_600  # 2026-01-01

SUBSCRIPTIONS = "/v1/subscriptions"
SUBSCRIPTION = "/v1/subscriptions/{subscription}"
ITEMS = "/v1/subscription_items"

REFUSALS = [
    # (what, method, path, params, status, code, param)
    (
        "more than 50 keys of metadata",
        "POST",
        "/v1/customers",
        {f"metadata[key_{number}]": "x" for number in range(51)},
        400,
        None,
        "metadata",
    ),
    (
        "an archived price",
        "POST", SUBSCRIPTIONS, {"customer": "{customer}", "items[0][price]": "{archived_price}"},
        400, None, "items[0][price]",
    ),
    (
        "an active price of an archived product",
        "POST", SUBSCRIPTIONS, {"customer": "{customer}", "items[0][price]": "{price_of_archived_product}"},
        400, "product_inactive", "items[0][price]",
    ),
    (
        "an archived product in Checkout",
        "POST", "/v1/checkout/sessions",
        {"mode": "subscription", "line_items[0][price]": "{price_of_archived_product}", "line_items[0][quantity]": "1"},
        400, "product_inactive", "line_items[0][price]",
    ),
    (
        "a one-time price in a subscription",
        "POST", SUBSCRIPTIONS, {"customer": "{customer}", "items[0][price]": "{one_time_price}"},
        400, None, "items[0][price]",
    ),
    (
        "an unknown price",
        "POST", SUBSCRIPTIONS, {"customer": "{customer}", "items[0][price]": "price_nothing"},
        400, "resource_missing", "items[0][price]",
    ),
    (
        "one price twice in a new subscription",
        "POST", SUBSCRIPTIONS, {"customer": "{customer}", "items[0][price]": "{price}", "items[1][price]": "{price}"},
        400, None, "price",
    ),
    (
        "a price that the subscription has",
        "POST", ITEMS, {"subscription": "{subscription}", "price": "{price}"},
        400, None, "price",
    ),
    (
        "more than twenty items",
        "POST", SUBSCRIPTIONS, {"customer": "{customer}", "MANY": "21"},
        400, None, "items",
    ),
    (
        "a subscription without its last item",
        "POST", SUBSCRIPTION, {"items[0][id]": "{item}", "items[0][deleted]": "true"},
        400, None, "items",
    ),
    ("the deletion of the last item", "DELETE", f"{ITEMS}/{{item}}", {}, 400, None, "id"),
    (
        "an item of another subscription",
        "POST", SUBSCRIPTION, {"items[0][id]": "si_nothing", "items[0][quantity]": "2", "metadata[a]": "b"},
        400, "resource_missing", "items[0][id]",
    ),
    ("an unknown item", "GET", f"{ITEMS}/si_nothing", {}, 404, "resource_missing", "id"),
    (
        "another currency than the customer's running subscription",
        "POST", SUBSCRIPTIONS, {"customer": "{subscriber}", "items[0][price]": "{euro_price}"},
        400, None, None,
    ),
    (
        "an invoice item in another currency than the running subscription",
        "POST", "/v1/invoiceitems", {"customer": "{subscriber}", "amount": "100", "currency": "eur"},
        400, None, None,
    ),
    (
        "two currencies in one subscription",
        "POST", SUBSCRIPTIONS,
        {"customer": "{customer}", "items[0][price]": "{price}", "items[1][price]": "{euro_price}"},
        400, None, "items[1][price]",
    ),
    (
        "a currency that the price is not sold in",
        "POST", SUBSCRIPTIONS, {"customer": "{customer}", "items[0][price]": "{price}", "currency": "eur"},
        400, None, "items[0][price]",
    ),
    (
        "a quantity on a metered item of a new subscription",
        "POST", SUBSCRIPTIONS,
        {"customer": "{customer}", "items[0][price]": "{metered_price}", "items[0][quantity]": "1"},
        400, None, "items[0][quantity]",
    ),
    (
        "a quantity on a metered item",
        "POST", ITEMS, {"subscription": "{subscription}", "price": "{metered_price}", "quantity": "2"},
        400, None, "items[0][quantity]",
    ),
    (
        "a quantity below nothing",
        "POST", f"{ITEMS}/{{item}}", {"quantity": "-1"},
        400, None, "items[0][quantity]",
    ),
    (
        "a metered price without a meter",
        "POST", "/v1/prices",
        {"currency": "usd", "unit_amount": "1", "product": "{product}", "recurring[interval]": "month",
         "recurring[usage_type]": "metered"},
        400, None, "recurring[meter]",
    ),
    (
        "a price without an amount",
        "POST", "/v1/prices", {"currency": "usd", "product": "{product}"},
        400, "parameter_missing", "unit_amount",
    ),
    (
        "a second active meter of one event name",
        "POST", "/v1/billing/meters",
        {"display_name": "x", "event_name": "calls", "default_aggregation[formula]": "sum"},
        400, None, "event_name",
    ),
    (
        "a meter event of more than 35 days ago",
        "POST", "/v1/billing/meter_events",
        {"event_name": "calls", "payload[stripe_customer_id]": "{customer}", "payload[value]": "1", "timestamp": "1"},
        400, None, "timestamp",
    ),
    (
        "a one-time price as a recurring addition",
        "POST", SUBSCRIPTION,
        {"add_invoice_items[0][price]": "{price}", "items[0][price]": "{many_1}", "metadata[a]": "b"},
        400, None, "add_invoice_items[0][price]",
    ),
    (
        "a billing anchor that has passed",
        "POST", SUBSCRIPTIONS,
        {"customer": "{customer}", "items[0][price]": "{price}", "billing_cycle_anchor": "1"},
        400, None, "billing_cycle_anchor",
    ),
    (
        "a preview without a customer",
        "POST", "/v1/invoices/create_preview", {},
        400, "parameter_missing", "customer",
    ),
    (
        "a preview of what never comes",
        "POST", "/v1/invoices/create_preview", {"customer": "{customer}"},
        404, "invoice_upcoming_none", None,
    ),
    (
        "a schedule from a subscription, with phases",
        "POST", "/v1/subscription_schedules",
        {"from_subscription": "{subscription}", "phases[0][items][0][price]": "{price}"},
        400, None, "phases",
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def served():
    """A simulator that every refusal can share, because none changes anything."""
    with Simulator(seed=3, now=BEGIN) as simulator:
        yield simulator, world(sdk(simulator), simulator)


def world(client, simulator):
    """Return the ids that the requests name."""
    shop, v1 = open_shop(simulator, client), client.v1
    subscriber = shop.customer("bob")
    subscription = v1.subscriptions.create(params={"customer": subscriber, "items": [{"price": shop.price}]})
    archived = v1.products.create(params={"name": "Old"}).id
    calls = {"display_name": "Calls", "event_name": "calls", "default_aggregation": {"formula": "sum"}}
    metered = {"interval": "month", "usage_type": "metered", "meter": v1.billing.meters.create(params=calls).id}
    known = {
        "metered_price": price(v1, shop, recurring=metered),
        "product": v1.prices.retrieve(shop.price).product,
        "archived_price": price(v1, shop, active=False),
        "customer": shop.customer(),
        "euro_price": price(v1, shop, currency="eur"),
        "item": subscription["items"].data[0].id,
        "one_time_price": price(v1, shop, recurring=None),
        "price": shop.price,
        "price_of_archived_product": price(v1, shop, product=archived),
        "subscriber": subscriber,
        "subscription": subscription.id,
    }
    v1.products.update(archived, params={"active": False})
    return known | {f"many_{number}": price(v1, shop) for number in range(21)}


def price(v1, shop, **params):
    product = v1.prices.retrieve(shop.price).product
    wanted = {"currency": "usd", "unit_amount": 700, "product": product, "recurring": {"interval": "month"}} | params
    return v1.prices.create(params={name: value for name, value in wanted.items() if value is not None}).id


def filled(params, known):
    """Return the parameters with the ids in place of their names. MANY stands for so many items."""
    many = int(params.get("MANY", 0))
    items = {f"items[{number}][price]": known[f"many_{number}"] for number in range(many)}
    return {name: value.format(**known) for name, value in params.items() if name != "MANY"} | items


@pytest.mark.parametrize(
    ("method", "path", "params", "status", "code", "param"),
    [each[1:] for each in REFUSALS],
    ids=[each[0] for each in REFUSALS],
)
def test_refused_as_stripe_refuses(served, method, path, params, status, code, param):
    simulator, known = served
    before = json.dumps(simulator.world.to_state()["objects"])

    where = "params" if method == "GET" else "data"
    answer = requests.request(
        method,
        simulator.url + path.format(**known),
        auth=(simulator.api_key, ""),
        timeout=10,
        **{where: filled(params, known)},
    )

    error = answer.json()["error"]
    assert (answer.status_code, error.get("code"), error.get("param")) == (status, code, param), error
    assert error["message"]
    assert json.dumps(simulator.world.to_state()["objects"]) == before


def test_a_customer_whose_subscription_ended_can_change_its_currency(served):
    simulator, known = served
    v1 = sdk(simulator).v1
    customer = v1.customers.create(
        params={"payment_method": "pm_card_visa", "invoice_settings": {"default_payment_method": "pm_card_visa"}}
    ).id
    first = v1.subscriptions.create(params={"customer": customer, "items": [{"price": known["price"]}]})
    v1.subscriptions.cancel(first.id)

    other = v1.subscriptions.create(params={"customer": customer, "items": [{"price": known["euro_price"]}]})

    assert (other.currency, v1.customers.retrieve(customer).currency) == ("eur", "eur")
