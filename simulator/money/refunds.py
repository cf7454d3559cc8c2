"""Refunds: money that goes back, and sometimes does not arrive."""

from ..clock import DAY
from ..errors import ApiError
from ..world import Object, World
from . import balance, charges
from .instruments import instrument_of


def create(
    world: World,
    charge: Object,
    amount: int | None = None,
    reason: str | None = None,
    tags: dict[str, str] | None = None,
) -> Object:
    """Refund a charge, by default all that is left of it.

    Errors  ApiError when the charge cannot be refunded, or not by so much
    """
    amount = charges.refundable(charge) if amount is None else amount
    _check(world, charge, amount)
    sequel = instrument_of(world, charge["payment_method"]).sequel
    refund = world.add("refund", _blank(world, charge, amount) | {"reason": reason, "metadata": tags or {}})
    refund["balance_transaction"] = balance.book(world, "refund", -amount, refund)["id"]
    if sequel == "refund_pending":
        refund |= {"status": "pending", "pending_reason": "processing"}
    if sequel in ("refund_pending", "refund_fails"):
        answer_at = world.now + world.rules.delayed_payment_days * DAY
        world.clock.schedule(answer_at, "answer_of_bank_for_refund", refund["id"])
    _count(charge, amount)
    world.emit("refund.created", refund)
    world.emit("charge.refunded", charge)
    return refund


def receive_bank_answer(world: World, refund_id: str, _moment: int) -> None:
    """Decide a refund as its test card says."""
    refund = world.get("refund", refund_id)
    charge = world.get("charge", refund["charge"])
    if instrument_of(world, charge["payment_method"]).sequel == "refund_pending":
        del refund["pending_reason"]
        refund["status"] = "succeeded"
        emit_updated(world, refund, {"status": "pending"})
        return
    booked = balance.book(world, "refund_failure", refund["amount"], refund)
    refund |= {"status": "failed", "failure_reason": "expired_or_canceled_card"}
    refund["failure_balance_transaction"] = booked["id"]
    _count(charge, -refund["amount"])
    world.emit("refund.failed", refund)
    emit_updated(world, refund, {"status": "succeeded"})


def emit_updated(world: World, refund: Object, previous: Object) -> None:
    """Emit both of Stripe's events for a change of a refund."""
    world.emit("charge.refund.updated", refund, previous)
    world.emit("refund.updated", refund, previous)


def _check(world: World, charge: Object, amount: int) -> None:
    left = charges.refundable(charge)
    if charge["status"] != "succeeded" or not charge["captured"]:
        raise ApiError(400, f"Charge {charge['id']} cannot be refunded: no money was taken.", param="charge")
    if charge["refunded"]:
        message = f"Charge {charge['id']} has already been refunded."
        raise ApiError(400, message, code="charge_already_refunded", param="charge")
    if any(not each["is_charge_refundable"] for each in world.where("dispute", charge=charge["id"])):
        message = f"Charge {charge['id']} has been charged back; cannot issue a refund."
        raise ApiError(400, message, code="charge_disputed", param="charge")
    if amount < 1:
        raise ApiError(400, "Invalid positive integer", code="parameter_invalid_integer", param="amount")
    if amount > left:
        message = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
        raise ApiError(400, message, code="amount_too_large", param="amount")


def _count(charge: Object, amount: int) -> None:
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]


def _blank(world: World, charge: Object, amount: int) -> Object:
    kind = charge["payment_method_details"]["type"]
    return {
        "id": world.new_id("refund"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": world.now,
        "currency": charge["currency"],
        "destination_details": {"card": {"type": "refund"}, "type": kind} if kind == "card" else {"type": kind},
        "payment_intent": charge["payment_intent"],
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }
