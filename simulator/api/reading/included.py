"""Fields that an object has only when `expand[]` names them."""

from ...billing import periods
from ...http.lists import embedded
from ...world import Object, World


def sources(_world: World, customer: Object) -> Object:
    """Return a customer's sources: the simulator has payment methods only."""
    return embedded([], f"/v1/customers/{customer['id']}/sources")


def subscriptions(world: World, customer: Object) -> Object:
    """Return a customer's subscriptions that have not ended."""
    found = world.where("subscription", customer=customer["id"])
    running = [each for each in found if each["status"] not in periods.ENDED]
    return embedded(running, f"/v1/customers/{customer['id']}/subscriptions")


def applies_to(_world: World, _coupon: Object) -> None:
    """Every coupon of the simulator applies to all products."""


def currency_options(_world: World, price: Object) -> Object:
    """Return the price's options by currency: those of its own, as prices have no other."""
    names = ("custom_unit_amount", "tax_behavior", "unit_amount", "unit_amount_decimal")
    return {price["currency"]: {name: price[name] for name in names}}


def tiers(_world: World, _price: Object) -> None:
    """Prices have no tiers."""
