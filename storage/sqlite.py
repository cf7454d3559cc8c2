"""The database file: its connections, its one writer at a time, its life across forks."""

import logging
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from typing import Any, TypeVar

import peewee

from ..errors import ConfigError, DatabaseUnavailable
from ..trouble import Trouble
from .opened_file import OpenedFile

BUSY_SECONDS = 5.0
PASSING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)  # no fault of the configuration
FILE_ERRORS = (peewee.DatabaseError, sqlite3.DatabaseError)
OF_STATEMENT = (
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_MISUSE,
    sqlite3.SQLITE_RANGE,
)
PEEWEES_OF_STATEMENT = (peewee.IntegrityError, peewee.ProgrammingError)

log = logging.getLogger("corkage.database")

_Statement = tuple[str, tuple[object, ...]]
_Value = TypeVar("_Value")


class _Connection(sqlite3.Connection):
    """A connection that can be referred to weakly, so that a thread which ends takes its own along."""


class Database(peewee.SqliteDatabase):
    """SQLite as Corkage uses it: WAL, an fsync for each commit, one connection per thread, kept open."""

    def __init__(self, file: OpenedFile) -> None:
        self.file = file
        self.trouble = Trouble(
            log,
            logging.ERROR,
            "the database is unavailable, trying again: %s",
            "the database is available again, after %.0f s",
        )
        self._opened: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self._write_lock = threading.RLock()  # a write that fails may have the -wal emptied while it is held
        self._opening_lock = threading.Lock()
        self._writing_connection: _Connection | None = None
        self._of_thread = threading.local()
        super().__init__(
            file.uri,
            uri=True,
            pragmas=(("synchronous", "full"), ("foreign_keys", 1)),
            timeout=BUSY_SECONDS,
            factory=_Connection,
            check_same_thread=False,  # only so that close_all() may close what other threads opened
        )

    @property
    def path(self) -> str:
        """Where the file is."""
        return self.file.path

    def _connect(self) -> _Connection:
        self.file.check()  # before SQLite puts companions beside a file that is not ours
        self._writer()
        return self._open()

    def _open(self) -> _Connection:
        connection: _Connection = super()._connect()  # type: ignore[misc]  # Peewee has this hook, its stubs do not
        self._opened.add(connection)
        return connection

    def _open_writer(self) -> _Connection:
        """Open the first connection, the last to be closed: once it has read, no process takes -wal and -shm away."""
        writer = self._open()
        writer.execute("SELECT count(*) FROM sqlite_master").fetchall()
        self.file.hold_companions()
        return writer

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """Execute as Peewee has it; where the file itself refuses, the error is ours, whoever asked.

        Errors  DatabaseUnavailable
        """
        with reading():
            return super().execute_sql(sql, params)  # type: ignore[no-untyped-call]  # Peewee has no types for it

    def of_thread(self) -> sqlite3.Connection:
        """Return this thread's connection, opened where it is not yet."""
        found: sqlite3.Connection = self.connection()  # type: ignore[no-untyped-call]  # Peewee has no types for it
        return found

    def open_connections(self) -> list[_Connection]:
        """List the connections that are open in any thread of this process."""
        return list(self._opened)

    def close_all(self) -> None:
        """Close every thread's connection; the database must no longer be in use."""
        if not self.file.is_there():
            self._empty_wal()
        self.close()
        self._writing_connection = None
        for connection in self.open_connections():
            connection.close()
        self.file.let_companions_go()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the process's write lock and one IMMEDIATE transaction; commit at the end, roll back on any error.

        Threads queue at the lock instead of polling SQLite's: with 8 writers that is a tenth of the 99th percentile.

        Errors  DatabaseUnavailable when the file cannot be written (locked, full, read-only, damaged, gone)
                RuntimeError when already in a transaction: they must not nest
        """
        with self._noting():
            connection = self._free_connection()
            with self._write_lock, reading(), self._immediate(connection):
                yield

    def test_write(self, seconds: float) -> bool:
        """Write, durably, what leaves every row as it was, and wait no longer for other writers; return whether it was
        tried: not where this process itself is writing all the time.

        Errors  as `writing`
        """
        if not self._write_lock.acquire(timeout=seconds):
            return False
        try:
            with self._noting(), reading():
                self._free_connection()
                self._test_write(seconds)
        finally:
            self._write_lock.release()
        return True

    def _test_write(self, seconds: float) -> None:
        writer = self._writer()
        writer.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")
        try:
            with self._immediate(writer):
                # Some pages, more than a webhook takes: else it might fit where that does not.
                writer.execute("INSERT INTO corkage_setting (name, value) VALUES ('test_write', zeroblob(16384))")
                writer.execute("DELETE FROM corkage_setting WHERE name = 'test_write'")
        finally:
            writer.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")

    def write(self, sql: str, values: tuple[object, ...]) -> int | None:
        """Execute one statement, durably; return how many rows it wrote. Inside `together` it is put off until the end
        of that, and the answer is None.

        Errors  as `writing`
        """
        put_off: list[_Statement] | None = getattr(self._of_thread, "put_off", None)
        if put_off is not None:
            put_off.append((sql, values))
            return None
        return self._commit([(sql, values)])

    @contextmanager
    def together(self) -> Iterator[None]:
        """Put what this thread `write`s in here on disk at the end of it: all or nothing, by one fsync.

        Errors  as `writing`
        """
        statements: list[_Statement] = []
        self._of_thread.put_off = statements
        try:
            yield
        finally:
            self._of_thread.put_off = None
        if statements:
            self._commit(statements)

    def _commit(self, statements: list[_Statement]) -> int:
        """Execute them in one transaction; return how many rows the last one wrote."""
        with self._noting():
            self._free_connection()
            with reading(), self._write_lock:
                writer = self._writer()
                if len(statements) == 1:  # which is a transaction by itself, and quicker
                    self.file.check()
                    return int(writer.execute(*statements[0]).rowcount)
                with self._immediate(writer):
                    return [writer.execute(*statement).rowcount for statement in statements][-1]

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Note whether a write succeeds. One that fails for its own reasons says nothing of the file."""
        try:
            yield
        except DatabaseUnavailable as error:
            is_new = not self.trouble.reason
            self.trouble.begin(str(error))
            if is_new and not self.file.is_there():
                self._empty_wal()
            raise
        self.trouble.end()

    def _empty_wal(self) -> None:
        """Bring every commit into the file itself, wherever that is now. Its -wal stays behind, and at the next start
        would be taken for that of the file which came into its place: SQLite would mix the two.
        """
        with self._write_lock, suppress(*FILE_ERRORS):
            if self._writing_connection is not None:
                self._writing_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    @contextmanager
    def _immediate(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Not Peewee's atomic(): SQLite itself rolls back when the disk is full, and atomic() then fails to, for ever.

        The file is checked last: what was deleted meanwhile takes a commit, and keeps nothing of it.
        """
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.file.check()
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _free_connection(self) -> sqlite3.Connection:
        """Return this thread's connection, once it is sure that no transaction is open on it."""
        with reading():
            connection = self.of_thread()
        if connection.in_transaction:
            raise RuntimeError("a writing transaction is open in this thread already; they must not nest")
        return connection

    def _writer(self) -> sqlite3.Connection:
        """The connection of single statements, whichever thread brings them: what it has read stays true."""
        with self._opening_lock:
            if self._writing_connection is None:
                self._writing_connection = self._open_writer()
            return self._writing_connection


@contextmanager
def reading() -> Iterator[None]:
    """Turn the failures of the file itself into DatabaseUnavailable; a faulty statement stays what it is, a bug."""
    try:
        yield
    except FILE_ERRORS as error:
        if _is_of_statement(error):
            raise
        raise DatabaseUnavailable(str(error)) from error


def _is_of_statement(error: BaseException) -> bool:
    """Return whether SQLite blames the statement and not the file. Peewee keeps SQLite's own error as the context."""
    found: BaseException | None = error
    while found is not None:
        if (code := getattr(found, "sqlite_errorcode", None)) is not None:
            return code & 0xFF in OF_STATEMENT  # the low byte is the kind, the rest says more about it
        found = found.__cause__ or found.__context__
    return isinstance(error, (*PEEWEES_OF_STATEMENT, sqlite3.ProgrammingError))


def pieces(values: Sequence[_Value], size: int = 500) -> Iterator[Sequence[_Value]]:
    """Cut a list for IN (...) into pieces: SQLite takes a limited number of values in one statement."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def column(query: Any) -> list[Any]:
    """Read a query of one column into a list."""
    with reading():
        return [value for (value,) in query.tuples()]


proxy = peewee.DatabaseProxy()
"""What the tables are declared on: they are one set per process, so one file is open at a time."""


def current() -> Database:
    """Return the open database; RuntimeError when there is none."""
    if proxy.obj is None:
        raise RuntimeError("no database is open: create a Billing first")
    opened: Database = proxy.obj
    return opened


def connection() -> sqlite3.Connection:
    """Return this thread's connection to the open database, for reading without the ORM."""
    return current().of_thread()


def execute(sql: str) -> None:
    """Execute a statement that Peewee has no words for."""
    current().execute_sql(sql)


def writing() -> AbstractContextManager[None]:
    """Write to the open database; see Database.writing."""
    return current().writing()


def write(sql: str, values: tuple[object, ...]) -> int | None:
    """Execute one statement as a transaction of its own; see Database.write."""
    return current().write(sql, values)


def together() -> AbstractContextManager[None]:
    """Commit at once what this thread writes one by one; see Database.together."""
    return current().together()


def note(error: DatabaseUnavailable) -> None:
    """Note an error of the open database where it is answered or survived: the log has it once, and /health knows."""
    if proxy.obj is not None:
        current().trouble.begin(str(error))


class _TakenBack(Exception):
    """Ends a transaction that was only tried."""


@contextmanager
def trying() -> Iterator[None]:
    """Write as `writing` does, and take all of it back at the end."""
    with suppress(_TakenBack), writing():
        yield
        raise _TakenBack


def open_file(path: str) -> None:
    """Open the database file and make it the one the tables live in.

    Errors  ConfigError when the file cannot be opened, or another is open in this process;
            DatabaseUnavailable when it is locked, or the disk is full
    """
    if proxy.obj is not None:
        raise ConfigError(
            [f"this process already has the database {current().path} open: close that Billing before making another"]
        )
    _make_private(path)
    try:
        opened = Database(OpenedFile(path))
        _use_wal(opened.file)
        opened.connect()
    except (OSError, *FILE_ERRORS) as error:
        raise ConfigError([f"BILLING_DATABASE: {path} cannot be opened as an SQLite file: {error}"]) from error
    proxy.initialize(opened)


def _use_wal(file: OpenedFile) -> None:
    """Have the file written in WAL mode from now on, before a connection stays open."""
    with closing(sqlite3.connect(file.uri, timeout=BUSY_SECONDS, uri=True)) as connection:
        try:
            connection.execute("PRAGMA journal_mode = wal")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in PASSING:
                raise DatabaseUnavailable(str(error)) from error
            raise


def release() -> None:
    """Close every connection, and keep the file for whoever asks next, in this process or in one forked from it."""
    current().close_all()


def _make_private(path: str) -> None:
    """Make a file that is not there yet before SQLite does, which would let all users of the machine read it: it holds
    e-mails. The owner's group may read. SQLite gives its companions -wal and -shm the same permissions.
    """
    with suppress(OSError):  # there already; or it cannot be made, and who opens it says why
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))


def close_file() -> None:
    """Close the open database, if any."""
    if proxy.obj is not None:
        current().close_all()
        proxy.initialize(None)


# A fork copies connections that belong to the parent. The child must neither use nor close them, since closing drops
# the parent's locks: it keeps them for ever, and opens its own.
_kept: list[object] = []


def _before_fork() -> None:
    _kept.append(None if proxy.obj is None else (proxy.obj, current().open_connections()))


def _after_fork_in_parent() -> None:
    _kept.pop()


def _after_fork_in_child() -> None:
    if proxy.obj is not None:
        proxy.initialize(Database(current().file.of_child()))


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
