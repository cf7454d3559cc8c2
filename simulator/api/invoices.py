"""Invoices, created by subscriptions or by hand."""

from typing import Any

from ..billing import invoices, lifecycle, payments
from ..billing.invoicing import due_dates
from ..errors import ApiError, invalid
from ..http import form, lists
from ..http.form import boolean, choice, integer, metadata, optional, text
from ..http.route import Route, retrieve_route
from ..world import Object, World
from .customers import get_customer
from .payment_methods import attach
from .test_clocks import visible_objects

PATH = "/v1/invoices"
STATUSES = ("draft", "open", "paid", "uncollectible", "void")
FIELDS = {
    "auto_advance": boolean,
    "collection_method": choice("charge_automatically", "send_invoice"),
    "days_until_due": integer,
    "description": optional(text),
    "due_date": integer,
    "metadata": metadata,
}
TERMS = ("collection_method", "days_until_due", "due_date")


def create_invoice(world: World, params: dict[str, Any]) -> Object:
    customer = get_customer(world, params["customer"])
    include_pending = params.get("pending_invoice_items_behavior") == "include"
    method = params.get("collection_method", "charge_automatically")
    due_dates.check_terms(world, customer, method, params, has_term=False)
    invoice = invoices.create_draft(world, customer, include_pending=include_pending)
    _apply(world, invoice, params)
    return invoice


def update_invoice(world: World, params: dict[str, Any], invoice_id: str) -> Object:
    invoice = world.get("invoice", invoice_id)
    with world.changing(invoice, "invoice.updated"):
        _apply(world, invoice, params)
    return invoice


def delete_invoice(world: World, _params: dict[str, Any], invoice_id: str) -> Object:
    invoice = _in_status(world, invoice_id, ("draft",), "deleted")
    if invoice["parent"]:
        raise invalid("You can't delete invoices created by subscriptions.", "id")
    world.remove("invoice", invoice_id)
    world.emit("invoice.deleted", invoice)
    return {"id": invoice_id, "object": "invoice", "deleted": True}


def list_invoices(world: World, params: dict[str, Any]) -> Object:
    if "subscription" in params:
        wanted = world.get("subscription", params["subscription"], "subscription")["id"]
        found = [each for each in world.all("invoice") if _subscription_id_of(each) == wanted]
        found = [each for each in found if params.get("customer") in (None, each["customer"])]
    else:
        found = visible_objects(world, "invoice", params)
    return lists.page([each for each in found if params.get("status") in (None, each["status"])], params, PATH)


def pay_invoice(world: World, params: dict[str, Any], invoice_id: str) -> Object:
    invoice = _in_status(world, invoice_id, ("draft", "open", "uncollectible"), "paid")
    method_id = None
    if "payment_method" in params:
        customer = world.get("customer", invoice["customer"])
        method_id = attach(world, params["payment_method"], customer, "payment_method")["id"]
    if invoice["status"] == "draft":
        invoices.finalize(world, invoice)
    if payments.is_pending(world, invoice):
        raise ApiError(400, "A payment of this invoice is pending.", code="invoice_payment_intent_requires_action")
    if params.get("paid_out_of_band"):
        world.hidden.setdefault(invoice_id, {})["out_of_band"] = True
        payments.mark_paid(world, invoice)
        return invoice
    outcome = payments.attempt(world, invoice, method_id, by_schedule=False)
    if outcome == "action":
        raise ApiError(
            402,
            "This payment requires additional user action before it can be completed successfully.",
            code="invoice_payment_intent_requires_action",
            kind="card_error",
        )
    if outcome == "declined":
        raise payments.instrument_for(world, invoice, method_id).error()
    return invoice


