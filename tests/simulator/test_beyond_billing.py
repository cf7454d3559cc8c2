"""Transfers, connected accounts, sources, cash balances, Identity, as far as Stripe's command line uses them."""

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.seeded]


@pytest.fixture
def destination(v1):
    v1.charges.create(params={"amount": 10_000, "currency": "usd", "source": "tok_visa"})
    return v1.accounts.create(params={"type": "express"}).id


def available(v1):
    return sum(each.amount for each in v1.balance.retrieve().available)


def test_a_transfer_leaves_the_balance_and_reversals_bring_it_back(v1, destination, new_events, refused):
    before = available(v1)
    new_events()

    transfer = v1.transfers.create(params={"amount": 3000, "currency": "usd", "destination": destination})
    assert available(v1) == before - 3000
    v1.transfers.reversals.create(transfer.id, params={"amount": 1000})
    assert v1.transfers.retrieve(transfer.id).reversed is False
    v1.transfers.reversals.create(transfer.id)

    found = v1.transfers.retrieve(transfer.id)
    assert (found.amount_reversed, found.reversed, available(v1)) == (3000, True, before)
    assert refused(v1.transfers.reversals.create, transfer.id).param == "amount"
    assert new_events() == ["transfer.created", "transfer.reversed", "transfer.reversed"]


def test_a_transfer_beyond_the_balance_or_to_nobody_is_refused(v1, destination, refused, new_events):
    before = available(v1)
    new_events()

    wanted = {"amount": before + 1, "currency": "usd", "destination": destination}
    assert refused(v1.transfers.create, **wanted).code == "balance_insufficient"
    assert refused(v1.transfers.create, **wanted | {"destination": "acct_nobody"}).code == "resource_missing"
    assert refused(v1.transfers.create, **wanted | {"amount": 0}).param == "amount"
    assert (available(v1), new_events()) == (before, [])


def test_a_deleted_connected_account_is_gone(v1, destination, refused):
    v1.accounts.update(destination, params={"metadata": {"foo": "bar"}})
    assert v1.accounts.retrieve(destination).metadata.foo == "bar"

    v1.accounts.delete(destination)

    assert refused(v1.accounts.retrieve, destination).code == "resource_missing"
    assert v1.accounts.list().data == []


def test_a_verification_session_is_canceled_once_and_redacted_once(v1, refused):
    session = v1.identity.verification_sessions.create(params={"type": "document", "metadata": {"user": "ann"}}).id

    assert v1.identity.verification_sessions.cancel(session).status == "canceled"
    assert "cannot be canceled" in str(refused(v1.identity.verification_sessions.cancel, session))
    redacted = v1.identity.verification_sessions.redact(session)
    assert (redacted.redaction.status, redacted.metadata.to_dict()) == ("redacted", {})
    assert "already" in str(refused(v1.identity.verification_sessions.redact, session))


def test_a_source_is_kept_named_and_deleted(v1, refused, new_events):
    customer = v1.customers.create().id
    other = v1.customers.create().id
    new_events()

    source = v1.customers.payment_sources.create(customer, params={"source": "tok_amex"})
    assert (source.brand, source.last4) == ("American Express", "0005")
    v1.customers.payment_sources.update(customer, source.id, params={"name": "Ann"})
    assert [each.name for each in v1.customers.payment_sources.list(customer).data] == ["Ann"]
    assert refused(v1.customers.payment_sources.retrieve, other, source.id).code == "resource_missing"
    assert (
        refused(v1.customers.payment_sources.create, customer, source="tok_visa_chargeDeclined").code == "card_declined"
    )
    v1.customers.payment_sources.delete(customer, source.id)

    assert v1.customers.payment_sources.list(customer).data == []
    assert new_events() == ["customer.source.created", "customer.source.updated", "customer.source.deleted"]


def test_a_bank_transfer_is_added_to_the_customers_cash_balance(v1, refused):
    customer = v1.customers.create().id
    assert v1.customers.cash_balance.retrieve(customer).available is None

    for amount in (10, 15):
        v1.test_helpers.customers.fund_cash_balance(customer, params={"amount": amount, "currency": "usd"})

    assert v1.customers.cash_balance.retrieve(customer).available.usd == 25
    assert [each.ending_balance for each in v1.customers.cash_balance_transactions.list(customer).data] == [25, 10]
    assert refused(v1.test_helpers.customers.fund_cash_balance, customer, amount=0, currency="usd").param == "amount"
