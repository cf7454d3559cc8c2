"""The invoice of what a Checkout Session sold once: made when it is paid, where the session asked for one."""

from collections.abc import Mapping
from typing import Any

from ...billing import invoiceitems, invoices, payments
from ...http.form import boolean, merge_metadata, metadata, nested, text
from ...money import invoice_payments
from ...world import Object, World
from . import totals

NULLS = ("account_tax_ids", "custom_fields", "description", "footer", "issuer", "rendering_options")


def shown(params: Mapping[str, Any]) -> Object | None:
    """Return a session's `invoice_creation`."""
    if params["mode"] != "payment":
        return None
    given = params.get("invoice_creation", {})
    data = given.get("invoice_data", {})
    tags = {"metadata": merge_metadata({}, data.get("metadata"))}
    return {"enabled": given.get("enabled", False), "invoice_data": dict.fromkeys(NULLS) | data | tags}


def are_made(session: Object) -> bool:
    return bool((session["invoice_creation"] or {}).get("enabled"))


def create(world: World, session: Object) -> None:
    """Make the invoice of a session that was paid. Its lines show what was paid: discounts and taxes are in them."""
    intent = world.find("payment_intent", session["payment_intent"])
    if intent is None or not are_made(session):
        return
    customer = world.get("customer", session["customer"])
    bill = totals.lines_of(world, session)
    sold = [world.add("invoiceitem", item_of(world, session, line, line.total)) for line in bill]
    invoice = invoices.create_draft(world, customer, include_pending=False, sold=sold)
    data = session["invoice_creation"]["invoice_data"]
    invoice |= {"metadata": dict(data["metadata"]), "description": data["description"]}
    invoice_payments.attach(world, invoice, intent)
    invoices.finalize(world, invoice)
    session["invoice"] = invoice["id"]
    payments.mark_paid(world, invoice)


def item_of(world: World, session: Object, line: totals.Line, amount: int) -> Object:
    """Return a new invoice item for a line of the session's bill."""
    return invoiceitems.new_item(
        world,
        customer=session["customer"],
        amount=amount,
        currency=session["currency"],
        description=world.get("product", line.price["product"])["name"],
        period=(world.now, world.now),
        price=line.price,
        quantity=line.item["quantity"],
    )


CREATION = nested(
    {"enabled": boolean, "invoice_data": nested({"description": text, "footer": text, "metadata": metadata})}
)
