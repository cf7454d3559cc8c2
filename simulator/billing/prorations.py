"""What is owed, and given back, for the rest of a period when a subscription changes within it."""

from collections.abc import Sequence

from ..world import Object, World
from .periods import period_of

Share = tuple[Object, int, str]
"""A price, how many of it, and the id of the item that has it."""


def shares_of(subscription: Object) -> list[Share]:
    """Take down what is being paid for, to compare it with later."""
    return [(each["price"], each["quantity"], each["id"]) for each in subscription["items"]["data"]]


def credit(world: World, subscription: Object, before: Sequence[Share], period: tuple[int, int]) -> None:
    """Give back what is left of a period that was paid and has ended early."""
    now, (start, end) = world.now, period
    if start <= now < end:
        for share in before:
            _item(world, subscription, share, -(end - now) / (end - start), "Unused time on", (now, end))


def prorate(world: World, subscription: Object, before: Sequence[Share], period: tuple[int, int]) -> None:
    """Make pending invoice items: a credit for what is not used any more, a charge for what is used from now on.

    Shape   before: what was paid for, and period: until when, as they were before the change
    """
    now, (start, end) = world.now, period
    if subscription["status"] == "trialing" or not start <= now < end:
        return
    left = (end - now) / (end - start)
    after = shares_of(subscription) if period_of(subscription) == period else []
    for share in before:
        if share not in after:
            _item(world, subscription, share, -left, "Unused time on", (now, end))
    for share in after:
        if share not in before:
            _item(world, subscription, share, left, "Remaining time on", (now, end))


def _item(world: World, subscription: Object, share: Share, part: float, words: str, period: tuple[int, int]) -> None:
    price, quantity, item_id = share
    amount = round(part * (price["unit_amount"] or 0) * quantity)
    name = world.get("product", price["product"])["name"]
    make_item(
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


def make_item(
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
    """Make an invoice item; the customer's next invoice takes it up."""
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
