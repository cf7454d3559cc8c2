"""The database: the one seam between the program and its engine, SQLite or PostgreSQL.

One database is open in a process at a time: the tables are one set per process.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, TypeVar

import peewee

from ..errors import ConfigError, DatabaseUnavailable
from . import engine, file, sqlite
from .engine import Engine
from .group_commit import Execute
from .url import is_url, without_password

_Value = TypeVar("_Value")

proxy = peewee.DatabaseProxy()
"""What the tables are declared on."""


def open_database(database: str) -> None:
    """Open the database and make it the one the tables live in.

    Shape   database: the path of a file, or the URL of a PostgreSQL server
    Errors  ConfigError when it cannot be opened, or another is open in this process;
            DatabaseUnavailable when a file is locked, or its disk is full
    """
    if proxy.obj is not None:
        raise ConfigError(
            [f"this process already has the database {current().label} open: close that Billing before making another"]
        )
    proxy.initialize(engine_of(database))


def refuse_if_gone(database: str) -> None:
    """Make sure that who only looks makes no new file in the place of one that was taken away.

    Errors  DatabaseUnavailable
    """
    if not is_url(database):
        file.refuse_if_gone(database)


def engine_of(database: str) -> Engine:
    """Open a database that the tables do not live in.

    Errors  as `open_database`
    """
    engine: Engine = _postgresql().Database.open(database) if is_url(database) else sqlite.Database.open(database)
    return engine


def label(database: str) -> str:
    """Return what logs and errors call a database that is not open: its path, or its URL without the password."""
    return without_password(database) if is_url(database) else os.path.abspath(database)


def repair(reason: str, label: str) -> str:
    """Return the command that shows more about why the database of this label is unavailable."""
    command: str = (_postgresql().errors if is_url(label) else sqlite).repair(reason, label)
    return command


def _postgresql() -> Any:
    try:
        from . import postgresql  # optional: only for a PostgreSQL server
    except ImportError as error:
        raise ConfigError(
            [f"BILLING_DATABASE names a PostgreSQL server: pip install 'corkage[postgresql]' ({error})"]
        ) from error
    return postgresql


def current() -> Engine:
    """Return the open database; RuntimeError when there is none."""
    if proxy.obj is None:
        raise RuntimeError("no database is open: create a Billing first")
    opened: Engine = proxy.obj
    return opened


def release() -> None:
    """Close every connection. The next use, in this process or in one forked from it, opens new ones."""
    current().close_all()


def close_database() -> None:
    """Close the open database, if any."""
    if proxy.obj is not None:
        current().close_all()
        proxy.initialize(None)


def reading() -> AbstractContextManager[None]:
    """Turn the failures of the database itself into DatabaseUnavailable; a faulty statement stays what it is, a bug."""
    return current().reading()


def column(query: Any) -> list[Any]:
    """Read a query of one column into a list."""
    with reading():
        return [value for (value,) in query.tuples()]


def pieces(values: Sequence[_Value], size: int = 500) -> Iterator[Sequence[_Value]]:
    """Cut a list for IN (...) into pieces: a database takes a limited number of values in one statement."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def even_pieces(values: Sequence[_Value]) -> Iterator[Sequence[_Value]]:
    """Cut a list into pieces of three sizes, for a statement with a row for each: a connection keeps its last hundred
    statements, and those of a hundred sizes take tens of megabytes.
    """
    start = 0
    for size in (100, 10, 1):
        while len(values) - start >= size:
            yield values[start : start + size]
            start += size


def least(*values: Any) -> Any:
    """Return the smallest of several values of a row, for a query. A null makes it null, or counts for nothing."""
    return peewee.Function(current().LEAST, values)


def greatest(*values: Any) -> Any:
    """Return the greatest of several values; see `least`."""
    return peewee.Function(current().GREATEST, values)


def execute(sql: str) -> None:
    """Execute a statement that Peewee has no words for."""
    current().execute_sql(sql)


def execute_many(sql: str, values: Sequence[tuple[object, ...]]) -> None:
    """Execute a statement for each of these rows, inside a writing transaction."""
    if values:
        current().execute_many(sql, values)


def change(sql: str, values: Any = ()) -> int:
    """Execute a statement that runs too often for the ORM, inside a writing transaction; return how many rows it wrote.

    Shape   values as `row`
    Errors  DatabaseUnavailable
    """
    return current().change(sql, values)


def row(sql: str, values: Any = ()) -> tuple[Any, ...] | None:
    """Return the first row of a query that runs too often for the ORM, or None.

    Shape   values for its ?, in their order; or for its :names, by name
    Errors  DatabaseUnavailable
    """
    found: tuple[Any, ...] | None = current().row(sql, values)
    return found


def rows(sql: str, values: Any = ()) -> list[tuple[Any, ...]]:
    """Return all rows of such a query; see `row`."""
    return current().rows(sql, values)


def writing() -> AbstractContextManager[None]:
    """Write in one transaction; see Engine.writing."""
    return current().writing()


def write(sql: str, values: tuple[object, ...]) -> None:
    """Execute one statement, durably. Threads that write at once share a commit.

    Shape   sql: with {rows} in place of its row, as in `INSERT ... VALUES {rows}`, the rows of such threads also share
            the statement
    Errors  as `writing`
    """
    current().write(sql, values)


def act(deed: Callable[[Execute], _Value], of: str) -> _Value:
    """Call a small function in a writing transaction; return its result once that is durable. Threads that come at once
    share a commit where the engine has one writer.

    Shape   deed: executes statements by what it is given, and does nothing else: it may be called in another thread,
            and again where a transaction was undone; of: what it is about, such as a user: functions of the same take
            turns, also over processes
    Errors  as `writing`; what a statement raises
    """
    result: _Value = current().act(deed, of)
    return result


def exclude_acts(of: str) -> None:
    """Let no function run that `act` is given for the same, until the end of this writing transaction."""
    current().exclude_acts(of)


class _RolledBack(Exception):
    """Ends a transaction that was only tried."""


@contextmanager
def trying() -> Iterator[None]:
    """Write as `writing` does, and roll it back at the end."""
    with suppress(_RolledBack), writing():
        yield
        raise _RolledBack


def with_rows(sql: str, rows: Sequence[Sequence[object]]) -> str:
    """Return a statement with marks for these rows, all of one width, in place of {rows}."""
    return engine.with_rows(sql, len(rows), len(rows[0]))


def is_alone() -> bool:
    """Return whether no other process uses the open database; False where that cannot be known."""
    return current().is_alone()


def note(error: DatabaseUnavailable) -> None:
    """Note an error of the open database where it is answered or survived: the log has it once, and /health knows."""
    if proxy.obj is not None:
        current().note(error)


# A fork copies connections that belong to the parent. The child must neither use nor close them, since closing drops
# the parent's locks: it keeps them for ever, and opens its own.
_kept: list[tuple[Engine, list[Any]] | None] = []


def _before_fork() -> None:
    opened: Engine | None = proxy.obj
    if opened is not None:
        opened.hold_writes()
    _kept.append((opened, opened.open_connections()) if opened else None)


def _after_fork_in_parent() -> None:
    if (kept := _kept.pop()) is not None:
        kept[0].let_writes_go()


def _after_fork_in_child() -> None:
    if proxy.obj is not None:
        proxy.initialize(current().of_child())


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
