"""The simulator's responses and parameters match stripe-python's own types.

The `client` of every other test holds its answers to the same contract; see harness.py.
"""

import json
import re
from pathlib import Path

import pytest
from contract import problems
from contract_params import params_of_calls, problems_of_route
from harness import DAY

import corkage.simulator
from corkage.simulator.api import ROUTES
from corkage.simulator.http import form
from corkage.simulator.http.form import boolean, choice, integer, list_of, nested, optional, text, time_or
from corkage.simulator.http.route import Route

pytestmark = pytest.mark.slow

OF_NO_SDK = {
    "/v1/payment_pages/<id>": "asked by Stripe's own checkout page, and by its CLI in the page's place",
    "/v1/payment_pages/<id>/confirm": "likewise",
    "/v1/events/<id>/retry": "asked by the official CLI: stripe events resend",
}
OF_OLDER_VERSIONS = {
    "POST /v1/customers coupon: taken": "gone since clover; the official CLI sends it",
    "POST /v1/customers promotion_code: taken": "likewise",
    "POST /v1/customers/<id> coupon: taken": "likewise",
    "POST /v1/customers/<id> promotion_code: taken": "likewise",
    "POST /v1/checkout/sessions payment_method_types: taken": "gone since endive; the official CLI sends it",
    "POST /v1/payment_intents payment_method_types: taken": "likewise",
    "POST /v1/promotion_codes coupon: taken": "promotion[coupon] since clover; the official CLI sends the older one",
    "POST /v1/promotion_codes promotion: required": "because of the older one",
    "POST /v1/setup_intents payment_method_types: taken": "likewise",
    "POST /v1/subscription_schedules phases[].iterations: taken": "duration since clover; the official CLI sends it",
}
OF_NO_PARAMS = {
    "GET /v2/core/event_destinations page: taken": "stands in the next_page_url that the SDK follows",
    "GET /v2/core/events page: taken": "likewise",
}
TOO_MANY_WORDS = {
    "enabled_events[]": "250 events, of which the simulator sends a few; a name that it never sends does no harm",
    "api_version": "every version since 2011; the simulator refuses what it does not render in a sentence",
}


def plain(answered):
    return json.loads(str(answered))


def asked(route):
    return f"{route.method} {route.path}"


