"""The simulator executes what it accepts, refuses what it does not support, and invents no response."""

import re

import pytest
import requests
import stripe
from contract_params import params_of_calls
from harness import DAY

from corkage.simulator.api import ROUTES

pytestmark = [pytest.mark.slow, pytest.mark.seeded]

BEGIN = 1_767_225_600  # 2026-01-01
HOUR = 3600


@pytest.fixture
def v1(client):
    return client.v1


def refused(call, *arguments, **params):
    with pytest.raises(stripe.StripeError) as caught:
        call(*arguments, params=params)
    return caught.value


def hidden_calls():
    """Return the SDK's calls without a route that look like a route with an id."""
    routes = {(route.method, route.path) for route in ROUTES}
    for method, path in sorted(params_of_calls().keys() - routes):
        rules = [re.sub("<id>", "[^/]+", each) for verb, each in routes if verb == method]
        if any(re.fullmatch(rule, path.replace("<id>", "x_1")) for rule in rules):
            yield method, path


@pytest.mark.parametrize(("method", "path"), list(hidden_calls()))
def test_an_unsupported_call_is_not_mistaken_for_an_id(simulator, method, path):
    answer = requests.request(method, simulator.url + path, auth=(simulator.api_key, ""), timeout=30)

    assert answer.json()["error"]["code"] == "simulator_not_played"


def test_a_promotion_code_for_one_customer_is_refused_to_another(shop, v1):
    ann, bob = shop.customer(), shop.customer("bob")
    coupon = v1.coupons.create(params={"percent_off": 50, "duration": "once"}).id
    promotion = {"coupon": coupon, "type": "coupon"}
    code = v1.promotion_codes.create(params={"promotion": promotion, "code": "ANN", "customer": ann})

    items, discounts = [{"price": shop.price}], [{"promotion_code": code.id}]
    assert refused(v1.subscriptions.create, customer=bob, items=items, discounts=discounts).param == "discounts"
    assert v1.promotion_codes.retrieve(code.id).times_redeemed == 0
    shop.subscribe(ann, discounts=discounts)

    assert v1.promotion_codes.retrieve(code.id).times_redeemed == 1
    assert v1.invoices.list(params={"customer": ann}).data[0].amount_paid == 450


def test_an_inactive_price_cannot_be_bought(shop, v1):
    customer = shop.customer()
    kept = v1.subscriptions.retrieve(shop.subscribe(customer))
    v1.prices.update(shop.price, params={"active": False})

    assert "inactive" in refused(v1.subscriptions.create, customer=customer, items=[{"price": shop.price}]).user_message
    assert refused(v1.checkout.sessions.create, mode="subscription", line_items=[{"price": shop.price, "quantity": 1}])
    more = [{"id": kept["items"].data[0].id, "quantity": 2}]
    assert v1.subscriptions.update(kept.id, params={"items": more})["items"].data[0].quantity == 2


def test_a_trial_end_in_the_past_or_without_a_trial_is_refused(shop, v1):
    customer = shop.customer()
    trial = {"customer": customer, "items": [{"price": shop.price}], "trial_end": BEGIN}
    assert refused(v1.subscriptions.create, **trial).param == "trial_end"
    assert v1.subscriptions.list(params={"status": "all"}).data == []

    running = shop.subscribe(customer)
    assert refused(v1.subscriptions.update, running, trial_end=BEGIN).param == "trial_end"
    assert v1.subscriptions.retrieve(running).trial_end is None


def test_a_subscription_in_another_currency_than_its_price_is_refused(shop, v1):
    wanted = {"customer": shop.customer(), "items": [{"price": shop.price}], "currency": "eur"}

    assert "only supports `usd`" in refused(v1.subscriptions.create, **wanted).user_message


