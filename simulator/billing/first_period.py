"""The first period of a subscription: a trial, a whole cycle, or the rest of one until its anchor."""

from fractions import Fraction

from ..clock import add_interval
from ..errors import invalid
from ..world import Object, World
from . import invoiceitems
from .invoices import Share, bill_whole
from .periods import cycle_at, set_period, start_periods
from .pricing import amounts
from .pricing.prices import is_metered


def check_anchor(world: World, subscription: Object, backdated_to: int | None) -> None:
    """Raise ApiError for an anchor in the past or after the first natural renewal, and a start in the future."""
    anchor = subscription["billing_cycle_anchor"]
    if anchor < world.now:
        raise invalid("billing_cycle_anchor must be a timestamp in the future.", "billing_cycle_anchor")
    intervals = [each["price"]["recurring"] for each in subscription["items"]["data"]]
    natural = min(add_interval(world.now, each["interval"], each["interval_count"]) for each in intervals)
    if anchor > natural and subscription["trial_end"] is None:
        raise invalid(
            "billing_cycle_anchor cannot be later than the next natural billing date of the items.",
            "billing_cycle_anchor",
        )
    if backdated_to is not None and backdated_to >= world.now:
        raise invalid("backdate_start_date must be in the past.", "backdate_start_date")


def begin(world: World, subscription: Object, *, is_prorated: bool) -> Share:
    """Start the first period, and return the part of it that is billed for an item."""
    if subscription["start_date"] < world.now and is_prorated:
        _bill_elapsed(world, subscription)
    if subscription["trial_end"]:
        set_period(world, subscription, world.now, subscription["trial_end"])
        return bill_whole
    anchor = subscription["billing_cycle_anchor"]
    if anchor <= world.now:
        start_periods(world, subscription, world.now)
        return bill_whole
    set_period(world, subscription, world.now, anchor)
    if not is_prorated:
        return lambda _item: Fraction(0)
    return lambda item: _until_anchor(item, anchor)


def _until_anchor(item: Object, anchor: int) -> Fraction:
    start, end = cycle_at(anchor, item["price"]["recurring"], item["current_period_start"])
    return Fraction(item["current_period_end"] - item["current_period_start"], end - start)


def _bill_elapsed(world: World, subscription: Object) -> None:
    """Bill the time since a backdated start, in intervals that begin at it."""
    start, now = subscription["start_date"], world.now
    for item in subscription["items"]["data"]:
        if is_metered(item["price"]):
            continue
        whole = amounts.amount_of(world, item["price"], item["quantity"], subscription["currency"])
        amount = round(_intervals(item["price"]["recurring"], start, now) * whole)
        name = world.get("product", item["price"]["product"])["name"]
        billed = invoiceitems.new_item(
            world,
            customer=subscription["customer"],
            amount=amount,
            currency=subscription["currency"],
            description=f"Time on {item['quantity']} x {name} before the first period",
            period=(start, now),
            price=item["price"],
            quantity=item["quantity"],
        )
        details = {"subscription": subscription["id"], "subscription_item": item["id"]}
        billed |= {"parent": {"subscription_details": details, "type": "subscription_details"}, "proration": True}
        billed["proration_details"] = {"credited_items": None, "discount_amounts": []}
        invoiceitems.add(world, billed)


def _intervals(recurring: Object, start: int, end: int) -> Fraction:
    """Return how many intervals pass from start to end."""
    count, edge = 0, start
    while True:
        after = add_interval(start, recurring["interval"], (count + 1) * recurring["interval_count"])
        if after > end:
            return count + Fraction(end - edge, after - edge)
        count, edge = count + 1, after