def changed(answer, path, value):
    """Return the response with another value at the path, or without the path for `...`."""
    *way, last = path
    node = answer
    for step in way:
        node = node[step]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return answer


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (["colour"], "red", ".colour: not a field that Subscription has"),
        (["currency"], ..., ".currency: missing"),
        (["currency"], None, ".currency: None is not a text"),
        (["cancel_at_period_end"], 1, ".cancel_at_period_end: 1 is not a boolean"),
        (["created"], True, ".created: True is not an integer"),
        (["created"], 1.5, ".created: 1.5 is not an integer"),
        (["application_fee_percent"], "10", ".application_fee_percent: '10' is not a number"),
        (["status"], "asleep", ".status: 'asleep' is not one of 'active', 'canceled'"),
        (["status"], None, ".status: null, which it never is"),
        (["items", "data", 0, "object"], "price", ".items.data[0].object: 'price' is not one of 'subscription_item'"),
        (["metadata", "user"], 5, ".metadata.user: 5 is not a text"),
        (["metadata"], [], ".metadata: [] is not an object"),
        (["discounts"], {}, ".discounts: {} is not a list"),
        (["billing_mode"], "flexible", ".billing_mode: 'flexible' is not an object"),
        (["billing_mode", "colour"], "red", ".billing_mode.colour: not a field that Subscription.BillingMode has"),
        (["latest_invoice"], 5, ".latest_invoice: 5 is not a text"),
        (["latest_invoice"], {"object": "price"}, ".latest_invoice: {'object': 'price'} is not a text"),
        (["customer", "tax_exempt"], "no", ".customer.tax_exempt: 'no' is not one of 'exempt', 'none', 'reverse'"),
        (["items", "has_more"], ..., ".items.has_more: missing"),
        (["items", "object"], "heap", ".items.object: 'heap' is not one of 'list'"),
        (
            ["items", "data", 0, "plan", "interval"],
            "fortnight",
            ".items.data[0].plan.interval: 'fortnight' is not one of 'day', 'month', 'week', 'year'",
        ),
        (
            ["items", "data", 0, "price", "unit_amount_decimal"],
            900,
            ".items.data[0].price.unit_amount_decimal: 900 is not a decimal number in a text",
        ),
    ],
)
def test_a_wrong_response_is_reported_with_its_path(shop, path, value, problem):
    subscription = shop.subscribe(shop.customer())
    sound = plain(shop.client.v1.subscriptions.retrieve(subscription, params={"expand": ["customer"]}))
    assert problems(sound) == []

    reported = problems(changed(sound, path, value))

    assert [each for each in reported if each.startswith(f"subscription{problem}")], reported


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (["type"], "price.eaten", "event.type: 'price.eaten' is not one of"),
        (["data", "object", "active"], "yes", "event.data.object.active: 'yes' is not a boolean"),
        (["data", "object", "object"], "wine", "event.data.object: {'active': "),
        (["data", "object"], ..., "event.data.object: missing"),
        (["data", "previous_attributes", "nickname"], 5, "event.data.previous_attributes.nickname: 5 is not a text"),
        (["data", "previous_attributes", "colour"], "red", "event.data.previous_attributes.colour: not a field of"),
    ],
)
def test_a_wrong_event_is_reported_with_its_path(shop, path, value, problem):
    shop.client.v1.prices.update(shop.price, params={"nickname": "Pro"})
    sound = plain(shop.event("price.updated"))
    assert problems(sound) == []

    reported = problems(changed(sound, path, value))

    assert [each for each in reported if each.startswith(problem)], reported


STUB = {"id": "cus_1", "object": "customer", "deleted": True}
WINE = {"object": "wine"}
THIN = dict.fromkeys(("changes", "context", "reason", "snapshot_event")) | {
    "created": "2026-10-28T00:00:00.000Z",
    "id": "evt_test_1",
    "livemode": False,
    "object": "v2.core.event",
    "related_object": {"id": "cus_1", "type": "customer", "url": "/v1/customers/cus_1"},
    "type": "v1.customer.created",
}


@pytest.mark.parametrize(
    ("answer", "reported"),
    [
        (WINE, ["wine: {'object': 'wine'} is of no kind that the SDK knows"]),
        ({}, ["answer: {} is of no kind that the SDK knows"]),
        ("Not found", ["answer: 'Not found' is of no kind that the SDK knows"]),
        ({"error": {"type": "api_error", "reason": "rain"}}, ["error.reason: not a field that ErrorObject has"]),
        ({"error": {"message": "No."}}, ["error.type: missing"]),
        ({"error": {"message": "No.", "type": "card_error"}}, []),
        (STUB, []),
        (STUB | {"deleted": False}, ["customer.deleted: False is not one of True", "customer.created: missing"]),
        (STUB | {"deleted": 1}, ["customer.deleted: 1 is not one of True", "customer.created: missing"]),
        (STUB | {"was": "Ann"}, ["customer.was: not a field that Customer has"]),
        ({"object": "customer", "deleted": True}, ["customer.id: missing"]),
        (THIN, []),
        (THIN | {"type": "v1.customer.eaten"}, ["v2.core.event: {'changes': "]),
        (THIN | {"related_object": {"id": "cus_1"}}, ["v2.core.event.related_object.type: missing"]),
        (THIN | {"data": {}}, ["v2.core.event.data: not a field that V1CustomerCreatedEvent has"]),
        ({"data": [THIN], "next_page_url": None, "previous_page_url": None}, []),
        (
            {"data": [WINE], "next_page_url": 5},
            ["answer.data[0]: {'object': 'wine'}", "answer.next_page_url: 5 is not"],
        ),
        ({"object": "list", "data": [STUB], "has_more": False, "url": "/v1/customers"}, []),
        ({"object": "list", "data": [STUB, WINE], "url": "/"}, ["list.has_more: missing", "list.data[1]: {'object'"]),
    ],
)
def test_errors_lists_stubs_and_unknown_objects_are_checked_too(answer, reported):
    found = problems(answer)

    assert all(any(each.startswith(start) for each in found) for start in reported), found
    assert bool(found) is bool(reported)


