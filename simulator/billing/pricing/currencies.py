"""Currencies: of a price's options, of a subscription."""

from collections.abc import Sequence

from ...errors import invalid
from ...world import Object, World


def choose(world: World, wanted: str | None, prices: Sequence[Object]) -> str:
    """Return the currency of a subscription to these prices: the wanted one, else that of the first price.

    Errors  ApiError when a price is not sold in it
    """
    currency = (wanted or str(prices[0]["currency"])).lower()
    for position, price in enumerate(prices):
        check_price(world, price, currency, f"items[{position}][price]")
    return currency


def check_price(world: World, price: Object, currency: str, param: str) -> None:
    """Raise ApiError if the price is not sold in this currency."""
    supported = [price["currency"], *options_of(world, price)]
    if currency not in supported:
        known = ", ".join(f"`{each}`" for each in dict.fromkeys(supported))
        raise invalid(
            f"The price specified only supports {known}. This doesn't match the expected currency: `{currency}`.", param
        )


def options_of(world: World, price: Object) -> Object:
    """Return what a price costs in other currencies. The API shows it only where it is expanded."""
    options: Object = world.hidden.get(price["id"], {}).get("currency_options", {})
    return options
