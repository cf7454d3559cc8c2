"""SQLite: one file in WAL mode, a connection for each thread, one writer at a time."""

import logging
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

import peewee

from ..errors import ConfigError, DatabaseUnavailable
from ..trouble import Trouble
from .file import OpenedFile
from .group_commit import GroupCommit, Statement

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
STATEMENT_ERRORS = (sqlite3.Error, OverflowError, TypeError, ValueError)  # the last three for values SQLite cannot hold
PEEWEES_OF_STATEMENT = (peewee.IntegrityError, peewee.ProgrammingError)
NESTED = "a writing transaction is open in this thread already; they must not nest"

log = logging.getLogger("corkage.database")


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
        self._group_commit = GroupCommit(self._write_lock, self._commit)
        self._opening_lock = threading.Lock()
        self._writing_connection: _Connection | None = None
        super().__init__(
            file.uri,
            uri=True,
            pragmas=(("synchronous", "full"), ("foreign_keys", 1)),
            timeout=BUSY_SECONDS,
            factory=_Connection,
            check_same_thread=False,  # only so that close_all() may close what other threads opened
        )

    @classmethod
    def open_file(cls, path: str) -> "Database":
        """Open the file at the path, or make it.

        Errors  ConfigError when it cannot be opened; DatabaseUnavailable when it is locked, or the disk is full
        """
        _make_private(path)
        try:
            opened = cls(OpenedFile(path))
            _use_wal(opened.file)
            opened.connect()
        except (OSError, *FILE_ERRORS) as error:
            raise ConfigError([f"BILLING_DATABASE: {path} cannot be opened as an SQLite file: {error}"]) from error
        return opened

    def of_child(self) -> "Database":
        """Return the same database for a process that was forked, with connections of its own."""
        return Database(self.file.of_child())

    def hold_writes(self) -> None:
        """Wait for the write under way, and let none begin. SQLite notes in memory which locks its process holds: a
        child forked in the middle of a write would inherit the note, and wait for ever for a lock that nobody holds.
        """
        self._write_lock.acquire()

    def let_writes_go(self) -> None:
        """Let writes begin again."""
        self._write_lock.release()

    @property
    def path(self) -> str:
        """Where the file is."""
        return self.file.path

    def _connect(self) -> _Connection:
        self.file.check()  # before SQLite puts companions beside a file that is not ours
        self._writer()
        return self._open()

    def _open(self) -> _Connection:
        connection: _Connection = super()._connect()  # type: ignore[misc]  # a method of Peewee's that its stubs leave out
        self._opened.add(connection)
        return connection

    def _open_writer(self) -> _Connection:
        """Open the first connection, the last to be closed: once it has read, no process takes -wal and -shm away."""
        writer = self._open()
        writer.execute("SELECT count(*) FROM sqlite_master").fetchall()
        self.file.hold_companions()
        return writer

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """Execute as Peewee does; where the file itself refuses, the error is ours.

        Errors  DatabaseUnavailable
        """
        with reading():
            return super().execute_sql(sql, params)  # type: ignore[no-untyped-call]  # Peewee's stubs do not type it

    def of_thread(self) -> sqlite3.Connection:
        """Return this thread's connection, opened where it is not yet."""
        found: sqlite3.Connection = self.connection()  # type: ignore[no-untyped-call]  # Peewee's stubs do not type it
        return found

    def open_connections(self) -> list[_Connection]:
        """Return the connections that are open in any thread of this process."""
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

    def write(self, sql: str, values: tuple[object, ...]) -> int:
        """Execute one statement, in one commit with those of other threads that wait; return how many rows it wrote.

        Errors  as `writing`
        """
        if not self.is_closed() and self.of_thread().in_transaction:
            raise RuntimeError(NESTED)
        return self._group_commit.write(sql, values)

    def _commit(self, group: Sequence[Statement]) -> None:
        """Execute the statements in one transaction. One that fails for its own reasons undoes only itself.

        Errors  as `writing`
        """
        with self._noting(), reading():
            writer = self._writer()
            if len(group) == 1:  # which is a transaction by itself, and quicker
                self.file.check()
                group[0].rows = writer.execute(group[0].sql, group[0].values).rowcount
                return
            with self._immediate(writer):
                for statement in group:
                    _execute_in_group(writer, statement)

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

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Note whether a write succeeds. One that fails for its own reasons says nothing of the file."""
        try:
            yield
        except DatabaseUnavailable as error:
            is_new = not self.trouble.reason
            self.note(error)
            if is_new and not self.file.is_there():
                self._empty_wal()
            raise
        self.trouble.end()

    def note(self, error: DatabaseUnavailable) -> None:
        """Note why the database is unavailable. Where the file is gone, that is why, whatever SQLite says of it."""
        try:
            self.file.check()
        except DatabaseUnavailable as cause:
            error = cause
        self.trouble.begin(str(error))

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
            raise RuntimeError(NESTED)
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


def _execute_in_group(writer: sqlite3.Connection, statement: Statement) -> None:
    try:
        statement.rows = writer.execute(statement.sql, statement.values).rowcount
    except STATEMENT_ERRORS as error:
        is_of_file = isinstance(error, FILE_ERRORS) and not _is_of_statement(error)
        if is_of_file or not writer.in_transaction:  # SQLite has rolled back the others, too
            raise
        statement.error = error


def _use_wal(file: OpenedFile) -> None:
    """Have the file written in WAL mode from now on, before a connection stays open."""
    with closing(sqlite3.connect(file.uri, timeout=BUSY_SECONDS, uri=True)) as connection:
        try:
            connection.execute("PRAGMA journal_mode = wal")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in PASSING:
                raise DatabaseUnavailable(str(error)) from error
            raise


def _make_private(path: str) -> None:
    """Make a file that is not there yet before SQLite does, which would let all users of the machine read it: it holds
    e-mails. The owner's group may read. SQLite gives its companions -wal and -shm the same permissions.
    """
    with suppress(OSError):  # there already; or it cannot be made, and who opens it says why
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))
