"""PostgreSQL: any number of processes and hosts, one writing transaction at a time among them.

A transaction that writes takes an advisory lock, so that what is reasoned and tested for SQLite stays true. Nothing
holds over the end of a transaction, because behind a pooler the next one may run on another connection.
"""

import functools
import math
import os
import re
import sys
import threading
import weakref
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from time import monotonic
from typing import Any, TypeVar

import peewee
import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from ..errors import BillingError, ConfigError, DatabaseUnavailable
from . import deadline as waits
from . import postgresql_errors as errors
from .deadline import Deadline
from .engine import Engine, with_rows
from .group_commit import Execute
from .url import WANTED, is_server, without_password

ANSWER_SECONDS = 10.0  # for a statement; a commit, and what comes before a transaction, has the time of a Deadline
END_SECONDS = 2.0  # for a statement that was canceled to end
GENERIC_AFTER = 2  # executions, after which a statement is prepared
OLDEST = 12  # before it there is no plan_cache_mode

_DEFAULTS = {"connect_timeout": "4", "fallback_application_name": "corkage", "tcp_user_timeout": "15000"}
_KEY = 0x636F726B  # "cork": another program's locks in the same database are none of ours
_BEGIN = """
BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL lock_timeout = {milliseconds};
SET LOCAL idle_in_transaction_session_timeout = {idle_milliseconds};
SET LOCAL client_min_messages = warning;
{lock}
"""
_LOCK_ALL = f"SELECT pg_advisory_xact_lock(({_KEY}::bigint << 32) | current_schema()::regnamespace::oid::bigint)"
_LOCK_ONE = f"SELECT pg_advisory_xact_lock({_KEY}, {{number}})"  # of another kind than those of one number
# A statement that writes nothing, because its row is there already, would not wait for the standby.
_AWAIT_STANDBY = """
SELECT pg_logical_emit_message(true, 'corkage', '') WHERE current_setting('synchronous_standby_names') <> ''
"""
_TEST_WRITE = "UPDATE corkage_setting SET value = value WHERE name = 'schema_version'"

_Result = TypeVar("_Result")


class _Connection(psycopg.Connection[Any]):
    """A connection that waits for no answer longer than its limit, and notes what no standby has confirmed.

    Shape   is_direct: no pooler is in between, so the session is ours
    """

    is_direct = False
    limit_seconds = ANSWER_SECONDS
    unconfirmed: str | None = None
    _pid = 0

    def keep_warning(self, notice: psycopg.errors.Diagnostic) -> None:
        """Note that the server gave up waiting for a standby. The commit itself is reported as a success."""
        if notice.source_function == "SyncRepWaitForLSN":
            self.unconfirmed = notice.message_primary

    def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        """Wait for an answer as psycopg does, within the limit."""
        return super().wait(self._within_limit(gen), *args, **options)

    def _within_limit(self, answer: Generator[Any, Any, _Result]) -> Generator[Any, Any, _Result]:
        """Cancel a statement that takes too long, and close the connection if that does not end it, either."""
        late_at = monotonic() + self.limit_seconds
        is_canceled = False
        try:
            wanted = next(answer)
            while True:
                ready = yield wanted
                if not ready and monotonic() > late_at:
                    if is_canceled:
                        self.pgconn.finish()
                        raise psycopg.OperationalError(f"no answer within {self.limit_seconds:g} s")
                    is_canceled, late_at = True, monotonic() + END_SECONDS
                    with suppress(psycopg.Error):
                        self.cancel_safe(timeout=END_SECONDS)
                wanted = answer.send(ready)
        except StopIteration as end:
            result: _Result = end.value
            return result

    @contextmanager
    def limited(self, seconds: float) -> Iterator[None]:
        """Do in here within so many seconds for each answer, and with every confirmation that the server waits for.

        Errors  DatabaseUnavailable when a commit was not confirmed; it may have happened all the same
        """
        before, self.limit_seconds = self.limit_seconds, seconds
        self.unconfirmed = None
        try:
            yield
        finally:
            self.limit_seconds = before
        if self.unconfirmed:
            raise DatabaseUnavailable(f"no standby has confirmed what was written: {self.unconfirmed}")

    def __del__(self, *_: Any) -> None:
        """A thread that ends takes its connection along; a forked child must not close its parent's."""
        if self._pid == os.getpid() and not sys.is_finalizing():
            self.close()


