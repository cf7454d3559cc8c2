"""The database's room: its own size, its write-ahead log's, and what is free on the disk. All of it is cheap to ask."""

import os
from pathlib import Path
from typing import NamedTuple

from .. import storage
from ..storage.url import is_url

LEAST_FREE_BYTES = 200_000_000  # below it a burst of events, a vacuum or a copy may fill the disk
LARGEST_WAL_BYTES = 64_000_000  # it is emptied at 4 MB, unless a reader that never ends keeps it

_SIZE = "SELECT pg_database_size(current_database())"


class Room(NamedTuple):
    """How large things are, in bytes. wal and free are None where the database is a server's."""

    database: int
    wal: int | None
    free: int | None

    @property
    def is_scarce(self) -> bool:
        """Whether little room is left on the disk."""
        return self.free is not None and self.free < LEAST_FREE_BYTES

    @property
    def has_large_wal(self) -> bool:
        """Whether the write-ahead log was not emptied for long."""
        return self.wal is not None and self.wal > LARGEST_WAL_BYTES


def file_of_database() -> Path | None:
    """Return the database's file; None where it is a server's."""
    label = storage.current().label
    return None if is_url(label) else Path(label)


def room() -> Room:
    """Return how large things are.

    Errors  DatabaseUnavailable from a server; OSError where the file is gone
    """
    path = file_of_database()
    if path is None:
        (size,) = storage.row(_SIZE) or (0,)
        return Room(int(size), None, None)
    disk = os.statvfs(path.parent)
    wal = Path(f"{path}-wal")
    return Room(path.stat().st_size, wal.stat().st_size if wal.exists() else 0, disk.f_bavail * disk.f_frsize)
