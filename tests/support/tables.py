"""The statements that create the tables, written once per process: Peewee takes longer for their text than SQLite for
executing them, and nearly every test has a new database. PostgreSQL takes longer still, so its tables are mostly those
of an earlier test, emptied (postgres.py)."""

import functools
from collections.abc import Callable
from typing import Any

from corkage import schema, storage
from corkage.models import TABLES


def remembered(create: Callable[[], None]) -> Callable[[], None]:
    """Return what does the same as `create`, by statements noted at its first call on each engine.

    It leaves tables that are there as they are: whoever asks has found no version in them.
    """
    noted: dict[type, list[str]] = {}
    made = {table._meta.table_name for table in TABLES}

    @functools.wraps(create)
    def create_again() -> None:
        engine = type(storage.current())
        if made <= set(storage.current().get_tables()):
            return
        if engine in noted:
            for statement in noted[engine]:
                storage.execute(statement)
        else:
            noted[engine] = _noting(create)

    return create_again


def _noting(create: Callable[[], None]) -> list[str]:
    database: Any = storage.current()
    statements: list[str] = []

    def execute_sql(sql: str, params: Any = None) -> Any:
        assert not params, "what has values cannot be repeated"
        statements.append(sql)
        return type(database).execute_sql(database, sql, params)

    database.execute_sql = execute_sql
    try:
        create()
    finally:
        del database.execute_sql
    return statements


def make_tables(url: str) -> None:
    """Make Corkage's tables in a database, without the row that says which version they have."""
    storage.open_database(url)
    try:
        with storage.writing():
            schema.make_tables()
    finally:
        storage.close_database()