class Database(Engine, peewee.PostgresqlDatabase):
    """A PostgreSQL server, or several of which one is the primary."""

    PRESENT = "CAST(floor(extract(epoch FROM statement_timestamp())) AS bigint)"
    LEAST, GREATEST = "least", "greatest"
    ERRORS = (peewee.DatabaseError, peewee.InterfaceError, psycopg.Error)
    LOCKED = errors.WORDS["55P03"]

    # Peewee's FLOAT is a REAL, which has 24 bits: two minutes of a Unix time. Its INTEGER ends in 2038.
    field_types = peewee.PostgresqlDatabase.field_types | {
        "AUTO": "BIGSERIAL",
        "FLOAT": "DOUBLE PRECISION",
        "INT": "BIGINT",
    }

    def __init__(self, url: str) -> None:
        given = conninfo_to_dict(url)
        self.has_several_hosts = "," in str(given.get("host", ""))
        self._options: dict[str, Any] = {name: value for name, value in _DEFAULTS.items() if name not in given}
        if self.has_several_hosts and "target_session_attrs" not in given:
            self._options["target_session_attrs"] = "read-write"
        self._of_thread = threading.local()
        super().__init__(without_password(url), url, prefer_psycopg3=True)

    @classmethod
    def open(cls, url: str) -> "Database":
        """Connect to the server.

        Errors  ConfigError when that fails
        """
        try:
            opened = cls(url) if is_server(url) else None
        except psycopg.Error:  # its text may hold the password
            opened = None
        if opened is None:
            raise ConfigError([f"BILLING_DATABASE: wanted {WANTED}; what it holds is not shown here"])
        try:
            with opened.reading():
                opened.connect()
        except DatabaseUnavailable as error:
            what = f"BILLING_DATABASE: {opened.label} cannot be opened: {error}"
            raise ConfigError([f"{what}\n    {errors.repair(str(error), opened.label)}"]) from error
        return opened

    def of_child(self) -> "Database":
        """Return the same database for a process that was forked, with connections of its own."""
        return Database(self.database)

    # Reading

    def is_of_statement(self, error: BaseException) -> bool:
        """Return whether PostgreSQL blames the statement, and neither itself nor how it is set up."""
        return errors.is_of_statement(error)

    def misses_table(self, error: BaseException) -> bool:
        """Return whether the error is that a table is not there."""
        return errors.sqlstate(error) == errors.MISSING_TABLE

    def unavailable(self, error: BaseException) -> BillingError:
        """Return PostgreSQL's error as ours."""
        return errors.unavailable(error, self.label)

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """Execute as Peewee does; see Engine."""
        with self.reading():
            return self._again_if_lost(lambda _: super(Database, self).execute_sql(sql, params))

    def _execute(self, sql: str, values: Any) -> Any:
        return self._again_if_lost(lambda connection: connection.execute(translated(sql), values))

    def _again_if_lost(self, act: Callable[[_Connection], _Result]) -> _Result:
        """Do it once more, on a new connection, if the old one was idle and turns out to be lost."""
        connection = self.of_thread()
        try:
            return act(connection)
        except (*self.ERRORS, DatabaseUnavailable) as error:
            if errors.sqlstate(error) == errors.READ_ONLY:  # it was the primary
                connection.close()
            if self.is_writing() or not connection.closed:
                raise
        return act(self.of_thread())

    # Writing

    @contextmanager
    def _transaction(self, deadline: Deadline, lock: str = _LOCK_ALL) -> Iterator[None]:
        connection = self._again_if_lost(functools.partial(_begin, deadline=deadline, lock=lock))
        self._of_thread.is_writing = True
        try:
            yield
            with connection.limited(waits.BUSY_SECONDS):
                if connection.execute("COMMIT").statusmessage == "ROLLBACK":
                    raise RuntimeError("nothing was written: a statement has failed, and its error was ignored")
        finally:
            self._of_thread.is_writing = False
            _roll_back(connection)
            connection.limit_seconds = ANSWER_SECONDS

    def take_time(self) -> None:
        """Let this transaction, and each of its statements, take as long as it needs."""
        self.of_thread().limit_seconds = math.inf
        self.execute_sql("SET LOCAL idle_in_transaction_session_timeout = 0")

    def is_writing(self) -> bool:
        """Return whether this thread is in a writing transaction, even one that has lost its connection."""
        return getattr(self._of_thread, "is_writing", False)

    def execute_many(self, sql: str, values: Sequence[tuple[object, ...]]) -> None:
        """Execute a statement for each of these rows, inside a writing transaction."""
        with self.reading():
            self.of_thread().cursor().executemany(translated(sql), values)

    def _write(self, sql: str, values: tuple[object, ...]) -> None:
        """Execute one statement, which is a transaction by itself. Those of several connections share an fsync, as the
        server commits; and no advisory lock is taken, since rows are only added, which no other writer minds.

        Errors  as `writing`; what was committed before the error may be written again
        """
        self._written(with_rows(sql, 1, len(values)), values, waits.BUSY_SECONDS)

    def _act(self, deed: Callable[[Execute], Any], of: str) -> Any:
        """Call a function in a transaction of its own. It waits only for those of the same, and for no other writer."""
        with self._noting(), self.reading(), self._transaction(Deadline(), _lock_one(of)):
            return deed(self._execute)

    def exclude_acts(self, of: str) -> None:
        """Let no function run that `act` is given for the same, until the end of this writing transaction."""
        self.execute_sql(_lock_one(of))

    def _written(self, sql: str, values: tuple[object, ...], seconds: float) -> int:
        with self._noting(), self.reading():
            return self._again_if_lost(lambda connection: _commit(connection, translated(sql), values, seconds))

    def test_write(self, seconds: float) -> bool:
        """Write, durably, what leaves every row as it was; see Engine."""
        self._refuse_nesting()
        self._written(_TEST_WRITE, (), seconds)
        return True

    def create_tables(self, models: Iterable[Any], **options: Any) -> None:
        """Make the tables. WITHOUT ROWID is SQLite's."""
        models = list(models)
        without = [model._meta for model in models if model._meta.without_rowid]
        for meta in without:
            meta.without_rowid = False
        try:
            super().create_tables(models, **options)
        finally:
            for meta in without:
                meta.without_rowid = True

    def renew_view(self, name: str, query: str) -> None:
        """Make the view, or replace it, which keeps its grants and the host's views on it."""
        self.execute_sql(f"CREATE OR REPLACE VIEW {name} AS {query}")

    # Connections

    def _connect(self) -> _Connection:
        connection = _Connection.connect(self.database, autocommit=True, prepare_threshold=None, **self._options)
        connection._pid = os.getpid()
        if connection.info.server_version < OLDEST * 10_000:
            raise ConfigError([f"BILLING_DATABASE: {self.label}: wanted PostgreSQL {OLDEST} or newer"])
        keep = weakref.WeakMethod(connection.keep_warning)  # no circle: a thread that ends takes its connection along
        connection.add_notice_handler(lambda notice: (found := keep()) and found(notice))
        with connection.limited(waits.BUSY_SECONDS):  # a pooler takes connections while its server is away
            (pid,) = connection.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        connection.is_direct = pid == connection.info.backend_pid  # a pooler names another
        if connection.is_direct:  # behind a pooler the next statement may get another session
            # Planning takes longer than most statements. And a role's own setting might hide what no standby confirmed.
            connection.execute("SET plan_cache_mode = force_generic_plan; SET client_min_messages = warning")
            connection.prepare_threshold = GENERIC_AFTER
        self._opened.add(connection)
        return connection

    def _set_server_version(self, connection: _Connection) -> None:
        self.server_version = connection.pgconn.server_version

    def open_connections(self) -> list[_Connection]:
        """Return the connections that are open in any thread of this process."""
        return [each for each in self._opened if not each.closed]

    def of_thread(self) -> _Connection:
        """Return this thread's connection; a new one where it was lost, but never in the middle of a transaction."""
        connection: _Connection = super().of_thread()
        if connection.closed and not self.is_writing():
            self._state.reset()  # type: ignore[attr-defined]  # an attribute of Peewee's that its stubs leave out
            connection = super().of_thread()
        return connection


