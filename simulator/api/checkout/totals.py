"""What a Checkout Session costs today: each line with its discount and taxes, and the totals."""

from dataclasses import dataclass, field
from typing import Any

from ...billing import discounts, taxes
from ...billing.pricing.amounts import due_in_advance
from ...world import Object, World
from .order import added_items


@dataclass
class Line:
    """A line of the session's bill, in minor units."""

    item: Object
    price: Object
    subtotal: int
    discount: int = 0
    taxes: list[Object] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.subtotal - self.discount + taxes.added(self.taxes)

    @property
    def tax(self) -> int:
        return sum(each["amount"] for each in self.taxes)


def set_totals(world: World, session: Object) -> None:
    """Set what is due today.

    Errors  ApiError for a discount that cannot be redeemed
    """
    if session["mode"] == "setup":
        session |= {"amount_subtotal": None, "amount_total": None, "discounts": []}
        session["total_details"] = {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0}
        return
    wanted = world.hidden[session["id"]]
    bill = lines_of(world, session)
    for each in wanted["discounts"]:
        coupon, code = discounts.find_coupon(world, each)
        discounts.check_redeemable(world, coupon, code, session["customer"])
        discounts.check_minimum(code, sum(_price_of(world, line, session["currency"]) for line in bill))
    session |= {
        "amount_subtotal": sum(each.subtotal for each in bill),
        "amount_total": sum(each.total for each in bill),
        "discounts": [{"coupon": None, "promotion_code": None} | each for each in wanted["discounts"]],
        "total_details": {
            "amount_discount": sum(each.discount for each in bill),
            "amount_shipping": 0,
            "amount_tax": sum(each.tax for each in bill),
        },
    }
    if session["automatic_tax"]["enabled"]:
        located = taxes.is_located(buyer_of(world, session))
        session["automatic_tax"]["status"] = "complete" if located else "requires_location_inputs"


def lines_of(world: World, session: Object) -> list[Line]:
    """Return the lines, the optional items that were added last. During a trial what recurs costs nothing."""
    wanted = world.hidden[session["id"]]
    is_trial = any(wanted.get("subscription_data", {}).get(name) for name in ("trial_period_days", "trial_end"))
    bill = [_line(world, each, session["currency"], is_trial) for each in items_of(wanted)]
    for each in wanted.get("discounts", []):
        coupon, _code = discounts.find_coupon(world, each)
        left = [line.subtotal - line.discount for line in bill]
        for line, off in zip(bill, discounts.amounts_off(coupon, left), strict=True):
            line.discount += off
    buyer = buyer_of(world, session)
    for line in bill:
        line.taxes = taxes.taxes_on(line.subtotal - line.discount, _rates(world, session, line, buyer))
    return bill


def items_of(wanted: Object) -> list[Object]:
    """Return the ordered items, with the optional ones that were added. Old state files' sessions have fewer fields."""
    plain: Object = {"adjustable_quantity": None, "metadata": {}, "quantity": 1, "tax_rates": []}
    added = added_items(wanted.get("optional_items", []), wanted.get("chosen", {}))
    return [plain | each for each in [*wanted["items"], *added] if each.get("quantity", 1) != 0]


def buyer_of(world: World, session: Object) -> Object:
    """Return what decides the taxes: what the visitor entered, else what the customer has."""
    customer = world.find("customer", session.get("customer"))
    known = taxes.buyer_of(world, customer) if customer and not customer.get("deleted") else {}
    entered = world.hidden[session["id"]].get("buyer", {})
    ids = [*known.get("tax_ids", []), *entered.get("tax_ids", [])]
    return known | {name: value for name, value in entered.items() if value} | {"tax_ids": ids}


def _line(world: World, item: Object, currency: str, is_trial: bool) -> Line:
    price = world.get("price", item["price"])
    is_free = is_trial and price["recurring"]
    return Line(item, price, 0 if is_free else due_in_advance(world, price, item["quantity"], currency))


def _price_of(world: World, line: Line, currency: str) -> int:
    """Return what the line costs without a trial."""
    return due_in_advance(world, line.price, line.item["quantity"], currency)


def _rates(world: World, session: Object, line: Line, buyer: dict[str, Any]) -> taxes.Rates:
    own = line.item["tax_rates"] or world.hidden[session["id"]].get("subscription_data", {}).get(
        "default_tax_rates", []
    )
    if own:
        return [(world.get("tax_rate", each), "standard_rated") for each in own]
    if not session["automatic_tax"]["enabled"]:
        return []
    return taxes.automatic_rates(world, buyer, inclusive=line.price["tax_behavior"] == "inclusive")