def test_a_wrong_response_fails_the_test_that_receives_it(simulator, shop):
    simulator.world.get("price", shop.price)["colour"] = "red"

    with pytest.raises(AssertionError, match=r"/v1/prices/.* as Stripe would not:\nprice.colour: not a field"):
        shop.client.v1.prices.retrieve(shop.price)


@pytest.mark.parametrize("route", ROUTES, ids=asked)
def test_every_parameter_is_accepted_as_the_sdk_sends_it(route):
    if route.path in OF_NO_SDK:
        assert (route.method, route.path) not in params_of_calls()
        return
    reported = [
        each for each in problems_of_route(route) if not re.search(rf" ({names(TOO_MANY_WORDS)}): takes any", each)
    ]
    assert [each for each in reported if not each.startswith((*OF_OLDER_VERSIONS, *OF_NO_PARAMS))] == []


def test_every_exception_to_the_contract_is_still_needed():
    reported = [each for route in ROUTES if route.path not in OF_NO_SDK for each in problems_of_route(route)]
    assert [
        each for each in OF_OLDER_VERSIONS | OF_NO_PARAMS if not any(problem.startswith(each) for problem in reported)
    ] == []


def names(words):
    return "|".join(map(re.escape, words))


@pytest.mark.parametrize(
    ("takes", "reported"),
    [
        ({"colour": text}, "colour: taken, but not a parameter that PriceCreateParams has"),
        (
            {"recurring": nested({"interval": choice("day"), "colour": text})},
            "recurring.colour: taken, but not a parameter that",
        ),
        ({"recurring": nested({})}, "recurring.interval: required, but not taken"),
        ({"recurring": text}, "recurring: takes text, but the SDK has"),
        ({"nickname": nested({})}, "nickname: takes an object, but the SDK has"),
        ({"nickname": list_of(text)}, "nickname: takes a list, but the SDK has"),
        ({"active": text}, "active: takes text, but the SDK has"),
        ({"active": integer}, "active: takes integer, but the SDK has"),
        ({"unit_amount": boolean}, "unit_amount: takes boolean, but the SDK has"),
        ({"unit_amount": choice("1", "2")}, "unit_amount: takes words, but the SDK has"),
        ({"unit_amount": optional(integer)}, "unit_amount: an empty text does not unset it"),
        ({"billing_scheme": text}, "billing_scheme: takes any text, but the SDK has"),
        ({"billing_scheme": choice("per_unit", "per_sip")}, "billing_scheme: takes 'per_sip', but the SDK has"),
        ({"nickname": form.metadata}, "nickname: takes metadata, but the SDK has"),
        ({"unit_amount": form.created}, "unit_amount: takes an object, but the SDK has"),
        ({"nickname": time_or("now")}, "nickname: takes integer, but the SDK has"),
        ({"nickname": form.parse}, "nickname: takes parse, but the SDK has"),
    ],
)
def test_a_wrong_parameter_is_reported(takes, reported):
    route = Route("POST", "/v1/prices", changed, {"currency": text} | takes, required=("currency",))

    assert [each.startswith(f"POST /v1/prices {reported}") for each in problems_of_route(route)] == [True]


