"""Money that moves, over HTTP with the real SDK: PaymentIntents, charges, refunds, and the payments of invoices."""

import pytest
import requests
import stripe
from harness import DAY, open_shop, sdk

from corkage.simulator import Simulator, visitor

pytestmark = [pytest.mark.slow, pytest.mark.seeded]

BEGIN = 1_767_225_600  # 2026-01-01
PACK = {"amount": 1000, "currency": "usd"}
FEE = 59  # 2.9 % of 10 dollars, and 30 cents


def paid(v1, card="pm_card_visa", **params):
    return v1.payment_intents.create(params=PACK | {"payment_method": card, "confirm": True} | params)


# A pack, bought once


@pytest.fixture
def pack(v1):
    product = v1.products.create(params={"name": "Pack"}).id
    return v1.prices.create(params={"product": product, "currency": "usd", "unit_amount": 1000}).id


def buy(v1, pack, card="4242424242424242", **params):
    session = v1.checkout.sessions.create(
        params={"mode": "payment", "line_items": [{"price": pack, "quantity": 1}], "success_url": "https://x"} | params
    )
    visitor.pay(session.url, card)
    return v1.checkout.sessions.retrieve(session.id, params={"expand": ["payment_intent.latest_charge"]})


def test_a_pack_is_bought_refunded_in_part_and_in_full(v1, shop, pack, new_events, refused):
    new_events()
    session = buy(v1, pack, payment_intent_data={"metadata": {"pack": "10"}, "description": "Ten corks"})

    assert new_events() == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
    ]
    intent, charge = session.payment_intent, session.payment_intent.latest_charge
    assert (session.payment_status, intent.status, charge.status) == ("paid", "succeeded", "succeeded")
    assert (intent.amount_received, charge.amount_captured, charge.amount_refunded) == (1000, 1000, 0)
    assert (intent.metadata["pack"], charge.description, charge.payment_intent) == ("10", "Ten corks", intent.id)

    part = v1.refunds.create(params={"payment_intent": intent.id, "amount": 400, "reason": "requested_by_customer"})
    assert new_events() == ["refund.created", "charge.refunded"]
    assert (part.status, part.amount, part.charge) == ("succeeded", 400, charge.id)
    charge = v1.charges.retrieve(charge.id)
    assert (charge.refunded, charge.amount_refunded) == (False, 400)

    rest = v1.refunds.create(params={"charge": charge.id})
    charge = v1.charges.retrieve(charge.id, params={"expand": ["refunds"]})
    assert (rest.amount, charge.refunded, charge.amount_refunded) == (600, True, 1000)
    assert [each.id for each in charge.refunds.data] == [rest.id, part.id]
    error = refused(v1.refunds.create, charge=charge.id)
    assert (error.code, len(v1.refunds.list().data)) == ("charge_already_refunded", 2)


def test_more_than_is_left_is_not_refunded(v1, new_events, refused):
    intent = paid(v1)
    v1.refunds.create(params={"payment_intent": intent.id, "amount": 999})
    new_events()

    assert refused(v1.refunds.create, payment_intent=intent.id, amount=2).code == "amount_too_large"
    assert refused(v1.refunds.create, payment_intent=intent.id, amount=0).code == "parameter_invalid_integer"
    assert new_events() == []
    assert v1.refunds.create(params={"payment_intent": intent.id, "amount": 1}).status == "succeeded"


def test_what_took_no_money_is_not_refunded(v1, new_events, refused):
    waiting = v1.payment_intents.create(params=PACK).id
    authorized = paid(v1, capture_method="manual")
    new_events()

    assert refused(v1.refunds.create).code == "parameter_missing"
    assert "successful charge" in str(refused(v1.refunds.create, payment_intent=waiting))
    assert "no money was taken" in str(refused(v1.refunds.create, charge=authorized.latest_charge))
    assert new_events() == []


def test_a_refund_that_fails_gives_the_money_back_to_the_account(simulator, v1, new_events):
    intent = paid(v1, "pm_card_refundFail")
    refund = v1.refunds.create(params={"payment_intent": intent.id})
    new_events()

    simulator.advance(4 * DAY)

    assert new_events() == ["refund.failed", "charge.refund.updated", "refund.updated"]
    refund = v1.refunds.retrieve(refund.id, params={"expand": ["charge", "failure_balance_transaction"]})
    assert (refund.status, refund.failure_reason) == ("failed", "expired_or_canceled_card")
    assert (refund.charge.refunded, refund.charge.amount_refunded) == (False, 0)
    assert refund.failure_balance_transaction.amount == 1000


