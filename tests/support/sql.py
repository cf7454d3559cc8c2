"""The statements that reach SQLite."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from corkage import storage


@contextmanager
def statements() -> Iterator[list[str]]:
    """Yield a list that grows by each statement, on every connection that is open."""
    seen: list[str] = []
    connections: list[sqlite3.Connection] = storage.current().open_connections()
    for connection in connections:
        connection.set_trace_callback(seen.append)
    try:
        yield seen
    finally:
        for connection in connections:
            connection.set_trace_callback(None)
