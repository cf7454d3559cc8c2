"""Payouts and top-ups, over HTTP with the real SDK."""

import pytest
from harness import DAY

pytestmark = [pytest.mark.slow, pytest.mark.seeded]

EARNED = 941  # 10 dollars, without 2.9 % and 30 cents


@pytest.fixture
def earned(v1, new_events):
    v1.charges.create(params={"amount": 1000, "currency": "usd", "source": "tok_visa"})
    new_events()


def available(v1):
    return {each.currency: each.amount for each in v1.balance.retrieve().available}


def test_a_payout_leaves_the_balance_and_arrives(simulator, v1, earned, new_events):
    payout = v1.payouts.create(params={"amount": 900, "currency": "usd", "description": "July"})
    assert (payout.status, payout.arrival_date, payout.description) == (
        "pending",
        simulator.world.now + 2 * DAY,
        "July",
    )
    assert available(v1) == {"usd": EARNED - 900}
    v1.payouts.update(payout.id, params={"metadata": {"month": "7"}})
    assert new_events() == ["payout.created", "payout.updated"]

    simulator.advance(2 * DAY)

    assert new_events() == ["payout.paid"]
    assert [each.id for each in v1.payouts.list(params={"status": "paid"}).data] == [payout.id]


def test_a_payout_is_canceled_before_it_arrives(simulator, v1, earned, new_events, refused):
    payout = v1.payouts.create(params={"amount": 900, "currency": "usd"}).id

    assert v1.payouts.cancel(payout).status == "canceled"

    assert new_events() == ["payout.created", "payout.canceled"]
    assert available(v1) == {"usd": EARNED}
    simulator.advance(5 * DAY)
    assert (new_events(), v1.payouts.retrieve(payout).status) == ([], "canceled")
    assert refused(v1.payouts.cancel, payout).http_status == 400


def test_more_than_the_balance_has_is_not_paid_out(v1, earned, new_events, refused):
    assert refused(v1.payouts.create, amount=EARNED + 1, currency="usd").code == "balance_insufficient"
    assert refused(v1.payouts.create, amount=1, currency="eur").code == "balance_insufficient"
    assert refused(v1.payouts.create, amount=0, currency="usd").param == "amount"
    assert (v1.payouts.list().data, new_events()) == ([], [])


def test_a_top_up_is_in_the_balance_when_the_bank_has_answered(simulator, v1, new_events):
    topup = v1.topups.create(params={"amount": 2000, "currency": "usd"})
    v1.topups.update(topup.id, params={"description": "For refunds"})
    assert (topup.status, available(v1)) == ("pending", {"usd": 0})

    simulator.advance(4 * DAY)

    assert new_events() == ["topup.created", "topup.succeeded"]
    topup = v1.topups.retrieve(topup.id)
    assert (topup.status, topup.description, available(v1)) == ("succeeded", "For refunds", {"usd": 2000})
    assert v1.topups.list(params={"status": "pending"}).data == []
