"""Invoices that are sent, credit notes, and customers' balances, over HTTP with the real SDK."""

import pytest
from harness import DAY

pytestmark = [pytest.mark.slow, pytest.mark.seeded]


@pytest.fixture
def customer(v1):
    card = "pm_card_visa"
    return v1.customers.create(
        params={
            "email": "ann@example.com",
            "payment_method": card,
            "invoice_settings": {"default_payment_method": card},
        }
    ).id


def draft(v1, customer, amount=2000, **params):
    v1.invoice_items.create(params={"customer": customer, "amount": amount, "currency": "usd", "description": "Corks"})
    params = {"customer": customer, "pending_invoice_items_behavior": "include"} | params
    return v1.invoices.create(params=params).id


def opened(v1, customer, **params):
    return v1.invoices.finalize_invoice(draft(v1, customer, **params), params={"auto_advance": False}).id


# Invoices that are sent


def test_an_invoice_is_sent_reminded_of_overdue_and_paid(simulator, v1, customer, new_events):
    invoice = draft(v1, customer, collection_method="send_invoice", days_until_due=7)
    new_events()

    sent = v1.invoices.send_invoice(invoice)
    assert (sent.status, sent.due_date) == ("open", simulator.world.now + 7 * DAY)
    assert new_events() == ["invoice.finalized", "payment_intent.created", "invoice.sent"]
    simulator.advance(4 * DAY)
    assert new_events() == ["invoice.will_be_due"]
    simulator.advance(3 * DAY)
    assert new_events() == ["invoice.overdue"]
    assert v1.charges.list().data == []

    assert v1.invoices.pay(invoice).status == "paid"
    simulator.advance(30 * DAY)
    assert [each for each in new_events() if each.startswith("invoice.")] == [
        "invoice.paid",
        "invoice.payment_succeeded",
    ]


def test_an_invoice_that_is_paid_in_time_is_never_overdue(simulator, v1, customer, new_events):
    invoice = draft(v1, customer, collection_method="send_invoice", due_date=simulator.world.now + 10 * DAY)
    v1.invoices.send_invoice(invoice)
    v1.invoices.pay(invoice)
    new_events()

    simulator.advance(30 * DAY)

    assert new_events() == []


def test_a_sent_invoice_that_advances_by_itself_is_sent_and_not_charged(simulator, v1, customer, new_events):
    invoice = draft(v1, customer, collection_method="send_invoice", days_until_due=30, auto_advance=True)
    new_events()

    simulator.advance(3600)

    assert new_events() == ["invoice.finalized", "payment_intent.created", "invoice.sent"]
    assert v1.invoices.retrieve(invoice).status == "open"


def test_a_draft_is_changed_from_charged_to_sent_and_back(v1, customer, refused):
    invoice = draft(v1, customer)
    assert "can only manually send" in str(refused(v1.invoices.send_invoice, invoice))
    assert refused(v1.invoices.update, invoice, collection_method="send_invoice").param == "days_until_due"

    sent = v1.invoices.update(invoice, params={"collection_method": "send_invoice", "days_until_due": 3})
    assert sent.due_date is not None
    charged = v1.invoices.update(invoice, params={"collection_method": "charge_automatically"})
    assert (charged.collection_method, charged.due_date) == ("charge_automatically", None)
    v1.invoices.finalize_invoice(invoice)
    assert refused(v1.invoices.update, invoice, days_until_due=3).code == "invoice_not_editable"


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"collection_method": "send_invoice"}, "days_until_due"),
        ({"days_until_due": 7}, "days_until_due"),
        ({"due_date": 2_000_000_000}, "due_date"),
        ({"collection_method": "send_invoice", "days_until_due": 7, "due_date": 2_000_000_000}, "days_until_due"),
        ({"collection_method": "send_invoice", "due_date": 1}, "due_date"),
    ],
)
def test_terms_that_stripe_refuses_make_no_invoice(v1, customer, params, param, refused):
    assert refused(v1.invoices.create, customer=customer, **params).param == param
    assert v1.invoices.list().data == []


