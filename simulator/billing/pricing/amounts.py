"""What a quantity of a price costs: per unit, in packages, in tiers, in each of its currencies."""

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import NamedTuple

from ...world import Object, World
from .currencies import options_of
from .prices import is_metered

ONE = Decimal(1)


class Part(NamedTuple):
    """A part of an amount, which is one line of an invoice. `tier` says which tier it is of, or nothing."""

    quantity: Decimal
    unit_amount: str
    amount: int
    tier: str = ""


def amount_of(world: World, price: Object, quantity: int | Decimal, currency: str | None = None) -> int:
    """Return what a quantity costs, in the currency's minor unit."""
    if price["unit_amount"] is not None and currency in (None, price["currency"]) and not price["transform_quantity"]:
        return round_half_up(price["unit_amount"] * Decimal(quantity))
    return sum(part.amount for part in parts_of(world, price, quantity, currency or price["currency"]))


def due_in_advance(world: World, price: Object, quantity: int | None, currency: str | None = None) -> int:
    """Return what is due when a period begins: nothing for a metered price, which is billed at the end."""
    return 0 if is_metered(price) else amount_of(world, price, 1 if quantity is None else quantity, currency)


def parts_of(world: World, price: Object, quantity: int | Decimal, currency: str) -> list[Part]:
    """Return the parts of what a quantity costs: one for each tier it reaches, and one for each flat fee."""
    quantity = Decimal(quantity)
    rate = price if currency == price["currency"] else options_of(world, price)[currency]
    if price["tiers_mode"]:
        tiers = rate.get("tiers") or world.hidden[price["id"]]["tiers"]
        return (_graduated if price["tiers_mode"] == "graduated" else _volume)(tiers, quantity)
    unit = unit_of(rate)
    return [Part(quantity, str(unit), round_half_up(unit * _packages(price, quantity)))]


def unit_of(rate: Object) -> Decimal:
    """Return the amount of one unit: the preset of a price that the customer chooses, or nothing."""
    if rate["unit_amount_decimal"] is not None:
        return Decimal(rate["unit_amount_decimal"])
    return Decimal((rate["custom_unit_amount"] or {}).get("preset") or 0)


def round_half_up(amount: Decimal) -> int:
    return int(amount.quantize(ONE, ROUND_HALF_UP))


def _packages(price: Object, quantity: Decimal) -> Decimal:
    transform = price["transform_quantity"]
    if not transform:
        return quantity
    how = ROUND_CEILING if transform["round"] == "up" else ROUND_FLOOR
    return Decimal((quantity / int(transform["divide_by"])).quantize(ONE, how))


def _graduated(tiers: list[Object], quantity: Decimal) -> list[Part]:
    """Each unit costs what its own tier says. The first tier's flat fee is due without any units."""
    parts, below = [], Decimal(0)
    for position, tier in enumerate(tiers):
        if position and quantity <= below:
            break
        end = quantity if tier["up_to"] is None else min(quantity, Decimal(tier["up_to"]))
        parts += _of_tier(position + 1, tier, end - below)
        below = end
    return parts


def _volume(tiers: list[Object], quantity: Decimal) -> list[Part]:
    """All units cost what the tier of their number says."""
    position = next(at for at, tier in enumerate(tiers) if tier["up_to"] is None or quantity <= tier["up_to"])
    return _of_tier(position + 1, tiers[position], quantity)


def _of_tier(number: int, tier: Object, quantity: Decimal) -> list[Part]:
    parts = []
    unit, flat = tier["unit_amount_decimal"], tier["flat_amount_decimal"]
    if unit is not None or flat is None:
        parts.append(Part(quantity, unit or "0", round_half_up(Decimal(unit or 0) * quantity), f"tier {number}"))
    if flat is not None:
        parts.append(Part(ONE, flat, round_half_up(Decimal(flat)), f"tier {number}, flat fee"))
    return parts
