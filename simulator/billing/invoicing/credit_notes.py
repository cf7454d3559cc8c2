"""Credit notes: an open invoice is lowered, a paid one is refunded or credited."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import ApiError, invalid
from ...http.lists import embedded
from ...money import customer_balance, invoice_payments, refunds
from ...world import Object, World
from .. import payments

CREDITABLE = ("open", "paid", "uncollectible")


@dataclass(frozen=True, slots=True)
class Shares:
    """How the amount of a paid invoice's credit note is given back. `linked`: refunds that exist already."""

    refund: int = 0
    credit: int = 0
    out_of_band: int = 0
    linked: Sequence[Object] = field(default_factory=tuple)

    @property
    def total(self) -> int:
        linked = sum(int(each["amount_refunded"]) for each in self.linked)
        return self.refund + self.credit + self.out_of_band + linked


def draw_up(world: World, invoice: Object, lines: Sequence[Object], shares: Shares, **fields: Any) -> Object:
    """Return a credit note, as a preview: nothing is stored or paid.

    Errors  ApiError when the invoice cannot be credited, or not by so much, or the shares do not add up
    """
    if invoice["status"] not in CREDITABLE:
        raise ApiError(400, "You can only create credit notes for open or paid invoices.", param="invoice")
    total = sum(line["amount"] for line in lines)
    left = invoice["total"] - _credited(invoice)
    if not 1 <= total <= left:
        message = f"The total amount ({total}) of the credit note must be positive, and at most {left}."
        raise invalid(message, "amount")
    before = min(total, invoice["amount_remaining"])
    if shares.total != total - before:
        message = (
            "The sum of refund, credit and out of band amounts must equal the part of the credit note that is paid "
        )
        raise invalid(f"{message}already: {total - before}.", "refund_amount")
    return _blank(world, invoice, lines) | {
        "amount": total,
        "out_of_band_amount": shares.out_of_band or None,
        "post_payment_amount": total - before,
        "pre_payment_amount": before,
        "refunds": [dict(each) for each in shares.linked],
        "subtotal": total,
        "subtotal_excluding_tax": total,
        "total": total,
        "total_excluding_tax": total,
        "type": "mixed" if 0 < before < total else "pre_payment" if before else "post_payment",
        **fields,
    }


def issue(world: World, note: Object, shares: Shares) -> Object:
    """Store a credit note, lower its invoice, and give the money back."""
    invoice = world.get("invoice", note["invoice"])
    if shares.refund:
        _refund(world, invoice, note, shares.refund)
    world.add("credit_note", note)
    if shares.credit:
        customer = world.get("customer", invoice["customer"])
        with world.changing(customer, "customer.updated"):
            names = {"invoice": invoice["id"], "credit_note": note["id"], "currency": invoice["currency"]}
            booked = customer_balance.book(world, customer, -shares.credit, "credit_note", **names)
        note["customer_balance_transaction"] = booked["id"]
    world.emit("credit_note.created", note)
    with world.changing(invoice, "invoice.updated"):
        _lower(invoice, note["pre_payment_amount"])
        invoice["post_payment_credit_notes_amount"] += note["post_payment_amount"]
    if invoice["status"] == "open" and not invoice["amount_remaining"]:
        payments.mark_paid(world, invoice)
    return note


def void(world: World, note: Object) -> None:
    """Take back a credit note of an open invoice.

    Errors  ApiError unless the note is issued and its invoice open: the money of a paid one was already returned
    """
    invoice = world.get("invoice", note["invoice"])
    if note["status"] == "void" or invoice["status"] != "open":
        raise ApiError(400, "You can only void an issued credit note of an open invoice.", param="id")
    note |= {"status": "void", "voided_at": world.now}
    world.emit("credit_note.voided", note)
    with world.changing(invoice, "invoice.updated"):
        _lower(invoice, -note["pre_payment_amount"])


def _lower(invoice: Object, amount: int) -> None:
    invoice["pre_payment_credit_notes_amount"] += amount
    invoice["amount_due"] -= amount
    invoice["amount_remaining"] -= amount


def _credited(invoice: Object) -> int:
    return int(invoice["pre_payment_credit_notes_amount"] + invoice["post_payment_credit_notes_amount"])


def _refund(world: World, invoice: Object, note: Object, amount: int) -> None:
    intent = invoice_payments.intent_of(world, invoice)
    if intent is None or intent["status"] != "succeeded":
        raise invalid("The invoice was not paid with a charge that can be refunded.", "refund_amount")
    refund = refunds.create(world, world.get("charge", intent["latest_charge"]), amount)
    note["refunds"].append({"amount_refunded": amount, "refund": refund["id"], "type": "refund"})


def _blank(world: World, invoice: Object, lines: Sequence[Object]) -> Object:
    note_id = world.new_id("credit_note")
    count = len(world.where("credit_note", invoice=invoice["id"])) + 1
    return {
        "id": note_id,
        "object": "credit_note",
        "amount_shipping": 0,
        "created": world.now,
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "customer_account": None,
        "customer_balance_transaction": None,
        "discount_amount": 0,
        "discount_amounts": [],
        "effective_at": world.now,
        "invoice": invoice["id"],
        "lines": embedded(lines, f"/v1/credit_notes/{note_id}/lines"),
        "livemode": False,
        "memo": None,
        "metadata": {},
        "number": f"{invoice['number']}-CN-{count:02d}",
        "pdf": f"{world.base_url}/i/{invoice['id']}/pdf",
        "pretax_credit_amounts": [],
        "reason": None,
        "shipping_cost": None,
        "status": "issued",
        "total_taxes": [],
        "voided_at": None,
    }
