"""A subscription's current period, status, end, and payment method."""

from typing import Any

from ..clock import add_interval, day_of
from ..world import Object, World

ENDED = ("canceled", "incomplete_expired")
UPDATED = "customer.subscription.updated"


def period_of(subscription: Object) -> tuple[int, int]:
    """Return the start and end of the current period, which all items share."""
    item = subscription["items"]["data"][0]
    return item["current_period_start"], item["current_period_end"]


def set_period(world: World, subscription: Object, start: int, end: int) -> None:
    """Set the period of every item, and schedule the renewal at its end."""
    for item in subscription["items"]["data"]:
        item["current_period_start"], item["current_period_end"] = start, end
    world.clock.schedule(end, "renew", subscription["id"])


def next_period_end(subscription: Object, start: int) -> int:
    recurring = subscription["items"]["data"][0]["price"]["recurring"]
    anchor_day = day_of(subscription["billing_cycle_anchor"])
    return add_interval(start, recurring["interval"], recurring["interval_count"], anchor_day)


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
