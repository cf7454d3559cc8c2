"""The line items of a Checkout Session, which come when they are expanded or listed."""

from typing import Any

from ...errors import unsupported
from ...http import form, lists
from ...http.route import Route
from ...world import Object, World
from ..checkout import totals

PATH = "/v1/checkout/sessions/<id>/line_items"


def list_items(world: World, params: dict[str, Any], session_id: str) -> Object:
    world.get("checkout.session", session_id)
    return lists.page(_items(world, session_id), params, _path(session_id))


def line_items(world: World, session: Object) -> Object:
    return lists.page(_items(world, session["id"]), {}, _path(session["id"]))


def line_items_of_link(world: World, link: Object) -> Object:
    return lists.page(items_of_order(world, link), {}, f"/v1/payment_links/{link['id']}/line_items")


def breakdown(_world: World, session: Object) -> Object:
    if session["total_details"]["amount_discount"] or session["total_details"]["amount_tax"]:
        raise unsupported("the breakdown of a Checkout Session's discounts and taxes")
    return {"discounts": [], "taxes": []}


def item_discounts(_world: World, item: Object) -> list[Object]:
    if item["amount_discount"]:
        raise unsupported("the discounts of a Checkout Session's line item")
    return []


def _items(world: World, session_id: str) -> list[Object]:
    return items_of_order(world, world.get("checkout.session", session_id))


def items_of_order(world: World, session: Object) -> list[Object]:
    """Return the line items of a Checkout Session, or of a payment link."""
    return [
        _item(world, f"li_{session['id'][-20:]}{position}", line, session["currency"])
        for position, line in enumerate(totals.lines_of(world, session))
    ]


def _item(world: World, item_id: str, line: totals.Line, currency: str) -> Object:
    return {
        "id": item_id,
        "object": "item",
        "adjustable_quantity": line.item["adjustable_quantity"],
        "amount_discount": line.discount,
        "amount_subtotal": line.subtotal,
        "amount_tax": line.tax,
        "amount_total": line.total,
        "currency": currency,
        "description": world.get("product", line.price["product"])["name"],
        "metadata": line.item["metadata"],
        "price": line.price,
        "quantity": line.item["quantity"],
    }


def _path(session_id: str) -> str:
    return PATH.replace("<id>", session_id)


ROUTES = (Route("GET", PATH, list_items, form.LIST),)