def test_a_subscription_without_its_own_card_charges_the_customers(simulator, shop, v1):
    subscription = shop.subscribe(
        shop.customer(), default_payment_method="pm_card_chargeCustomerFail", trial_period_days=1
    )

    changed = v1.subscriptions.update(subscription, params={"default_payment_method": ""})
    simulator.advance(DAY + HOUR)

    assert changed.default_payment_method is None
    assert v1.subscriptions.retrieve(subscription).status == "active"
    assert v1.invoices.list().data[0].status == "paid"


def test_an_invoice_with_auto_advance_is_charged_in_an_hour(simulator, shop, v1):
    customer = shop.customer()
    v1.invoice_items.create(params={"customer": customer, "amount": 500, "currency": "usd"})
    wanted = {"customer": customer, "pending_invoice_items_behavior": "include", "auto_advance": True}
    invoice = v1.invoices.create(params=wanted)
    still = v1.invoices.create(params={"customer": customer, "auto_advance": True})
    v1.invoices.update(still.id, params={"auto_advance": False})

    simulator.advance(HOUR - 1)
    assert v1.invoices.retrieve(invoice.id).status == "draft"
    simulator.advance(1)

    paid = v1.invoices.retrieve(invoice.id)
    assert (paid.status, paid.amount_paid) == ("paid", 500)
    assert v1.invoices.retrieve(still.id).status == "draft"


@pytest.mark.parametrize(("auto_advance", "status"), [(True, "paid"), (False, "open")])
def test_a_renewal_finalized_by_hand_follows_auto_advance(simulator, shop, v1, auto_advance, status):
    shop.subscribe(shop.customer())
    simulator.advance(31 * DAY)
    draft = v1.invoices.list().data[0]
    assert (draft.status, draft.billing_reason) == ("draft", "subscription_cycle")

    finalized = v1.invoices.finalize_invoice(draft.id, params={"auto_advance": auto_advance})

    assert finalized.status == status


def test_an_invoice_holds_the_customers_details(shop, v1):
    details = {"phone": "123", "address": {"city": "Vienna"}, "name": "Ann"}
    customer = shop.customer(**details, invoice_settings={"footer": "Thanks"})
    invoice = v1.invoices.create(params={"customer": customer})

    assert (invoice.customer_phone, invoice.customer_name, invoice.footer) == ("123", "Ann", "Thanks")
    assert invoice.customer_address.city == "Vienna"


def phase(shop, months, **params):
    items = [{"price": shop.price, "quantity": 1}]
    return {"items": items, "duration": {"interval": "month", "interval_count": months}} | params


def test_a_phase_writes_its_metadata_into_the_subscription(simulator, shop, v1):
    phases = [phase(shop, 1, metadata={"seat": "7"}), phase(shop, 1, metadata={"seat": "8"})]
    wanted = {"customer": shop.customer(), "start_date": "now", "phases": phases}
    schedule = v1.subscription_schedules.create(params=wanted)
    simulator.advance(1)
    subscription = v1.subscription_schedules.retrieve(schedule.id).subscription
    assert v1.subscriptions.retrieve(subscription).metadata["seat"] == "7"

    simulator.advance(31 * DAY)

    assert v1.subscriptions.retrieve(subscription).metadata["seat"] == "8"


@pytest.mark.parametrize(("params", "credited"), [({}, True), ({"prorate": False, "invoice_now": False}, False)])
def test_canceling_a_schedule_credits_the_rest_by_default(simulator, shop, v1, params, credited):
    wanted = {"customer": shop.customer(), "start_date": "now", "phases": [phase(shop, 2)]}
    schedule = v1.subscription_schedules.create(params=wanted)
    simulator.advance(10 * DAY)

    v1.subscription_schedules.cancel(schedule.id, params=params)

    assert v1.subscriptions.list(params={"status": "all"}).data[0].status == "canceled"
    assert [item.amount < 0 for item in v1.invoice_items.list().data] == [True] * credited


