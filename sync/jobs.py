"""Recurring jobs, such as the daily pruning: one process at a time claims each run."""

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from .. import storage
from ..logs.facts import logger
from ..models import Cursor, StripeEvent
from ..notices import outbox
from ..pacing.pauses import is_due

DAY_SECONDS = 86_400
KEYS_KEPT_DAYS = 31
KEPT_WINDOWS_DAYS = 400  # for a comparison with the same month a year ago
BATCH = 500  # takes some milliseconds, for which webhooks wait to store their events

log = logger("corkage.jobs")


def claim(name: str, now: float, every_seconds: float) -> bool:
    """Claim the due run, and set the next one; return whether the claim succeeded."""
    cursor = Cursor.get_or_none(Cursor.name == name)
    if cursor is None:
        with storage.writing():
            Cursor.insert(name=name).on_conflict_ignore().execute()
        cursor = Cursor.get_by_id(name)
    if not is_due(cursor.next_run_at, now, every_seconds):
        return False
    return _move(cursor, now + every_seconds)


def make_due(name: str, at: float) -> None:
    """Move the next run to this time, unless it is earlier already."""
    with storage.writing():
        Cursor.update(next_run_at=at).where(Cursor.name == name, Cursor.next_run_at > at).execute()


def next_runs(now: float, every_seconds: Mapping[str, float]) -> dict[str, float]:
    """Return when each of these jobs is next due; 0 for one that never ran."""
    moments = dict(storage.rows("SELECT name, next_run_at FROM corkage_cursor"))
    found = {}
    for name, pause in every_seconds.items():
        moment = moments.get(name, 0.0)
        found[name] = min(moment, now) if is_due(moment, now, pause) else moment
    return found


def position(name: str) -> int:
    """Return the stored position of the job; 0 when it never ran."""
    cursor = Cursor.get_or_none(Cursor.name == name)
    return 0 if cursor is None else cursor.position


def save_position(name: str, position: int) -> None:
    """Store the position of the job."""
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
    """Delete events that were applied, and notices that were stored, more than `keep_days` ago.

    Delete of usage the keys of more than a month ago, the windows of more than a year ago, and what Stripe got more
    than `keep_days` ago.

    A pending event is never deleted. A notice is, delivered or not: it is so old that it would mislead. Stripe lists an
    event for 30 days, and one that was deleted earlier would look new: so the configuration takes no fewer than 31.

    Errors  DatabaseUnavailable; the rest is deleted tomorrow
    """
    _prune_events(now, keep_days)
    _prune_notices(now, keep_days)
    _prune_usage(now, keep_days)


def _prune_events(now: float, keep_days: int) -> None:
    is_old = StripeEvent.applied_at < now - keep_days * DAY_SECONDS
    oldest: Any = StripeEvent.select(StripeEvent.id).where(is_old).order_by(StripeEvent.applied_at)
    count = 0
    while old := storage.column(oldest.limit(BATCH)):
        with storage.writing():
            count += StripeEvent.delete().where(StripeEvent.id.in_(old), is_old).execute()
    if count:
        log.info("deleted %d events, applied more than %d days ago", count, keep_days)


def _prune_notices(now: float, keep_days: int) -> None:
    count = undelivered = 0
    while old := outbox.older_than(now - keep_days * DAY_SECONDS, BATCH):
        undelivered += outbox.delete(old)
        count += len(old)
    if count:
        level = logging.ERROR if undelivered else logging.INFO
        log.log(level, "deleted %d notices, over %d days old; %d were not delivered", count, keep_days, undelivered)


def _prune_usage(now: float, keep_days: int) -> None:
    """Each key is forgotten after a month: then it would count again. What never begins anew is kept."""
    for each in _OLD_USAGE:
        count = _prune_table(each, int(now) - (each.days or keep_days) * DAY_SECONDS)
        if count:
            log.info("deleted %d rows of %s", count, each.table)


class _Old(NamedTuple):
    """What is pruned of a table, in the order of its key, or of another index that ends with it.

    Shape   first: a key before all others; days: after which it is old, 0 for as many as events are kept
    """

    table: str
    key: tuple[str, ...]
    first: tuple[object, ...]
    is_old: str
    days: int


def _prune_table(old: _Old, before: int) -> int:
    """Delete what is old; return how many rows. The table is read once, and others may write meanwhile."""
    key, marks = ", ".join(old.key), ", ".join("?" * len(old.key))
    find = f"SELECT {key} FROM {old.table} WHERE ({key}) > ({marks}) AND {old.is_old} ORDER BY {key} LIMIT {BATCH}"  # noqa: S608 -- texts of this module
    # One by one, since for a list of keys of several columns SQLite reads the whole table.
    one = " AND ".join(f"{column} = ?" for column in old.key)
    delete = f"DELETE FROM {old.table} WHERE {one} AND {old.is_old}"  # noqa: S608 -- as above
    count, after = 0, old.first
    while found := storage.rows(find, (*after, before)):
        after, count = found[-1], count + len(found)
        with storage.writing():
            storage.execute_many(delete, [(*row, before) for row in found])
    return count


_OLD_USAGE = (
    _Old("corkage_usage_key", ("used_at", "user_id", "key"), (0, "", ""), "used_at < ?", KEYS_KEPT_DAYS),
    _Old(
        "corkage_usage",
        ("user_id", "name", "starts_at"),
        ("", "", 0),
        "starts_at > 0 AND starts_at < ?",
        KEPT_WINDOWS_DAYS,
    ),
    _Old("corkage_meter_event", ("id",), ("",), "created_at < ? AND (sent_at IS NOT NULL OR lost_at IS NOT NULL)", 0),
)
