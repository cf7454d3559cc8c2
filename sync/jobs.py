"""Recurring jobs: each is claimed by one process at a time. One of them prunes daily."""

import logging
from typing import Any

from .. import storage
from ..models import Cursor, StripeEvent
from ..notices import outbox
from ..pauses import is_due

DAY_SECONDS = 86_400
BATCH = 500  # takes some milliseconds, for which other writers wait

log = logging.getLogger("corkage.jobs")


def claim(name: str, now: float, every_seconds: float) -> bool:
    """Claim the run that is due, and set the next one; return whether it was ours to claim."""
    cursor = Cursor.get_or_none(Cursor.name == name)
    if cursor is None:
        with storage.writing():
            Cursor.insert(name=name).on_conflict_ignore().execute()
        cursor = Cursor.get_by_id(name)
    if not is_due(cursor.next_run_at, now, every_seconds):
        return False
    return _move(cursor, now + every_seconds)


def make_due(name: str, at: float) -> None:
    """Have the next run no later than at this time."""
    with storage.writing():
        Cursor.update(next_run_at=at).where(Cursor.name == name, Cursor.next_run_at > at).execute()


def next_run_at(name: str, now: float, every_seconds: float) -> float:
    """Return when the work is next due; 0 when it never ran."""
    cursor = Cursor.get_or_none(Cursor.name == name)
    moment = 0.0 if cursor is None else cursor.next_run_at
    return min(moment, now) if is_due(moment, now, every_seconds) else moment


def position(name: str) -> int:
    """Return how far the work has come; 0 when it never began."""
    cursor = Cursor.get_or_none(Cursor.name == name)
    return 0 if cursor is None else cursor.position


def save_position(name: str, position: int) -> None:
    """Remember how far the work has come."""
    with storage.writing():
        Cursor.insert(name=name, position=position).on_conflict(
            conflict_target=[Cursor.name], update={"position": position}
        ).execute()


def _move(cursor: Cursor, next_run_at: float) -> bool:
    with storage.writing():
        moved = (
            Cursor.update(next_run_at=next_run_at)
            .where(Cursor.name == cursor.name, Cursor.next_run_at == cursor.next_run_at)
            .execute()
        )
    return bool(moved)


def prune(now: float, keep_days: int) -> None:
    """Forget events that were applied, and notices that were written, more than `keep_days` ago.

    A pending event is never forgotten. A notice is, delivered or not: so old, it would mislead. Stripe lists an event
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
    count = undelivered = 0
    while old := outbox.older_than(now - keep_days * DAY_SECONDS, BATCH):
        undelivered += outbox.forget(old)
        count += len(old)
    if count:
        level = logging.ERROR if undelivered else logging.INFO
        log.log(
            level, "%d notices, over %d days old, are forgotten, %d of them undelivered", count, keep_days, undelivered
        )