@pytest.mark.parametrize("keeps", [True, False])
def test_a_released_subscription_can_keep_its_cancel_date(simulator, shop, v1, keeps):
    wanted = {"customer": shop.customer(), "start_date": "now", "phases": [phase(shop, 2)], "end_behavior": "cancel"}
    schedule = v1.subscription_schedules.create(params=wanted)
    simulator.advance(1)

    v1.subscription_schedules.release(schedule.id, params={"preserve_cancel_date": keeps})

    (subscription,) = v1.subscriptions.list().data
    assert (subscription.cancel_at is not None) is keeps
    assert subscription.schedule is None


def portal(v1, customer, features, **flow):
    configuration = v1.billing_portal.configurations.create(params={"features": features})
    wanted = {"customer": customer, "configuration": configuration.id, "return_url": "https://app.example.com/"}
    return v1.billing_portal.sessions.create(params=wanted | ({"flow_data": flow} if flow else {})).url


def test_the_portal_cancels_only_as_its_configuration_allows(shop, v1):
    customer = shop.customer()
    subscription = shop.subscribe(customer)

    no = portal(v1, customer, {"subscription_cancel": {"enabled": False}})
    for action in ("cancel", "cancel_now"):
        answer = requests.post(f"{no}/{action}/{subscription}", allow_redirects=False, timeout=30)
        assert "cannot be done here" in answer.text
        assert answer.status_code == 402
    now = portal(v1, customer, {"subscription_cancel": {"enabled": True, "mode": "immediately"}})
    assert "period" not in requests.get(f"{now}/cancel/{subscription}", timeout=30).text
    assert requests.post(f"{now}/cancel/{subscription}", allow_redirects=False, timeout=30).status_code == 402
    assert v1.subscriptions.retrieve(subscription).cancel_at is None

    requests.post(f"{now}/cancel_now/{subscription}", allow_redirects=False, timeout=30)
    assert v1.subscriptions.retrieve(subscription).status == "canceled"
    assert v1.invoice_items.list().data == []


def test_a_portal_without_cards_and_invoices_hides_and_refuses_them(shop, v1):
    customer = shop.customer()
    shop.subscribe(customer)
    before = v1.customers.retrieve(customer).invoice_settings.default_payment_method
    off = portal(v1, customer, {name: {"enabled": False} for name in ("invoice_history", "payment_method_update")})

    home = requests.get(off, timeout=30).text
    card = {"number": "5555555555554444", "expiry": "12/40", "cvc": "123"}
    answer = requests.post(f"{off}/card", card, allow_redirects=False, timeout=30)

    assert "Change card" not in home
    assert "Invoices" not in home
    assert "cannot be done here" in answer.text
    assert v1.customers.retrieve(customer).invoice_settings.default_payment_method == before


def test_a_flow_for_a_disabled_feature_is_refused(shop, v1):
    customer = shop.customer()
    flow = {"type": "subscription_cancel", "subscription_cancel": {"subscription": shop.subscribe(customer)}}

    with pytest.raises(stripe.InvalidRequestError, match="disabled"):
        portal(v1, customer, {"subscription_cancel": {"enabled": False}}, **flow)


@pytest.mark.parametrize(("behaviour", "items"), [("none", 0), ("create_prorations", 2)])
def test_the_portal_confirms_the_quantity_and_prorates_as_configured(shop, v1, behaviour, items):
    customer = shop.customer()
    subscription = v1.subscriptions.retrieve(shop.subscribe(customer))
    asked = {"id": subscription["items"].data[0].id, "price": shop.price, "quantity": 3}
    product = v1.prices.retrieve(shop.price).product
    settings = {
        "enabled": True,
        "default_allowed_updates": ["quantity"],
        "products": [{"product": product, "prices": [shop.price]}],
        "proration_behavior": behaviour,
    }
    features = {"subscription_update": settings}
    confirm = {"subscription": subscription.id, "items": [asked]}
    page = portal(v1, customer, features, type="subscription_update_confirm", subscription_update_confirm=confirm)

    requests.post(f"{page}/change/{subscription.id}", {"price": shop.price}, allow_redirects=False, timeout=30)

    assert v1.subscriptions.retrieve(subscription.id)["items"].data[0].quantity == 3
    assert len(v1.invoice_items.list().data) == items


