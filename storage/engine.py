"""What the engines have in common: how they are read, written and forked, and what their errors mean."""

import datetime
import logging
import threading
import weakref
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from typing import Any, ClassVar, NamedTuple, Self

import peewee

from ..errors import BillingError, DatabaseUnavailable
from ..logs.facts import logger
from ..trouble import Trouble
from .deadline import Deadline
from .group_commit import Execute

NESTED = "a writing transaction is open in this thread already; they must not nest"
ROWS = "{rows}"  # in a statement, the place of the rows of all who write at once
MOVED = "corkage_moved"  # the table of a database that was moved away: the only one that is left to be found
_WHERE_TO = "SELECT target, token, moved_at FROM corkage_moved"

log = logger("corkage.database")


class Moved(NamedTuple):
    """Where the tables of a database went, by `corkage move-database`.

    Shape   target: as logs may show it; token: which the copy has as well, until the move is complete
    """

    target: str
    token: str
    moved_at: int

    def __str__(self) -> str:
        day = datetime.datetime.fromtimestamp(self.moved_at, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
        return f"it was moved to {self.target} on {day}. Set BILLING_DATABASE to that, and restart Corkage"


class Engine(peewee.Database, metaclass=ABCMeta):
    """A database as Corkage uses it: a connection for each thread, kept open; one writing transaction at a time.

    Shape   label: what logs and errors call it, without a password;
            PRESENT: the present second, LEAST and GREATEST: the functions of several values, in its SQL;
            ERRORS: what it raises, of Peewee's classes and of the driver's;
            LOCKED: the reason when another writer keeps its lock
    """

    PRESENT: ClassVar[str]
    LEAST: ClassVar[str]
    GREATEST: ClassVar[str]
    ERRORS: ClassVar[tuple[type[Exception], ...]]
    LOCKED: ClassVar[str]

    def __init__(self, label: str, database: str, **options: Any) -> None:
        self.label = label
        self.trouble = Trouble(
            log,
            logging.ERROR,
            "the database is unavailable, trying again: %s",
            "the database is available again, after %.0f s",
        )
        self._moved: Moved | None = None
        self._opened: weakref.WeakSet[Any] = weakref.WeakSet()
        self._write_lock = threading.RLock()
        super().__init__(database, **options)

    # Reading

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn the database's own failures into DatabaseUnavailable; a faulty statement stays what it is, a bug."""
        try:
            yield
        except self.ERRORS as error:
            if self.misses_table(error) and (moved := self.moved()):
                raise DatabaseUnavailable(str(moved)) from error
            if self.is_of_statement(error):
                raise
            raise self.unavailable(error) from error

    def row(self, sql: str, values: Any = ()) -> Any:
        """Return the first row of a query, or None.

        Errors  DatabaseUnavailable
        """
        try:
            return self._execute(sql, values).fetchone()
        except self.ERRORS:
            with self.reading():  # translates the error; entering it for every read would cost half as much again
                raise

    def rows(self, sql: str, values: Any = ()) -> list[Any]:
        """Return the rows of a query.

        Errors  DatabaseUnavailable
        """
        with self.reading():
            found: list[Any] = self._execute(sql, values).fetchall()
            return found

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """Execute as Peewee does; where the database itself refuses, the error is ours.

        Errors  DatabaseUnavailable
        """
        with self.reading():
            return super().execute_sql(sql, params)  # type: ignore[no-untyped-call]  # a method of Peewee's whose stub has no types

    @abstractmethod
    def is_of_statement(self, error: BaseException) -> bool:
        """Return whether the engine blames the statement, and not itself."""

    @abstractmethod
    def misses_table(self, error: BaseException) -> bool:
        """Return whether the error is that a table is not there."""

    def moved(self) -> Moved | None:
        """Return where the tables went, if they were moved away; asked on a connection of its own, as the present
        one may be in a transaction that failed.
        """
        if self._moved is None:
            connect = self._connect  # type: ignore[attr-defined]  # a method of Peewee's that its stubs lack
            with suppress(*self.ERRORS), closing(connect()) as connection:
                self._moved = Moved(*connection.execute(_WHERE_TO).fetchone())
        return self._moved

    def unavailable(self, error: BaseException) -> BillingError:
        """Return the engine's error as ours."""
        return DatabaseUnavailable(str(error))

    @abstractmethod
    def _execute(self, sql: str, values: Any) -> Any:
        """Execute a statement on this thread's connection; return its cursor."""

    # Writing

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write in one transaction, the only one at this time; commit at the end, roll back on any error.

        The threads of a process queue at its lock, which is fair, before they wait for other processes; one deadline
        is over both, or each would wait for as long as all before it.

        Errors  DatabaseUnavailable when the database cannot be written
                RuntimeError when already in a transaction: they must not nest
        """
        with self._noting():
            self._refuse_nesting()
            deadline = Deadline()
            with self._held_lock(deadline), self.reading(), self._transaction(deadline):
                yield

    @contextmanager
    def _held_lock(self, deadline: Deadline) -> Iterator[None]:
        if not self._write_lock.acquire(timeout=deadline.left()):
            raise DatabaseUnavailable(self.LOCKED)
        try:
            yield
        finally:
            self._write_lock.release()

    def write(self, sql: str, values: tuple[object, ...]) -> None:
        """Execute one statement, durably. Those that come at once share an fsync; see storage.write().

        Errors  as `writing`
        """
        if not self.is_closed() and self.is_writing():
            raise RuntimeError(NESTED)
        self._write(sql, values)

    @abstractmethod
    def _write(self, sql: str, values: tuple[object, ...]) -> None:
        """Execute one statement in a transaction of its own, or share one with other threads that wait.

        Errors  as `writing`
        """

    def act(self, deed: Callable[[Execute], Any], of: str) -> Any:
        """Call a function in a writing transaction that others may share; see storage.act().

        Errors  as `writing`
        """
        if not self.is_closed() and self.is_writing():
            raise RuntimeError(NESTED)
        return self._act(deed, of)

    @abstractmethod
    def _act(self, deed: Callable[[Execute], Any], of: str) -> Any:
        """Call a function in a transaction of its own, or share one with other threads that wait; see `act`."""

    def exclude_acts(self, of: str) -> None:
        """Let no function run that `act` is given for the same, until the end of this writing transaction."""

    def change(self, sql: str, values: Any = ()) -> int:
        """Execute a statement inside a writing transaction; return how many rows it wrote.

        Errors  DatabaseUnavailable
        """
        with self.reading():
            return int(self._execute(sql, values).rowcount)

    def take_time(self) -> None:
        """Let this writing transaction, and each of its statements, take as long as it needs."""

    @abstractmethod
    def execute_many(self, sql: str, values: Sequence[tuple[object, ...]]) -> None:
        """Execute a statement for each of these rows, inside a writing transaction."""

    @abstractmethod
    def is_writing(self) -> bool:
        """Return whether a transaction is open on this thread's connection."""

    def _refuse_nesting(self) -> None:
        with self.reading():
            if self.is_writing():
                raise RuntimeError(NESTED)

    @abstractmethod
    def _transaction(self, deadline: Deadline) -> AbstractContextManager[None]:
        """Begin a transaction on this thread's connection, and wait for other processes no longer than the deadline;
        commit it at the end, roll back on any error.
        """

    @abstractmethod
    def test_write(self, seconds: float) -> bool:
        """Write, durably, what leaves every row as it was, and wait no longer for other writers; return whether it was
        tried: not where this process itself is writing all the time.

        Errors  as `writing`
        """

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Note whether a write succeeds. One that fails for its own reasons says nothing of the database."""
        try:
            yield
        except DatabaseUnavailable as error:
            self.note(error)
            raise
        self.trouble.end()

    def note(self, error: DatabaseUnavailable) -> None:
        """Note why the database is unavailable."""
        self.trouble.begin(str(error))

    def check(self) -> None:
        """Make sure, without asking it, that it is still what was opened.

        Errors  DatabaseUnavailable
        """

    def is_alone(self) -> bool:
        """Return whether no other process uses the database; False where that cannot be known."""
        return False

    @abstractmethod
    def renew_view(self, name: str, query: str) -> None:
        """Make the view, or replace it."""

    # Connections

    def of_thread(self) -> Any:
        """Return this thread's connection, opened where it is not yet."""
        return self.connection()  # type: ignore[no-untyped-call]  # a method of Peewee's whose stub has no types

    def open_connections(self) -> list[Any]:
        """Return the connections that are open in any thread of this process."""
        return list(self._opened)

    def close_all(self) -> None:
        """Close every thread's connection; the database must no longer be in use."""
        self.close()
        for connection in self.open_connections():
            connection.close()

    @abstractmethod
    def of_child(self) -> Self:
        """Return the same database for a process that was forked, with connections of its own."""

    def hold_writes(self) -> None:
        """Wait for the write under way, and let none begin: the process is about to fork."""

    def let_writes_go(self) -> None:
        """Let writes begin again."""


def with_rows(sql: str, count: int, width: int) -> str:
    """Return a statement with the marks of so many rows in place of ROWS."""
    row = f"({', '.join('?' * width)})"
    return sql.replace(ROWS, ", ".join([row] * count))


def causes(error: BaseException) -> Iterator[BaseException]:
    """Return the error and what it comes from. Peewee keeps the driver's own error as the context of its own."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
