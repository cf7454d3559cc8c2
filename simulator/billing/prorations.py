"""Prorations: credits and charges for the rest of a period when a subscription changes."""

from collections.abc import Sequence

from ..world import Object, World
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
    amount = round(part * (price["unit_amount"] or 0) * quantity)
    name = world.get("product", price["product"])["name"]
    add_invoiceitem(
        world,
        customer=subscription["customer"],
        amount=amount,
        currency=price["currency"],
        description=f"{words} {quantity} x {name}",
        period=period,
        price=price,
        quantity=quantity,
        subscription=subscription["id"],
        subscription_item=item_id,
        is_proration=True,
    )


def add_invoiceitem(
    world: World,
    *,
    customer: str,
    amount: int,
    currency: str,
    description: str | None,
    period: tuple[int, int],
    price: Object | None = None,
    quantity: int = 1,
    subscription: str | None = None,
    subscription_item: str | None = None,
    is_proration: bool = False,
    metadata: dict[str, str] | None = None,
) -> Object:
    """Create an invoice item, for the customer's next invoice."""
    unit_amount = str(price["unit_amount"]) if price else str(amount)
    details = {"price": price["id"], "product": price["product"]} if price else None
    parent = {"subscription": subscription, "subscription_item": subscription_item}
    item = {
        "id": world.new_id("invoiceitem"),
        "object": "invoiceitem",
        "amount": amount,
        "currency": currency,
        "customer": customer,
        "customer_account": None,
        "date": world.now,
        "description": description,
        "discountable": not is_proration,
        "discounts": [],
        "invoice": None,
        "livemode": False,
        "metadata": metadata or {},
        "net_amount": amount,
        "parent": {"subscription_details": parent, "type": "subscription_details"} if subscription else None,
        "period": {"start": period[0], "end": period[1]},
        "pricing": {"price_details": details, "type": "price_details", "unit_amount_decimal": unit_amount},
        "proration": is_proration,
        "proration_details": {"credited_items": None, "discount_amounts": []} if is_proration else None,
        "quantity": quantity,
        "quantity_decimal": str(quantity),
        "tax_rates": [],
        "test_clock": world.clock.id,
    }
    world.add("invoiceitem", item)
    world.emit("invoiceitem.created", item)
    return item
