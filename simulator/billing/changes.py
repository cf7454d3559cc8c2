"""Changes of a running subscription that change its bill: items, anchor, a trial, one-time prices."""

from typing import Any

from ..errors import invalid
from ..world import Object, World
from . import invoiceitems, invoices, lifecycle, periods, prorations
from .items import change_items, check_changes
from .lines import used_items
from .pricing import amounts, currencies
from .pricing.prices import sellable_price
from .prorations import PricedItem


def change(
    world: World, subscription: Object, params: dict[str, Any], trial_end: int | None, *, is_billed: bool = False
) -> Object | None:
    """Make the changes, with prorations; return the draft of the invoice to charge now, if there is one.

    Shape   params: those of the request, parsed; trial_end: the end of a trial that begins now; is_billed: an invoice
            for the changes is paid already
    """
    before, used = prorations.priced_items(subscription), used_items(subscription["items"]["data"])
    behaviour = params.get("proration_behavior", "create_prorations")
    if params.get("items"):
        change_items(world, subscription, params["items"])
        check_intervals(subscription)
    is_trialing = subscription["status"] == "trialing"
    starts_period = not is_trialing and (bool(trial_end) or _starts_period(subscription, before, params))
    if starts_period:
        _start_period(world, subscription, trial_end)
    else:
        _join_periods(world, subscription, before)
    if is_billed:
        return None
    add_invoice_items(world, subscription, params.get("add_invoice_items", []))
    if behaviour != "none" and not is_trialing:
        prorations.prorate(
            world, subscription, before, is_billed_anew=starts_period, now=params.get("proration_date", world.now)
        )
    if not starts_period and not (behaviour == "always_invoice" and _has_pending(world, subscription)):
        return None
    customer = world.get("customer", subscription["customer"])
    billed = used if starts_period else []
    return invoices.create_draft(
        world, customer, subscription, "subscription_update", period=starts_period, used=_still(subscription, billed)
    )


def check_intervals(subscription: Object) -> None:
    """Raise ApiError for several intervals in a subscription of classic billing mode."""
    if subscription["billing_mode"]["type"] != "flexible" and len(_intervals(subscription)) > 1:
        raise invalid(
            "All prices of a subscription must have the same billing interval, unless its billing_mode is flexible.",
            "items",
        )


def check(world: World, subscription: Object, params: dict[str, Any]) -> None:
    """Raise ApiError if Stripe would refuse the changes. Changes nothing."""
    if params.get("items"):
        check_changes(world, subscription, params["items"])
    _one_time_items(world, subscription, params.get("add_invoice_items", []))


def add_invoice_items(world: World, subscription: Object, given: list[dict[str, Any]]) -> None:
    """Add one-time prices to the next invoice of the subscription."""
    for item in _one_time_items(world, subscription, given):
        invoiceitems.add(world, item)


def _one_time_items(world: World, subscription: Object, given: list[dict[str, Any]]) -> list[Object]:
    """Return the invoice items of one-time prices, which are not added yet."""
    added: list[Object] = []
    for position, each in enumerate(given):
        param = f"add_invoice_items[{position}][price]"
        price = sellable_price(world, each.get("price", ""), param)
        if price["recurring"]:
            raise invalid("The price specified is set to `type=recurring`: this field takes one-time prices.", param)
        currencies.check_price(world, price, subscription["currency"], param)
        quantity = each.get("quantity", 1)
        item = invoiceitems.new_item(
            world,
            customer=subscription["customer"],
            amount=amounts.amount_of(world, price, quantity, subscription["currency"]),
            currency=subscription["currency"],
            description=world.get("product", price["product"])["name"],
            period=(world.now, world.now),
            price=price,
            quantity=quantity,
        )
        details = {"subscription": subscription["id"], "subscription_item": None}
        added.append(item | {"parent": {"subscription_details": details, "type": "subscription_details"}})
    return added


def _starts_period(subscription: Object, before: list[PricedItem], params: dict[str, Any]) -> bool:
    """Return whether the change begins new periods: if asked, or if the one interval of all items became another."""
    if params.get("billing_cycle_anchor", {}).get("type") == "now":
        return True
    was = {_interval_of(each.price) for each in before}
    return len(was) == len(_intervals(subscription)) == 1 and was != _intervals(subscription)


def _start_period(world: World, subscription: Object, trial_end: int | None) -> None:
    subscription["billing_cycle_anchor"] = trial_end or world.now
    if trial_end is None:
        periods.start_periods(world, subscription, world.now)
        return
    subscription |= {"status": "trialing", "trial_start": world.now, "trial_end": trial_end}
    periods.set_period(world, subscription, world.now, trial_end)
    lifecycle.schedule_notice(world, subscription)


def _join_periods(world: World, subscription: Object, before: list[PricedItem]) -> None:
    """Move new items, and items with a new interval, into that interval's current period."""
    known = {each.item_id: each for each in before}
    running = {_interval_of(each.price): (each.start, each.end) for each in reversed(before)}
    for item in subscription["items"]["data"]:
        interval = _interval_of(item["price"])
        if item["id"] in known and _interval_of(known[item["id"]].price) == interval:
            continue
        if subscription["status"] == "trialing":
            item["current_period_start"], item["current_period_end"] = before[0].start, before[0].end
        elif interval in running:
            item["current_period_start"], item["current_period_end"] = running[interval]
        else:
            periods.join_period(world, subscription, item)


def _still(subscription: Object, used: list[Any]) -> list[Any]:
    """Leave out items that are gone: their usage is an invoice item already."""
    prices = {(each["id"], each["price"]["id"]) for each in subscription["items"]["data"]}
    return [each for each in used if (each.item_id, each.price_id) in prices]


def _has_pending(world: World, subscription: Object) -> bool:
    customer = world.get("customer", subscription["customer"])
    return bool(invoiceitems.pending(world, customer, subscription))


def _intervals(subscription: Object) -> set[tuple[str, int]]:
    return {_interval_of(each["price"]) for each in subscription["items"]["data"]}


def _interval_of(price: Object) -> tuple[str, int]:
    return price["recurring"]["interval"], price["recurring"]["interval_count"]
