"""How much work the database does: steps of SQLite's machine, on the connections of this process.

They are the same each time, on any machine, whatever else runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

from torture import size

from corkage.storage import sqlite

IN_ONE = size(10, long=1000)  # SQLite counts so many steps at a time; with few it takes several times as long


class Steps:
    """A counter.

    Shape   count: the steps of every connection; longest: of the longest transaction, in which the write lock is held
    """

    def __init__(self) -> None:
        self.count = self.longest = 0
        self._in_this = 0

    def begin(self) -> None:
        """Count from 0."""
        self.count = self.longest = 0

    def watch(self, connection: Any) -> None:
        """Count the steps of a connection, too."""
        connection.set_progress_handler(partial(self._add, connection), IN_ONE)
        connection.set_trace_callback(self._see)

    def _add(self, connection: Any) -> int:
        self.count += IN_ONE
        if connection.in_transaction:  # there is one at a time
            self._in_this += IN_ONE
            self.longest = max(self.longest, self._in_this)
        return 0

    def _see(self, statement: str) -> None:
        if statement.startswith("BEGIN"):
            self._in_this = 0


@contextmanager
def steps() -> Iterator[Steps]:
    """Count the steps of the connections that are opened from now on."""
    counter, opening = Steps(), sqlite.Database._open

    def watched(database: Any) -> Any:
        connection = opening(database)
        counter.watch(connection)
        return connection

    with mock.patch.object(sqlite.Database, "_open", watched):
        yield counter
