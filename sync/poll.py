"""Polling: fetch Stripe's list of events, in case a webhook was lost or there is no webhook at all."""

import logging
from collections.abc import Callable

from ..gateway import events
from ..logs.facts import logger
from . import inbox, jobs
from .converge import Converger
from .resync import resync

STRIPE_KEEPS_SECONDS = 29 * 86_400  # thirty days, less one as clocks differ
OVERLAP_SECONDS = 300  # events become visible late, and clocks differ
TYPES = (
    *events.CUSTOMER_EVENTS,
    *events.RETURN_EVENTS,
    events.CLOCK_EVENT,
    *(f"customer.subscription.{what}" for what in ("created", "deleted", "paused", "resumed", "updated")),
    *(f"{what}.{how}" for what in ("price", "product") for how in ("created", "deleted", "updated")),
)

log = logger("corkage.poll")


def poll(
    converger: Converger, now: float, livemode: bool, debounce_seconds: float, is_stopping: Callable[[], bool]
) -> int:
    """Store every event since some minutes before the last poll; return how many were new.

    If the last poll was before Stripe's list of events begins, or there was none, every subscription is fetched. The
    position, in Stripe's time, is saved at the end: an interrupted poll is repeated.

    Errors  StripeError as the gateway's; DatabaseUnavailable; InterruptedError when the worker should stop
    """
    position = jobs.position("poll")
    has_gap = now - position > STRIPE_KEEPS_SECONDS
    since = max(0, (int(now) if has_gap else position) - OVERLAP_SECONDS)
    found = converger.gateway.events_since(since, TYPES)
    if has_gap:
        _fetch_everything(converger, now, is_stopping)
    wanted = [each for each in found.items if each.livemode == livemode and not each.account]
    new = inbox.record_all([each for each in wanted if each.is_wanted], "poll", now, now + debounce_seconds)
    jobs.save_position("poll", found.as_of or int(now))
    level = logging.INFO if new else logging.DEBUG
    log.log(level, "polled %d events since %d, %d of them new", len(found.items), since, new)
    return new


def _fetch_everything(converger: Converger, now: float, is_stopping: Callable[[], bool]) -> None:
    def stop_if_asked(*_: object) -> None:
        if is_stopping():
            raise InterruptedError("the worker should stop")

    report = resync(converger, now, progress=stop_if_asked)
    log.info(
        "no poll for over 29 days: fetched %d subscriptions of %d customers", report.subscriptions, report.customers
    )
    for customer_id, reason in report.failed.items():
        log.error("%s could not be fetched, `corkage sync` tries again: %s", customer_id, reason)