@functools.lru_cache(maxsize=256)
def translated(sql: str) -> str:
    """Return a statement with the marks of values as psycopg wants them: ? becomes %s, and :name %(name)s."""
    return re.sub(r"(?<!:):([a-z_]+)", r"%(\1)s", sql.replace("%", "%%").replace("?", "%s"))


def _lock_one(of: str) -> str:
    """Return the statement that locks what is named. Two that share a number wait for each other, and nothing else."""
    return _LOCK_ONE.format(number=zlib.crc32(of.encode()) - 2**31)


def _begin(connection: _Connection, deadline: Deadline, lock: str) -> _Connection:
    idle_milliseconds = int(2000 * waits.BUSY_SECONDS)
    begin = _BEGIN.format(milliseconds=_left(deadline), idle_milliseconds=idle_milliseconds, lock=lock)
    with ExitStack() as undo:
        undo.callback(_roll_back, connection)
        with connection.limited(2 * waits.BUSY_SECONDS):  # the lock itself has the deadline
            connection.execute(begin, prepare=False)
            if deadline.is_near():  # what is left for the locks of tables
                connection.execute(f"SET LOCAL lock_timeout = {_left(deadline)}", prepare=False)
        undo.pop_all()
    return connection


def _left(deadline: Deadline) -> int:
    """Return what is left, in milliseconds; never 0, which would mean no limit to PostgreSQL."""
    return max(int(deadline.left() * 1000), 1)


def _roll_back(connection: _Connection) -> None:
    if not connection.closed and connection.pgconn.transaction_status != TransactionStatus.IDLE:
        with suppress(psycopg.Error):  # then the connection is lost, and the server rolls back
            connection.execute("ROLLBACK", prepare=False)


def _commit(connection: _Connection, sql: str, values: tuple[object, ...], seconds: float) -> int:
    """Execute one statement outside of a transaction; return how many rows it wrote."""
    with connection.limited(seconds):
        written = connection.execute(sql, values).rowcount
        if not written:
            connection.execute(_AWAIT_STANDBY)
    return written
