"""Of customers, Checkout and the portal, the simulator refuses what Stripe does: same status, code and parameter.

Each line of REFUSALS is a request and its error. To add one, add what it needs to the fixture `world_of_refusals`.
"""

import pytest
import requests
from harness import DAY

pytestmark = [pytest.mark.slow, pytest.mark.seeded]

PRICE = "line_items[0][price]"
ITEM = {PRICE: "{price}", "line_items[0][quantity]": 1}
CHECKOUT = {"mode": "subscription", "success_url": "https://x.example"} | ITEM


CODE = "discounts[0][promotion_code]"
PORTAL = {"customer": "{customer}"}


def flow(kind, subscription, **more):
    return PORTAL | {"flow_data[type]": kind, f"flow_data[{kind}][subscription]": subscription} | more


REFUSALS = [
    # request: path and parameters; error: status, code, param, and words of its message
    ("customers", {"email": "ann@x.example "}, 400, "email_invalid", "email", "Invalid email address"),
    ("customers", {"email": "ann@localhost"}, 400, "email_invalid", "email", "Invalid email address"),
    ("customers", {"email": "github-77"}, 400, "email_invalid", "email", "Invalid email address"),
    ("customers/{customer}", {"email": "@x.example"}, 400, "email_invalid", "email", "Invalid email address"),
    ("checkout/sessions", CHECKOUT | {"customer_email": "github-77"}, 400, "email_invalid", "customer_email", "email"),
    ("checkout/sessions", CHECKOUT | {PRICE: "{archived}"}, 400, None, PRICE, "inactive"),
    (
        "checkout/sessions",
        CHECKOUT | {"line_items[1][price]": "{of_archived_product}", "line_items[1][quantity]": 1},
        400,
        "product_inactive",
        "line_items[1][price]",
        "its product is not active",
    ),
    (
        "checkout/sessions",
        CHECKOUT | {"discounts[0][coupon]": "{coupon}", "allow_promotion_codes": "false"},
        400,
        None,
        "discounts",
        "only specify one of these parameters",
    ),
    (
        "checkout/sessions",
        CHECKOUT | {"subscription_data[trial_end]": "{now+47h}"},
        400,
        None,
        "subscription_data[trial_end]",
        "at least 2 days in the future",
    ),
    ("checkout/sessions", CHECKOUT | {CODE: "{used_up}"}, 400, None, "discounts", "redeemed too often"),
    ("checkout/sessions", CHECKOUT | {CODE: "{expired}"}, 400, None, "discounts", "expired"),
    ("checkout/sessions", CHECKOUT | {CODE: "{inactive}"}, 400, None, "discounts", "inactive"),
    ("checkout/sessions", CHECKOUT | {CODE: "{of_another}"}, 400, None, "discounts", "for another customer"),
    (
        "checkout/sessions",
        CHECKOUT | {CODE: "{first_time}", "customer": "{customer}"},
        400,
        None,
        "discounts",
        "prior transactions",
    ),
    ("checkout/sessions", CHECKOUT | {CODE: "{large}"}, 400, None, "discounts", "larger amount"),
    (
        "checkout/sessions",
        CHECKOUT | {"customer": "{customer}", "line_items[0][price]": "{in_euros}"},
        400,
        None,
        None,
        "cannot combine currencies on a single customer",
    ),
    (
        "prices",
        {"currency": "usd", "unit_amount": 1, "product": "{product}", "lookup_key": "pro_monthly"},
        400,
        None,
        "lookup_key",
        "already uses that lookup key",
    ),
    (
        "billing_portal/sessions",
        flow("subscription_update", "{of_two_items}"),
        400,
        None,
        "flow_data[subscription_update][subscription]",
        "multiple items",
    ),
    (
        "billing_portal/sessions",
        flow("subscription_update", "{scheduled}"),
        400,
        None,
        "flow_data[subscription_update][subscription]",
        "scheduled updates",
    ),
    (
        "billing_portal/sessions",
        flow("subscription_update", "{canceling}"),
        400,
        None,
        "flow_data[subscription_update][subscription]",
        "set to be canceled",
    ),
    (
        "billing_portal/sessions",
        flow("subscription_cancel", "{canceling}"),
        400,
        None,
        "flow_data[subscription_cancel][subscription]",
        "set to be canceled",
    ),
    (
        "billing_portal/sessions",
        flow("subscription_update", "{subscription}", configuration="{offers_nothing}"),
        400,
        None,
        "flow_data[type]",
        "disabled",
    ),
    (
        "billing_portal/sessions",
        flow("subscription_cancel", "{subscription}", configuration="{offers_nothing}"),
        400,
        None,
        "flow_data[type]",
        "disabled",
    ),
    (
        "billing_portal/sessions",
        PORTAL | {"flow_data[type]": "payment_method_update", "configuration": "{offers_nothing}"},
        400,
        None,
        "flow_data[type]",
        "disabled",
    ),
]


