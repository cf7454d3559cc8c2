"""Taxes on invoices and Checkout Sessions: by tax rates, or automatic from a fixed table.

The table holds each place's standard rate. No product has a reduced rate, and no rate ever changes.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from ..world import Object, World

EUROPE = {
    "AT": 20.0, "BE": 21.0, "BG": 20.0, "CY": 19.0, "CZ": 21.0, "DE": 19.0, "DK": 25.0, "EE": 24.0, "ES": 21.0,
    "FI": 25.5, "FR": 20.0, "GR": 24.0, "HR": 25.0, "HU": 27.0, "IE": 23.0, "IT": 22.0, "LT": 21.0, "LU": 17.0,
    "LV": 21.0, "MT": 18.0, "NL": 21.0, "PL": 23.0, "PT": 23.0, "RO": 21.0, "SE": 25.0, "SI": 22.0, "SK": 23.0,
}  # fmt: skip
COUNTRIES = {
    **{country: ("vat", percentage) for country, percentage in EUROPE.items()},
    "AU": ("gst", 10.0),
    "CA": ("gst", 5.0),
    "CH": ("vat", 8.1),
    "GB": ("vat", 20.0),
    "JP": ("jct", 10.0),
    "NO": ("vat", 25.0),
    "NZ": ("gst", 15.0),
}
STATES = {"CA": 7.25, "FL": 6.0, "IL": 6.25, "NY": 8.875, "TX": 6.25, "WA": 6.5}
"""Sales taxes of states of the USA."""

NAMES = {"gst": "GST", "jct": "Consumption tax", "sales_tax": "Sales tax", "vat": "VAT"}
AUTOMATIC = "Automatic tax"
Rates = list[tuple[Object, str]]
"""Tax rates, each with the reason why it applies as it does."""


def new_rate(world: World, **given: Any) -> Object:
    """Add a tax rate.

    Shape   given: display_name, percentage, inclusive, and what else the API takes
    """
    rate = {
        "id": world.new_id("tax_rate"),
        "object": "tax_rate",
        "active": True,
        "country": None,
        "created": world.now,
        "description": None,
        "effective_percentage": None,
        "flat_amount": None,
        "jurisdiction": None,
        "jurisdiction_level": None,
        "livemode": False,
        "metadata": {},
        "rate_type": "percentage",
        "state": None,
        "tax_type": None,
    } | given
    return world.add("tax_rate", rate)


def automatic_rates(world: World, buyer: Mapping[str, Any], *, inclusive: bool = False) -> Rates:
    """Return what automatic tax charges: nothing where the table has no rate.

    Shape   buyer: `address`, `tax_exempt` and `tax_ids`, as a customer has them
    """
    address = buyer.get("address") or {}
    country, state = address.get("country"), address.get("state")
    if country == "US":
        found = ("sales_tax", STATES[state]) if state in STATES else None
    else:
        found, state = COUNTRIES.get(country or ""), None
    return [(_automatic_rate(world, country, state, *found, inclusive), _reason(buyer))] if found else []


def is_located(buyer: Mapping[str, Any]) -> bool:
    """Return whether automatic tax knows the place: a country, and in the USA a state or a postal code."""
    address = buyer.get("address") or {}
    known = address.get("country")
    return bool(known and (known != "US" or address.get("state") or address.get("postal_code")))


def taxes_on(amount: int, rates: Rates) -> list[Object]:
    """Return the taxes on an amount, discounts taken off, as an invoice's line shows them."""
    return [_tax_on(amount, rate, reason) for rate, reason in rates]


def added(taxes: Iterable[Object]) -> int:
    """Return what taxes add to the amount: inclusive ones are part of it."""
    return sum(each["amount"] for each in taxes if each["tax_behavior"] == "exclusive")


