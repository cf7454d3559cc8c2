"""Charges: each attempt to take money, and what became of it."""

from typing import Any

from ..test_cards import Instrument
from ..world import Object, World
from . import balance
from .instruments import instrument_of

NOT_OF_A_CHARGE = frozenset(
    "display_brand financial_connections_account generated_from networks status_details three_d_secure_usage".split()
)
"""Fields of a payment method that the details of a charge do not have."""


def create(world: World, method_id: str, *, amount: int, currency: str, **fields: Any) -> Object:
    """Create a pending charge. succeed() or fail() decides it, at once or when the bank has answered."""
    method = world.get("payment_method", method_id)
    charge = _blank(world, method) | {"amount": amount, "currency": currency} | fields
    return world.add("charge", charge)


def succeed(world: World, charge: Object, *, captured: bool = True) -> None:
    """Settle a pending charge: the money arrived, or is authorized until it is captured."""
    charge |= {"status": "succeeded", "paid": True, "captured": captured, "outcome": _outcome("authorized")}
    if captured:
        _take(world, charge, charge["amount"])
    world.emit("charge.succeeded", charge)


def capture(world: World, charge: Object, amount: int) -> None:
    """Capture an authorized charge. What is not captured is released, and counts as refunded, as at Stripe."""
    charge |= {"captured": True, "amount_refunded": charge["amount"] - amount}
    _take(world, charge, amount)
    world.emit("charge.captured", charge)


def release(world: World, charge: Object) -> None:
    """Give up an authorization that was not captured."""
    charge |= {"amount_refunded": charge["amount"], "refunded": True}
    world.emit("charge.refunded", charge)


def fail(world: World, charge: Object, code: str, message: str, decline_code: str) -> None:
    """Settle a pending charge: it was declined."""
    charge |= {"status": "failed", "failure_code": code, "failure_message": message}
    charge["outcome"] = _outcome("issuer_declined", decline_code)
    world.emit("charge.failed", charge)


def decline(world: World, charge: Object, instrument: Instrument) -> None:
    """Settle a pending charge: the card or bank account declined it."""
    fail(world, charge, instrument.code, instrument.message, instrument.decline_code)


def refundable(charge: Object) -> int:
    """Return the amount that is not refunded yet."""
    return int(charge["amount"] - charge["amount_refunded"])


def method_type_of(world: World, charge: Object) -> str:
    """Return the type of the payment method that was charged."""
    return instrument_of(world, charge["payment_method"]).type


def _take(world: World, charge: Object, amount: int) -> None:
    kind = "charge" if charge["payment_method_details"]["type"] == "card" else "payment"
    booked = balance.book(world, kind, amount, charge, fee=balance.fee_for(amount))
    charge |= {"amount_captured": amount, "balance_transaction": booked["id"]}


def _outcome(kind: str, reason: str | None = None) -> Object:
    is_good = kind == "authorized"
    return {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": "approved_by_network" if is_good else "declined_by_network",
        "reason": reason,
        "risk_level": "normal",
        "risk_score": 20,
        "seller_message": "Payment complete." if is_good else "The bank did not return any further details.",
        "type": kind,
    }


def _details(method: Object) -> Object:
    kind = method["type"]
    shown = {name: value for name, value in method[kind].items() if name not in NOT_OF_A_CHARGE}
    if kind == "card":
        shown |= {"network": shown["brand"], "installments": None, "mandate": None, "three_d_secure": None}
    return {kind: shown, "type": kind}


NULLS = (
    "application application_fee application_fee_amount balance_transaction customer description "
    "failure_balance_transaction failure_code failure_message on_behalf_of outcome payment_intent receipt_email "
    "receipt_number receipt_url review shipping source source_transfer statement_descriptor "
    "statement_descriptor_suffix transfer_data transfer_group"
).split()


def _blank(world: World, method: Object) -> Object:
    nulls: dict[str, Any] = dict.fromkeys(NULLS)
    return nulls | {
        "id": world.new_id("charge"),
        "object": "charge",
        "amount_captured": 0,
        "amount_refunded": 0,
        "billing_details": method["billing_details"],
        "calculated_statement_descriptor": "CORKAGE SIMULATOR",
        "captured": False,
        "created": world.now,
        "disputed": False,
        "fraud_details": {},
        "livemode": False,
        "metadata": {},
        "paid": False,
        "payment_method": method["id"],
        "payment_method_details": _details(method),
        "refunded": False,
        "status": "pending",
    }
