"""The parameters that say what a price costs, and the fields they become."""

from decimal import Decimal
from typing import Any

from ...errors import ApiError, invalid, missing_parameter
from ...http.form import boolean, choice, decimal, integer, list_of, map_of, nested, time_or
from ...world import Object

CUSTOM = nested({"enabled": boolean, "maximum": integer, "minimum": integer, "preset": integer})
TIERS = list_of(
    nested(
        {
            "flat_amount": integer,
            "flat_amount_decimal": decimal,
            "unit_amount": integer,
            "unit_amount_decimal": decimal,
            "up_to": time_or("inf"),
        }
    )
)
TRANSFORM = nested({"divide_by": integer, "round": choice("down", "up")})
OPTION = {
    "custom_unit_amount": CUSTOM,
    "tiers": TIERS,
    "unit_amount": integer,
    "unit_amount_decimal": decimal,
}
RATE = OPTION | {
    "billing_scheme": choice("per_unit", "tiered"),
    "tiers_mode": choice("graduated", "volume"),
    "transform_quantity": TRANSFORM,
}


CURRENCY_OPTIONS = map_of(nested(OPTION))
"""What a price costs in other currencies."""


def rate_of(params: dict[str, Any], within: str = "", *, is_tiered: bool = False) -> Object:
    """Return the fields of what a unit costs.

    Errors  ApiError when no amount is given, several are, or one is negative
    """
    given = [name for name in ("unit_amount", "unit_amount_decimal", "custom_unit_amount") if name in params]
    if is_tiered and given:
        raise invalid(f"`{given[0]}` cannot be used with `billing_scheme=tiered`.", _named(within, given[0]))
    if len(given) > 1:
        raise invalid(f"You may only specify one of these parameters: {', '.join(given)}.", _named(within, given[0]))
    rate: Object = dict.fromkeys(("custom_unit_amount", "unit_amount", "unit_amount_decimal"))
    if is_tiered:
        return rate
    if not given:
        raise missing_parameter(_named(within, "unit_amount"))
    if given == ["custom_unit_amount"]:
        return rate | {"custom_unit_amount": _custom(params["custom_unit_amount"], within)}
    return rate | _amounts(params, "unit_amount", within)


def tiers_of(given: list[Object], within: str = "tiers") -> list[Object]:
    """Return tiers in order.

    Errors  ApiError unless they ascend, and the last is without an end
    """
    if not given:
        raise missing_parameter(within)
    ends: list[Any] = [each.get("up_to") for each in given]
    last = ends.pop()
    if last != "inf" or not all(isinstance(each, int) for each in ends) or ends != sorted(set(ends)):
        raise invalid("Tiers must ascend, and the last one must have up_to=inf.", within)
    return [_tier(each, f"{within}[{position}]") for position, each in enumerate(given)]


def _tier(given: Object, within: str) -> Object:
    if not given.keys() - {"up_to"}:
        raise missing_parameter(f"{within}[unit_amount]")
    end = None if given["up_to"] == "inf" else given["up_to"]
    return {**_amounts(given, "flat_amount", within), **_amounts(given, "unit_amount", within), "up_to": end}


def _amounts(params: Object, name: str, within: str) -> Object:
    """Return an amount and its decimal. An amount that is not whole has only the decimal."""
    exact = params.get(f"{name}_decimal", None if name not in params else str(params[name]))
    if exact is not None and Decimal(exact) < 0:
        raise invalid("This value must be greater than or equal to 0.", _named(within, name))
    is_whole = exact is not None and Decimal(exact) == int(Decimal(exact))
    return {name: int(Decimal(str(exact))) if is_whole else None, f"{name}_decimal": exact}


def _custom(given: Object, within: str) -> Object:
    if not given.get("enabled"):
        raise ApiError(400, "custom_unit_amount must be enabled.", param=_named(within, "custom_unit_amount[enabled]"))
    return {name: given.get(name) for name in ("maximum", "minimum", "preset")}


def _named(within: str, name: str) -> str:
    return f"{within}[{name}]" if within else name
