"""Pruning: what was applied, or told, long ago is forgotten, a little at a time."""

import logging

from .. import database
from ..models import StripeEvent
from . import outbox, recurring

DAY_SECONDS = 86_400
BATCH = 500  # some milliseconds: nobody who records an event meanwhile waits for longer

log = logging.getLogger("corkage.pruning")


def prune_daily(now: float, keep_days: int) -> None:
    """Once a day, for all processes together, forget events that were applied, and notices of, over `keep_days` ago.

    An event that is pending is never forgotten; a notice is, taken or not: so old, it misleads. Stripe tells an event
    for 30 days: one forgotten earlier would be met again as new, so the configuration takes no fewer than 31.

    Errors  DatabaseUnavailable; what was forgotten is, and the rest has its turn tomorrow
    """
    if not recurring.claim("prune", now, DAY_SECONDS):
        return
    _prune_events(now, keep_days)
    _prune_notices(now, keep_days)


def _prune_events(now: float, keep_days: int) -> None:
    old = database.column(
        StripeEvent.select(StripeEvent.id).where(StripeEvent.applied_at < now - keep_days * DAY_SECONDS)
    )
    for start in range(0, len(old), BATCH):
        with database.writing():
            StripeEvent.delete().where(
                StripeEvent.id.in_(old[start : start + BATCH]), StripeEvent.applied_at.is_null(False)
            ).execute()
    if old:
        log.info("%d events, applied more than %d days ago, are forgotten", len(old), keep_days)


def _prune_notices(now: float, keep_days: int) -> None:
    old = outbox.older_than(now - keep_days * DAY_SECONDS)
    untaken = sum(outbox.forget(old[start : start + BATCH]) for start in range(0, len(old), BATCH))
    if old:
        level = logging.ERROR if untaken else logging.INFO
        log.log(level, "%d notices, over %d days old, are forgotten, %d of them untaken", len(old), keep_days, untaken)
