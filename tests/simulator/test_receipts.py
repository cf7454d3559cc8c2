"""The invoice of what a Checkout Session sells once, over HTTP with the real SDK."""

import pytest
from harness import DAY

from corkage.simulator import visitor

pytestmark = [pytest.mark.slow, pytest.mark.seeded]

WITH_INVOICE = {"enabled": True, "invoice_data": {"metadata": {"corkage_user": "ann"}}}


@pytest.fixture
def sell(v1, shop):
    product = v1.products.create(params={"name": "Pack"}).id

    def sell(currency="usd", **params):
        price = v1.prices.create(params={"product": product, "currency": currency, "unit_amount": 500}).id
        wanted = {"mode": "payment", "line_items": [{"price": price, "quantity": 2}], "success_url": "https://x"}
        return v1.checkout.sessions.create(params=wanted | {"customer": shop.customer()} | params)

    return sell


def test_a_session_that_asks_for_an_invoice_has_one_that_its_payment_paid(v1, sell):
    session = sell(invoice_creation=WITH_INVOICE)
    assert (session.invoice, session.invoice_creation.enabled) == (None, True)

    visitor.pay(session.url, "4242424242424242")

    session = v1.checkout.sessions.retrieve(session.id)
    invoice = v1.invoices.retrieve(session.invoice, params={"expand": ["payments"]})
    assert (invoice.status, invoice.total, invoice.amount_paid, invoice.currency) == ("paid", 1000, 1000, "usd")
    assert (invoice.billing_reason, invoice.parent, invoice.metadata["corkage_user"]) == ("manual", None, "ann")
    [payment] = invoice.payments.data
    assert (payment.status, payment.payment.payment_intent) == ("paid", session.payment_intent)
    of_payment = {"payment": {"type": "payment_intent", "payment_intent": session.payment_intent}}
    assert [each.invoice for each in v1.invoice_payments.list(params=of_payment).data] == [invoice.id]
    assert [each.id for each in v1.checkout.sessions.list(params={"payment_intent": session.payment_intent}).data] == [
        session.id
    ]


def test_a_session_that_asks_for_none_has_no_invoice(v1, sell):
    session = sell()
    visitor.pay(session.url, "4242424242424242")

    assert v1.checkout.sessions.retrieve(session.id).invoice is None
    assert v1.invoices.list().data == []


def test_the_invoice_of_a_delayed_payment_comes_when_it_is_paid(v1, sell, shop):
    session = sell("eur", invoice_creation=WITH_INVOICE)
    visitor.pay(session.url, "AT611904300234573201")
    waiting = v1.checkout.sessions.retrieve(session.id)
    assert (waiting.status, waiting.payment_status, waiting.invoice) == ("complete", "unpaid", None)

    shop.simulator.advance(15 * DAY)

    paid = v1.checkout.sessions.retrieve(session.id, params={"expand": ["invoice"]})
    assert (paid.payment_status, paid.invoice.status, paid.invoice.currency) == ("paid", "paid", "eur")
    assert paid.invoice.status_transitions.paid_at > paid.created + DAY


@pytest.mark.parametrize(
    ("mode", "params"),
    [
        ("payment", {"subscription_data": {"metadata": {"a": "b"}}}),
        ("payment", {"payment_method_collection": "if_required"}),
        ("subscription", {"invoice_creation": {"enabled": True}}),
        ("subscription", {"payment_intent_data": {"description": "a"}}),
    ],
)
def test_what_is_of_the_other_mode_is_refused(v1, shop, refused, mode, params):
    price = shop.price if mode == "subscription" else None
    item = (
        {"price": price}
        if price
        else {"price_data": {"currency": "usd", "unit_amount": 1, "product_data": {"name": "a"}}}
    )
    wanted = {"mode": mode, "line_items": [item | {"quantity": 1}], "success_url": "https://x"}

    assert refused(v1.checkout.sessions.create, **wanted, **params).param == next(iter(params))
