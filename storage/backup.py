"""Backups of an SQLite file: a copy of one moment, made while others write, and put back in one transaction."""

import os
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from .engine import MOVED

COPIED = "backup_of"  # the setting that a backup has, and no database in use: when it was made, in Unix seconds
PAGES = 2_000  # at a time: 8 MB, between which the progress is shown
BUSY_SECONDS = 10.0
COMPANIONS = ("-wal", "-shm")

Progress = Callable[[int, int], object]
"""Called with how many pages were copied, and of how many."""


class NotUsable(Exception):
    """A file is no sound database of Corkage."""


class Content(NamedTuple):
    """What a database says of itself.

    Shape   settings: what it remembers of itself, by name; rows: of each table, by its name
    """

    settings: dict[str, str]
    rows: dict[str, int]

    @property
    def version(self) -> int:
        """The version of the schema."""
        return _number(self.settings, "schema_version") or 0

    @property
    def copied_at(self) -> int | None:
        """When the backup was made, in Unix seconds; None for what is no backup."""
        return _number(self.settings, COPIED)

    @property
    def users(self) -> int:
        """How many users it knows."""
        return self.rows["corkage_user"]


def read(path: str) -> Content:
    """Return what a file holds, once all of it was found to be sound.

    Errors  NotUsable
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise NotUsable(f"{path} is no file")  # SQLite would wait for ever for whoever writes into a pipe
    try:
        with closing(_reading(path)) as file:
            _check(file)
            return _content(file)
    except sqlite3.Error as error:
        raise NotUsable(f"{path} cannot be read: {error}") from error


def settings_of(file: sqlite3.Connection) -> dict[str, str]:
    """Return what a database remembers of itself, by name.

    Errors  sqlite3.Error
    """
    return dict(file.execute("SELECT name, value FROM corkage_setting").fetchall())


def copy(source: sqlite3.Connection, path: str, at: int, progress: Progress) -> Content:
    """Copy all that was committed until now into the file at the path, in place of what is there; nobody who writes
    meanwhile waits. The file is there once the copy was read back and found to be whole, and complete.

    Units   at: now, in Unix seconds
    Errors  NotUsable; sqlite3.Error; OSError
    """
    with _beside(path) as part:
        with _moment(source):
            wanted = _content(source)
            _copy_pages(source, part, progress)
        with closing(sqlite3.connect(part)) as target:
            target.execute("INSERT OR REPLACE INTO corkage_setting VALUES (?, ?)", (COPIED, str(at)))
            target.commit()
            target.execute("PRAGMA journal_mode = delete")  # one file, which a read-only medium may hold
        found = read(part)
        if found.rows | {"corkage_setting": 0} != wanted.rows | {"corkage_setting": 0}:
            raise NotUsable("the copy does not have the rows that were read from the database")
        _put(part, path)
    return found


@contextmanager
def staged(backup: str, path: str, edits: Sequence[str]) -> Iterator[str]:
    """Name a copy of a backup, beside the path, that is changed to be the database there; in the end it is gone.

    Shape   edits: statements
    Errors  sqlite3.Error; OSError
    """
    with _beside(path) as part:
        with closing(_reading(backup)) as source:
            _copy_pages(source, part, lambda *_: None)
        with closing(sqlite3.connect(part)) as target, target:
            for statement in (f"DELETE FROM corkage_setting WHERE name = '{COPIED}'", *edits):  # noqa: S608 -- a text of this module
                target.execute(statement)
        yield part


def write_into(part: str, path: str) -> None:
    """Make the database at the path equal to a file, in one transaction: who reads goes on reading.

    Errors  sqlite3.Error, where what is there is no sound database of the same page size, or another program locks it
    """
    with closing(_reading(part)) as source, closing(_writing(path)) as target:
        source.backup(target, progress=_refuse_lock)
        target.execute("PRAGMA busy_timeout = 0")
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # as far as readers let it


def _refuse_lock(status: int, *_: int) -> None:
    """Stop Python's backup(), which tries again for ever, once SQLite has waited in vain."""
    if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise sqlite3.OperationalError("the database is locked by another program")


def replace(part: str, path: str, aside: str) -> None:
    """Put a staged file at the path, and what is there aside, with its companions. It is there at each moment.

    Errors  OSError
    """
    _give_away(part, path)
    for each in ("", *COMPANIONS):
        with suppress(FileNotFoundError):
            os.link(f"{path}{each}", f"{aside}{each}")
    _put(part, path)


