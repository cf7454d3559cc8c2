"""The lines of an invoice: of subscription items, of their usage, and of invoice items."""

from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from ..world import Object, World
from . import invoiceitems
from .pricing import amounts, usage
from .pricing.amounts import Part
from .pricing.prices import is_metered

WHOLE = Fraction(1)


class UsedItem(NamedTuple):
    """A metered item, and the period of usage to bill."""

    item_id: str
    price_id: str
    start: int
    end: int


def used_items(items: list[Object]) -> list[UsedItem]:
    """Return the metered ones among these items, each with its current period."""
    return [
        UsedItem(each["id"], each["price"]["id"], each["current_period_start"], each["current_period_end"])
        for each in items
        if is_metered(each["price"])
    ]


def of_item(world: World, invoice_id: str, subscription: Object, item: Object, share: Fraction) -> list[Object]:
    """Return the lines of an item for its current period.

    Shape   share: the part of a whole period that is billed, for a first period that is shorter
    """
    price, period = item["price"], (item["current_period_start"], item["current_period_end"])
    name = world.get("product", price["product"])["name"]
    if subscription["status"] == "trialing":
        part = Part(Decimal(item.get("quantity", 1)), price["unit_amount_decimal"] or "0", 0)
        words = f"Trial period for {name}"
        return [_of_part(world, invoice_id, subscription, (item["id"], price, period), part, words)]
    if is_metered(price):
        return []
    return [
        _of_part(
            world,
            invoice_id,
            subscription,
            (item["id"], price, period),
            part if share == WHOLE else part._replace(amount=round(share * part.amount)),
            _words(part, name),
        )
        for part in amounts.parts_of(world, price, item["quantity"], subscription["currency"])
    ]


def of_usage(world: World, invoice_id: str, subscription: Object, used: UsedItem) -> list[Object]:
    """Return the lines of what was used in a period that is over."""
    price = world.get("price", used.price_id)
    name = world.get("product", price["product"])["name"]
    quantity = usage.of_price(world, price, subscription["customer"], used.start, used.end)
    return [
        _of_part(
            world, invoice_id, subscription, (used.item_id, price, (used.start, used.end)), part, _words(part, name)
        )
        for part in amounts.parts_of(world, price, quantity, subscription["currency"])
    ]


def of_invoiceitem(world: World, item: Object) -> Object:
    details = {
        "invoice_item": item["id"],
        "proration": item["proration"],
        "proration_details": {"credited_items": None},
        "subscription": invoiceitems.subscription_id_of(item),
    }
    same = ("discountable", "metadata", "period", "pricing", "quantity", "quantity_decimal")
    return _line(world, item["invoice"], item["amount"], item["currency"], item["description"]) | {
        "parent": {
            "invoice_item_details": details,
            "subscription_item_details": None,
            "type": "invoice_item_details",
        },
        **{name: item[name] for name in same},
    }


def _words(part: Part, name: str) -> str:
    return f"{part.quantity} x {name} ({part.tier})" if part.tier else f"{part.quantity} x {name}"


def _of_part(
    world: World,
    invoice_id: str,
    subscription: Object,
    billed: tuple[str, Object, tuple[int, int]],
    part: Part,
    words: str,
) -> Object:
    item_id, price, (start, end) = billed
    details = {
        "invoice_item": None,
        "proration": False,
        "proration_details": {"credited_items": None},
        "subscription": subscription["id"],
        "subscription_item": item_id,
    }
    return _line(world, invoice_id, part.amount, subscription["currency"], words) | {
        "metadata": dict(subscription["metadata"]),
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": details,
            "type": "subscription_item_details",
        },
        "period": {"start": start, "end": end},
        "pricing": {
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details",
            "unit_amount_decimal": part.unit_amount,
        },
        "quantity": int(part.quantity),
        "quantity_decimal": str(part.quantity),
    }


def _line(world: World, invoice_id: str, amount: int, currency: str, description: str | None) -> Object:
    return {
        "id": world.new_id("line_item"),
        "object": "line_item",
        "amount": amount,
        "currency": currency,
        "description": description,
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": invoice_id,
        "livemode": False,
        "metadata": {},
        "pretax_credit_amounts": [],
        "subtotal": amount,
        "taxes": [],
    }
