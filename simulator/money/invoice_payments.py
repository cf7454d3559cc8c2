"""Invoice payments: which PaymentIntent pays an invoice."""

from ..world import Object, World
from . import intents


def intent_for(world: World, invoice: Object) -> Object:
    """Return the PaymentIntent of an invoice that is due, created if it has none."""
    known = intent_of(world, invoice)
    if known and known["status"] != "canceled":
        known["amount"] = invoice["amount_remaining"]
        return known
    intent = intents.create(
        world,
        amount=invoice["amount_remaining"],
        currency=invoice["currency"],
        customer=invoice["customer"],
        description="Subscription update" if invoice["parent"] else None,
        payment_method_types=intents.types_for(invoice["currency"]),
    )
    attach(world, invoice, intent)
    return intent


def attach(world: World, invoice: Object, intent: Object) -> None:
    """Let a PaymentIntent pay an invoice."""
    payment = _new_payment(world, invoice, intent["id"])
    world.hidden.setdefault(invoice["id"], {}).update(intent=intent["id"], payment=payment["id"])
    world.hidden[intent["id"]] = {"invoice": invoice["id"]}


def intent_of(world: World, invoice: Object) -> Object | None:
    """Return the invoice's PaymentIntent, or None: nothing was due, or it comes from an older state file."""
    return world.find("payment_intent", world.hidden.get(invoice["id"], {}).get("intent"))


def invoice_of(world: World, intent_id: str | None) -> Object | None:
    """Return the invoice that a PaymentIntent pays, or None."""
    return world.find("invoice", world.hidden.get(intent_id or "", {}).get("invoice"))


def payments_of(world: World, invoice: Object) -> list[Object]:
    """Return the invoice's payments."""
    found = world.find("invoice_payment", world.hidden.get(invoice["id"], {}).get("payment"))
    return [found] if found else []


def mark_paid(world: World, invoice: Object) -> None:
    """Mark the invoice's payment as paid if its PaymentIntent has succeeded; else cancel both."""
    intent = intent_of(world, invoice)
    if intent is None or intent["status"] != "succeeded":
        cancel(world, invoice, "automatic")
        return
    for payment in payments_of(world, invoice):
        payment |= {"status": "paid", "amount_paid": intent["amount_received"]}
        payment["status_transitions"]["paid_at"] = world.now
        world.emit("invoice_payment.paid", payment)


def cancel(world: World, invoice: Object, reason: str) -> None:
    """Cancel the PaymentIntent of an invoice that nobody pays with it any more."""
    intent = intent_of(world, invoice)
    if intent is None or intent["status"] not in intents.ACTIVE:
        return
    intents.cancel(world, intent, reason)
    for payment in payments_of(world, invoice):
        payment["status"] = "canceled"
        payment["status_transitions"]["canceled_at"] = world.now


def _new_payment(world: World, invoice: Object, intent_id: str) -> Object:
    return world.add(
        "invoice_payment",
        {
            "id": world.new_id("invoice_payment"),
            "object": "invoice_payment",
            "amount_paid": None,
            "amount_requested": invoice["amount_remaining"],
            "created": world.now,
            "currency": invoice["currency"],
            "invoice": invoice["id"],
            "is_default": True,
            "livemode": False,
            "payment": {"payment_intent": intent_id, "type": "payment_intent"},
            "status": "open",
            "status_transitions": {"canceled_at": None, "paid_at": None},
        },
    )