def test_a_refund_that_is_pending_succeeds_later(simulator, v1, new_events):
    refund = v1.refunds.create(params={"payment_intent": paid(v1, "pm_card_pendingRefund").id})
    assert (refund.status, refund.pending_reason) == ("pending", "processing")
    new_events()

    simulator.advance(4 * DAY)

    assert new_events() == ["charge.refund.updated", "refund.updated"]
    assert v1.refunds.retrieve(refund.id).status == "succeeded"


def test_metadata_of_a_refund_is_changed_and_a_refund_is_never_canceled(v1, new_events, refused):
    refund = v1.refunds.create(params={"payment_intent": paid(v1).id})
    new_events()

    assert v1.refunds.update(refund.id, params={"metadata": {"order": "7"}}).metadata["order"] == "7"
    assert new_events() == ["charge.refund.updated", "refund.updated"]
    assert "cannot be canceled" in str(refused(v1.refunds.cancel, refund.id))
    assert new_events() == []


def test_the_balance_has_a_line_for_each_movement(v1):
    intent = paid(v1)
    v1.refunds.create(params={"payment_intent": intent.id, "amount": 400})

    lines = v1.balance_transactions.list(params={"expand": ["data.source"]}).data
    assert [(each.type, each.amount, each.fee, each.net) for each in lines] == [
        ("refund", -400, 0, -400),
        ("charge", 1000, FEE, 1000 - FEE),
    ]
    assert [each.source.object for each in lines] == ["refund", "charge"]
    assert v1.balance_transactions.retrieve(lines[0].id).id == lines[0].id
    assert [each.type for each in v1.balance_transactions.list(params={"type": "charge"}).data] == ["charge"]


def test_the_balance_is_the_sum_of_its_lines(v1, new_events):
    assert [each.amount for each in v1.balance.retrieve().available] == [0]
    paid(v1, "pm_card_bypassPending")
    paid(v1, currency="eur")

    assert new_events().count("balance.available") == 1
    found = v1.balance.retrieve()
    assert {each.currency: each.amount for each in found.available} == {"usd": 1000 - FEE, "eur": 1000 - FEE}
    assert {each.amount for each in found.pending} == {0}


def test_a_session_without_anything_to_pay_has_no_payment_intent(v1, pack):
    coupon = v1.coupons.create(params={"percent_off": 100, "duration": "once"}).id

    session = buy(v1, pack, discounts=[{"coupon": coupon}])

    assert (session.status, session.payment_status, session.payment_intent) == ("complete", "no_payment_required", None)
    assert v1.payment_intents.list().data == []


@pytest.mark.parametrize(
    ("account", "status", "last"),
    [("000123456789", "succeeded", "charge.succeeded"), ("000111111116", "requires_payment_method", "charge.failed")],
)
def test_a_session_paid_by_bank_is_decided_days_later(simulator, v1, pack, new_events, account, status, last):
    session = buy(v1, pack, account)
    assert (session.payment_status, session.payment_intent.status) == ("unpaid", "processing")
    assert session.payment_intent.latest_charge.status == "pending"
    new_events()

    simulator.advance(4 * DAY)

    assert new_events()[0] == last
    assert v1.payment_intents.retrieve(session.payment_intent.id).status == status


# PaymentIntents


def test_a_payment_intent_waits_for_a_method_and_its_confirmation(v1, new_events, refused):
    intent = v1.payment_intents.create(params=PACK)
    assert (intent.status, intent.payment_method_types) == ("requires_payment_method", ["card", "us_bank_account"])
    assert refused(v1.payment_intents.confirm, intent.id).code == "payment_intent_unexpected_state"

    intent = v1.payment_intents.update(intent.id, params={"payment_method": "pm_card_visa", "amount": 2000})
    assert (intent.status, intent.amount) == ("requires_confirmation", 2000)
    intent = v1.payment_intents.confirm(intent.id)
    assert (intent.status, intent.amount_received) == ("succeeded", 2000)
    assert new_events()[-3:] == ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]

    for call in (v1.payment_intents.confirm, v1.payment_intents.cancel, v1.payment_intents.capture):
        assert refused(call, intent.id).code == "payment_intent_unexpected_state"
    assert refused(v1.payment_intents.update, intent.id, amount=1).code == "payment_intent_unexpected_state"
    assert new_events() == []


