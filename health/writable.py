"""Whether the database can be written. Tested by a write, because a process that seldom writes would not notice."""

import time

from .. import storage
from ..errors import DatabaseUnavailable

WAIT_SECONDS = 1.0  # for other writers; a health check must not wait as long as a write may
TRY_EVERY_SECONDS = 5.0  # anybody may call /health, and each test is an fsync


class Writable:
    """Whether this process can write. Asked often, it tests once in five seconds."""

    def __init__(self) -> None:
        self._next_try_at = 0.0

    def problem(self) -> str | None:
        """Return why the database cannot be written, or None."""
        if time.monotonic() >= self._next_try_at:
            self._next_try_at = time.monotonic() + TRY_EVERY_SECONDS  # set first, so that other requests do not wait
            return try_to_write()
        reason = storage.current().trouble.reason
        return reason or _reason_unasked()


def try_to_write() -> str | None:
    """Write to the open database; return why that failed, or None."""
    known = storage.current().trouble
    try:
        storage.current().test_write(WAIT_SECONDS)
    except DatabaseUnavailable as error:
        return str(error)
    return known.reason or None  # also where this went well: a damaged page is elsewhere


def _reason_unasked() -> str | None:
    try:
        storage.current().check()
    except DatabaseUnavailable as error:
        return str(error)
    return None
