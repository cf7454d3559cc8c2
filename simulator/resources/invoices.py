"""Invoices: made by subscriptions, read and paid here."""

from typing import Any

from .. import billing, form, lists
from ..cards import CARDS
from ..errors import ApiError
from ..form import boolean, choice, text
from ..route import Route, retrieving
from ..world import Object, World
from .payment_methods import attached

PATH = "/v1/invoices"
STATUSES = ("draft", "open", "paid", "uncollectible", "void")


def list_invoices(world: World, params: dict[str, Any]) -> Object:
    found = world.where("invoice", **{name: params[name] for name in ("customer", "status") if name in params})
    if "subscription" in params:
        wanted = world.get("subscription", params["subscription"], "subscription")["id"]
        found = [each for each in found if each["parent"]["subscription_details"]["subscription"] == wanted]
    return lists.page(found, params, PATH)


def pay_invoice(world: World, params: dict[str, Any], invoice_id: str) -> Object:
    invoice = _in_status(world, invoice_id, ("draft", "open", "uncollectible"), "paid")
    if invoice["status"] == "draft":
        billing.finalize(world, invoice)
    if params.get("paid_out_of_band"):
        billing.settle(world, invoice)
        return invoice
    if "payment_method" in params:
        _charge_other(world, invoice, params["payment_method"])
    elif not billing.attempt(world, invoice):
        raise CARDS["chargeDeclined"].error()
    return invoice


def finalize_invoice(world: World, _params: dict[str, Any], invoice_id: str) -> Object:
    invoice = _in_status(world, invoice_id, ("draft",), "finalized")
    billing.finalize(world, invoice)
    return invoice


def void_invoice(world: World, _params: dict[str, Any], invoice_id: str) -> Object:
    invoice = _in_status(world, invoice_id, ("open", "uncollectible"), "voided")
    billing.close(world, invoice, "void")
    return invoice


def write_off_invoice(world: World, _params: dict[str, Any], invoice_id: str) -> Object:
    invoice = _in_status(world, invoice_id, ("open",), "marked as uncollectible")
    billing.close(world, invoice, "uncollectible")
    return invoice


def _charge_other(world: World, invoice: Object, method_id: str) -> None:
    method = attached(world, method_id, world.get("customer", invoice["customer"]), "payment_method")
    card = CARDS[world.cards[method["id"]]]
    if card.declines:
        raise card.error()
    billing.settle(world, invoice)


def _in_status(world: World, invoice_id: str, statuses: tuple[str, ...], verb: str) -> Object:
    invoice = world.get("invoice", invoice_id)
    if invoice["status"] not in statuses:
        raise ApiError(400, f"This invoice is {invoice['status']} and cannot be {verb}.", code="invoice_not_editable")
    return invoice


ROUTES = (
    retrieving("invoice", PATH),
    Route(
        "GET",
        PATH,
        list_invoices,
        form.LIST | {"created": form.created, "customer": text, "status": choice(*STATUSES), "subscription": text},
    ),
    Route("POST", f"{PATH}/<id>/pay", pay_invoice, {"payment_method": text, "paid_out_of_band": boolean}),
    Route("POST", f"{PATH}/<id>/finalize", finalize_invoice, {"auto_advance": boolean}),
    Route("POST", f"{PATH}/<id>/void", void_invoice),
    Route("POST", f"{PATH}/<id>/mark_uncollectible", write_off_invoice),
)