def finalize_invoice(world: World, params: dict[str, Any], invoice_id: str) -> Object:
    """Finalize a draft, and charge it when `auto_advance` is on."""
    invoice = _in_status(world, invoice_id, ("draft",), "finalized")
    invoice["auto_advance"] = params.get("auto_advance", invoice["auto_advance"])
    if invoice["auto_advance"]:
        lifecycle.charge(world, invoice)
    if invoice["status"] == "draft":  # nothing charges it by itself, as while its subscription is unpaid
        invoices.finalize(world, invoice)
    return invoice


def void_invoice(world: World, _params: dict[str, Any], invoice_id: str) -> Object:
    invoice = _in_status(world, invoice_id, ("open", "uncollectible"), "voided")
    invoices.close(world, invoice, "void")
    return invoice


def write_off_invoice(world: World, _params: dict[str, Any], invoice_id: str) -> Object:
    invoice = _in_status(world, invoice_id, ("open",), "marked as uncollectible")
    invoices.close(world, invoice, "uncollectible")
    return invoice


def send_invoice(world: World, _params: dict[str, Any], invoice_id: str) -> Object:
    """Send an invoice to its customer, finalized if it is a draft."""
    invoice = _in_status(world, invoice_id, ("draft", "open"), "sent")
    if invoice["collection_method"] != due_dates.SENT:
        message = "You can only manually send an invoice if its collection method is 'send_invoice'."
        raise ApiError(400, message, param="collection_method")
    if invoice["status"] == "draft":
        invoices.finalize(world, invoice)
    due_dates.send(world, invoice)
    return invoice


def _set_terms(world: World, invoice: Object, params: dict[str, Any]) -> None:
    if invoice["status"] != "draft":
        raise ApiError(400, "Finalized invoices can't be updated in this way.", code="invoice_not_editable")
    method = str(params.get("collection_method") or invoice["collection_method"])
    customer = world.get("customer", invoice["customer"])
    due_dates.check_terms(world, customer, method, params, has_term=invoice["due_date"] is not None)
    due_dates.set_terms(world, invoice, method, params)


def _apply(world: World, invoice: Object, params: dict[str, Any]) -> None:
    if params.keys() & {*TERMS}:
        _set_terms(world, invoice, params)
    if "description" in params:
        invoice["description"] = params["description"]
    if "auto_advance" in params:
        invoice["auto_advance"] = params["auto_advance"]
        if invoice["status"] == "draft":
            invoices.schedule_finalization(world, invoice, enabled=params["auto_advance"])
    invoice["metadata"] = form.merge_metadata(invoice["metadata"], params.get("metadata"))


def _subscription_id_of(invoice: Object) -> str | None:
    return invoice["parent"]["subscription_details"]["subscription"] if invoice["parent"] else None


def _in_status(world: World, invoice_id: str, statuses: tuple[str, ...], verb: str) -> Object:
    invoice = world.get("invoice", invoice_id)
    if invoice["status"] not in statuses:
        raise ApiError(400, f"This invoice is {invoice['status']} and cannot be {verb}.", code="invoice_not_editable")
    return invoice


ROUTES = (
    Route(
        "POST",
        PATH,
        create_invoice,
        FIELDS | {"customer": text, "pending_invoice_items_behavior": choice("exclude", "include")},
        required=("customer",),
    ),
    Route("POST", f"{PATH}/<id>", update_invoice, FIELDS),
    Route("DELETE", f"{PATH}/<id>", delete_invoice),
    retrieve_route("invoice", PATH),
    Route(
        "GET",
        PATH,
        list_invoices,
        form.LIST | {"created": form.created, "customer": text, "status": choice(*STATUSES), "subscription": text},
    ),
    Route("POST", f"{PATH}/<id>/pay", pay_invoice, {"payment_method": text, "paid_out_of_band": boolean}),
    Route("POST", f"{PATH}/<id>/finalize", finalize_invoice, {"auto_advance": boolean}),
    Route("POST", f"{PATH}/<id>/send", send_invoice),
    Route("POST", f"{PATH}/<id>/void", void_invoice),
    Route("POST", f"{PATH}/<id>/mark_uncollectible", write_off_invoice),
)
