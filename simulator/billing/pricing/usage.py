"""Usage: the meter events of each customer, added up for a period.

A meter's events stand beside it in `hidden`, by customer, so that a bill reads only the customer's own.
"""

from decimal import Decimal
from typing import NamedTuple

from ...world import Object, World


class Usage(NamedTuple):
    """One accepted meter event: when it was used, how much, and when it was reported."""

    timestamp: int
    value: str
    received: int


def record(world: World, meter: Object, customer_id: str, usage: Usage) -> None:
    """Count an event as the customer's usage."""
    of_meter = world.hidden.setdefault(meter["id"], {}).setdefault("usage", {})
    of_meter.setdefault(customer_id, []).append(list(usage))


def reported(world: World, meter_id: str, customer_id: str) -> list[Usage]:
    """Return the customer's usage at a meter, in the order in which it was reported."""
    of_meter = world.hidden.get(meter_id, {}).get("usage", {})
    return [Usage(*each) for each in of_meter.get(customer_id, ())]


def total(meter: Object, usages: list[Usage], start: int, end: int) -> Decimal:
    """Return the usage from start until end, as the meter aggregates it."""
    counted = [each for each in usages if start <= each.timestamp < end]
    formula = meter["default_aggregation"]["formula"]
    if formula == "count":
        return Decimal(len(counted))
    if formula == "last":
        last = max(reversed(counted), key=lambda each: each.timestamp, default=None)
        return Decimal(last.value) if last else Decimal(0)
    return sum((Decimal(each.value) for each in counted), Decimal(0))


def of_price(world: World, price: Object, customer_id: str, start: int, end: int) -> Decimal:
    """Return a customer's usage of a metered price in a period. Less than nothing is nothing."""
    meter = world.get("billing.meter", price["recurring"]["meter"])
    return max(Decimal(0), total(meter, reported(world, meter["id"], customer_id), start, end))