def test_a_declined_payment_names_its_charge_and_can_be_tried_again(v1, new_events, refused):
    intent = v1.payment_intents.create(params=PACK)
    new_events()

    error = refused(v1.payment_intents.confirm, intent.id, payment_method="pm_card_chargeDeclinedInsufficientFunds")

    assert isinstance(error, stripe.CardError)
    assert (error.error.decline_code, error.error.payment_intent.id) == ("insufficient_funds", intent.id)
    assert new_events() == ["charge.failed", "payment_intent.payment_failed"]
    intent = v1.payment_intents.retrieve(intent.id, params={"expand": ["latest_charge"]})
    assert (intent.status, intent.last_payment_error.code) == ("requires_payment_method", "card_declined")
    charge = intent.latest_charge
    assert (charge.id, charge.status, charge.paid) == (error.error.charge, "failed", False)
    assert (charge.failure_code, charge.outcome.type) == ("card_declined", "issuer_declined")
    assert v1.balance_transactions.list().data == []

    again = v1.payment_intents.confirm(intent.id, params={"payment_method": "pm_card_visa"})
    assert (again.status, again.last_payment_error) == ("succeeded", None)
    assert len(v1.charges.list(params={"payment_intent": intent.id}).data) == 2


def test_what_is_authorized_is_captured_in_part_or_released(v1, new_events, refused):
    first, second = paid(v1, capture_method="manual"), paid(v1, capture_method="manual")
    assert (first.status, first.amount_capturable) == ("requires_capture", 1000)
    assert new_events()[-1] == "payment_intent.amount_capturable_updated"
    assert v1.balance_transactions.list().data == []
    refused(v1.payment_intents.capture, first.id, amount_to_capture=1001)

    captured = v1.payment_intents.capture(first.id, params={"amount_to_capture": 700, "expand": ["latest_charge"]})
    assert (captured.status, captured.amount_received, captured.amount_capturable) == ("succeeded", 700, 0)
    assert (captured.latest_charge.amount_captured, captured.latest_charge.amount_refunded) == (700, 300)
    assert new_events() == ["charge.captured", "payment_intent.succeeded"]

    canceled = v1.payment_intents.cancel(second.id, params={"cancellation_reason": "abandoned"})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    assert new_events() == ["charge.refunded", "payment_intent.canceled"]
    assert len(v1.balance_transactions.list().data) == 1


def test_authentication_is_asked_for_and_given_on_the_banks_page(simulator, v1, new_events):
    intent = paid(v1, "pm_card_threeDSecure2Required", return_url="https://app.example.com/back")
    assert (intent.status, intent.latest_charge) == ("requires_action", None)
    assert new_events()[-1] == "payment_intent.requires_action"

    url = intent.next_action.redirect_to_url.url
    assert "Simulation" in requests.get(url, timeout=30).text
    answer = requests.post(url, {"answer": "confirm"}, allow_redirects=False, timeout=30)

    assert (answer.status_code, answer.headers["Location"]) == (303, "https://app.example.com/back")
    intent = v1.payment_intents.retrieve(intent.id)
    assert (intent.status, intent.next_action) == ("succeeded", None)
    assert new_events() == ["charge.succeeded", "payment_intent.succeeded"]
    assert requests.post(url, {"answer": "confirm"}, timeout=30).status_code == 400
    assert new_events() == []


def test_authentication_that_is_refused_fails_the_payment(v1, new_events):
    intent = paid(v1, "pm_card_authenticationRequired")
    url = intent.next_action.redirect_to_url.url
    new_events()

    assert requests.post(url, {"answer": "refuse"}, timeout=30).status_code == 402

    assert new_events() == ["payment_intent.payment_failed"]
    intent = v1.payment_intents.retrieve(intent.id)
    assert intent.status == "requires_payment_method"
    assert intent.last_payment_error.code == "payment_intent_authentication_failure"


