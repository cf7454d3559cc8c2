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
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from time import monotonic
from typing import Any, TypeVar

import peewee
import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from ..errors import BillingError, ConfigError, DatabaseUnavailable
from .engine import BUSY_SECONDS, Engine, causes
from .group_commit import Statement
from .url import WANTED, is_server, without_password

ANSWER_SECONDS = 10.0  # for a statement; a commit, and what comes before a transaction, has BUSY_SECONDS
END_SECONDS = 2.0  # for a statement that was canceled to end
GENERIC_AFTER = 2  # executions, after which a statement is prepared
OLDEST = 12  # before it there is no plan_cache_mode

_DEFAULTS = {"connect_timeout": "4", "fallback_application_name": "corkage", "tcp_user_timeout": "15000"}
_KEY = 0x636F726B  # "cork": another program's locks in the same database are none of ours
_BEGIN = f"""
BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL lock_timeout = {{milliseconds}};
SET LOCAL idle_in_transaction_session_timeout = {{idle_milliseconds}};
SET LOCAL client_min_messages = warning;
SELECT pg_advisory_xact_lock(({_KEY}::bigint << 32) | current_schema()::regnamespace::oid::bigint)
"""
# A statement that writes nothing, because its row is there already, would not wait for the standby.
_AWAIT_STANDBY = """
SELECT pg_logical_emit_message(true, 'corkage', '') WHERE current_setting('synchronous_standby_names') <> ''
"""
_TEST_WRITE = "UPDATE corkage_setting SET value = value WHERE name = 'schema_version'"

OF_STATEMENT = ("0A", "21", "22", "23", "42")  # classes of SQLSTATE
PEEWEES_OF_STATEMENT = (peewee.DataError, peewee.IntegrityError, peewee.NotSupportedError, peewee.ProgrammingError)
DRIVERS_OF_STATEMENT = (psycopg.DataError, psycopg.ProgrammingError, psycopg.NotSupportedError)
READ_ONLY, MISSING_TABLE = "25006", "42P01"
SETUP = {
    "3F000": "there is no schema to work in: create it, or name it in the search_path of the user or the URL",
    "42501": "the user lacks a right: let it own the schema, as in docs/postgresql.md",
    MISSING_TABLE: "a table is missing: restore a backup, or give Corkage an empty schema",
    "42P07": "some tables are there and others not: restore a backup, or give Corkage an empty schema",
}
"""What is wrong with how the database is set up, by SQLSTATE."""

WORDS = {
    READ_ONLY: "the server takes no writes: it is a standby, or set to read-only",
    "53100": "the server's disk is full",
    "53300": "the server has no connection left",
    "55P03": "another writer keeps its lock",
    "57014": "it took too long to answer",
}
"""Why a server that is there is no use, by SQLSTATE: what it says itself is short, and may be in another language."""

