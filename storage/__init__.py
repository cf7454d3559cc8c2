"""The database: the one seam between the program and its engine.

One database is open in a process at a time: the tables are one set per process. An engine brings a class like
`sqlite.Database`.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, TypeVar

import peewee

from ..errors import ConfigError, DatabaseUnavailable
from .sqlite import FILE_ERRORS, Database, reading

__all__ = [
    "FILE_ERRORS",
    "Database",
    "close_file",
    "column",
    "connection",
    "current",
    "execute",
    "execute_many",
    "note",
    "open_file",
    "pieces",
    "proxy",
    "reading",
    "release",
    "rows",
    "trying",
    "write",
    "writing",
]

_Value = TypeVar("_Value")

proxy = peewee.DatabaseProxy()
"""What the tables are declared on."""


def open_file(path: str) -> None:
    """Open the database file and make it the one the tables live in.

    Errors  ConfigError when the file cannot be opened, or another is open in this process;
            DatabaseUnavailable when it is locked, or the disk is full
    """
    if proxy.obj is not None:
        raise ConfigError(
            [f"this process already has the database {current().path} open: close that Billing before making another"]
        )
    proxy.initialize(Database.open_file(path))


def current() -> Database:
    """Return the open database; RuntimeError when there is none."""
    if proxy.obj is None:
        raise RuntimeError("no database is open: create a Billing first")
    opened: Database = proxy.obj
    return opened


def release() -> None:
    """Close every connection. The next use, in this process or in one forked from it, opens new ones."""
    current().close_all()


def close_file() -> None:
    """Close the open database, if any."""
    if proxy.obj is not None:
        current().close_all()
        proxy.initialize(None)


def connection() -> sqlite3.Connection:
    """Return this thread's connection to the open database, for reading without the ORM."""
    return current().of_thread()


def column(query: Any) -> list[Any]:
    """Read a query of one column into a list."""
    with reading():
        return [value for (value,) in query.tuples()]


def pieces(values: Sequence[_Value], size: int = 500) -> Iterator[Sequence[_Value]]:
    """Cut a list for IN (...) into pieces: a database takes a limited number of values in one statement."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def execute(sql: str) -> None:
    """Execute a statement that Peewee has no words for."""
    current().execute_sql(sql)


def execute_many(sql: str, values: Sequence[tuple[object, ...]]) -> None:
    """Execute a statement for each of these rows, inside a writing transaction."""
    if values:
        with reading():
            connection().executemany(sql, values)


def rows(sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the rows of a query that runs too often for the ORM."""
    with reading():
        return connection().execute(sql, values).fetchall()


def writing() -> AbstractContextManager[None]:
    """Write in one transaction; see Database.writing."""
    return current().writing()


def write(sql: str, values: tuple[object, ...]) -> int:
    """Execute one statement, durably; return how many rows it wrote. Threads that write at once share a commit.

    Errors  as `writing`
    """
    return current().write(sql, values)


class _RolledBack(Exception):
    """Ends a transaction that was only tried."""


@contextmanager
def trying() -> Iterator[None]:
    """Write as `writing` does, and roll it back at the end."""
    with suppress(_RolledBack), writing():
        yield
        raise _RolledBack


def note(error: DatabaseUnavailable) -> None:
    """Note an error of the open database where it is answered or survived: the log has it once, and /health knows."""
    if proxy.obj is not None:
        current().note(error)


# A fork copies connections that belong to the parent. The child must neither use nor close them, since closing drops
# the parent's locks: it keeps them for ever, and opens its own.
_kept: list[tuple[Database, list[Any]] | None] = []


def _before_fork() -> None:
    opened: Database | None = proxy.obj
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
