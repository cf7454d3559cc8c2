"""SQLite: one file in WAL mode, a connection for each thread, one writer at a time."""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

import peewee

from ..errors import ConfigError, DatabaseUnavailable
from . import deadline as waits
from .deadline import Deadline
from .engine import ROWS, Engine, causes, with_rows
from .file import OpenedFile, let_companions_be_written
from .group_commit import Deed, Execute, GroupCommit, Statement, Waiting
from .lock import FileLock

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

LARGEST_LOG_BYTES = 8_000_000  # of the -wal, once no reader keeps it any more: SQLite itself never makes it smaller

DAMAGED = "malformed"
DAMAGE_SECONDS = 300.0  # for which it is reported after it was met

# SQLite's error, and the command that shows more.
REPAIRS = {
    "is locked": "fuser -v {path}, which lists the processes that have it open: end the one that holds the lock",
    "is full": "df -h {folder}, and make room",
    "disk I/O error": "df -h {folder} and dmesg, which show a full or failing disk",
    "readonly": "ls -l {path}: the user that runs this may not write to it",
    DAMAGED: 'sqlite3 {path} "PRAGMA integrity_check", and restore a backup',
}
OTHERWISE = "ls -l {path}, and the log of the server"


class _Connection(sqlite3.Connection):
    """A connection that can be referred to weakly, so that a thread which ends takes its own along."""