def test_a_customer_without_an_email_is_sent_no_invoice(v1, refused):
    customer = v1.customers.create().id

    error = refused(v1.invoices.create, customer=customer, collection_method="send_invoice", days_until_due=7)

    assert str(error).startswith("Missing email.") or "Missing email." in str(error)
    assert v1.invoices.list().data == []


# Credit notes


def test_a_credit_note_lowers_an_open_invoice_until_it_is_voided(v1, customer, new_events, refused):
    invoice = opened(v1, customer)
    new_events()

    line = {"type": "custom_line_item", "unit_amount": 250, "quantity": 2, "description": "Broken"}
    note = v1.credit_notes.create(params={"invoice": invoice, "lines": [line], "reason": "product_unsatisfactory"})

    assert new_events() == ["credit_note.created", "invoice.updated"]
    assert (note.type, note.pre_payment_amount, note.post_payment_amount) == ("pre_payment", 500, 0)
    assert (note.status, note.reason, note.lines.data[0].amount) == ("issued", "product_unsatisfactory", 500)
    lowered = v1.invoices.retrieve(invoice)
    assert (lowered.amount_due, lowered.amount_remaining, lowered.total) == (1500, 1500, 2000)
    assert lowered.pre_payment_credit_notes_amount == 500

    assert v1.credit_notes.void_credit_note(note.id).status == "void"
    assert new_events() == ["credit_note.voided", "invoice.updated"]
    assert v1.invoices.retrieve(invoice).amount_remaining == 2000
    refused(v1.credit_notes.void_credit_note, note.id)
    assert new_events() == []


def test_what_is_left_after_a_credit_note_is_charged(v1, customer):
    invoice = opened(v1, customer)
    v1.credit_notes.create(params={"invoice": invoice, "amount": 500})

    paid = v1.invoices.pay(invoice, params={"expand": ["payments"]})

    assert (paid.status, paid.amount_paid) == ("paid", 1500)
    assert [each.amount for each in v1.charges.list().data] == [1500]
    assert paid.payments.data[0].amount_paid == 1500


def test_a_credit_note_of_all_that_is_due_pays_the_invoice(v1, customer):
    invoice = opened(v1, customer)

    v1.credit_notes.create(params={"invoice": invoice, "amount": 2000})

    paid = v1.invoices.retrieve(invoice)
    assert (paid.status, paid.amount_paid) == ("paid", 0)
    assert [each.status for each in v1.payment_intents.list().data] == ["canceled"]
    assert v1.charges.list().data == []


def test_a_credit_note_of_a_paid_invoice_refunds_credits_or_says_so(v1, customer, new_events, refused):
    invoice = v1.invoices.pay(draft(v1, customer)).id
    new_events()

    shares = {"refund_amount": 700, "credit_amount": 200, "out_of_band_amount": 100}
    note = v1.credit_notes.create(params={"invoice": invoice, "amount": 1000, "expand": ["refunds.refund"]} | shares)

    assert new_events() == [
        "refund.created",
        "charge.refunded",
        "customer.updated",
        "credit_note.created",
        "invoice.updated",
    ]
    assert (note.type, note.post_payment_amount, note.out_of_band_amount) == ("post_payment", 1000, 100)
    assert (note.refunds[0].amount_refunded, note.refunds[0].refund.amount) == (700, 700)
    assert v1.charges.list().data[0].amount_refunded == 700
    assert v1.customers.retrieve(customer).balance == -200
    credited = v1.invoices.retrieve(invoice)
    assert (credited.status, credited.post_payment_credit_notes_amount, credited.amount_paid) == ("paid", 1000, 2000)
    assert refused(v1.credit_notes.create, invoice=invoice, amount=1001, refund_amount=1001).param == "amount"
    assert "open invoice" in str(refused(v1.credit_notes.void_credit_note, note.id))