@pytest.fixture
def world_of_refusals(simulator, shop):
    """One of each thing that a refusal needs, by the name that stands in its line."""
    v1, customer = shop.client.v1, shop.customer(email="ann@x.example")
    product = v1.prices.retrieve(shop.price).product
    subscription = shop.subscribe(customer)
    two = [{"price": shop.price}, {"price": shop.other_price}]
    canceling = shop.subscribe(customer)
    v1.subscriptions.update(canceling, params={"cancel_at_period_end": True})
    return {
        "customer": customer,
        "product": product,
        "price": shop.price,
        "subscription": subscription,
        "of_two_items": shop.subscribe(customer, items=two),
        "canceling": canceling,
        "scheduled": scheduled(shop, customer),
        "offers_nothing": v1.billing_portal.configurations.create(
            params={
                "features": {
                    name: {"enabled": False}
                    for name in ("payment_method_update", "subscription_cancel", "subscription_update")
                }
            }
        ).id,
        "now+47h": simulator.world.now + 47 * 3600,
        **prices(v1),
        **codes(shop, v1, simulator),
    }


def prices(v1):
    def price(**params):
        product = v1.products.create(params={"name": "Corks"}).id
        params = {
            "unit_amount": 500,
            "product": product,
            "currency": "usd",
            "recurring": {"interval": "month"},
        } | params
        return v1.prices.create(params=params)

    of_archived_product = price()
    v1.products.update(of_archived_product.product, params={"active": False})
    return {
        "archived": price(active=False).id,
        "of_archived_product": of_archived_product.id,
        "in_euros": price(currency="eur").id,
    }


def codes(shop, v1, simulator):
    coupon = v1.coupons.create(params={"percent_off": 10, "duration": "once"}).id

    def code(**params):
        return v1.promotion_codes.create(params={"promotion": {"coupon": coupon, "type": "coupon"}} | params).id

    made = {
        "used_up": code(max_redemptions=1),
        "expired": code(expires_at=simulator.world.now + 60),
        "inactive": code(active=False),
        "of_another": code(customer=shop.customer("bob")),
        "first_time": code(restrictions={"first_time_transaction": True}),
        "large": code(restrictions={"minimum_amount": 1000, "minimum_amount_currency": "usd"}),
    }
    shop.subscribe(shop.customer("eve"), discounts=[{"promotion_code": made["used_up"]}])
    simulator.advance(61)
    return made | {"coupon": coupon}


def scheduled(shop, customer):
    """Return a subscription whose schedule changes it next month."""
    phases = [
        {"items": [{"price": each}], "duration": {"interval": "month"}} for each in (shop.price, shop.other_price)
    ]
    schedule = shop.client.v1.subscription_schedules.create(
        params={"customer": customer, "start_date": "now", "phases": phases}
    )
    return shop.client.v1.subscription_schedules.retrieve(schedule.id).subscription


def filled(value, world):
    return value.format_map(world) if isinstance(value, str) else value


def post(simulator, path, params, **headers):
    url = f"{simulator.url}/v1/{path}"
    return requests.post(url, params, auth=(simulator.api_key, ""), headers=headers, timeout=10)


@pytest.mark.parametrize(
    ("path", "params", "status", "code", "param", "words"),
    REFUSALS,
    ids=[f"{path}-{code or words}" for path, _, _, code, _, words in REFUSALS],
)
def test_what_stripe_refuses_is_refused(simulator, world_of_refusals, path, params, status, code, param, words):
    events = len(simulator.world.all("event"))
    params = {name: filled(value, world_of_refusals) for name, value in params.items()}

    answer = post(simulator, filled(path, world_of_refusals), params)

    error = answer.json()["error"]
    assert (answer.status_code, error.get("code"), error.get("param")) == (status, code, param), error
    assert words in error["message"]
    assert "does not support" not in error["message"]
    assert len(simulator.world.all("event")) == events


