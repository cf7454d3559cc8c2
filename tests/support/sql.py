"""The statements that reach SQLite."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from corkage import storage


@contextmanager
def statements() -> Iterator[list[str]]:
    """Yield a list that grows by each statement, on every connection: a thread may open its own meanwhile."""
    seen: list[str] = []
    opening = storage.Database._open

    def traced(database: storage.Database) -> Any:
        connection = opening(database)
        connection.set_trace_callback(seen.append)
        return connection

    storage.Database._open = traced  # type: ignore[method-assign]
    try:
        for connection in storage.current().open_connections():
            connection.set_trace_callback(seen.append)
        yield seen
    finally:
        storage.Database._open = opening  # type: ignore[method-assign]
        for connection in storage.current().open_connections():
            connection.set_trace_callback(None)