@pytest.mark.parametrize("how", ["off_session", "error_on_requires_action"])
def test_without_the_customer_a_card_that_asks_is_declined(v1, shop, new_events, how, refused):
    new_events()
    error = refused(
        v1.payment_intents.create, **PACK, payment_method="pm_card_authenticationRequired", confirm=True, **{how: True}
    )

    assert error.code == "authentication_required"
    assert new_events() == ["payment_intent.created", "charge.failed", "payment_intent.payment_failed"]


def test_a_payment_for_later_use_attaches_the_card(v1, refused):
    customer = v1.customers.create().id

    once = paid(v1, customer=customer)
    kept = paid(v1, customer=customer, setup_future_usage="off_session")

    assert v1.payment_methods.retrieve(once.payment_method).customer is None
    assert v1.payment_methods.retrieve(kept.payment_method).customer == customer
    assert "belongs to a Customer" in str(
        refused(v1.payment_intents.create, **PACK, payment_method=kept.payment_method)
    )
    assert [each.id for each in v1.payment_intents.list(params={"customer": customer}).data] == [kept.id, once.id]


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"amount": 0, "currency": "usd"}, "amount"),
        ({"amount": -5, "currency": "usd"}, "amount"),
        ({"amount": 100, "currency": "dollars"}, "currency"),
        ({"amount": 100, "currency": "usd", "customer": "cus_nobody"}, "customer"),
        ({"amount": 100, "currency": "usd", "payment_method": "pm_nothing"}, "payment_method"),
        (
            {
                "amount": 100,
                "currency": "usd",
                "allowed_payment_method_types": ["us_bank_account"],
                "payment_method": "pm_card_visa",
            },
            "payment_method",
        ),
    ],
)
def test_a_payment_intent_that_stripe_refuses_is_not_made(v1, params, param, refused):
    assert refused(v1.payment_intents.create, **params).param == param
    assert v1.payment_intents.list().data == []


# Charges made directly


def test_a_charge_of_a_token_or_a_customer_needs_no_payment_intent(v1, shop, new_events, refused):
    customer = shop.customer()
    new_events()

    first = v1.charges.create(params=PACK | {"source": "tok_visa", "metadata": {"order": "7"}})
    second = v1.charges.create(params=PACK | {"customer": customer, "capture": False})

    assert (first.paid, first.captured, first.payment_intent, first.metadata["order"]) == (True, True, None, "7")
    assert (second.paid, second.captured, second.customer) == (True, False, customer)
    assert v1.charges.capture(second.id, params={"amount": 300}).amount_captured == 300
    assert new_events() == ["charge.succeeded", "charge.succeeded", "charge.captured"]
    assert refused(v1.charges.capture, second.id).code == "charge_already_captured"
    v1.charges.update(first.id, params={"description": "Corks"})
    assert new_events() == ["charge.updated"]
    assert [each.id for each in v1.charges.list(params={"customer": customer}).data] == [second.id]


def test_a_charge_that_is_declined_or_has_nothing_to_charge_is_an_error(v1, new_events, refused):
    customer = v1.customers.create().id
    new_events()

    error = refused(v1.charges.create, **PACK, source="tok_chargeDeclined")
    assert (error.code, v1.charges.retrieve(error.error.charge).status) == ("card_declined", "failed")
    assert new_events() == ["charge.failed"]
    assert refused(v1.charges.create, **PACK, customer=customer).code == "missing"
    assert refused(v1.charges.create, **PACK).code == "parameter_missing"
    assert "does not support" in str(refused(v1.charges.create, **PACK, source="src_1"))
    assert len(v1.charges.list().data) == 1


# Payments of invoices


def test_a_paid_invoice_lists_its_payment_with_payment_intent_and_charge(v1, shop):
    subscription = shop.subscribe(shop.customer())

    invoice = v1.subscriptions.retrieve(subscription, params={"expand": ["latest_invoice.payments"]}).latest_invoice
    (payment,) = invoice.payments.data
    assert (payment.status, payment.amount_paid, payment.is_default) == ("paid", 900, True)
    assert (payment.payment.type, payment.invoice) == ("payment_intent", invoice.id)
    intent = v1.payment_intents.retrieve(payment.payment.payment_intent, params={"expand": ["latest_charge"]})
    assert (intent.status, intent.customer, intent.amount_received) == ("succeeded", invoice.customer, 900)
    assert (intent.latest_charge.paid, intent.latest_charge.amount) == (True, 900)
    by_intent = {"payment": {"type": "payment_intent", "payment_intent": intent.id}}
    assert [each.id for each in v1.invoice_payments.list(params=by_intent).data] == [payment.id]
    assert v1.invoice_payments.retrieve(payment.id).id == payment.id
    assert v1.invoice_payments.list(params={"status": "open"}).data == []