# What the error says, and the command that shows more.
REPAIRS = {
    "too many connections|too many clients|connection slots|no connection left": (
        'psql -U postgres {label} -c "SELECT usename, application_name, state, count(*) FROM pg_stat_activity '
        'GROUP BY 1, 2, 3": end what is idle, raise max_connections, or put pgbouncer before the server'
    ),
    "no standby has confirmed": (
        'psql -U postgres {label} -c "SELECT application_name, state, sync_state FROM pg_stat_replication": start the '
        "standby that is missing, or take it out of synchronous_standby_names"
    ),
    "takes no writes|not read-write|session is read-only": (
        "psql -U postgres {label} -c \"SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')\": "
        "name every host in BILLING_DATABASE, so that the primary is found, or promote this one"
    ),
    "keeps its lock|too long to answer": (
        'psql -U postgres {label} -c "SELECT pid, usename, application_name, xact_start, query FROM pg_stat_activity '
        'WHERE xact_start IS NOT NULL ORDER BY xact_start": the longest transaction comes first, and '
        "pg_terminate_backend(pid) ends it"
    ),
    "disk is full|No space left": "df -h, on the server, for the folder of its data and its pg_wal: make room",
    "authentication failed|pg_hba.conf|does not exist|no password supplied": (
        "psql -U USER {label}, as the user in BILLING_DATABASE: set its password, or make what is missing"
    ),
    "unsupported startup parameter": (
        "psql -U postgres {label}: a pooler takes no options. Leave them out, and ALTER ROLE ... SET what they set"
    ),
    "server running|timeout expired|failed to resolve|closed the connection|no answer|shutting down|starting up": (
        "pg_isready -d {label}, and the log of the server: start it, or look for what is between it and this machine"
    ),
}
OTHERWISE = "psql -U USER {label}, and the log of the server"

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
            raise ConfigError([f"{what}\n    {repair(str(error), opened.label)}"]) from error
        return opened

    def of_child(self) -> "Database":
        """Return the same database for a process that was forked, with connections of its own."""
        return Database(self.database)

    # Reading

    def is_of_statement(self, error: BaseException) -> bool:
        """Return whether PostgreSQL blames the statement, and neither itself nor how it is set up."""
        state = _sqlstate(error)
        if state is not None:
            return state.startswith(OF_STATEMENT) and state not in SETUP
        return isinstance(error, PEEWEES_OF_STATEMENT + DRIVERS_OF_STATEMENT)

    def misses_table(self, error: BaseException) -> bool:
        """Return whether the error is that a table is not there."""
        return _sqlstate(error) == MISSING_TABLE

    def unavailable(self, error: BaseException) -> BillingError:
        """Return PostgreSQL's error as ours."""
        state, text = _sqlstate(error) or "", _text(error)
        if state in SETUP:
            return ConfigError([f"BILLING_DATABASE: {self.label}: {SETUP[state]} (PostgreSQL says: {text})"])
        return DatabaseUnavailable(f"{WORDS[state]} (PostgreSQL says: {text})" if state in WORDS else text)

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
            if _sqlstate(error) == READ_ONLY:  # it was the primary
                connection.close()
            if self.is_writing() or not connection.closed:
                raise
        return act(self.of_thread())

    # Writing

    def _lock_of_groups(self) -> AbstractContextManager[Any]:
        return threading.RLock()  # not that of `writing`: their rows are only added, which no other writer minds

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        connection = self._again_if_lost(_begin)
        self._of_thread.is_writing = True
        try:
            yield
            with connection.limited(BUSY_SECONDS):
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
        """Return whether this thread is in a writing transaction, even one whose connection is lost."""
        return getattr(self._of_thread, "is_writing", False)

    def execute_many(self, sql: str, values: Sequence[tuple[object, ...]]) -> None:
        """Execute a statement for each of these rows, inside a writing transaction."""
        with self.reading():
            self.of_thread().cursor().executemany(translated(sql), values)

    def _commit(self, group: Sequence[Statement]) -> None:
        """Execute the statements in one transaction, or each in its own where one fails for its own reasons.

        In the order of their keys: two processes that are sent the same events would else wait for each other.

        Errors  as `writing`; those that were committed before the error may be written again
        """
        ordered = sorted(group, key=lambda statement: str(statement.values[:1]))
        with self._noting(), self.reading():
            try:
                self._again_if_lost(functools.partial(_commit_together, ordered, BUSY_SECONDS))
            except (*self.ERRORS, TypeError, ValueError) as error:
                if isinstance(error, self.ERRORS) and not self.is_of_statement(error):
                    raise
                if len(ordered) == 1:
                    ordered[0].error = error
                    return
                for statement in ordered:
                    self._commit([statement])

    def test_write(self, seconds: float) -> bool:
        """Write, durably, what leaves every row as it was; see Engine."""
        with self._noting(), self.reading():
            self._refuse_nesting()
            self._again_if_lost(functools.partial(_commit_together, [Statement(_TEST_WRITE, ())], seconds))
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
        connection.add_notice_handler(connection.keep_warning)
        with connection.limited(BUSY_SECONDS):  # a pooler takes connections while its server is away
            (pid,) = connection.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        connection.is_direct = pid == connection.info.backend_pid  # a pooler tells another
        if connection.is_direct:  # behind a pooler the next statement may get another session
            # Planning takes longer than most statements. And a role's own setting might hide what no standby confirmed.
            connection.execute("SET plan_cache_mode = force_generic_plan; SET client_min_messages = warning")
            connection.prepare_threshold = GENERIC_AFTER
        self._opened.add(connection)
        return connection

    def _set_server_version(self, connection: _Connection) -> None:
        self.server_version = connection.pgconn.server_version

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


def repair(reason: str, label: str) -> str:
    """Return the command that shows more about why the server cannot be used."""
    found = (command for words, command in REPAIRS.items() if re.search(words, reason))
    return next(found, OTHERWISE).format(label=label)


def _begin(connection: _Connection) -> _Connection:
    milliseconds = int(BUSY_SECONDS * 1000)
    begin = _BEGIN.format(milliseconds=milliseconds, idle_milliseconds=2 * milliseconds)
    try:
        with connection.limited(2 * BUSY_SECONDS):  # the lock itself has BUSY_SECONDS
            connection.execute(begin, prepare=False)
    except BaseException:
        _roll_back(connection)
        raise
    return connection


def _roll_back(connection: _Connection) -> None:
    if not connection.closed and connection.pgconn.transaction_status != TransactionStatus.IDLE:
        with suppress(psycopg.Error):  # then the connection is lost, and the server rolls back
            connection.execute("ROLLBACK", prepare=False)


def _commit_together(statements: Sequence[Statement], seconds: float, connection: _Connection) -> None:
    """Execute the statements in one transaction and one round trip."""
    with connection.limited(seconds):
        if len(statements) == 1:
            cursors = [connection.execute(translated(statements[0].sql), statements[0].values)]
        else:
            try:
                with connection.pipeline():
                    connection.execute("BEGIN")
                    cursors = [connection.execute(translated(each.sql), each.values) for each in statements]
                    connection.execute("COMMIT")
            finally:
                _roll_back(connection)
        for statement, cursor in zip(statements, cursors, strict=True):
            statement.rows = cursor.rowcount
        if not all(statement.rows for statement in statements):
            connection.execute(_AWAIT_STANDBY)


def _sqlstate(error: BaseException) -> str | None:
    return next((each.sqlstate for each in causes(error) if isinstance(each, psycopg.Error) and each.sqlstate), None)


def _text(error: BaseException) -> str:
    """Return what PostgreSQL says, without the statement that it says it of."""
    said = (each.diag.message_primary for each in causes(error) if isinstance(each, psycopg.Error))
    in_one_line = re.sub(r"\s+", " ", str(error))
    return next((text for text in said if text), in_one_line.rpartition("All failures were: ")[2])