@pytest.mark.parametrize("future_usage", [{}, {"payment_intent_data": {"setup_future_usage": "off_session"}}])
def test_a_one_time_payment_creates_a_customer_only_to_keep_the_card(simulator, shop, v1, future_usage):
    once = v1.prices.create(params={"currency": "usd", "unit_amount": 700, "product_data": {"name": "Corkscrew"}}).id
    items = [{"price": once, "quantity": 2}]
    session = v1.checkout.sessions.create(params={"mode": "payment", "line_items": items} | future_usage)

    paid = simulator.buy(session.url)

    assert (paid["payment_status"], paid["amount_total"]) == ("paid", 1400)
    assert len(v1.customers.list().data) == bool(future_usage)
    if future_usage:
        assert len(v1.payment_methods.list(params={"customer": paid["customer"]}).data) == 1


def test_a_payment_of_another_amount_than_is_due_is_refused(shop, v1):
    items = [{"price": shop.price, "quantity": 1}]
    session = v1.checkout.sessions.create(params={"mode": "subscription", "line_items": items})
    method = v1.payment_methods.create(params={"type": "card", "card": {"token": "tok_visa"}}).id

    confirm = shop.client.raw_request
    path = f"/v1/payment_pages/{session.id}/confirm"
    with pytest.raises(stripe.InvalidRequestError) as caught:
        confirm("post", path, payment_method=method, expected_amount=899)

    assert caught.value.code == "checkout_amount_mismatch"
    assert v1.checkout.sessions.retrieve(session.id).status == "open"


def test_a_used_up_or_expired_coupon_is_refused_with_a_reason(simulator, shop, v1):
    once = v1.coupons.create(params={"percent_off": 10, "duration": "once", "max_redemptions": 1}).id
    short = v1.coupons.create(params={"percent_off": 10, "duration": "once", "redeem_by": BEGIN + DAY}).id
    code = v1.promotion_codes.create(
        params={"promotion": {"coupon": short, "type": "coupon"}, "expires_at": BEGIN + HOUR}
    ).id
    assert v1.coupons.retrieve(once).valid

    shop.subscribe(shop.customer(), discounts=[{"coupon": once}])
    simulator.advance(HOUR)
    assert (v1.coupons.retrieve(once).valid, v1.promotion_codes.retrieve(code).active) == (False, False)
    assert v1.coupons.retrieve(short).valid
    simulator.advance(DAY)

    assert not v1.coupons.retrieve(short).valid
    assert {each.id for each in v1.coupons.list().data} == {once, short}


@pytest.mark.parametrize("card", [None, "pm_card_chargeCustomerFail"])
def test_a_refused_subscription_redeems_nothing(shop, v1, card):
    customer = v1.customers.create(params={"payment_method": card} if card else {}).id
    coupon = v1.coupons.create(params={"percent_off": 10, "duration": "once", "max_redemptions": 1}).id
    wanted = {"customer": customer, "items": [{"price": shop.price}], "discounts": [{"coupon": coupon}]}
    wanted |= {"payment_behavior": "error_if_incomplete"} | ({"default_payment_method": card} if card else {})

    assert refused(v1.subscriptions.create, **wanted)

    redeemed = v1.coupons.retrieve(coupon)
    assert (redeemed.times_redeemed, redeemed.valid) == (0, True)
    assert v1.subscriptions.list(params={"status": "all"}).data == v1.invoices.list().data == []


def test_a_deleted_coupon_is_gone_and_its_discounts_stay(simulator, shop, v1):
    coupon = v1.coupons.create(params={"percent_off": 50, "duration": "forever"}).id
    shop.subscribe(shop.customer(), discounts=[{"coupon": coupon}])
    v1.coupons.delete(coupon)

    assert refused(v1.coupons.retrieve, coupon).code == "resource_missing"
    assert refused(v1.coupons.update, coupon, name="x").code == "resource_missing"
    assert refused(v1.promotion_codes.create, promotion={"coupon": coupon, "type": "coupon"}).http_status == 400
    assert v1.coupons.list().data == []
    simulator.advance_to("renewal")
    assert v1.invoices.list().data[0].amount_paid == 450


