"""The database file on disk: whether what is at its path is still what was opened.

SQLite does not ask. It goes on writing to a file that was deleted, where nobody finds it again; and where the file's
companion -wal was deleted, another process begins a new one, and the two write over each other.
"""

import copy
import os
import stat
from contextlib import suppress
from urllib.parse import quote

from ..errors import DatabaseUnavailable
from .lock import FileLock

_UNTIL_THEN = "Nothing is written until then."
GONE = f"the file at BILLING_DATABASE was deleted or moved away. Put it back, or restart Corkage. {_UNTIL_THEN}"
REPLACED = f"another file is at BILLING_DATABASE than the one that was opened. Restart Corkage to use it. {_UNTIL_THEN}"
COMPANION = (
    f"{{}} beside the file at BILLING_DATABASE was deleted or replaced while in use. Restart Corkage. {_UNTIL_THEN}"
)

EXCLUDED = "`corkage restore` is writing a backup into it. Try again in a moment"

_Identity = tuple[int, int] | None


def let_companions_be_written(path: str) -> None:
    """Give -wal and -shm the permissions of the file, where they are read-only and it is not. SQLite made them so while
    the file was read-only, left them behind, and would take it for read-only because of them.
    """
    real = os.path.realpath(path)
    for companion in (f"{real}-wal", f"{real}-shm"):
        with suppress(OSError):  # not there, or not ours
            mode = os.stat(real).st_mode & 0o777
            if mode & stat.S_IWUSR and not os.stat(companion).st_mode & stat.S_IWUSR:
                os.chmod(companion, mode)


class OpenedFile:
    """A file that is there, and is remembered: by this process and by those forked from it.

    Errors  OSError when there is none
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)  # a host may change its folder later
        if os.path.islink(self.path) and not os.path.exists(self.path):
            raise FileNotFoundError(f"it is a link to {os.path.realpath(self.path)}, where there is no file")
        found = os.stat(self.path)
        self._opened = (self.path, (found.st_dev, found.st_ino))
        self._held: tuple[tuple[str, _Identity], ...] = (self._opened,)
        real = os.path.realpath(self.path)  # SQLite follows links, and keeps the companions where they lead to
        self._companions = (f"{real}-wal", f"{real}-shm")
        self._lock: FileLock | None = None

    @property
    def uri(self) -> str:
        """What SQLite opens it by, and never makes another file."""
        return f"file://{quote(os.fsencode(self.path))}?mode=rw"

    def of_child(self) -> "OpenedFile":
        """Return the same file for a process that was forked, and opens it itself."""
        child = copy.copy(self)
        child._held, child._lock = (self._opened,), None
        return child

    def claim(self) -> None:
        """Say that this process uses the file, before it opens it.

        Errors  DatabaseUnavailable, also where a backup is being restored
        """
        try:
            self._lock = self._lock or FileLock(self.path)
        except OSError as error:  # such as too many open files
            raise DatabaseUnavailable(str(error)) from error
        if not self._lock.share():
            raise DatabaseUnavailable(EXCLUDED)

    def is_alone(self) -> bool:
        """Return whether no other process uses the file; False where that cannot be known."""
        return self._lock is not None and self._lock.is_alone()

    def keep_companions(self) -> None:
        """Have SQLite leave -wal and -shm where they are: other programs read the file when this one is stopped."""
        if self._lock is not None:
            self._lock.keep_companions()

    def hold_companions(self) -> None:
        """Remember -wal and -shm. They stay the same as long as one connection that has read stays open."""
        self._held = (self._opened, *((name, _identity(name)) for name in self._companions))

    def let_companions_go(self) -> None:
        """Forget them, once every connection is closed: what is there at the next opening may be new."""
        self._held = (self._opened,)
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()

    def is_whole(self) -> bool:
        """Return whether all of it is still at its path; see check()."""
        try:
            self.check()
        except DatabaseUnavailable:
            return False
        return True

    def check(self) -> None:
        """Make sure that all of it is still at its path: three questions to the kernel, a microsecond each.

        Errors  DatabaseUnavailable
        """
        for path, identity in self._held:
            if _identity(path) != identity:
                raise DatabaseUnavailable(self._loss(path))

    def _loss(self, path: str) -> str:
        if path == self.path:
            return REPLACED if _identity(path) else GONE
        return COMPANION.format(path[-4:])


def _identity(path: str) -> _Identity:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def refuse_if_gone(path: str) -> None:
    """Make sure that whoever only looks makes no new file in the place of one that was taken away.

    Errors  DatabaseUnavailable where -wal is there without its file
    """
    real = os.path.realpath(path)
    if not os.path.exists(real) and os.path.exists(f"{real}-wal"):
        raise DatabaseUnavailable(GONE)