def test_a_refund_that_exists_is_linked_to_a_credit_note(v1, customer):
    invoice = v1.invoices.pay(draft(v1, customer)).id
    refund = v1.refunds.create(params={"charge": v1.charges.list().data[0].id, "amount": 300}).id

    note = v1.credit_notes.create(params={"invoice": invoice, "amount": 300, "refunds": [{"refund": refund}]})

    assert [(each.refund, each.amount_refunded) for each in note.refunds] == [(refund, 300)]
    assert len(v1.refunds.list().data) == 1


def test_a_preview_is_the_credit_note_that_follows_and_changes_nothing(v1, customer, new_events):
    invoice = opened(v1, customer)
    (line,) = v1.invoices.retrieve(invoice).lines.data
    params = {
        "invoice": invoice,
        "lines": [{"type": "invoice_line_item", "invoice_line_item": line.id, "amount": 800}],
    }
    new_events()

    preview = v1.credit_notes.preview(params=params)
    assert [each.amount for each in v1.credit_notes.preview_lines.list(params=params).data] == [800]
    assert (new_events(), v1.credit_notes.list().data) == ([], [])
    note = v1.credit_notes.create(params=params)

    assert (preview.total, preview.number, preview.type) == (note.total, note.number, note.type)
    assert [each.invoice_line_item for each in note.lines.data] == [line.id]
    assert [each.amount for each in v1.credit_notes.line_items.list(note.id).data] == [800]
    assert v1.credit_notes.update(note.id, params={"memo": "Sorry"}).memo == "Sorry"
    assert new_events() == ["credit_note.created", "invoice.updated", "credit_note.updated"]
    assert [each.id for each in v1.credit_notes.list(params={"invoice": invoice}).data] == [note.id]


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({}, "amount"),
        ({"amount": 0}, "amount"),
        ({"amount": 2001}, "amount"),
        ({"amount": 100, "refund_amount": 100}, "refund_amount"),
        ({"lines": [{"type": "custom_line_item"}]}, "lines[0][unit_amount]"),
        ({"lines": [{"type": "invoice_line_item", "invoice_line_item": "il_1"}]}, "lines[0][invoice_line_item]"),
        ({"amount": 100, "lines": [{"type": "custom_line_item", "unit_amount": 100}]}, "lines"),
    ],
)
def test_a_credit_note_that_does_not_add_up_is_refused(v1, customer, new_events, params, param, refused):
    invoice = opened(v1, customer)
    new_events()

    assert refused(v1.credit_notes.create, invoice=invoice, **params).param == param
    assert (v1.credit_notes.list().data, new_events()) == ([], [])


def test_a_draft_or_an_invoice_without_a_charge_is_not_credited_so(v1, customer, refused):
    assert refused(v1.credit_notes.create, invoice=draft(v1, customer), amount=100).param == "invoice"
    elsewhere = v1.invoices.pay(draft(v1, customer), params={"paid_out_of_band": True}).id

    error = refused(v1.credit_notes.create, invoice=elsewhere, amount=100, refund_amount=100)

    assert error.param == "refund_amount"
    assert v1.credit_notes.list().data == []


# The balance of a customer


def test_credit_pays_the_next_invoice_and_each_change_is_listed(v1, customer):
    v1.customers.balance_transactions.create(
        customer, params={"amount": -500, "currency": "usd", "description": "Sorry"}
    )
    invoice = v1.invoices.pay(draft(v1, customer))

    assert (invoice.amount_due, invoice.starting_balance, invoice.ending_balance) == (1500, -500, 0)
    used, given = v1.customers.balance_transactions.list(customer).data
    assert (given.type, given.amount, given.ending_balance) == ("adjustment", -500, -500)
    assert (used.type, used.amount, used.ending_balance, used.invoice) == ("applied_to_invoice", 500, 0, invoice.id)
    changed = v1.customers.balance_transactions.update(customer, given.id, params={"metadata": {"by": "ann"}})
    assert changed.metadata["by"] == "ann"
    assert v1.customers.balance_transactions.retrieve(customer, given.id).description == "Sorry"
    assert v1.customers.retrieve(customer).balance == 0
