"""`expand[]`: related objects in place of their ids, and fields that come only then."""

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ApiError, invalid
from ..versions import rendered
from ..world import Object, World, copy_shown

RELATED = {
    "balance_transaction": "balance_transaction",
    "charge": "charge",
    "coupon": "coupon",
    "credit_note": "credit_note",
    "customer": "customer",
    "customer_balance_transaction": "customer_balance_transaction",
    "discount": "discount",
    "feature": "entitlements.feature",
    "discounts": "discount",
    "invoice": "invoice",
    "default_payment_method": "payment_method",
    "failure_balance_transaction": "balance_transaction",
    "latest_charge": "charge",
    "latest_invoice": "invoice",
    "payment_intent": "payment_intent",
    "payment_method": "payment_method",
    "product": "product",
    "promotion_code": "promotion_code",
    "refund": "refund",
    "schedule": "subscription_schedule",
    "setup_intent": "setup_intent",
    "subscription": "subscription",
    "tax_rate": "tax_rate",
    "test_clock": "test_helpers.test_clock",
}
SOURCES = {"ch_": "charge", "du_": "dispute", "re_": "refund"}
"""By the beginning of its id: what a balance transaction comes from."""


Include = Callable[[World, Object], Any]
"""Takes the world and an object, and returns a field that the object has only when it is expanded."""
Included = Mapping[tuple[str, str], Include]


def expanded(world: World, response: Object, paths: list[str], version: str, included: Included) -> Object:
    """Return a copy of the object in this API version's shape, with every path of that shape expanded."""
    expansion = _Expansion(world, version, included)
    response = expansion.shown(response)
    for path in paths:
        if path.count(".") >= 4:
            raise invalid("You cannot expand more than 4 levels of a property", f"expand[{path}]")
        expansion.expand(response, path.split("."), path, response)
    return response


class _Expansion:
    """Expands paths within a response. `owner` is the object that a part belongs to."""

    def __init__(self, world: World, version: str, included: Included) -> None:
        self._world = world
        self._version = version
        self._included = included

    def shown(self, found: Object) -> Object:
        """Return a copy in the request's API version."""
        return rendered(self._world, copy_shown(found), self._version)

    def expand(self, node: Any, path: list[str], whole: str, owner: Object) -> None:
        if isinstance(node, list):
            for each in node:
                self.expand(each, path, whole, owner)
            return
        name, rest = path[0], path[1:]
        if not isinstance(node, dict):
            raise _unexpandable(whole)
        owner = node if "object" in node else owner
        if name not in node:
            node[name] = self._include(name, whole, owner)
        node[name] = self._with_related(name, node[name], whole)
        if rest and node[name] is not None:
            self.expand(node[name], rest, whole, owner)

    def _include(self, name: str, whole: str, owner: Object) -> Any:
        include = self._included.get((owner.get("object", ""), name))
        if include is None:
            raise _unexpandable(whole)
        return self.shown({name: include(self._world, owner)})[name]

    def _with_related(self, name: str, value: Any, whole: str) -> Any:
        """Return the objects in place of their ids."""
        if isinstance(value, str):
            return self._fetch(name, value, whole)
        if isinstance(value, list) and name in RELATED:
            return [self._fetch(name, each if isinstance(each, str) else each["id"], whole) for each in value]
        return value

    def _fetch(self, name: str, object_id: str, whole: str) -> Object:
        kind = SOURCES.get(object_id[:3]) if name == "source" else RELATED.get(name)
        if kind is None:
            raise _unexpandable(whole)
        return self.shown(self._world.get(kind, object_id, f"expand[{whole}]"))


def _unexpandable(whole: str) -> ApiError:
    return invalid(f"This property cannot be expanded ({whole}).", f"expand[{whole}]")