class Database(Engine, peewee.SqliteDatabase):
    """An SQLite file: WAL, and an fsync for each commit."""

    PRESENT = "CAST(strftime('%s', 'now') AS INTEGER)"
    LEAST, GREATEST = "min", "max"
    ERRORS = FILE_ERRORS
    LOCKED = "database is locked"

    def __init__(self, file: OpenedFile) -> None:
        self.file = file
        self._opening_lock = threading.Lock()
        self._writing_connection: _Connection | None = None
        super().__init__(
            file.path,
            file.uri,
            uri=True,
            pragmas=(("synchronous", "full"), ("foreign_keys", 1), ("journal_size_limit", LARGEST_LOG_BYTES)),
            timeout=waits.BUSY_SECONDS,
            factory=_Connection,
            check_same_thread=False,  # only so that close_all() may close what other threads opened
        )
        self._group_commit = GroupCommit(self._held_lock, self._commit, self.LOCKED)

    @classmethod
    def open(cls, path: str) -> "Database":
        """Open the file at the path, or make it.

        Errors  ConfigError when it cannot be opened; DatabaseUnavailable when it is locked, or the disk is full
        """
        try:
            _make_private(path)
            let_companions_be_written(path)
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

    def check(self) -> None:
        """Make sure that the file is still at its path.

        Errors  DatabaseUnavailable
        """
        self.file.check()

    def is_alone(self) -> bool:
        """Return whether no other process uses the file; False where that cannot be known."""
        return self.file.is_alone()

    def renew_view(self, name: str, query: str) -> None:
        """Make the view, or replace it."""
        self.execute_sql(f"DROP VIEW IF EXISTS {name}")
        self.execute_sql(f"CREATE VIEW {name} AS {query}")

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
        self.file.claim()
        writer = self._open()
        writer.execute("SELECT count(*) FROM sqlite_master").fetchall()
        self.file.hold_companions()
        return writer

    def _execute(self, sql: str, values: Any) -> Any:
        return self.of_thread().execute(sql, values)

    def execute_many(self, sql: str, values: Sequence[tuple[object, ...]]) -> None:
        """Execute a statement for each of these rows, inside a writing transaction."""
        with self.reading():
            self.of_thread().executemany(sql, values)

    def is_writing(self) -> bool:
        """Return whether a transaction is open on this thread's connection."""
        is_open: bool = self.of_thread().in_transaction
        return is_open

    def is_of_statement(self, error: BaseException) -> bool:
        """Return whether SQLite blames the statement, and not the file."""
        return _is_of_statement(error)

    def misses_table(self, error: BaseException) -> bool:
        """Return whether the error is that a table is not there."""
        return _misses_table(error)

    def close_all(self) -> None:
        """Close every thread's connection; the database must no longer be in use.

        -wal and -shm stay: who may read the file, but not make files beside it, needs them, and goes on reading. The
        -wal is empty then, unless somebody else uses it. Otherwise a backup that is put in the file's place by hand
        would be mixed with it.
        """
        if self.file.is_whole():
            self._empty_wal(seconds=0)
            self.file.keep_companions()
        else:
            self._empty_wal()
        self._writing_connection = None
        super().close_all()
        self.file.let_companions_go()

    @contextmanager
    def _transaction(self, deadline: Deadline) -> Iterator[None]:
        try:
            with self._immediate(self.of_thread(), deadline):
                yield
        except (*FILE_ERRORS, DatabaseUnavailable) as error:
            if _is_read_only(error):  # what was opened while nobody might write to the file stays so for ever
                self.close()
            raise

    def _write(self, sql: str, values: tuple[object, ...]) -> None:
        self._group_commit.write(sql, values)

    def _act(self, deed: Callable[[Execute], Any], _of: str) -> Any:
        return self._group_commit.act(deed)

    def _commit(self, group: Sequence[Waiting], deadline: Deadline) -> None:
        """Execute what waits in one transaction. One that fails for its own reasons undoes only itself.

        Errors  as `writing`
        """
        try:
            self._execute_group(self._writing_connection or self._writer(), group, deadline)
        except (*FILE_ERRORS, DatabaseUnavailable) as error:
            if _is_read_only(error):
                self._writing_connection = None
            with self._noting(), self.reading():  # translates and notes the error; entered for each, they cost a third
                raise
        self.trouble.end()

    def _execute_group(self, writer: sqlite3.Connection, group: Sequence[Waiting], deadline: Deadline) -> None:
        """Execute the group in one transaction; one by one, each in its own, where a deed fails."""
        if self._execute_as_one(writer, group, deadline):
            return
        try:
            with self._immediate(writer, deadline):
                for each in group:
                    _execute_in_group(writer, each, is_alone=len(group) == 1)
        except _DeedFailed:
            for each in group if len(group) > 1 else ():
                with suppress(_DeedFailed), self._immediate(writer, deadline):
                    _execute_in_group(writer, each, is_alone=True)
                each.is_done = True

    def _execute_as_one(self, writer: sqlite3.Connection, group: Sequence[Waiting], deadline: Deadline) -> bool:
        """Execute the group by one statement if that can be, which is a transaction by itself; return whether it could.

        Python's lock is free while SQLite works, and this thread waits for it again: that takes longer than to insert.
        """
        first = group[0]
        if not isinstance(first, Statement):
            return False
        if len(group) > 1 and not (ROWS in first.sql and all(map(first.is_like, group))):
            return False
        self.file.check()
        values = [value for each in group if isinstance(each, Statement) for value in each.values]
        try:
            with _waiting_until(deadline, writer):
                writer.execute(_with_rows(first, len(group)), values)
        except STATEMENT_ERRORS as error:
            if len(group) == 1 or _is_of_file(error):
                raise
            return False
        return True

    def test_write(self, seconds: float) -> bool:
        """Write, durably, what leaves every row as it was, and wait no longer for other writers; return whether it was
        tried: not where this process itself is writing all the time.

        Errors  as `writing`
        """
        deadline = Deadline(seconds)
        if not self._write_lock.acquire(timeout=seconds):
            return False
        try:
            with self._noting(), self.reading():
                self._refuse_nesting()
                self._test_write(deadline)
        finally:
            self._write_lock.release()
        return True

    def _test_write(self, deadline: Deadline) -> None:
        writer = self._writer()
        with self._immediate(writer, deadline):
            # Some pages, more than a webhook takes: else it might fit where that does not.
            writer.execute("INSERT INTO corkage_setting (name, value) VALUES ('test_write', zeroblob(16384))")
            writer.execute("DELETE FROM corkage_setting WHERE name = 'test_write'")

    @contextmanager
    def _noting(self) -> Iterator[None]:
        is_new = not self.trouble.reason
        try:
            with super()._noting():
                yield
        except DatabaseUnavailable:
            if is_new and not self.file.is_whole():
                self._empty_wal()
            raise

    def note(self, error: DatabaseUnavailable) -> None:
        """Note why the database is unavailable. Where the file is gone, that is why, whatever SQLite says of it. Damage
        concerns some pages only, so it is not over when something else can be written.
        """
        try:
            self.file.check()
        except DatabaseUnavailable as cause:
            error = cause
        super().note(error)
        if DAMAGED in str(error):
            self.trouble.hold(DAMAGE_SECONDS)

    def _empty_wal(self, seconds: float | None = None) -> None:
        """Bring every commit into the file itself, wherever that is now; wait so long for those who read, else as long
        as a write.

        Where the file was taken away, its -wal stays behind, and at the next start would be taken for that of the file
        which came into its place: SQLite would mix the two. Where the -wal was deleted, what it held would be gone with
        this process: SQLite itself empties it with the last connection only, and a statement that is not at its end
        keeps one open.
        """
        with self._write_lock, suppress(*FILE_ERRORS):
            if self._writing_connection is not None:
                wait = waits.BUSY_SECONDS if seconds is None else seconds
                self._writing_connection.execute(f"PRAGMA busy_timeout = {wait * 1000:.0f}")
                self._writing_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    @contextmanager
    def _immediate(self, connection: sqlite3.Connection, deadline: Deadline) -> Iterator[None]:
        """Not Peewee's atomic(): SQLite itself rolls back when the disk is full, and atomic() then fails to, for ever.

        The file is checked last: what was deleted meanwhile takes a commit, and keeps nothing of it.
        """
        with _waiting_until(deadline, connection):
            connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.file.check()
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _writer(self) -> sqlite3.Connection:
        """The connection of single statements, whichever thread brings them: what it has read stays true."""
        with self._opening_lock:
            if self._writing_connection is None:
                self._writing_connection = self._open_writer()
            return self._writing_connection