def test_an_invoice_of_nothing_has_no_payment(v1, shop):
    subscription = shop.subscribe(shop.customer(), trial_period_days=7)

    invoice = v1.subscriptions.retrieve(subscription, params={"expand": ["latest_invoice.payments"]}).latest_invoice

    assert (invoice.status, invoice.payments.data) == ("paid", [])
    assert v1.payment_intents.list().data == []


def test_a_first_invoice_is_paid_by_confirming_its_payment_intent(v1, shop, new_events, refused):
    subscription = shop.subscribe(shop.customer(), payment_behavior="default_incomplete")
    expand = ["latest_invoice.payments", "latest_invoice.confirmation_secret"]
    invoice = v1.subscriptions.retrieve(subscription, params={"expand": expand}).latest_invoice
    intent = invoice.payments.data[0].payment.payment_intent
    assert invoice.confirmation_secret.client_secret == v1.payment_intents.retrieve(intent).client_secret
    assert refused(v1.payment_intents.cancel, intent).http_status == 400
    new_events()

    v1.payment_intents.confirm(intent, params={"payment_method": "pm_card_visa"})

    assert new_events() == [
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice.paid",
        "invoice.payment_succeeded",
        "invoice_payment.paid",
        "customer.subscription.updated",
    ]
    assert v1.subscriptions.retrieve(subscription).status == "active"


def test_each_failed_attempt_is_a_charge_of_the_same_payment_intent(simulator, v1, shop):
    customer = shop.customer()
    shop.subscribe(customer)
    shop.use_card(customer, "pm_card_chargeCustomerFail")
    simulator.advance_to("renewal")
    simulator.advance(3 * DAY)

    (invoice,) = v1.invoices.list(params={"status": "open", "expand": ["data.payments"]}).data
    intent = invoice.payments.data[0].payment.payment_intent
    assert [each.status for each in v1.charges.list(params={"payment_intent": intent}).data] == ["failed", "failed"]

    v1.invoices.pay(invoice.id, params={"payment_method": "pm_card_visa"})
    (payment,) = v1.invoice_payments.list(params={"invoice": invoice.id}).data
    assert (payment.status, payment.payment.payment_intent) == ("paid", intent)
    assert len(v1.charges.list(params={"payment_intent": intent}).data) == 3


@pytest.mark.parametrize("how", ["void", "out of band"])
def test_an_invoice_that_is_not_paid_with_it_cancels_its_payment_intent(v1, shop, how):
    subscription = shop.subscribe(shop.customer(), payment_behavior="default_incomplete")
    invoice = v1.subscriptions.retrieve(subscription).latest_invoice

    if how == "void":
        v1.invoices.void_invoice(invoice)
    else:
        v1.invoices.pay(invoice, params={"paid_out_of_band": True})

    (payment,) = v1.invoice_payments.list(params={"invoice": invoice, "expand": ["data.payment.payment_intent"]}).data
    assert (payment.status, payment.amount_paid) == ("canceled", None)
    assert payment.payment.payment_intent.status == "canceled"
    assert v1.charges.list().data == []


def test_payments_on_a_test_clock_happen_at_its_time(v1, shop):
    clock = v1.test_helpers.test_clocks.create(params={"frozen_time": BEGIN + 500 * DAY}).id
    customer = shop.customer(test_clock=clock)
    charge = v1.charges.create(params=PACK | {"customer": customer}).id

    refund = v1.refunds.create(params={"charge": charge})

    assert refund.created == v1.charges.retrieve(charge).created == BEGIN + 500 * DAY


def test_the_same_seed_repeats_every_payment():
    def play():
        with Simulator(seed=11) as simulator:
            shop = open_shop(simulator, sdk(simulator))
            shop.subscribe(shop.customer())
            return [str(each) for each in shop.client.v1.charges.list().data]

    first = play()
    assert first == play()
    assert len(first) == 1
