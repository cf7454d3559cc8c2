"""Locks on the database file: who uses it, and that SQLite leaves its companions -wal and -shm where they are.

The kernel keeps them for an open file, not for a process (Linux, F_OFD_SETLK). So they conflict with SQLite's locks of
the same process, which is what keeps the companions, and they end with the process, however that ends.
"""

import errno
import fcntl
import os
import struct
from contextlib import suppress
from pathlib import Path

OPEN_FILES = Path("/proc/self/fd")
_SHARED = (0x40000002, 510)  # the bytes that SQLite locks to read, and alone to take the companions away
_FORMAT, _WAL = (
    18,
    b"\2\2",
)  # where a file says how it is written (sqlite.org/fileformat.html#file_format_version_numbers)
_USERS = (0x40000800, 1)  # ours, beside SQLite's
_SET = getattr(fcntl, "F_OFD_SETLK", None)  # Linux alone has them
_ASK = getattr(fcntl, "F_OFD_GETLK", None)
_FIELDS = "hhqqi"  # of C's struct flock

_left_open: list[int] = []


class FileLock:
    """Locks of one open file. Elsewhere than on Linux, and on what passes for it and lacks them, such as WSL 1, they do
    nothing, and each is given.

    A file that may only be read can be shared; what cannot be done to it, SQLite says in its own words.

    Errors  OSError when the file cannot be opened
    """

    def __init__(self, path: str) -> None:
        self._descriptor: int | None = _opened(path) if _SET is not None else None

    def share(self) -> bool:
        """Say that this process uses the file; return False where another one has excluded all users."""
        return self._lock(fcntl.F_RDLCK, _USERS)

    def exclude(self) -> bool:
        """Let nobody use the file; return False where somebody does."""
        return self._lock(fcntl.F_WRLCK, _USERS)

    def is_alone(self) -> bool:
        """Return whether nobody else says that they use the file; False where that cannot be known."""
        if self._descriptor is None or _ASK is None:
            return False
        asked = struct.pack(_FIELDS, fcntl.F_WRLCK, os.SEEK_SET, *_USERS, 0)
        try:
            found = fcntl.fcntl(self._descriptor, _ASK, asked)
        except OSError:
            return False
        return bool(struct.unpack_from(_FIELDS, found)[0] == fcntl.F_UNLCK)

    def keep_companions(self) -> bool:
        """Have SQLite leave -wal and -shm there when the last connection is closed: a reader that may not make them
        goes on reading. Without WAL there are none, and the lock would keep every writer out.
        """
        has_wal = self._descriptor is not None and os.pread(self._descriptor, 2, _FORMAT) == _WAL
        return self._lock(fcntl.F_RDLCK, _SHARED) if has_wal else True

    def close(self) -> None:
        """Let the locks go.

        To close the file would also drop the locks that SQLite has on it in this process. Where somebody else has it
        open, such as the host's own code, it stays open.
        """
        if self._descriptor is None:
            return
        for place in (_USERS, _SHARED):
            self._lock(fcntl.F_UNLCK, place)
        if _is_open_elsewhere(self._descriptor):
            _left_open.append(self._descriptor)
        else:
            os.close(self._descriptor)
        self._descriptor = None

    def _lock(self, kind: int, place: tuple[int, int]) -> bool:
        if self._descriptor is None or _SET is None:
            return True
        try:
            fcntl.fcntl(self._descriptor, _SET, struct.pack(_FIELDS, kind, os.SEEK_SET, *place, 0))
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        return True


def _opened(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _is_open_elsewhere(descriptor: int) -> bool:
    """Return whether this process has the same file open once more; True where that cannot be known."""
    if not OPEN_FILES.exists():
        return True
    ours = os.fstat(descriptor)
    for each in OPEN_FILES.iterdir():
        with suppress(OSError):  # closed meanwhile
            if int(each.name) != descriptor and os.path.samestat(each.stat(), ours):
                return True
    return False
