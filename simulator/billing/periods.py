"""A subscription's current period, status, end, and payment method."""

from collections.abc import Iterable
from typing import Any

from ..clock import add_interval, day_of
from ..world import Object, World

ENDED = ("canceled", "incomplete_expired")
UPDATED = "customer.subscription.updated"


def period_of(subscription: Object) -> tuple[int, int]:
    """Return the current period, which all items share unless their intervals differ: then the one that ends first."""
    item = min(subscription["items"]["data"], key=_end_of)
    return item["current_period_start"], item["current_period_end"]


def latest_end(subscription: Object) -> int:
    return max(map(_end_of, subscription["items"]["data"]))


def start_periods(world: World, subscription: Object, start: int, items: Iterable[Object] | None = None) -> None:
    """Start the next period of these items, by default of all, each with its own interval."""
    ends = set()
    for item in subscription["items"]["data"] if items is None else items:
        end = next_period_end(subscription, start, item)
        item["current_period_start"], item["current_period_end"] = start, end
        ends.add(end)
    for end in sorted(ends):
        world.clock.schedule(end, "renew", subscription["id"])


def set_period(world: World, subscription: Object, start: int, end: int) -> None:
    """Give every item the same period, and schedule the renewal at its end."""
    for item in subscription["items"]["data"]:
        item["current_period_start"], item["current_period_end"] = start, end
    world.clock.schedule(end, "renew", subscription["id"])


def join_period(world: World, subscription: Object, item: Object) -> None:
    """Give an item the running period of its interval, as the subscription's anchor has it."""
    anchor = subscription["billing_cycle_anchor"]
    recurring = item["price"]["recurring"]
    start, end = cycle_at(anchor, recurring, world.now)
    item["current_period_start"], item["current_period_end"] = start, end
    world.clock.schedule(end, "renew", subscription["id"])


def cycle_at(anchor: int, recurring: Object, moment: int) -> tuple[int, int]:
    """Return the start and end of the cycle around a moment, of those that begin at the anchor or end there."""
    step = recurring["interval_count"] if anchor <= moment else -recurring["interval_count"]
    edge, number = anchor, 0
    while True:
        number += step
        after = add_interval(anchor, recurring["interval"], number, day_of(anchor))
        if min(edge, after) <= moment < max(edge, after):
            return min(edge, after), max(edge, after)
        edge = after


def next_period_end(subscription: Object, start: int, item: Object | None = None) -> int:
    recurring = (item or subscription["items"]["data"][0])["price"]["recurring"]
    anchor_day = day_of(subscription["billing_cycle_anchor"])
    return add_interval(start, recurring["interval"], recurring["interval_count"], anchor_day)


def _end_of(item: Object) -> int:
    return int(item["current_period_end"])


def set_status(world: World, subscription: Object, status: str, **changes: Any) -> None:
    """Change the status and these fields, and emit the event."""
    with world.changing(subscription, UPDATED):
        subscription |= {"status": status} | changes


def cancel(world: World, subscription: Object, reason: str = "cancellation_requested") -> None:
    """End the subscription now, and stop automatic collection of its invoices."""
    now = world.now
    subscription |= {"status": "canceled", "ended_at": now, "canceled_at": subscription["canceled_at"] or now}
    subscription["cancellation_details"]["reason"] = reason
    for invoice in world.where("invoice", customer=subscription["customer"]):
        details = (invoice["parent"] or {}).get("subscription_details") or {}
        if details.get("subscription") == subscription["id"] and invoice["status"] in ("draft", "open"):
            invoice |= {"auto_advance": False, "automatically_finalizes_at": None, "next_payment_attempt": None}
    world.emit("customer.subscription.deleted", subscription)


def payment_method_of(subscription: Object | None, customer: Object) -> str | None:
    """Return the payment method to charge: the subscription's own, else the customer's."""
    own: str | None = subscription["default_payment_method"] if subscription else None
    return own or customer["invoice_settings"]["default_payment_method"]
