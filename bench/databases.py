"""Databases of both engines: files in a folder, and those of a PostgreSQL server that has each commit on disk."""

import sqlite3
import sys
from contextlib import AbstractContextManager, closing
from pathlib import Path

import file

from corkage import storage

sys.path.append(str(Path(__file__).parent.parent / "tests/support"))
from postgres import DURABLE, Postgres, postgres

_SIZE = """
SELECT CAST(sum(pg_total_relation_size(oid)) AS bigint) FROM pg_class
WHERE relkind = 'r' AND relnamespace = CAST(current_schema() AS regnamespace)
"""


def durable_postgres() -> AbstractContextManager[Postgres]:
    return postgres(**DURABLE, synchronous_commit="on")


class Sqlite:
    """Files in a folder."""

    without_fsync = staticmethod(file.without_fsync)

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def new(self, name: str) -> str:
        return str(self.folder / f"{name}.db")

    def copy(self, name: str, original: str) -> str:
        """Make a database that holds what another does."""
        with closing(sqlite3.connect(self.new(original))) as held, closing(sqlite3.connect(self.new(name))) as copy:
            held.backup(copy)
        return self.new(name)

    def size(self, name: str) -> int:
        with closing(sqlite3.connect(self.new(name))) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return Path(self.new(name)).stat().st_size


class Postgresql:
    """Databases of a server."""

    def __init__(self, server: Postgres) -> None:
        self.server = server

    def new(self, name: str) -> str:
        self.server.execute(f"CREATE DATABASE {name} OWNER corkage TEMPLATE template0")
        return self.server.url(name)

    def copy(self, name: str, original: str) -> str:
        """Make a database that holds what another does, to which nobody is connected."""
        self.server.execute(f"CREATE DATABASE {name} OWNER corkage TEMPLATE {original}")
        return self.server.url(name)

    def size(self, name: str) -> int:
        """Return the bytes of tables and indexes. VACUUM first, as the server does by itself after some time."""
        self.server.execute("VACUUM ANALYZE", database=name)
        ((found,),) = self.server.execute(_SIZE, database=name)
        return found

    def without_fsync(self) -> None:
        storage.execute("SET synchronous_commit = off")
