"""Invoice items: charges and credits that wait for a customer's next invoice."""

from ..world import Object, World


def new_item(
    world: World,
    *,
    customer: str,
    amount: int,
    currency: str,
    description: str | None,
    period: tuple[int, int],
    price: Object | None = None,
    quantity: int = 1,
) -> Object:
    """Return a new invoice item, which add() stores."""
    unit_amount = price["unit_amount_decimal"] if price else str(amount)
    details = {"price": price["id"], "product": price["product"]} if price else None
    return {
        "id": world.new_id("invoiceitem"),
        "object": "invoiceitem",
        "amount": amount,
        "currency": currency,
        "customer": customer,
        "customer_account": None,
        "date": world.now,
        "description": description,
        "discountable": True,
        "discounts": [],
        "invoice": None,
        "livemode": False,
        "metadata": {},
        "net_amount": amount,
        "parent": None,
        "period": {"start": period[0], "end": period[1]},
        "pricing": {"price_details": details, "type": "price_details", "unit_amount_decimal": unit_amount},
        "proration": False,
        "proration_details": None,
        "quantity": quantity,
        "quantity_decimal": str(quantity),
        "tax_rates": [],
        "test_clock": world.clock.id,
    }


def add(world: World, item: Object) -> Object:
    """Store a new item, for the customer's next invoice."""
    world.add("invoiceitem", item)
    world.emit("invoiceitem.created", item)
    return item


def pending(world: World, customer: Object, subscription: Object | None) -> list[Object]:
    """Return the customer's items that are on no invoice yet, without those of other subscriptions."""
    of_customer = world.where("invoiceitem", customer=customer["id"], invoice=None)
    return [each for each in of_customer if subscription_id_of(each) in (None, subscription and subscription["id"])]


def subscription_id_of(item: Object) -> str | None:
    return item["parent"]["subscription_details"]["subscription"] if item["parent"] else None
