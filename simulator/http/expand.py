"""`expand[]`: related objects in place of their ids."""

from typing import Any

from ..errors import invalid
from ..world import Object, World, copy_json

RELATED = {
    "coupon": "coupon",
    "customer": "customer",
    "discount": "discount",
    "discounts": "discount",
    "invoice": "invoice",
    "default_payment_method": "payment_method",
    "latest_invoice": "invoice",
    "product": "product",
    "promotion_code": "promotion_code",
    "schedule": "subscription_schedule",
    "subscription": "subscription",
    "test_clock": "test_helpers.test_clock",
}


def expanded(world: World, response: Object, paths: list[str]) -> Object:
    """Return a copy of the object with every path expanded."""
    response = copy_json(response)
    for path in paths:
        if path.count(".") >= 4:
            raise invalid("You cannot expand more than 4 levels of a property", f"expand[{path}]")
        _expand(world, response, path.split("."), path)
    return response


def _expand(world: World, node: Any, path: list[str], whole: str) -> None:
    if isinstance(node, list):
        for each in node:
            _expand(world, each, path, whole)
        return
    name, rest = path[0], path[1:]
    if not isinstance(node, dict) or name not in node:
        raise invalid(f"This property cannot be expanded ({whole}).", f"expand[{whole}]")
    value = node[name]
    if isinstance(value, str):
        if name not in RELATED:
            raise invalid(f"This property cannot be expanded ({whole}).", f"expand[{whole}]")
        node[name] = copy_json(world.get(RELATED[name], value, f"expand[{whole}]"))
    elif isinstance(value, list) and name in RELATED:
        ids = [each if isinstance(each, str) else each["id"] for each in value]
        node[name] = [copy_json(world.get(RELATED[name], each, f"expand[{whole}]")) for each in ids]
    if rest and node[name] is not None:
        _expand(world, node[name], rest, whole)
