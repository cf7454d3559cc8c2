"""`corkage simulator`: an offline Stripe, which sells what plans.toml says."""

import sys
from collections.abc import Iterator
from pathlib import Path

from ...amounts import WantedPrice
from ...plans import Plan, read_plans
from ...simulator import Offer, UnusableFile, serve
from ...simulator.errors import ApiError
from ...simulator.world import API_VERSION
from .. import MISCONFIGURED, OK
from .listening import listening

CHEAPEST, STEP = 900, 1000
YEAR_COSTS_MONTHS = 10
INTERVALS = {"year": "year", "annual": "year", "week": "week", "daily": "day"}
"""The word in a price's name, and the interval it stands for. Without one, it is a month."""


def run(
    host: str,
    port: int,
    webhook: str | None,
    webhook_secret: str | None,
    file: str | None,
    plans: str | None,
    api_version: str | None,
) -> int:
    """Run the simulator until Ctrl-C."""
    products = tuple(_products(read_plans(Path(plans)))) if plans else ()
    try:
        with listening(host, port):
            serve(
                host,
                port,
                webhook,
                webhook_secret,
                file,
                products=products,
                api_version=api_version or API_VERSION,
            )
    except (ApiError, UnusableFile) as error:
        print(error, file=sys.stderr)
        return MISCONFIGURED
    return OK


def _products(plans: tuple[Plan, ...]) -> Iterator[tuple[str, tuple[Offer, ...]]]:
    """Yield each plan's name and prices. Where the file has no amounts, the first plan costs 9 a month, each next 10
    more. A price that is billed by a meter is left to `corkage push`, which makes the meter.
    """
    for position, plan in enumerate(plans):
        amount = CHEAPEST + STEP * position
        wanted = {price.lookup_key: price for price in plan.wanted_prices}
        names = [name for name in plan.prices if name not in wanted or not wanted[name].meter]
        yield plan.name, tuple(_wanted(wanted[name]) if name in wanted else _offer(name, amount) for name in names)


def _wanted(price: WantedPrice) -> Offer:
    interval = price.interval or None
    return Offer(price.lookup_key, price.unit_amount, interval, price.interval_count, price.currency)


def _offer(name: str, amount: int) -> Offer:
    interval = next((each for word, each in INTERVALS.items() if word in name.lower()), "month")
    return Offer(name, amount * YEAR_COSTS_MONTHS if interval == "year" else amount, interval)
