"""How long a write waits for other writers, in all: for the threads of its process, and then for other processes."""

import time

BUSY_SECONDS = 5.0


class Deadline:
    """When a write that begins now gives up waiting; after BUSY_SECONDS, unless a shorter time is given."""

    __slots__ = ("_at",)

    def __init__(self, seconds: float | None = None) -> None:
        self._at = time.monotonic() + (BUSY_SECONDS if seconds is None else seconds)

    def left(self) -> float:
        """Return for how many seconds it may still wait."""
        return max(self._at - time.monotonic(), 0.0)

    def is_near(self) -> bool:
        """Return whether so much of the time is over that what waits next must wait for less than usual."""
        return self.left() < 0.9 * BUSY_SECONDS
