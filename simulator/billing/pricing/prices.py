"""Prices: which can be sold, in which currency, and the older shape of each, the plan."""

from ...errors import invalid
from ...versions import plan_of
from ...world import Object, World


def sellable_price(world: World, price_id: str, param: str) -> Object:
    """Return a price that is active, of a product that is active.

    Errors  ApiError for an unknown or archived price or an archived product
    """
    price = world.get("price", price_id, param)
    if not price["active"]:
        raise invalid(f"The price specified is inactive. This field only accepts active prices: {price_id}", param)
    product = world.find("product", price["product"])
    if product and not product["active"]:
        raise invalid(
            f"Price `{price_id}` is not available to be purchased because its product is not active.",
            param,
            "product_inactive",
        )
    return price


def recurring_price(world: World, price_id: str, param: str = "items[0][price]") -> Object:
    """Return a price that a subscription can have.

    Errors  ApiError for a price that is not sold, or is paid once
    """
    price = sellable_price(world, price_id, param)
    if price["recurring"] is None:
        raise invalid(
            "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`: "
            f"{price_id}",
            param,
        )
    return price


def plan_for(world: World, price: Object) -> Object:
    """Return a recurring price's plan. All its subscription items share it, so that a change shows in each."""
    return world.find("plan", price["id"]) or world.add("plan", plan_of(price))


def is_metered(price: Object) -> bool:
    return bool(price["recurring"] and price["recurring"]["usage_type"] == "metered")
