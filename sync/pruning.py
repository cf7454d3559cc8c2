"""Pruning: what was applied, or told, long ago is forgotten, a little at a time."""

import logging
from typing import Any

from .. import storage
from ..models import StripeEvent
from ..notices import outbox

DAY_SECONDS = 86_400
BATCH = 500  # some milliseconds: nobody who records an event meanwhile waits for longer

log = logging.getLogger("corkage.pruning")


def prune(now: float, keep_days: int) -> None:
    """Forget events that were applied, and notices that were written, more than `keep_days` ago.

    An event that is pending is never forgotten; a notice is, taken or not: so old, it misleads. Stripe tells an event
    for 30 days: one forgotten earlier would be met again as new, so the configuration takes no fewer than 31.

    Errors  DatabaseUnavailable; what was forgotten is, and the rest has its turn tomorrow
    """
    _prune_events(now, keep_days)
    _prune_notices(now, keep_days)


def _prune_events(now: float, keep_days: int) -> None:
    is_old = StripeEvent.applied_at < now - keep_days * DAY_SECONDS
    count, last = 0, ""
    while old := storage.column(_ids_after(last).where(is_old).limit(BATCH)):
        last = old[-1]
        with storage.writing():
            count += StripeEvent.delete().where(StripeEvent.id.in_(old), is_old).execute()
    if count:
        log.info("%d events, applied more than %d days ago, are forgotten", count, keep_days)


def _ids_after(last: str) -> Any:
    return StripeEvent.select(StripeEvent.id).where(StripeEvent.id > last).order_by(StripeEvent.id)


def _prune_notices(now: float, keep_days: int) -> None:
    count = untaken = 0
    while old := outbox.older_than(now - keep_days * DAY_SECONDS, BATCH):
        untaken += outbox.forget(old)
        count += len(old)
    if count:
        level = logging.ERROR if untaken else logging.INFO
        log.log(level, "%d notices, over %d days old, are forgotten, %d of them untaken", count, keep_days, untaken)
