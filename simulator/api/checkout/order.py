"""The order of a Checkout Session: its items, their quantities, and the optional items a visitor can add."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ...billing.pricing.currencies import check_price, options_of
from ...billing.pricing.prices import is_metered as is_metered_price
from ...billing.pricing.prices import sellable_price
from ...errors import ApiError, invalid, missing_parameter
from ...http.form import boolean, choice, integer, list_of, metadata, nested, text
from ...world import Object, World
from .. import prices

MOST_QUANTITY = 999_999
Order = list[Object]
"""Items with `price` (an id), `quantity`, `adjustable_quantity`, `tax_rates` and `metadata`."""


def read_items(world: World, given: list[dict[str, Any]], param: str = "line_items") -> Order:
    """Return the items that a request orders. `price_data` makes a price, which no list of active ones shows.

    Errors  ApiError for a price that cannot be bought, or a wrong quantity
    """
    order = [_read_item(world, each, f"{param}[{at}]") for at, each in enumerate(given)]
    for at, each in enumerate(order):
        if "price_data" in each:
            each |= {
                "is_inline": True,
                "price": _inline_price(world, each.pop("price_data"), f"{param}[{at}][price_data]"),
            }
    return order


def choose_currency(world: World, wanted: str | None, customer_id: str | None, prices: Sequence[Object]) -> str:
    """Return the session's currency: the wanted one, else the customer's if all is sold in it, else the first price's.

    Errors  ApiError when a price is not sold in it
    """
    known = (world.find("customer", customer_id) or {}).get("currency")
    if wanted is None and known and all(known in (each["currency"], *options_of(world, each)) for each in prices):
        wanted = known
    currency = (wanted or str(prices[0]["currency"])).lower()
    for at, price in enumerate(prices):
        check_price(world, price, currency, f"line_items[{at}][price]")
    return currency


def price_in(world: World, price: Object, currency: str) -> Object:
    """Return the price as it is in one of its currencies, to show it."""
    if currency == price["currency"]:
        return price
    option: Object = options_of(world, price)[currency]
    return price | option | {"currency": currency}


def shown_optional(order: Order) -> list[Object] | None:
    """Return a session's or link's `optional_items`."""
    return [{name: each[name] for name in ("adjustable_quantity", "price", "quantity")} for each in order] or None


def change_quantities(order: Order, optional: Order, submitted: Mapping[str, str]) -> tuple[Order, dict[str, int]]:
    """Return the order with the visitor's quantities, and how many of each optional item were added.

    Shape   submitted: `quantity_0` and so on for items, `optional_0` for optional items; others stay as they are
    Errors  ApiError with a message for the visitor
    """
    changed = []
    for at, each in enumerate(order):
        quantity = submitted.get(f"quantity_{at}")
        changed.append(each if quantity is None else each | {"quantity": _adjusted(each, quantity)})
    chosen = {}
    for at, each in enumerate(optional):
        quantity = submitted.get(f"optional_{at}", "0")
        if quantity not in ("", "0"):
            chosen[str(at)] = _adjusted(each, quantity)
    return changed, chosen


def added_items(optional: Order, chosen: Mapping[str, int]) -> Order:
    """Return the optional items that the visitor added."""
    return [each | {"quantity": chosen[str(at)]} for at, each in enumerate(optional) if str(at) in chosen]


@contextmanager
def for_sale(world: World, order: Order) -> Iterator[None]:
    """Inside the block, the order's own prices from `price_data` can be bought, too."""
    inline = [world.get("price", each["price"]) for each in order if each.get("is_inline")]
    for price in inline:
        price["active"] = True
    try:
        yield
    finally:
        for price in inline:
            price["active"] = False


def _adjusted(item: Object, quantity: str) -> int:
    bounds = item["adjustable_quantity"] or {}
    if not bounds.get("enabled"):
        low = high = item["quantity"]
    else:
        low, high = bounds.get("minimum") or 0, bounds.get("maximum") or 99
    if not quantity.isdecimal() or not low <= int(quantity) <= high:
        raise ApiError(400, f"Please choose a quantity from {low} to {high}.")
    return int(quantity)


def _read_item(world: World, given: Mapping[str, Any], param: str) -> Object:
    if ("price" in given) is ("price_data" in given):
        raise invalid("You must provide one of `price` or `price_data` for each line item.", param)
    if "price" in given:
        sellable_price(world, given["price"], f"{param}[price]")
    for rate in given.get("tax_rates", []):
        world.get("tax_rate", rate, f"{param}[tax_rates]")
    is_metered = _is_metered(world, given)
    if is_metered and "quantity" in given:
        raise invalid("Quantity should not be specified where usage_type is `metered`.", f"{param}[quantity]")
    quantity = given.get("quantity", 1)
    if not 1 <= quantity <= MOST_QUANTITY:
        raise invalid("This value must be greater than or equal to 1.", f"{param}[quantity]")
    named = {name: given[name] for name in ("price", "price_data") if name in given}
    return named | {
        "adjustable_quantity": _adjustable(given.get("adjustable_quantity"), param),
        "metadata": given.get("metadata", {}),
        "quantity": None if is_metered else quantity,
        "tax_rates": given.get("tax_rates", []),
    }


def _is_metered(world: World, given: Mapping[str, Any]) -> bool:
    return "price" in given and is_metered_price(world.get("price", given["price"]))


def _adjustable(given: Mapping[str, Any] | None, param: str) -> Object | None:
    if given is None or not given.get("enabled"):
        return None
    low, high = given.get("minimum", 0), given.get("maximum", 99)
    if not 0 <= low <= high <= MOST_QUANTITY:
        raise invalid("The maximum must not be smaller than the minimum.", f"{param}[adjustable_quantity][maximum]")
    return {"enabled": True, "maximum": high, "minimum": low}


def _inline_price(world: World, given: dict[str, Any], param: str) -> str:
    for name in ("currency", "unit_amount"):
        if name not in given:
            raise missing_parameter(f"{param}[{name}]")
    if "product_data" in given and "name" not in given["product_data"]:
        raise missing_parameter(f"{param}[product_data][name]")
    price = prices.create_price(world, {name: value for name, value in given.items() if name != "tax_behavior"})
    price |= {"active": False, "tax_behavior": given.get("tax_behavior", "unspecified")}
    return str(price["id"])


ADJUSTABLE = nested({"enabled": boolean, "maximum": integer, "minimum": integer})
PRICE_DATA = nested(
    {
        "currency": text,
        "product": text,
        "product_data": nested({"description": text, "images": list_of(text), "metadata": metadata, "name": text}),
        "recurring": nested({"interval": choice("day", "week", "month", "year"), "interval_count": integer}),
        "tax_behavior": choice("exclusive", "inclusive", "unspecified"),
        "unit_amount": integer,
    }
)
ITEM = {"adjustable_quantity": ADJUSTABLE, "price": text, "price_data": PRICE_DATA, "quantity": integer}
LINK_ITEM = {name: ITEM[name] for name in ("adjustable_quantity", "price", "price_data", "quantity")}
LINE_ITEMS = list_of(nested(ITEM | {"metadata": metadata, "tax_rates": list_of(text)}))
OPTIONAL_ITEMS = list_of(nested({"adjustable_quantity": ADJUSTABLE, "price": text, "quantity": integer}))
