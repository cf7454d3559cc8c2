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

    Errors  DatabaseUnavailable from a server
    """
    path = file_of_database()
    if path is None:
        (size,) = storage.row(_SIZE) or (0,)
        return Room(int(size), None, None)
    return Room(_size_of(path), _size_of(Path(f"{path}-wal")), _free_at(path.parent))


def _size_of(path: Path) -> int:
    """Return the size of a file; 0 for one that is gone, of which the write test says so."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _free_at(folder: Path) -> int | None:
    try:
        disk = os.statvfs(folder)
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize
