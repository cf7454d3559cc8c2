"""Credit notes: previewed, created, voided."""

from typing import Any

from ...billing.invoicing import credit_notes
from ...billing.invoicing.credit_notes import Shares
from ...errors import invalid, missing, missing_parameter, unsupported
from ...http import form, lists
from ...http.form import choice, integer, list_of, metadata, nested, text
from ...http.route import Route, retrieve_route
from ...world import Object, World

PATH = "/v1/credit_notes"


def create_note(world: World, params: dict[str, Any]) -> Object:
    note, shares = _drawn_up(world, params)
    return credit_notes.issue(world, note, shares)


def preview_note(world: World, params: dict[str, Any]) -> Object:
    return _drawn_up(world, params)[0]


def preview_lines(world: World, params: dict[str, Any]) -> Object:
    lines = _drawn_up(world, params)[0]["lines"]["data"]
    return lists.page(lines, {name: params[name] for name in form.LIST if name in params}, f"{PATH}/preview/lines")


def update_note(world: World, params: dict[str, Any], note_id: str) -> Object:
    note = world.get("credit_note", note_id)
    with world.changing(note, "credit_note.updated"):
        note["memo"] = params.get("memo", note["memo"])
        note["metadata"] = form.merge_metadata(note["metadata"], params.get("metadata"))
    return note


def void_note(world: World, _params: dict[str, Any], note_id: str) -> Object:
    note = world.get("credit_note", note_id)
    credit_notes.void(world, note)
    return note


def list_notes(world: World, params: dict[str, Any]) -> Object:
    fields = {name: params[name] for name in ("customer", "invoice") if name in params}
    return lists.page(world.where("credit_note", **fields), params, PATH)


def list_lines(world: World, params: dict[str, Any], note_id: str) -> Object:
    found = world.get("credit_note", note_id)["lines"]["data"]
    return lists.page(found, params, f"{PATH}/{note_id}/lines")


def _drawn_up(world: World, params: dict[str, Any]) -> tuple[Object, Shares]:
    invoice = world.get("invoice", params["invoice"], "invoice")
    if invoice.get("total_taxes"):
        raise unsupported("credit notes for invoices with taxes")
    if ("amount" in params) == ("lines" in params):
        raise (
            missing_parameter("amount") if "amount" not in params else invalid("Give either amount or lines.", "lines")
        )
    given = params.get("lines") or [
        {"type": "custom_line_item", "unit_amount": params["amount"], "quantity": 1, "description": None}
    ]
    linked = [_linked(world, each) for each in params.get("refunds", [])]
    shares = Shares(
        params.get("refund_amount", 0), params.get("credit_amount", 0), params.get("out_of_band_amount", 0), linked
    )
    fields = {name: params[name] for name in ("memo", "reason") if name in params}
    tags = form.merge_metadata({}, params.get("metadata"))
    lines = [_line(world, invoice, each) for each in given]
    return credit_notes.draw_up(world, invoice, lines, shares, metadata=tags, **fields), shares


def _linked(world: World, given: dict[str, Any]) -> Object:
    refund = world.get("refund", given.get("refund", ""), "refunds[0][refund]")
    amount = given.get("amount_refunded", refund["amount"])
    return {"amount_refunded": amount, "refund": refund["id"], "type": "refund"}


def _line(world: World, invoice: Object, given: dict[str, Any]) -> Object:
    """Return a line: of an amount of its own, or of one of the invoice's lines."""
    source, quantity = None, given.get("quantity")
    if given.get("type") == "invoice_line_item":
        source = next((each for each in invoice["lines"]["data"] if each["id"] == given.get("invoice_line_item")), None)
        if source is None:
            raise missing("line_item", str(given.get("invoice_line_item")), "lines[0][invoice_line_item]")
        unit = None
        amount = given.get("amount", source["amount"] * (quantity or source["quantity"]) // source["quantity"])
    elif "unit_amount" not in given:
        raise missing_parameter("lines[0][unit_amount]")
    else:
        unit, quantity = given["unit_amount"], quantity or 1
        amount = unit * quantity
    return {
        "id": world.new_id("credit_note_line_item"),
        "object": "credit_note_line_item",
        "amount": amount,
        "description": given.get("description", source and source["description"]),
        "discount_amount": 0,
        "discount_amounts": [],
        **({"invoice_line_item": source["id"]} if source else {}),
        "livemode": False,
        "metadata": {},
        "pretax_credit_amounts": [],
        "quantity": quantity,
        "tax_rates": [],
        "taxes": [],
        "type": given.get("type"),
        "unit_amount": unit,
        "unit_amount_decimal": None if unit is None else str(unit),
    }


FIELDS = {
    "amount": integer,
    "credit_amount": integer,
    "invoice": text,
    "lines": list_of(
        nested(
            {
                "amount": integer,
                "description": text,
                "invoice_line_item": text,
                "quantity": integer,
                "type": choice("custom_line_item", "invoice_line_item"),
                "unit_amount": integer,
            }
        )
    ),
    "memo": text,
    "metadata": metadata,
    "out_of_band_amount": integer,
    "reason": choice("duplicate", "fraudulent", "order_change", "product_unsatisfactory"),
    "refund_amount": integer,
    "refunds": list_of(nested({"amount_refunded": integer, "refund": text, "type": choice("refund")})),
}

ROUTES = (
    Route("POST", PATH, create_note, FIELDS, required=("invoice",)),
    Route("GET", f"{PATH}/preview", preview_note, FIELDS, required=("invoice",)),
    Route("GET", f"{PATH}/preview/lines", preview_lines, FIELDS | form.LIST, required=("invoice",)),
    retrieve_route("credit_note", PATH),
    Route("POST", f"{PATH}/<id>", update_note, {"memo": text, "metadata": metadata}),
    Route("POST", f"{PATH}/<id>/void", void_note),
    Route("GET", f"{PATH}/<id>/lines", list_lines, form.LIST),
    Route("GET", PATH, list_notes, form.LIST | {"created": form.created, "customer": text, "invoice": text}),
)