@contextmanager
def _waiting_until(deadline: Deadline, connection: sqlite3.Connection) -> Iterator[None]:
    """Have SQLite wait for other processes no longer than the deadline."""
    is_near = deadline.is_near()  # seldom: usually nobody waited, and what the connection has by itself is right
    if is_near:
        _set_busy_timeout(connection, deadline.left())
    try:
        yield
    finally:
        if is_near:
            _set_busy_timeout(connection, waits.BUSY_SECONDS)


def _set_busy_timeout(connection: sqlite3.Connection, seconds: float) -> None:
    connection.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")


def repair(reason: str, path: str) -> str:
    """Return the command that shows more about why the file at this path cannot be used."""
    found = next((command for error, command in REPAIRS.items() if error in reason), OTHERWISE)
    return found.format(path=path, folder=path.rpartition("/")[0] or ".")


def _is_of_statement(error: BaseException) -> bool:
    for each in causes(error):
        if (code := getattr(each, "sqlite_errorcode", None)) is not None:
            return code & 0xFF in OF_STATEMENT  # the low byte is the kind, the rest says more about it
    return isinstance(error, (*PEEWEES_OF_STATEMENT, sqlite3.ProgrammingError))


def _is_read_only(error: BaseException) -> bool:
    return any(getattr(each, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY for each in causes(error))


def _misses_table(error: BaseException) -> bool:
    return "no such table" in str(error)


class _DeedFailed(Exception):
    """Rolls a transaction back, because nothing else undoes the first statements of a deed that failed."""


def _execute_in_group(writer: sqlite3.Connection, waiting: Waiting, *, is_alone: bool) -> None:
    try:
        if isinstance(waiting, Deed):
            waiting.result = waiting.act(writer.execute)
        elif isinstance(waiting, Statement):
            writer.execute(_with_rows(waiting, 1), waiting.values)
    except STATEMENT_ERRORS as error:
        if _is_of_file(error) or not writer.in_transaction:  # SQLite has rolled back the others, too
            raise
        if is_alone or isinstance(waiting, Statement):
            waiting.error = error
        if isinstance(waiting, Deed):
            raise _DeedFailed from error


def _with_rows(statement: Statement, count: int) -> str:
    return with_rows(statement.sql, count, len(statement.values))


def _is_of_file(error: Exception) -> bool:
    return isinstance(error, FILE_ERRORS) and (_misses_table(error) or not _is_of_statement(error))


def _use_wal(file: OpenedFile) -> None:
    """Have the file written in WAL mode from now on, before a connection stays open."""
    with (
        closing(FileLock(file.path)) as lock,
        closing(sqlite3.connect(file.uri, timeout=waits.BUSY_SECONDS, uri=True)) as connection,
    ):
        try:
            connection.execute("PRAGMA journal_mode = wal")
            lock.keep_companions()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in PASSING:
                raise DatabaseUnavailable(str(error)) from error
            raise


def _make_private(path: str) -> None:
    """Make a file that is not there yet before SQLite does, which would let all users of the machine read it: it holds
    e-mails. The owner's group may read. SQLite gives its companions -wal and -shm the same permissions.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))