def _give_away(part: str, path: str) -> None:
    """Give a file the owner and the permissions of the one that it replaces; else the owner of its folder."""
    is_there = os.path.exists(path)
    found = os.stat(path if is_there else os.path.dirname(path))
    os.chmod(part, found.st_mode & 0o777 if is_there else 0o640)
    with suppress(PermissionError):  # who is not root owns it, or may not read it, which the next start says
        os.chown(part, found.st_uid, found.st_gid)


def _copy_pages(source: sqlite3.Connection, part: str, progress: Progress) -> None:
    with closing(sqlite3.connect(part)) as target:
        source.backup(target, pages=PAGES, progress=lambda _, left, of: progress(of - left, of))


@contextmanager
def _moment(source: sqlite3.Connection) -> Iterator[None]:
    """Have the source read as it is now. Without it, each write of others would have a copy begin anew."""
    source.execute("BEGIN")
    try:
        source.execute("SELECT count(*) FROM sqlite_master").fetchall()
        yield
    finally:
        source.execute("ROLLBACK")


@contextmanager
def _beside(path: str) -> Iterator[str]:
    """Name a file in a folder of its own beside the path, for its owner alone; in the end the folder is gone."""
    with tempfile.TemporaryDirectory(prefix=".corkage-", dir=os.path.dirname(path)) as folder:
        part = os.path.join(folder, "part.db")
        os.close(os.open(part, os.O_CREAT | os.O_WRONLY, 0o600))
        yield part


def _reading(path: str) -> sqlite3.Connection:
    """Open a file to read it only. Where no -wal has a part of it, nothing is written beside it, either."""
    has_wal = os.path.exists(f"{path}-wal") and os.path.getsize(f"{path}-wal") > 0
    return _opened(path, "mode=ro" if has_wal else "mode=ro&immutable=1")


def _writing(path: str) -> sqlite3.Connection:
    connection = _opened(path, "mode=rw")
    connection.execute("PRAGMA synchronous = full")
    return connection


def _opened(path: str, options: str) -> sqlite3.Connection:
    uri = f"file://{quote(os.fsencode(os.path.abspath(path)))}?{options}"
    return sqlite3.connect(uri, timeout=BUSY_SECONDS, uri=True)


def _check(file: sqlite3.Connection) -> None:
    problems = [text for (text,) in file.execute("PRAGMA integrity_check(3)")]
    if problems != ["ok"]:
        raise NotUsable(f"{_name(file)} is damaged: {'; '.join(problems)}")


def _content(file: sqlite3.Connection) -> Content:
    tables = _tables(file)
    if MOVED in tables:
        raise NotUsable(f"{_name(file)} was moved to another database with `corkage move-database`")
    if not {"corkage_user", "corkage_setting"} <= {*tables}:
        raise NotUsable(f"{_name(file)} holds no tables of Corkage")
    rows = {name: file.execute(f"SELECT count(*) FROM {_quoted(name)}").fetchone()[0] for name in tables}  # noqa: S608 -- a name that the database itself gave
    answers = file.execute("SELECT user_id, allowed, reason, plan FROM corkage_access")
    for count, _ in enumerate(answers):  # each answer can be read
        if count > sum(rows.values()):
            raise NotUsable(f"{_name(file)} has more answers than rows")
    found = Content(settings_of(file), rows)
    _check_numbers(file, found.settings)
    return found


def _tables(file: sqlite3.Connection) -> list[str]:
    """Return the names of the tables.

    Errors  NotUsable where there is a trigger, which would go on changing what Corkage writes: it makes none
    """
    kinds = file.execute("SELECT type, name FROM sqlite_master").fetchall()
    if triggers := [name for kind, name in kinds if kind == "trigger"]:
        raise NotUsable(f"{_name(file)} has a trigger, and Corkage makes none: {triggers[0]!r}")
    return [name for kind, name in kinds if kind == "table"]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _check_numbers(file: sqlite3.Connection, settings: dict[str, str]) -> None:
    for name in ("schema_version", COPIED):
        if name in settings and not re.fullmatch("[0-9]{1,11}", str(settings[name])):
            raise NotUsable(f"{_name(file)} has {settings[name]!r} as its {name}")


def _number(settings: dict[str, str], name: str) -> int | None:
    return int(settings[name]) if settings.get(name) else None


def _name(file: sqlite3.Connection) -> str:
    return str(file.execute("PRAGMA database_list").fetchone()[2])


def _put(part: str, path: str) -> None:
    """Move a finished file to its path, durably. Companions of what was there go first: they would be mixed with it."""
    _sync(part)
    for each in COMPANIONS:
        Path(f"{path}{each}").unlink(missing_ok=True)
    os.replace(part, path)
    _sync(os.path.dirname(path))


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