def test_a_chosen_id_can_be_used_once(v1):
    v1.products.create(params={"id": "pro", "name": "Pro"})
    v1.coupons.create(params={"id": "ten", "percent_off": 10})

    assert refused(v1.products.create, id="pro", name="Other").code == "resource_already_exists"
    assert refused(v1.coupons.create, id="ten", percent_off=20).code == "resource_already_exists"
    assert (v1.products.retrieve("pro").name, v1.coupons.retrieve("ten").percent_off) == ("Pro", 10)


def test_negative_amounts_and_quantities_are_refused(shop, v1):
    customer = shop.customer()
    minus = [{"price": shop.price, "quantity": -1}]
    price = {"currency": "usd", "unit_amount": -1, "product_data": {"name": "Less"}}

    assert refused(v1.prices.create, **price).param == "unit_amount"
    assert refused(v1.subscriptions.create, customer=customer, items=minus).param == "items[0][quantity]"
    assert refused(v1.checkout.sessions.create, mode="subscription", line_items=minus)
    for percent in (0, 101):
        assert refused(v1.coupons.create, percent_off=percent, duration="once").param == "percent_off"
    assert v1.subscriptions.list(params={"status": "all"}).data == []


def test_at_100_percent_off_a_subscription_starts_without_a_card(shop, v1):
    free = v1.coupons.create(params={"percent_off": 100, "duration": "once"}).id
    customer = v1.customers.create().id
    asked = {"customer": customer, "items": [{"price": shop.price}]}

    started = v1.subscriptions.create(params=asked | {"discounts": [{"coupon": free}]})
    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source"):
        v1.subscriptions.create(params=asked)

    invoice = v1.invoices.retrieve(started.latest_invoice)
    assert (started.status, invoice.status, invoice.amount_due) == ("active", "paid", 0)


def test_a_refused_subscription_redeems_no_coupon(shop, v1):
    small = v1.coupons.create(params={"percent_off": 5, "duration": "once", "max_redemptions": 1}).id
    asked = {"customer": v1.customers.create().id, "items": [{"price": shop.price}], "discounts": [{"coupon": small}]}

    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source"):
        v1.subscriptions.create(params=asked)

    assert (v1.coupons.retrieve(small).times_redeemed, v1.coupons.retrieve(small).valid) == (0, True)


@pytest.mark.parametrize(("percent", "needs_card"), [(100, False), (99, True)])
def test_a_one_time_order_at_100_percent_off_is_completed_without_a_card(shop, v1, percent, needs_card):
    once = v1.prices.create(params={"currency": "usd", "unit_amount": 700, "product_data": {"name": "Corkscrew"}}).id
    coupon = v1.coupons.create(params={"percent_off": percent, "duration": "once"}).id
    asked = {"mode": "payment", "line_items": [{"price": once, "quantity": 1}], "discounts": [{"coupon": coupon}]}
    session = v1.checkout.sessions.create(params=asked)

    answer = requests.post(session.url, {"without_card": "yes"}, allow_redirects=False, timeout=30)

    after = v1.checkout.sessions.retrieve(session.id)
    assert (answer.status_code, after.status) == ((402, "open") if needs_card else (303, "complete"))
    assert after.payment_status == ("unpaid" if needs_card else "no_payment_required")


def test_the_latest_invoice_is_whichever_came_last(shop, v1):
    customer = shop.customer()
    started = v1.subscriptions.retrieve(shop.subscribe(customer))
    item = {"id": started["items"].data[0].id, "quantity": 2}

    changed = v1.subscriptions.update(started.id, params={"items": [item], "proration_behavior": "always_invoice"})

    assert changed.latest_invoice != started.latest_invoice
    assert v1.invoices.retrieve(changed.latest_invoice).billing_reason == "subscription_update"