def tax_lines(
    world: World, invoice: Object, customer: Object, subscription: Object | None, lines: list[Object]
) -> None:
    """Tax an invoice's lines, by the subscription's tax rates or automatically. Most invoices have neither."""
    if subscription is None or not _is_taxed(world, subscription, lines):
        return
    is_automatic = subscription["automatic_tax"]["enabled"]
    items = {each["id"]: each for each in subscription["items"]["data"]}
    buyer = buyer_of(world, customer)
    invoice["customer_tax_ids"] = buyer["tax_ids"]
    invoice["customer_tax_exempt"] = customer["tax_exempt"]
    invoice["default_tax_rates"] = subscription["default_tax_rates"]
    if is_automatic:
        status = "complete" if is_located(buyer) else "requires_location_inputs"
        invoice["automatic_tax"] |= {"enabled": True, "liability": {"type": "self"}, "provider": "stripe"}
        invoice["automatic_tax"]["status"] = status
    for line in lines:
        left = line["amount"] - sum(each["amount"] for each in line["discount_amounts"])
        line["taxes"] = taxes_on(left, _rates_of_line(world, line, subscription, items, buyer))
    invoice["total_taxes"] = summed(tax for line in lines for tax in line["taxes"])


def summed(taxes: Iterable[Object]) -> list[Object]:
    """Return one tax for each rate and reason."""
    groups: dict[tuple[str, str], list[Object]] = defaultdict(list)
    for each in taxes:
        groups[each["tax_rate_details"]["tax_rate"], each["taxability_reason"]].append(each)
    return [
        group[0] | {name: sum(each[name] for each in group) for name in ("amount", "taxable_amount")}
        for group in groups.values()
    ]


def buyer_of(world: World, customer: Object) -> Object:
    """Return what decides a customer's taxes."""
    ids = world.where("tax_id", customer=customer["id"])
    return {
        "address": customer["address"] or (customer["shipping"] or {}).get("address"),
        "tax_exempt": customer["tax_exempt"],
        "tax_ids": [{"type": each["type"], "value": each["value"]} for each in reversed(ids)],
    }


def _is_taxed(world: World, subscription: Object, lines: list[Object]) -> bool:
    return bool(
        subscription["automatic_tax"]["enabled"]
        or subscription["default_tax_rates"]
        or any(each["tax_rates"] for each in subscription["items"]["data"])
        or any((_invoiceitem_of(world, each) or {}).get("tax_rates") for each in lines)
    )


def _rates_of_line(
    world: World, line: Object, subscription: Object, items: Mapping[str, Object], buyer: Mapping[str, Any]
) -> Rates:
    details = line["parent"]["subscription_item_details"] or {}
    billed = items.get(details.get("subscription_item", "")) or _invoiceitem_of(world, line) or {}
    own = billed.get("tax_rates") or subscription["default_tax_rates"]
    if own:
        return [(each, "standard_rated") for each in own]
    if not subscription["automatic_tax"]["enabled"]:
        return []
    price = world.find("price", ((line["pricing"] or {}).get("price_details") or {}).get("price"))
    is_inclusive = price is not None and price["tax_behavior"] == "inclusive"
    return automatic_rates(world, buyer, inclusive=is_inclusive)


def _invoiceitem_of(world: World, line: Object) -> Object | None:
    return world.find("invoiceitem", (line["parent"]["invoice_item_details"] or {}).get("invoice_item"))


def _tax_on(amount: int, rate: Object, reason: str) -> Object:
    is_free = reason != "standard_rated"
    share = rate["percentage"] / 100
    tax = amount - round(amount / (1 + share)) if rate["inclusive"] else round(amount * share)
    return {
        "amount": 0 if is_free else tax,
        "tax_behavior": "inclusive" if rate["inclusive"] else "exclusive",
        "tax_rate_details": {"tax_rate": rate["id"]},
        "taxability_reason": reason,
        "taxable_amount": 0 if is_free else amount - (tax if rate["inclusive"] else 0),
        "type": "tax_rate_details",
    }


def _reason(buyer: Mapping[str, Any]) -> str:
    """Return why the rate applies as it does. A company in the EU owes its tax itself: the account is American."""
    if buyer.get("tax_exempt") == "exempt":
        return "customer_exempt"
    is_company = any(each["type"] == "eu_vat" for each in buyer.get("tax_ids") or ())
    return "reverse_charge" if is_company or buyer.get("tax_exempt") == "reverse" else "standard_rated"


def _automatic_rate(
    world: World, country: str | None, state: str | None, kind: str, percentage: float, inclusive: bool
) -> Object:
    place = {"country": country, "state": state, "inclusive": inclusive, "description": AUTOMATIC}
    for each in world.where("tax_rate", **place):
        return each
    return new_rate(
        world,
        **place,
        display_name=NAMES[kind],
        jurisdiction=state or country,
        jurisdiction_level="state" if state else "country",
        percentage=percentage,
        effective_percentage=percentage,
        tax_type=kind,
    )
