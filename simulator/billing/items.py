"""A subscription's items: created, changed, deleted, and refused as Stripe refuses them."""

from collections.abc import Mapping
from typing import Any

from ..errors import invalid, missing, missing_parameter
from ..http import form
from ..world import Object, World
from .pricing.currencies import check_price
from .pricing.prices import is_metered, plan_for, recurring_price

MOST_ITEMS = 20


def new_item(world: World, subscription: Object, given: Mapping[str, Any], param: str = "items[0]") -> Object:
    """Return a new item, which the caller adds to the subscription and to the world.

    Shape   given: the item's parameters; param: their place in the request, for errors
    Errors  ApiError for a price that cannot be subscribed to, or a wrong quantity
    """
    price = recurring_price(world, _price_id(given, param), f"{param}[price]")
    item = {
        "id": world.new_id("subscription_item", 14),
        "object": "subscription_item",
        "billed_until": None,
        "billing_thresholds": None,
        "created": world.now,
        "current_period_end": 0,
        "current_period_start": 0,
        "discounts": [],
        "metadata": form.merge_metadata({}, given.get("metadata")),
        "plan": plan_for(world, price),
        "price": price,
        "subscription": subscription["id"],
        "tax_rates": _tax_rates(world, given, param),
    }
    _set_quantity(item, given, 1, param)
    return item


def change_items(world: World, subscription: Object, changes: list[dict[str, Any]]) -> None:
    """Add, change and delete items. Every change is checked before the first is made."""
    check_changes(world, subscription, changes)
    for position, given in enumerate(changes):
        _change_item(world, subscription, given, f"items[{position}]")


def check_changes(world: World, subscription: Object, changes: list[dict[str, Any]]) -> None:
    """Raise ApiError if Stripe would refuse these changes. Changes nothing."""
    for position, given in enumerate(changes):
        _check_change(world, subscription, given, f"items[{position}]")
    _check_prices(subscription["items"]["data"], changes)


def check_new(changes: list[dict[str, Any]]) -> None:
    """Raise ApiError for too many items, or two with the same price."""
    _check_prices([], changes)


def _check_change(world: World, subscription: Object, given: Mapping[str, Any], param: str) -> None:
    item = _find(subscription["items"]["data"], given)
    if item is None and "id" in given:
        raise missing("subscription_item", given["id"], f"{param}[id]")
    if given.get("deleted"):
        return
    price = recurring_price(world, _price_id(given, param), f"{param}[price]") if _names_price(given) else None
    if item is None and price is None:
        raise missing_parameter(f"{param}[price]")
    if price:
        check_price(world, price, subscription["currency"], f"{param}[price]")
    _check_quantity(price or (item or {})["price"], given, param)


def _check_prices(items: list[Object], changes: list[dict[str, Any]]) -> None:
    prices = {each["id"]: each["price"]["id"] for each in items}
    for position, given in enumerate(changes):
        key = given.get("id", f"items[{position}]")
        if given.get("deleted"):
            prices.pop(key, None)
        elif _names_price(given):
            prices[key] = _price_id(given, key)
    if not prices:
        raise invalid("A subscription must have at least one active plan.", "items")
    if len(prices) > MOST_ITEMS:
        raise invalid(f"A subscription can have at most {MOST_ITEMS} items.", "items")
    twice = [each for each in prices.values() if list(prices.values()).count(each) > 1]
    if twice:
        raise invalid(f"Cannot add multiple subscription items with the same plan: {twice[0]}", "price")


def _change_item(world: World, subscription: Object, given: Mapping[str, Any], param: str) -> None:
    items = subscription["items"]["data"]
    item = _find(items, given)
    if item is None:
        items.append(world.add("subscription_item", new_item(world, subscription, given, param)))
        return
    if given.get("deleted"):
        items.remove(item)
        world.remove("subscription_item", item["id"])
        return
    otherwise = item.get("quantity", 1)
    if _names_price(given):
        price = recurring_price(world, _price_id(given, param), f"{param}[price]")
        otherwise = otherwise if price["id"] == item["price"]["id"] else 1
        item |= {"price": price, "plan": plan_for(world, price)}
    _set_quantity(item, given, otherwise, param)
    if "tax_rates" in given:
        item["tax_rates"] = _tax_rates(world, given, param)
    item["metadata"] = form.merge_metadata(item["metadata"], given.get("metadata"))


def _find(items: list[Object], given: Mapping[str, Any]) -> Object | None:
    return next((each for each in items if each["id"] == given.get("id")), None)


def _tax_rates(world: World, given: Mapping[str, Any], param: str) -> list[Object]:
    return [world.get("tax_rate", each, f"{param}[tax_rates]") for each in given.get("tax_rates", [])]


def _set_quantity(item: Object, given: Mapping[str, Any], otherwise: int, param: str) -> None:
    """Set the quantity. A metered item has none: its usage is counted."""
    _check_quantity(item["price"], given, param)
    item.pop("quantity", None)
    if not is_metered(item["price"]):
        item["quantity"] = int(given.get("quantity", otherwise))


def _check_quantity(price: Object, given: Mapping[str, Any], param: str) -> None:
    if "quantity" not in given:
        return
    if is_metered(price):
        raise invalid(
            f"Quantity should not be specified where usage_type is `metered`. Remove quantity from `{param}`.",
            f"{param}[quantity]",
        )
    if given["quantity"] < 0:
        raise invalid("This value must be greater than or equal to 0.", f"{param}[quantity]")


def _names_price(given: Mapping[str, Any]) -> bool:
    return "price" in given or "plan" in given


def _price_id(given: Mapping[str, Any], param: str) -> str:
    if not _names_price(given):
        raise missing_parameter(f"{param}[price]")
    return str(given["price"] if "price" in given else given["plan"])
