"""The database: whether it can be written, has room, is whole, is nobody else's to read, and has a copy."""

import json
import os
import shlex
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ... import storage
from ...models import setting
from .. import disk, server, writable
from ..files import exposed
from ..spans import DAY, size, span
from .check import Check, Examination, Seen, note, ok, wrong

LONGEST_LOOK_SECONDS = 10.0  # at the file's integrity
STEPS = 100_000  # of SQLite's, between two looks at the clock: some milliseconds
OLD_BACKUP_SECONDS = 2 * DAY
BACKUP = "backup"  # the setting that says when the last copy was made, and which


def unwritable(reason: str, label: str) -> Seen:
    """Return what is said of a database that cannot be used."""
    return wrong(f"nothing can be written to the database: {reason}", storage.repair(reason, label))


def _write(_: Examination) -> Iterator[Seen]:
    if reason := writable.try_to_write():
        yield unwritable(reason, storage.current().label)


def _room(_: Examination) -> Iterator[Seen]:
    path = disk.file_of_database()
    if path is None:
        return
    found = disk.room()
    if found.is_scarce:
        yield wrong(
            f"{size(found.free or 0)} are free on the disk of {path}", f"df -h {_quoted(path.parent)}, and make room"
        )
    else:
        yield ok(f"{size(found.free or 0)} are free; the database has {size(found.database)}")


def _wal(_: Examination) -> Iterator[Seen]:
    path = disk.file_of_database()
    if path is None:
        return
    found = disk.room()
    if found.has_large_wal:
        yield wrong(
            f"the write-ahead log {path}-wal has {size(found.wal or 0)}: a reader that does not end keeps it from "
            f"being emptied; fuser -v {_quoted(path)} lists the programs that have it open",
            f'sqlite3 {_quoted(path)} "PRAGMA wal_checkpoint(TRUNCATE)"',
        )
    else:
        yield ok(f"the write-ahead log has {size(found.wal or 0)}")


def _integrity(_: Examination) -> Iterator[Seen]:
    path = disk.file_of_database()
    if path is None:
        return
    until = time.monotonic() + LONGEST_LOOK_SECONDS
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        connection.set_progress_handler(lambda: time.monotonic() > until, STEPS)
        try:
            found = [str(each) for (each,) in connection.execute("PRAGMA quick_check(3)")]
        except sqlite3.OperationalError as error:
            if "interrupted" not in str(error):
                raise
            yield note(
                f"the file is too large to be looked through in {LONGEST_LOOK_SECONDS:.0f} s: {_look_by_hand(path)}"
            )
            return
        except sqlite3.DatabaseError as error:
            found = [str(error)]
    if found != ["ok"]:
        yield wrong(f"the file is damaged: {'; '.join(found)}", f"{_look_by_hand(path)}, and restore a backup")


def _look_by_hand(path: Path) -> str:
    return f'sqlite3 {_quoted(path)} "PRAGMA quick_check"'


def _private(examination: Examination) -> Iterator[Seen]:
    """Look who may read what holds e-mails and secrets. The owner's group may."""
    for what, repair in exposed(examination.config.database, os.getcwd()):
        yield wrong(what, repair)


def _server(_: Examination) -> Iterator[Seen]:
    for what, repair in server.examine():
        yield wrong(what, repair) if repair else note(what)


def _backup(examination: Examination) -> Iterator[Seen]:
    if disk.file_of_database() is None:
        return
    made = json.loads(setting(BACKUP) or "null")
    if made is None:
        yield note("none was made yet: grants to users without a customer, usage and settings are only in this file")
        return
    age = examination.now - made["at"]
    what = f"the last was made {span(age)} ago: {made['file']}"
    yield note(what) if age > OLD_BACKUP_SECONDS else ok(what)


def _quoted(path: Path) -> str:
    return shlex.quote(os.fspath(path))


CHECKS = (
    Check("write", "a test write, durably", "the database can be written", _write),
    Check(
        "room",
        f"free room on the disk of the database file, at least {size(disk.LEAST_FREE_BYTES)}",
        "a server's own",
        _room,
    ),
    Check(
        "log size",
        f"the size of SQLite's write-ahead log, at most {size(disk.LARGEST_WAL_BYTES)}",
        "a server's own",
        _wal,
    ),
    Check(
        "integrity",
        f"SQLite's `quick_check` of the file, for {LONGEST_LOOK_SECONDS:.0f} s at most",
        "the file is whole",
        _integrity,
    ),
    Check(
        "file modes",
        "whether other users of the machine can read the database file or `.env`",
        "only this user and their group can read the database and .env",
        _private,
    ),
    Check(
        "server",
        "a PostgreSQL server: its version, its clock, what it confirms, what is in between",
        "nothing to say of the database's server",
        _server,
    ),
    Check("backup", "when the last backup of the file was made", "a server's own", _backup),
)
