"""What the database file costs: bytes for each event kept and for each user, and whether its growth stops."""

import sqlite3
import tempfile
import time
from pathlib import Path

from results import Line, Result, at_most

from corkage.gateway import events
from corkage.sync import inbox
from corkage.sync.jobs import prune
from replica import billing_of, fill, stripe_id

DAY = 86_400
KEEP_DAYS = 90


def measure(quick: bool) -> Result:
    count = 10_000 if quick else 100_000
    result = Result("The file: bytes on disk, indexes and free space included")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for_event = _growth(folder / "events.db", lambda path: _record(path, count)) / count
        for_user = _growth(folder / "users.db", lambda path: fill(path, count)) / count
        sizes = _sizes_over_time(folder / "time.db", 50 if quick else 500)
    result.lines.extend(
        [
            at_most("for each event kept", f"{for_event:.0f} bytes", for_event, 400, "bytes"),
            at_most("for each user with one subscription", f"{for_user:.0f} bytes", for_user, 700, "bytes"),
            at_most(
                f"after a year, beside {KEEP_DAYS + 1} days, at the same number of events a day",
                f"{sizes[-1] / sizes[KEEP_DAYS + 1]:.2f} x",
                sizes[-1] / sizes[KEEP_DAYS + 1],
                1.05,
            ),
            Line("after 30, 91 and 365 days", ", ".join(f"{sizes[day] / 1024:,.0f} kB" for day in (30, 91, 364))),
        ]
    )
    return result


def _growth(path: Path, write: object) -> int:
    billing_of(path).close()
    before = path.stat().st_size
    write(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path.stat().st_size - before


def _event(number: int, now: float) -> events.EventRef:
    return events.EventRef(
        id=stripe_id("evt", number % 100_000, 28),
        type="customer.subscription.updated",
        created=int(now),
        livemode=True,
        account=None,
        customer_id=stripe_id("cus", number % 100_000, 14),
        object_id=stripe_id("sub", number % 100_000, 24),
    )


def _record(path: Path, count: int) -> None:
    """Record events as the webhook and the worker do; for once without an fsync for each."""
    billing = billing_of(path)
    without_fsync()
    record_events(count)
    billing.close()


def record_events(count: int) -> None:
    """Record events and mark them applied, in the open database."""
    now = time.time()
    for start in range(0, count, 50):
        events = [_event(number, now) for number in range(start, start + 50)]
        for each in events:
            inbox.record(each, "webhook", now, now)
        _applied([each.id for each in events], now)


def _sizes_over_time(path: Path, a_day: int) -> list[int]:
    """Live through a year of so many events a day, with the daily pruning; return the file's size after each day."""
    billing = billing_of(path)
    without_fsync()
    sizes, number, began = [], 0, time.time()
    for day in range(365):
        now = began + day * DAY
        events = [_event(number + each, now) for each in range(a_day)]
        number += a_day
        for each in events:
            inbox.record(each, "webhook", now, now)
        _applied([each.id for each in events], now)
        prune(now, KEEP_DAYS)
        sizes.append(_size())
    billing.close()
    return sizes


def _applied(event_ids: list[str], now: float) -> None:
    from corkage import storage

    with storage.writing():
        inbox.mark_applied(event_ids, "converged", now)


def without_fsync() -> None:
    from corkage import storage

    storage.current().pragma("synchronous", "off", permanent=True)


def _size() -> int:
    from corkage import storage

    return int(storage.current().of_thread().execute("PRAGMA page_count").fetchone()[0]) * 4096
