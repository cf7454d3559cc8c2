"""Prorations: credits and charges for the rest of a period when a subscription changes."""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from ..world import Object, World
from . import invoiceitems
from .pricing import amounts, usage
from .pricing.prices import is_metered


class PricedItem(NamedTuple):
    """An item as it is at one time, to compare after a change."""

    price: Object
    quantity: int
    item_id: str
    start: int
    end: int

    def is_running(self, now: int) -> bool:
        return self.start <= now < self.end


def priced_items(subscription: Object) -> list[PricedItem]:
    """Return the items as they are now, each with its current period."""
    return [
        PricedItem(
            each["price"],
            each.get("quantity", 1),
            each["id"],
            each["current_period_start"],
            each["current_period_end"],
        )
        for each in subscription["items"]["data"]
    ]


def credit(world: World, subscription: Object, before: Sequence[PricedItem], now: int | None = None) -> None:
    """Credit the unused rest of periods that ended early."""
    now = world.now if now is None else now
    for item in before:
        if item.is_running(now):
            _add_rest(world, subscription, item, -1, "Unused time on", now)


def prorate(
    world: World,
    subscription: Object,
    before: Sequence[PricedItem],
    *,
    is_billed_anew: bool = False,
    now: int | None = None,
) -> None:
    """Add invoice items: a credit for the unused time of old prices, a charge for the remaining time of new ones.

    Shape   before: the items before the change; is_billed_anew: an invoice bills the new periods, so nothing is charged
            for them; now: the time of the change, if it is not the present
    """
    now = world.now if now is None else now
    after = priced_items(subscription)
    credit(world, subscription, [each for each in before if each not in after], now)
    _bill_usage_of_removed(world, subscription, before, after)
    if is_billed_anew:
        return
    for item in after:
        if item not in before and item.is_running(now):
            _add_rest(world, subscription, item, 1, "Remaining time on", now)


def _add_rest(world: World, subscription: Object, item: PricedItem, sign: int, words: str, now: int) -> None:
    if is_metered(item.price):
        return
    whole = amounts.amount_of(world, item.price, item.quantity, subscription["currency"])
    amount = round(sign * Fraction(item.end - now, item.end - item.start) * whole)
    name = world.get("product", item.price["product"])["name"]
    _add(world, subscription, item, amount, f"{words} {item.quantity} x {name}", (now, item.end))


def _bill_usage_of_removed(
    world: World, subscription: Object, before: Sequence[PricedItem], after: Sequence[PricedItem]
) -> None:
    """Bill what was used of a metered price before it was removed, as flexible billing mode does."""
    kept = {(each.item_id, each.price["id"]) for each in after}
    for item in before:
        if not is_metered(item.price) or (item.item_id, item.price["id"]) in kept:
            continue
        used = usage.of_price(world, item.price, subscription["customer"], item.start, item.end)
        amount = amounts.amount_of(world, item.price, used, subscription["currency"])
        if amount and subscription["billing_mode"]["type"] == "flexible":
            name = world.get("product", item.price["product"])["name"]
            _add(world, subscription, item, amount, f"Usage of {name}", (item.start, world.now))


def _add(
    world: World, subscription: Object, item: PricedItem, amount: int, words: str, period: tuple[int, int]
) -> None:
    invoiceitem = invoiceitems.new_item(
        world,
        customer=subscription["customer"],
        amount=amount,
        currency=subscription["currency"],
        description=words,
        period=period,
        price=item.price,
        quantity=item.quantity,
    )
    details = {"subscription": subscription["id"], "subscription_item": item.item_id}
    invoiceitem |= {
        "discountable": False,
        "parent": {"subscription_details": details, "type": "subscription_details"},
        "proration": True,
        "proration_details": {"credited_items": None, "discount_amounts": []},
    }
    invoiceitems.add(world, invoiceitem)
