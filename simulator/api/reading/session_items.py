"""The line items of a Checkout Session, which come when they are expanded or listed."""

from collections.abc import Sequence
from typing import Any

from ...billing import discounts
from ...billing.pricing.amounts import due_in_advance
from ...errors import unsupported
from ...http import form, lists
from ...http.lists import embedded
from ...http.route import Route
from ...world import Object, World

PATH = "/v1/checkout/sessions/<id>/line_items"


def list_items(world: World, params: dict[str, Any], session_id: str) -> Object:
    world.get("checkout.session", session_id)
    return lists.page(_items(world, session_id), params, _path(session_id))


def line_items(world: World, session: Object) -> Object:
    return embedded(_items(world, session["id"])[:10], _path(session["id"]))


def breakdown(_world: World, session: Object) -> Object:
    if session["total_details"]["amount_discount"]:
        raise unsupported("the breakdown of a Checkout Session's discounts")
    return {"discounts": [], "taxes": []}


def item_discounts(_world: World, item: Object) -> list[Object]:
    if item["amount_discount"]:
        raise unsupported("the discounts of a Checkout Session's line item")
    return []


def _items(world: World, session_id: str) -> list[Object]:
    wanted = world.hidden[session_id]
    prices = [world.get("price", each["price"]) for each in wanted["items"]]
    quantities = [each.get("quantity", 1) for each in wanted["items"]]
    totals = [due_in_advance(world, price, quantity) for price, quantity in zip(prices, quantities, strict=True)]
    off = _amounts_off(world, wanted["discounts"], totals)
    return [
        _item(world, f"li_{session_id[-20:]}{position}", price, quantity, taken)
        for position, (price, quantity, taken) in enumerate(zip(prices, quantities, off, strict=True))
    ]


def _amounts_off(world: World, given: Sequence[Object], totals: Sequence[int]) -> list[int]:
    """Return what the session's discounts take off each line."""
    left = list(totals)
    for each in given:
        coupon, _code = discounts.find_coupon(world, each)
        left = [total - taken for total, taken in zip(left, discounts.amounts_off(coupon, left), strict=True)]
    return [total - rest for total, rest in zip(totals, left, strict=True)]


def _item(world: World, item_id: str, price: Object, quantity: int, discount: int) -> Object:
    subtotal = due_in_advance(world, price, quantity)
    return {
        "id": item_id,
        "object": "item",
        "adjustable_quantity": None,
        "amount_discount": discount,
        "amount_subtotal": subtotal,
        "amount_tax": 0,
        "amount_total": subtotal - discount,
        "currency": price["currency"],
        "description": world.get("product", price["product"])["name"],
        "metadata": {},
        "price": price,
        "quantity": quantity,
    }


def _path(session_id: str) -> str:
    return PATH.replace("<id>", session_id)


ROUTES = (Route("GET", PATH, list_items, form.LIST),)
