"""Payment methods saved without a payment: SetupIntents, and Checkout in setup mode."""

import pytest
import requests
from harness import DAY

from corkage.simulator import visitor

pytestmark = [pytest.mark.slow, pytest.mark.seeded]


@pytest.fixture
def customer(v1):
    return v1.customers.create(params={"email": "ann@example.com"}).id


def test_a_setup_attaches_the_card_to_the_customer(v1, customer, new_events, refused):
    intent = v1.setup_intents.create(params={"customer": customer, "metadata": {"step": "1"}})
    assert (intent.status, intent.usage, intent.client_secret[:5]) == (
        "requires_payment_method",
        "off_session",
        "seti_",
    )
    assert refused(v1.setup_intents.confirm, intent.id).code == "setup_intent_unexpected_state"
    new_events()

    intent = v1.setup_intents.confirm(intent.id, params={"payment_method": "pm_card_visa"})

    assert new_events() == ["setup_intent.succeeded", "payment_method.attached"]
    assert (intent.status, intent.metadata["step"]) == ("succeeded", "1")
    assert v1.payment_methods.retrieve(intent.payment_method).customer == customer
    for call in (v1.setup_intents.confirm, v1.setup_intents.cancel):
        assert refused(call, intent.id).code == "setup_intent_unexpected_state"
    assert [each.id for each in v1.setup_intents.list(params={"customer": customer}).data] == [intent.id]
    assert v1.charges.list().data == []


def test_a_setup_is_updated_and_canceled(v1, customer, new_events, refused):
    intent = v1.setup_intents.create()
    changes = {"customer": customer, "payment_method": "pm_card_visa", "description": "Card"}
    intent = v1.setup_intents.update(intent.id, params=changes)
    assert (intent.status, intent.customer, intent.description) == ("requires_confirmation", customer, "Card")
    new_events()

    canceled = v1.setup_intents.cancel(intent.id, params={"cancellation_reason": "abandoned"})

    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    assert new_events() == ["setup_intent.canceled"]
    assert refused(v1.setup_intents.update, intent.id, customer=customer).code == "setup_intent_unexpected_state"


def test_a_declined_setup_attaches_nothing(v1, customer, new_events, refused):
    new_events()
    error = refused(v1.setup_intents.create, customer=customer, payment_method="pm_card_chargeDeclined", confirm=True)

    assert (error.code, error.error.setup_intent.status) == ("card_declined", "requires_payment_method")
    assert error.error.setup_intent.last_setup_error.decline_code == "generic_decline"
    assert new_events() == ["setup_intent.created", "setup_intent.setup_failed"]
    assert v1.payment_methods.list(params={"customer": customer}).data == []


@pytest.mark.parametrize("answer", ["confirm", "refuse"])
def test_a_setup_that_needs_the_bank_waits_for_its_answer(v1, customer, new_events, answer):
    params = {"customer": customer, "payment_method": "pm_card_authenticationRequiredOnSetup", "confirm": True}
    intent = v1.setup_intents.create(params=params | {"return_url": "https://app.example.com/back"})
    assert (intent.status, new_events()[-1]) == ("requires_action", "setup_intent.requires_action")

    requests.post(intent.next_action.redirect_to_url.url, {"answer": answer}, allow_redirects=False, timeout=30)

    intent = v1.setup_intents.retrieve(intent.id)
    if answer == "confirm":
        assert (intent.status, new_events()) == ("succeeded", ["setup_intent.succeeded", "payment_method.attached"])
    else:
        assert (intent.status, new_events()) == ("requires_payment_method", ["setup_intent.setup_failed"])
        assert intent.last_setup_error.code == "setup_intent_authentication_failure"
        assert v1.payment_methods.list(params={"customer": customer}).data == []


def session_for(v1, **params):
    return v1.checkout.sessions.create(params={"mode": "setup", "currency": "usd", "success_url": "https://x"} | params)


def test_checkout_in_setup_mode_saves_a_card_and_charges_nothing(v1, customer, new_events):
    session = session_for(v1, customer=customer, setup_intent_data={"metadata": {"for": "later"}})
    assert (session.amount_total, session.currency, session.status) == (None, "usd", "open")
    assert "Save your payment method" in requests.get(session.url, timeout=30).text
    new_events()

    visitor.pay(session.url, "4242424242424242")

    assert new_events() == [
        "payment_method.attached",
        "setup_intent.created",
        "setup_intent.succeeded",
        "checkout.session.completed",
    ]
    session = v1.checkout.sessions.retrieve(session.id, params={"expand": ["setup_intent", "line_items"]})
    assert (session.status, session.payment_status) == ("complete", "no_payment_required")
    assert (session.payment_intent, session.line_items.data) == (None, [])
    intent = session.setup_intent
    assert (intent.status, intent.customer, intent.metadata["for"]) == ("succeeded", customer, "later")
    assert v1.payment_methods.retrieve(intent.payment_method).customer == customer
    assert v1.charges.list().data == []


def test_checkout_in_setup_mode_without_a_customer_makes_none(v1):
    session = session_for(v1, customer_email="bob@example.com")
    visitor.pay(session.url, "4000002500003155")

    session = v1.checkout.sessions.retrieve(session.id, params={"expand": ["setup_intent.payment_method"]})
    assert (session.customer, session.customer_details.email) == (None, "bob@example.com")
    assert session.setup_intent.payment_method.customer is None
    assert v1.customers.list().data == []


def test_checkout_in_setup_mode_expires_unused(simulator, v1, new_events):
    session = session_for(v1)
    simulator.advance(2 * DAY)

    assert v1.checkout.sessions.retrieve(session.id).status == "expired"
    assert not [each for each in new_events() if each.startswith("setup_intent.")]


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"mode": "setup"}, "currency"),
        ({"mode": "setup", "currency": "usd", "line_items": [{"price": "price_1"}]}, "line_items"),
        ({"mode": "setup", "currency": "usd", "allow_promotion_codes": True}, "allow_promotion_codes"),
        ({"mode": "setup", "currency": "usd", "payment_intent_data": {"description": "x"}}, "payment_intent_data"),
        ({"mode": "payment"}, "line_items"),
        ({"mode": "payment", "line_items": []}, "line_items"),
    ],
)
def test_a_session_with_what_its_mode_does_not_have_is_refused(v1, params, param, refused):
    assert refused(v1.checkout.sessions.create, **params).param == param
    assert v1.checkout.sessions.list().data == []


def test_setup_data_belongs_to_setup_mode(v1, shop, refused):
    items = [{"price": shop.price, "quantity": 1}]
    params = {"mode": "subscription", "line_items": items, "setup_intent_data": {"description": "x"}}

    assert refused(v1.checkout.sessions.create, **params).param == "setup_intent_data"


def test_a_payment_method_is_updated(v1, shop, new_events):
    method = v1.payment_methods.list(params={"customer": shop.customer()}).data[0].id
    new_events()

    changes = {"metadata": {"kind": "work"}, "billing_details": {"name": "Ann"}}
    method = v1.payment_methods.update(method, params=changes)

    assert (method.metadata["kind"], method.billing_details.name) == ("work", "Ann")
    assert new_events() == ["payment_method.updated"]
    v1.payment_methods.update(method.id, params=changes)
    assert new_events() == []
