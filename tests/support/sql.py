"""The statements that reach SQLite."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from corkage import storage


@contextmanager
def statements() -> Iterator[list[str]]:
    """Yield a list that grows by each statement, on every connection: a thread may open its own meanwhile."""
    seen: list[str] = []
    opening = storage.Database._open

    def traced(database: Any) -> Any:
        connection = opening(database)
        connection.set_trace_callback(seen.append)
        return connection

    with mock.patch.object(storage.Database, "_open", traced):
        for connection in storage.current().open_connections():
            connection.set_trace_callback(seen.append)
        try:
            yield seen
        finally:
            for connection in storage.current().open_connections():
                connection.set_trace_callback(None)
