"""Disputes over HTTP with the real SDK: opened, answered, won, lost."""

import pytest
import stripe
from harness import DAY

pytestmark = [pytest.mark.slow, pytest.mark.seeded]

PACK = {"amount": 1000, "currency": "usd"}
FEE, DISPUTE_FEE = 59, 1500


@pytest.fixture
def open_dispute(v1, new_events):
    """Return a function that pays with a card and returns the dispute that follows."""

    def opened(card):
        intent = v1.payment_intents.create(params=PACK | {"payment_method": card, "confirm": True})
        (dispute,) = v1.disputes.list(params={"payment_intent": intent.id}).data
        new_events()
        return dispute

    return opened


def answered(v1, dispute, words, **params):
    return v1.disputes.update(dispute.id, params={"evidence": {"uncategorized_text": words}} | params)


def net(v1):
    return sum(each.net for each in v1.balance_transactions.list().data)


def test_a_dispute_takes_the_money_and_a_fee(v1, new_events):
    v1.payment_intents.create(params=PACK | {"payment_method": "pm_card_createDispute", "confirm": True})

    assert new_events()[-4:] == [
        "charge.succeeded",
        "payment_intent.succeeded",
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
    ]
    (dispute,) = v1.disputes.list(params={"expand": ["data.charge"]}).data
    assert (dispute.status, dispute.reason, dispute.amount) == ("needs_response", "fraudulent", 1000)
    assert (dispute.charge.disputed, dispute.is_charge_refundable) == (True, False)
    assert [(each.amount, each.fee) for each in dispute.balance_transactions] == [(-1000, DISPUTE_FEE)]
    assert net(v1) == -FEE - DISPUTE_FEE
    with pytest.raises(stripe.InvalidRequestError) as refused:
        v1.refunds.create(params={"charge": dispute.charge.id})
    assert (refused.value.code, v1.refunds.list().data) == ("charge_disputed", [])


def test_a_dispute_that_is_won_gives_the_money_back(simulator, v1, new_events, open_dispute):
    dispute = answered(v1, open_dispute("pm_card_createDispute"), "winning_evidence")

    assert new_events() == [
        "charge.dispute.updated",
        "charge.dispute.updated",
        "charge.dispute.funds_reinstated",
        "charge.dispute.closed",
    ]
    assert (dispute.status, dispute.evidence_details.submission_count) == ("won", 1)
    assert dispute.evidence_details.has_evidence
    assert net(v1) == 1000 - FEE
    simulator.advance(30 * DAY)
    assert (v1.disputes.retrieve(dispute.id).status, new_events()) == ("won", [])


def test_a_dispute_that_is_lost_keeps_the_money(v1, new_events, open_dispute):
    dispute = answered(v1, open_dispute("pm_card_createDisputeProductNotReceived"), "losing_evidence")

    assert new_events() == ["charge.dispute.updated", "charge.dispute.updated", "charge.dispute.closed"]
    assert (dispute.status, dispute.reason) == ("lost", "product_not_received")
    assert net(v1) == -FEE - DISPUTE_FEE


def test_a_dispute_that_is_accepted_is_lost(v1, new_events, open_dispute):
    dispute = open_dispute("pm_card_createDispute")

    assert v1.disputes.close(dispute.id).status == "lost"
    assert new_events() == ["charge.dispute.closed"]
    with pytest.raises(stripe.InvalidRequestError, match="already closed"):
        v1.disputes.close(dispute.id)
    with pytest.raises(stripe.InvalidRequestError, match="already closed"):
        answered(v1, dispute, "winning_evidence")
    assert new_events() == []


def test_a_dispute_without_a_response_is_lost_at_its_deadline(simulator, v1, new_events, open_dispute):
    dispute = open_dispute("pm_card_createDispute")

    simulator.advance(9 * DAY - 1)
    assert (v1.disputes.retrieve(dispute.id).status, new_events()) == ("needs_response", [])
    simulator.advance(1)
    assert new_events() == ["charge.dispute.closed"]
    dispute = v1.disputes.retrieve(dispute.id)
    assert (dispute.status, dispute.evidence_details.past_due) == ("lost", True)


def test_evidence_is_staged_and_submitted_once(simulator, v1, new_events, open_dispute):
    dispute = answered(v1, open_dispute("pm_card_createDispute"), "They were fine corks.", submit=False)
    assert (dispute.status, dispute.evidence_details.submission_method) == ("needs_response", "not_submitted")
    assert new_events() == ["charge.dispute.updated"]

    assert v1.disputes.update(dispute.id, params={"submit": True}).status == "under_review"
    assert new_events() == ["charge.dispute.updated"]
    simulator.advance(30 * DAY)
    assert v1.disputes.retrieve(dispute.id).status == "under_review"
    assert v1.disputes.update(dispute.id, params={"metadata": {"seen": "yes"}}).metadata["seen"] == "yes"


def test_an_inquiry_takes_no_money_and_may_be_refunded(v1, new_events, open_dispute):
    dispute = open_dispute("pm_card_createDisputeInquiry")
    assert (dispute.status, dispute.balance_transactions) == ("warning_needs_response", [])
    assert dispute.payment_method_details.card.case_type == "inquiry"
    assert net(v1) == 1000 - FEE

    assert v1.refunds.create(params={"charge": dispute.charge}).status == "succeeded"
    assert v1.disputes.close(dispute.id).status == "warning_closed"
    assert new_events() == ["refund.created", "charge.refunded", "charge.dispute.closed"]


def test_an_inquiry_can_become_a_dispute(v1, new_events, open_dispute):
    dispute = answered(v1, open_dispute("pm_card_createDisputeInquiry"), "escalate_inquiry_evidence")

    assert new_events()[-1] == "charge.dispute.funds_withdrawn"
    assert (dispute.status, dispute.payment_method_details.card.case_type) == ("needs_response", "chargeback")
    assert net(v1) == -FEE - DISPUTE_FEE


def test_an_early_fraud_warning_takes_nothing(v1, new_events):
    intent = v1.payment_intents.create(
        params=PACK | {"payment_method": "pm_card_createIssuerFraudRecord", "confirm": True}
    )

    assert new_events()[-1] == "radar.early_fraud_warning.created"
    (warning,) = v1.radar.early_fraud_warnings.list(params={"payment_intent": intent.id}).data
    assert v1.radar.early_fraud_warnings.retrieve(warning.id).charge == intent.latest_charge
    assert v1.disputes.list().data == []


def test_a_renewal_that_is_disputed_leaves_the_subscription_active(simulator, v1, shop, new_events):
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    shop.use_card(customer, "pm_card_createDispute")
    new_events()

    simulator.advance_to("renewal")

    assert {"charge.dispute.created", "invoice.paid"} <= {*new_events()}
    (dispute,) = v1.disputes.list().data
    (payment,) = v1.invoice_payments.list(
        params={"payment": {"type": "payment_intent", "payment_intent": dispute.payment_intent}}
    ).data
    assert payment.invoice == v1.subscriptions.retrieve(subscription).latest_invoice
    assert v1.subscriptions.retrieve(subscription).status == "active"
