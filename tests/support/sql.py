"""The statements that reach the database."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from corkage import storage
from corkage.storage import sqlite

AT_CONNECTING = ("SELECT pg_backend_pid()", "SET plan_cache_mode")


@contextmanager
def statements() -> Iterator[list[str]]:
    """Yield a list that grows by each statement, on every connection: a thread may open its own meanwhile."""
    seen: list[str] = []
    with _traced_by_sqlite(seen) if isinstance(storage.current(), sqlite.Database) else _traced_by_psycopg(seen):
        yield seen


@contextmanager
def _traced_by_sqlite(seen: list[str]) -> Iterator[None]:
    opening = sqlite.Database._open

    def traced(database: Any) -> Any:
        connection = opening(database)
        connection.set_trace_callback(seen.append)
        return connection

    with mock.patch.object(sqlite.Database, "_open", traced):
        for connection in storage.current().open_connections():
            connection.set_trace_callback(seen.append)
        try:
            yield
        finally:
            for connection in storage.current().open_connections():
                connection.set_trace_callback(None)


@contextmanager
def _traced_by_psycopg(seen: list[str]) -> Iterator[None]:
    import psycopg  # optional: only where there is a PostgreSQL server

    def traced(method: Any) -> Any:
        def run(self: Any, query: Any, *values: Any, **options: Any) -> Any:
            if not query.startswith(AT_CONNECTING):
                seen.append(query.strip())
            return method(self, query, *values, **options)

        return run

    with ExitStack() as patches:
        for name in ("execute", "executemany"):
            patches.enter_context(mock.patch.object(psycopg.Cursor, name, traced(getattr(psycopg.Cursor, name))))
        yield
