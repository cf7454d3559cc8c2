"""`expand[]`: related objects in place of their ids."""

from collections.abc import Callable
from typing import Any

from ..errors import invalid
from ..versions import rendered
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


Fetch = Callable[[str, str, str], Object]
"""Takes a kind, an id and a parameter's name, and returns the object in the request's API version."""


def expanded(world: World, response: Object, paths: list[str], version: str) -> Object:
    """Return a copy of the object in this API version's shape, with every path of that shape expanded."""

    def shown(found: Object) -> Object:
        return rendered(world, copy_json(found), version)

    def fetch(kind: str, object_id: str, param: str) -> Object:
        return shown(world.get(kind, object_id, param))

    response = shown(response)
    for path in paths:
        if path.count(".") >= 4:
            raise invalid("You cannot expand more than 4 levels of a property", f"expand[{path}]")
        _expand(fetch, response, path.split("."), path)
    return response


def _expand(fetch: Fetch, node: Any, path: list[str], whole: str) -> None:
    if isinstance(node, list):
        for each in node:
            _expand(fetch, each, path, whole)
        return
    name, rest = path[0], path[1:]
    if not isinstance(node, dict) or name not in node:
        raise invalid(f"This property cannot be expanded ({whole}).", f"expand[{whole}]")
    value = node[name]
    if isinstance(value, str):
        if name not in RELATED:
            raise invalid(f"This property cannot be expanded ({whole}).", f"expand[{whole}]")
        node[name] = fetch(RELATED[name], value, f"expand[{whole}]")
    elif isinstance(value, list) and name in RELATED:
        ids = [each if isinstance(each, str) else each["id"] for each in value]
        node[name] = [fetch(RELATED[name], each, f"expand[{whole}]") for each in ids]
    if rest and node[name] is not None:
        _expand(fetch, node[name], rest, whole)