def test_parameters_that_the_sdk_requires_are_required():
    route = Route("POST", "/v1/prices", changed)

    assert problems_of_route(route) == [
        "POST /v1/prices currency: required, but not by the route",
        "POST /v1/prices currency: required, but not taken",
    ]


def test_every_kind_of_object_keeps_the_contract(shop):
    v1, customer = shop.client.v1, shop.customer()
    meter = v1.billing.meters.create(
        params={"display_name": "Calls", "event_name": "calls", "default_aggregation": {"formula": "sum"}}
    ).id
    used = {"event_name": "calls", "payload": {"stripe_customer_id": customer, "value": "3"}}
    window = {"customer": customer, "start_time": 1_767_225_600, "end_time": 4_102_444_800}
    coupon = v1.coupons.create(params={"percent_off": 12.5, "duration": "forever"}).id
    v1.promotion_codes.create(params={"promotion": {"coupon": coupon, "type": "coupon"}, "code": "corks"})
    v1.invoice_items.create(params={"customer": customer, "amount": 100, "currency": "usd"})
    subscription = shop.subscribe(customer, discounts=[{"coupon": coupon}])
    v1.subscription_schedules.create(
        params={
            "customer": customer,
            "start_date": "now",
            "phases": [{"items": [{"price": shop.price}], "duration": {"interval": "month", "interval_count": 2}}],
        }
    )
    v1.checkout.sessions.create(
        params={
            "mode": "subscription",
            "line_items": [{"price": shop.price, "quantity": 1}],
            "success_url": "https://x",
        }
    )
    v1.payment_links.create(params={"line_items": [{"price": shop.price, "quantity": 1}]})
    v1.tax_rates.create(params={"display_name": "VAT", "inclusive": False, "percentage": 20})
    v1.customers.tax_ids.create(customer, params={"type": "us_ein", "value": "12-3456789"})
    feature = v1.entitlements.features.create(params={"lookup_key": "exports", "name": "Exports"}).id
    product = v1.prices.retrieve(shop.price).product
    v1.products.features.create(product, params={"entitlement_feature": feature})
    v1.subscriptions.update(subscription, params={"metadata": {"seats": "2"}})
    v1.payouts.create(params={"amount": 10, "currency": "usd"})
    v1.topups.create(params={"amount": 10, "currency": "usd"})
    connected = v1.accounts.create(params={"type": "express"}).id
    transfer = v1.transfers.create(params={"amount": 10, "currency": "usd", "destination": connected}).id
    v1.transfers.reversals.create(transfer, params={"amount": 4})
    v1.identity.verification_sessions.create(params={"type": "document"})
    v1.customers.payment_sources.create(customer, params={"source": "tok_visa"})
    v1.test_helpers.customers.fund_cash_balance(customer, params={"amount": 10, "currency": "usd"})
    v1.reporting.report_runs.create(params={"report_type": "balance.summary.1"})
    disputed = v1.charges.create(params={"amount": 100, "currency": "usd", "source": "tok_createDisputeInquiry"})
    v1.refunds.create(params={"charge": disputed.id})
    v1.charges.create(params={"amount": 100, "currency": "usd", "source": "tok_createIssuerFraudRecord"})
    invoice = v1.invoices.retrieve(v1.subscriptions.retrieve(subscription).latest_invoice)
    v1.credit_notes.create(params={"invoice": invoice.id, "amount": 100, "refund_amount": 40, "credit_amount": 60})
    v1.setup_intents.create(params={"customer": customer, "payment_method": "pm_card_visa", "confirm": True})
    v1.webhook_endpoints.create(params={"url": "http://127.0.0.1:9/", "enabled_events": ["invoice.voided"]})
    destination = {"name": "Thin", "type": "webhook_endpoint", "event_payload": "thin", "enabled_events": ["v1.x"]}
    v2 = shop.client.v2.core
    v2.event_destinations.create(params=destination | {"webhook_endpoint": {"url": "http://127.0.0.1:9/"}})

    answers = [
        v1.accounts.retrieve_current(),
        v1.accounts.list(),
        v1.accounts.delete(connected),
        v1.transfers.list(),
        v1.customers.payment_sources.list(customer),
        v1.customers.cash_balance.retrieve(customer),
        v1.customers.cash_balance_transactions.list(customer),
        v1.transfers.reversals.list(transfer),
        v1.identity.verification_sessions.list(),
        v1.reporting.report_runs.list(),
        v1.billing.meter_events.create(params=used),
        v1.billing.meters.list(),
        v1.billing.meters.event_summaries.list(meter, params=window),
        v1.balance.retrieve(),
        v1.balance_transactions.list(),
        v1.billing_portal.sessions.create(params={"customer": customer}),
        v1.billing_portal.configurations.list(),
        v1.checkout.sessions.list(
            params={"expand": ["data.line_items.data.discounts", "data.total_details.breakdown"]}
        ),
        v1.coupons.list(params={"expand": ["data.applies_to"]}),
        v1.credit_notes.list(params={"expand": ["data.customer_balance_transaction", "data.refunds.refund"]}),
        v1.customers.balance_transactions.list(customer),
        v1.customers.list(params={"expand": ["data.sources", "data.subscriptions"]}),
        v1.customers.tax_ids.list(customer),
        v1.entitlements.active_entitlements.list(params={"customer": customer, "expand": ["data.feature"]}),
        v1.entitlements.features.list(),
        v1.charges.list(params={"expand": ["data.refunds", "data.balance_transaction"]}),
        v1.disputes.list(),
        v1.events.list(params={"limit": 100}),
        v1.invoice_payments.list(params={"expand": ["data.payment.payment_intent.latest_charge"]}),
        v1.invoice_items.list(),
        v1.invoices.list(),
        v1.plans.list(),
        v1.payment_intents.list(),
        v1.payment_links.list(params={"expand": ["data.line_items"]}),
        v1.payouts.list(),
        v1.topups.list(),
        v1.payment_methods.list(params={"customer": customer}),
        v1.prices.list(params={"expand": ["data.currency_options", "data.tiers"]}),
        v1.products.features.list(product),
        v1.products.list(),
        v1.promotion_codes.list(),
        v1.radar.early_fraud_warnings.list(),
        v1.refunds.list(),
        v1.setup_intents.list(params={"expand": ["data.payment_method"]}),
        v1.subscription_schedules.list(),
        v1.subscriptions.list(),
        v1.subscriptions.retrieve(subscription, params={"expand": ["discounts", "test_clock"]}),
        v1.tax_rates.list(),
        v1.webhook_endpoints.list(),
        v2.event_destinations.list(),
        v2.events.list(),
    ]

    sources = Path(corkage.simulator.__file__).parent.rglob("*.py")
    assert kinds_in("".join(map(str, answers))) >= kinds_in("".join(path.read_text() for path in sources))


def kinds_in(source):
    return set(re.findall(r'"object": "([\w.]+)"', source))


def test_every_event_of_a_long_life_keeps_the_contract(simulator, shop):
    v1, customer = shop.client.v1, shop.customer()
    shop.subscribe(customer, trial_period_days=3)
    kept = shop.subscribe(customer)
    simulator.advance(40 * DAY)
    shop.use_card(customer, "pm_card_chargeCustomerFail")
    simulator.rules.after_retries = "unpaid"
    simulator.advance(50 * DAY)
    v1.invoices.void_invoice(v1.invoices.list(params={"status": "open"}).data[0].id)
    v1.subscriptions.update(kept, params={"cancel_at_period_end": True, "metadata": {"seat": "7"}})
    v1.subscriptions.cancel(kept)
    v1.customers.delete(customer)

    events = list(v1.events.list(params={"limit": 100}).auto_paging_iter())

    assert len({event.type for event in events}) >= 15
    assert [problem for event in events for problem in problems(plain(event))] == []
