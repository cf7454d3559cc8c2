"""Another program that has the database open: on either engine."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from corkage import storage
from corkage.models import TABLES
from corkage.storage import sqlite

# What a writing transaction takes. A single statement does not ask for the advisory lock, so the tables are held, too.
_TAKE = """
BEGIN;
SELECT pg_advisory_xact_lock((1668248171::bigint << 32) | current_schema()::regnamespace::oid::bigint);
LOCK TABLE corkage_setting, corkage_stripe_event, corkage_user, corkage_customer IN EXCLUSIVE MODE;
"""


@contextmanager
def elsewhere(database: str) -> Iterator[Any]:
    """Connect as another program does; each statement commits by itself. `execute` takes no values."""
    if not storage.is_url(database):
        with closing(sqlite3.connect(database, isolation_level=None, check_same_thread=False)) as connection:
            yield connection
        return
    import psycopg  # optional: only where there is a PostgreSQL server

    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def hold(connection: Any) -> None:
    """Let nobody else write, until ROLLBACK."""
    connection.execute("BEGIN IMMEDIATE" if isinstance(connection, sqlite3.Connection) else _TAKE)


@contextmanager
def locked(database: str) -> Iterator[None]:
    """Another program writes, and does not end."""
    with elsewhere(database) as connection:
        hold(connection)
        yield
        connection.execute("ROLLBACK")


def everything(database: str) -> str:
    """Return all that the database holds, as text."""
    if not storage.is_url(database):
        path = Path(database)
        return b"".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*")).decode(errors="replace")
    with elsewhere(database) as connection:
        return str([connection.execute(f"SELECT * FROM {table._meta.table_name}").fetchall() for table in TABLES])


def lose(database: str) -> None:
    """Delete all that a database holds, which nobody has open."""
    if not storage.is_url(database):
        path = Path(database)
        for each in path.parent.glob(f"{path.name}*"):
            each.unlink()
        return
    with elsewhere(database) as connection:
        for table in TABLES:
            connection.execute(f"DROP TABLE {table._meta.table_name} CASCADE")


@contextmanager
def damaged(path: str, table: str) -> Iterator[None]:
    """Overwrite the first page of a table, which nobody has open; mend it afterwards."""
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = file.execute("PRAGMA page_size").fetchone()[0]
        (page,) = file.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    with open(path, "r+b") as file:
        file.seek((page - 1) * size)
        whole = file.read(size)
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
        file.flush()
        yield
        file.seek((page - 1) * size)
        file.write(whole)


def take_away(database: str) -> None:
    """Make the database that this process has open unreadable from now on."""
    storage.release()
    if storage.is_url(database):
        storage.current().database = "postgresql://127.0.0.1:1/gone"  # nobody listens there
    else:
        with Path(database).open("r+b") as file:
            file.write(b"no database" * 10)


def without_fsync() -> None:
    """Let the open database be lost with the machine's power: what plays thousands of stories keeps none of them."""
    if isinstance(storage.current(), sqlite.Database):
        storage.current().pragma("synchronous", "off")


def be_impatient(monkeypatch: pytest.MonkeyPatch, seconds: float = 0.1) -> None:
    """Wait so long for other writers."""
    monkeypatch.setattr("corkage.storage.deadline.BUSY_SECONDS", seconds)
