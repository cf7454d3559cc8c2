"""Money that leaves the account's balance for its bank, or comes from there."""

from typing import Any

from ..clock import DAY
from ..errors import ApiError
from ..world import Object, World
from . import balance

TRANSFER_DAYS = 2


def pay_out(world: World, amount: int, currency: str, **fields: Any) -> Object:
    """Start a payout, which arrives in two days.

    Errors  ApiError when the balance is too low
    """
    available = {each["currency"]: each["amount"] for each in balance.of_account(world)["available"]}
    if amount > available.get(currency, 0):
        message = "You have insufficient funds in your Stripe account."
        raise ApiError(400, message, code="balance_insufficient", param="amount")
    payout = world.add("payout", _blank_payout(world) | {"amount": amount, "currency": currency} | fields)
    payout["balance_transaction"] = balance.book(world, "payout", -amount, payout)["id"]
    world.clock.schedule(payout["arrival_date"], "payout_arrives", payout["id"])
    world.emit("payout.created", payout)
    return payout


def cancel(world: World, payout: Object) -> None:
    """Take back a payout that has not arrived.

    Errors  ApiError when it has, or is canceled already
    """
    if payout["status"] != "pending":
        raise ApiError(400, f"Payouts with status {payout['status']} cannot be canceled; only pending ones can.")
    balance.book(world, "payout_cancel", payout["amount"], payout)
    payout["status"] = "canceled"
    world.emit("payout.canceled", payout)


def arrive(world: World, payout_id: str, _moment: int) -> None:
    payout = world.find("payout", payout_id)
    if payout and payout["status"] == "pending":
        payout["status"] = "paid"
        world.emit("payout.paid", payout)


def top_up(world: World, amount: int, currency: str, **fields: Any) -> Object:
    """Start a top-up, which is in the balance when the bank has answered."""
    topup = world.add("topup", _blank_topup(world) | {"amount": amount, "currency": currency} | fields)
    world.clock.schedule(topup["expected_availability_date"], "topup_arrives", topup["id"])
    world.emit("topup.created", topup)
    return topup


def arrive_in_balance(world: World, topup_id: str, _moment: int) -> None:
    topup = world.find("topup", topup_id)
    if topup and topup["status"] == "pending":
        topup["balance_transaction"] = balance.book(world, "topup", topup["amount"], topup)["id"]
        topup["status"] = "succeeded"
        world.emit("topup.succeeded", topup)


def _blank_payout(world: World) -> Object:
    nulls: dict[str, Any] = dict.fromkeys(
        "application_fee application_fee_amount balance_transaction description destination "
        "failure_balance_transaction failure_code failure_message original_payout payout_method reversed_by "
        "statement_descriptor trace_id".split()
    )
    return nulls | {
        "id": world.new_id("payout"),
        "object": "payout",
        "arrival_date": world.now + TRANSFER_DAYS * DAY,
        "automatic": False,
        "created": world.now,
        "livemode": False,
        "metadata": {},
        "method": "standard",
        "reconciliation_status": "not_applicable",
        "source_type": "card",
        "status": "pending",
        "type": "bank_account",
    }


def _blank_topup(world: World) -> Object:
    nulls: dict[str, Any] = dict.fromkeys(
        "balance_transaction description failure_code failure_message source statement_descriptor "
        "transfer_group".split()
    )
    return nulls | {
        "id": world.new_id("topup"),
        "object": "topup",
        "created": world.now,
        "expected_availability_date": world.now + world.rules.delayed_payment_days * DAY,
        "initiated_by": "user",
        "livemode": False,
        "metadata": {},
        "status": "pending",
    }
