"""Polling: Stripe's own list of events, for those whose webhook was lost, or that have no webhook at all."""

import logging

from ..models import Cursor
from . import inbox, recurring
from .gateway import Gateway

OVERLAP_SECONDS = 300  # events become visible late, and clocks differ
# Stripe takes at most twenty types a call, and no wildcards among them.
TYPES = (
    *inbox.CUSTOMER_EVENTS,
    inbox.CLOCK_EVENT,
    *(f"customer.subscription.{what}" for what in ("created", "deleted", "paused", "resumed", "updated")),
    *(f"{what}.{how}" for what in ("price", "product") for how in ("created", "deleted", "updated")),
)

log = logging.getLogger("corkage.poll")


def poll(gateway: Gateway, now: float, livemode: bool, settle_seconds: float) -> int:
    """Record every event since the last poll, less an overlap; return how many were new.

    The position, in Stripe's time, is saved after the last page: a poll that breaks off is repeated whole.

    Errors  StripeError as the gateway's; DatabaseUnavailable
    """
    cursor = Cursor.get_by_id("poll")
    since = max(0, (cursor.position or int(now)) - OVERLAP_SECONDS)
    found = gateway.events_since(since, TYPES)
    wanted = [each for each in found.items if each.livemode == livemode and not each.account]
    new = sum(inbox.record(each, "poll", now, now + settle_seconds) for each in wanted if each.is_wanted)
    recurring.save_position("poll", found.told_at or int(now))
    level = logging.INFO if new else logging.DEBUG
    log.log(level, "polled %d events since %d, %d of them new", len(found.items), since, new)
    return new