def test_a_request_for_another_account_is_refused(simulator):
    answer = post(simulator, "customers", {}, **{"Stripe-Account": "acct_1Other"})
    own = post(simulator, "customers", {}, **{"Stripe-Account": "acct_1CorkageSimulator"})

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (403, "account_invalid", "invalid_request_error")
    assert own.status_code == 200
    assert len(simulator.world.all("customer")) == 1


def test_without_saved_settings_the_portal_opens_only_with_a_configuration(simulator, shop):
    configuration = shop.client.v1.billing_portal.configurations.create(
        params={"features": {"invoice_history": {"enabled": True}}}
    ).id
    customer = shop.customer()
    simulator.rules.portal_is_saved = False

    refused = post(simulator, "billing_portal/sessions", {"customer": customer})
    opened = post(simulator, "billing_portal/sessions", {"customer": customer, "configuration": configuration})

    assert refused.status_code == 400
    assert "your test mode default configuration has not been created" in refused.json()["error"]["message"]
    assert opened.status_code == 200
    assert [each.id for each in shop.client.v1.billing_portal.configurations.list().data] == [configuration]


def test_the_boundaries_of_the_refusals_pass(simulator, shop):
    at = simulator.world.now + 2 * DAY
    v1 = shop.client.v1
    coupon = v1.coupons.create(params={"percent_off": 10, "duration": "once"}).id
    code = {"promotion": {"coupon": coupon, "type": "coupon"}, "restrictions": {"first_time_transaction": True}}
    first = v1.promotion_codes.create(params=code).id
    customer = shop.customer(email="o'brien+1@mail.x.example")
    asked = {"mode": "subscription", "success_url": "https://x", "line_items": [{"price": shop.price, "quantity": 1}]}

    session = v1.checkout.sessions.create(
        params=asked
        | {"customer": customer, "subscription_data": {"trial_end": at}, "discounts": [{"promotion_code": first}]}
    )

    assert session.status == "open"


def test_a_customer_whose_subscription_ended_can_buy_in_another_currency(shop):
    v1, customer = shop.client.v1, shop.customer()
    euros = v1.prices.create(
        params={"currency": "eur", "unit_amount": 5, "product_data": {"name": "A"}, "recurring": {"interval": "month"}}
    ).id
    v1.subscriptions.cancel(shop.subscribe(customer))
    items = [{"price": euros, "quantity": 1}]

    session = v1.checkout.sessions.create(
        params={"mode": "subscription", "success_url": "https://x", "line_items": items, "customer": customer}
    )

    assert session.currency == "eur"


@pytest.mark.parametrize(
    ("price", "customer"),
    [("plan_GvXq2", "cus_4fdAW5ftNQow1a"), ("gold", "ann@x.example"), ("Gold plan 2014", "7")],
)
def test_ids_of_any_form_work_in_every_route(simulator, shop, price, customer):
    v1 = shop.client.v1
    rename(simulator, "price", shop.price, price)
    rename(simulator, "customer", shop.customer(), customer)
    items = [{"price": price, "quantity": 1}]
    asked = {"mode": "subscription", "line_items": items, "customer": customer, "success_url": "https://x"}

    bought = simulator.buy(v1.checkout.sessions.create(params=asked).url)

    assert v1.prices.retrieve(price).lookup_key == "pro_monthly"
    assert v1.prices.update(price, params={"nickname": "Old"}).nickname == "Old"
    assert v1.customers.update(customer, params={"name": "Ann"}).name == "Ann"
    found = v1.subscriptions.list(params={"customer": customer, "price": price}).data
    assert [each.id for each in found] == [bought["subscription"]]
    assert v1.subscriptions.retrieve(bought["subscription"], params={"expand": ["customer"]}).customer.name == "Ann"
    assert v1.invoices.list(params={"customer": customer}).data[0].lines.data[0].pricing.price_details.price == price
    page = requests.get(v1.billing_portal.sessions.create(params={"customer": customer}).url, timeout=30)
    assert page.status_code == 200
    v1.customers.delete(customer)
    assert v1.subscriptions.retrieve(bought["subscription"]).status == "canceled"


def rename(simulator, kind, object_id, name):
    """Give an object an id of an older form, as a state file of an old account has it."""
    world = simulator.world
    with world.lock:
        found = world.get(kind, object_id)
        world.remove(kind, object_id)
        world.add(kind, found | {"id": name})
        for method in world.where("payment_method", customer=object_id):
            method["customer"] = name
