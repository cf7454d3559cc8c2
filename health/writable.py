"""Whether the database can be written, found by writing: a quiet process would not notice a full disk or a lock."""

import time

from .. import storage
from ..errors import DatabaseUnavailable

WAIT_SECONDS = 1.0  # for other writers; a health check is not to hang as long as a write may
TRY_EVERY_SECONDS = 5.0  # anybody may ask /health, and each try is an fsync

# What SQLite says, and the command that shows more of it; the path and the folder of the file are put in.
MENDS = {
    "is locked": "fuser -v {path}, which shows who has it open: end whoever holds the lock",
    "is full": "df -h {folder}, and make room",
    "disk I/O error": "df -h {folder} and dmesg, which show a full or failing disk",
    "readonly": "ls -l {path}: it belongs to, or is not writable for, the user that runs this",
    "malformed": 'sqlite3 {path} "PRAGMA integrity_check", and restore a backup',
}
ELSE = "ls -l {path}, and the log of whoever serves it"


class Writable:
    """What this process knows of it; asked often, it tries now and then."""

    def __init__(self) -> None:
        self._next_try_at = 0.0

    def problem(self) -> str | None:
        """Return why nothing can be written now, None when all is well."""
        if time.monotonic() >= self._next_try_at:
            self._next_try_at = time.monotonic() + TRY_EVERY_SECONDS  # before: others who ask meanwhile do not wait
            return try_to_write()
        reason = storage.current().trouble.reason
        return reason or _reason_of_file()


def try_to_write() -> str | None:
    """Write to the open database, and return why that failed; None when it did not."""
    known = storage.current().trouble
    try:
        is_tried = storage.current().test_write(WAIT_SECONDS)
    except DatabaseUnavailable as error:
        return str(error)
    return None if is_tried else known.reason or None


def mend(reason: str, path: str) -> str:
    """Return the command that shows more of it."""
    found = next((each for said, each in MENDS.items() if said in reason), ELSE)
    return found.format(path=path, folder=path.rpartition("/")[0] or ".")


def _reason_of_file() -> str | None:
    try:
        storage.current().file.check()
    except DatabaseUnavailable as error:
        return str(error)
    return None
