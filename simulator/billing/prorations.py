"""Prorations: credits and charges for the rest of a period when a subscription changes."""

from collections.abc import Sequence

from ..world import Object, World
from . import invoiceitems
from .periods import period_of

PricedItem = tuple[Object, int, str]
"""A price, its quantity, and its item's id."""


def priced_items(subscription: Object) -> list[PricedItem]:
    """Return the items as they are now, to compare after a change."""
    return [(each["price"], each["quantity"], each["id"]) for each in subscription["items"]["data"]]


def credit(world: World, subscription: Object, before: Sequence[PricedItem], period: tuple[int, int]) -> None:
    """Credit the unused rest of a period that ended early."""
    now, (start, end) = world.now, period
    if start <= now < end:
        for item in before:
            _add_proration(world, subscription, item, -(end - now) / (end - start), "Unused time on", (now, end))


def prorate(world: World, subscription: Object, before: Sequence[PricedItem], period: tuple[int, int]) -> None:
    """Add invoice items: a credit for the unused time of old prices, a charge for the remaining time of new ones.

    Shape   before, period: the items and the period before the change
    """
    now, (start, end) = world.now, period
    if subscription["status"] == "trialing" or not start <= now < end:
        return
    left = (end - now) / (end - start)
    after = priced_items(subscription) if period_of(subscription) == period else []
    for item in before:
        if item not in after:
            _add_proration(world, subscription, item, -left, "Unused time on", (now, end))
    for item in after:
        if item not in before:
            _add_proration(world, subscription, item, left, "Remaining time on", (now, end))


def _add_proration(
    world: World, subscription: Object, item: PricedItem, part: float, words: str, period: tuple[int, int]
) -> None:
    price, quantity, item_id = item
    invoiceitem = invoiceitems.new_item(
        world,
        customer=subscription["customer"],
        amount=round(part * (price["unit_amount"] or 0) * quantity),
        currency=price["currency"],
        description=f"{words} {quantity} x {world.get('product', price['product'])['name']}",
        period=period,
        price=price,
        quantity=quantity,
    )
    details = {"subscription": subscription["id"], "subscription_item": item_id}
    invoiceitem |= {
        "discountable": False,
        "parent": {"subscription_details": details, "type": "subscription_details"},
        "proration": True,
        "proration_details": {"credited_items": None, "discount_amounts": []},
    }
    invoiceitems.add(world, invoiceitem)
