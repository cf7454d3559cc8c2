"""What was found out and is kept for a while: /health may be asked by anybody, and counts all that waits."""

import threading
import time
from collections.abc import Callable
from typing import Any

KEPT_SECONDS = 1.0
USABLE_SECONDS = 5.0  # for those who ask while another one looks

Facts = dict[str, Any]


class Kept:
    """Facts that one request finds for all that come within a second, or for as long as `lasts` says of them."""

    def __init__(self, lasts: Callable[[Facts], float] = lambda _: KEPT_SECONDS) -> None:
        self._lasts = lasts
        self._looking = threading.Lock()
        self._found: Facts | None = None
        self._found_at = float("-inf")

    def get(self, look: Callable[[], Facts]) -> Facts:
        """Return the facts, found by `look` where they are older. Who comes while another looks gets those of before.

        Errors  as `look`; nothing is kept then
        """
        if (known := self._lasting()) is not None:
            return known
        is_first = self._looking.acquire(blocking=self._younger_than(USABLE_SECONDS) is None)
        if not is_first:
            return self._found or {}
        try:
            return self._lasting() or self._look(look)
        finally:
            self._looking.release()

    def _lasting(self) -> Facts | None:
        return None if self._found is None else self._younger_than(self._lasts(self._found))

    def _younger_than(self, seconds: float) -> Facts | None:
        return self._found if time.monotonic() - self._found_at < seconds else None

    def _look(self, look: Callable[[], Facts]) -> Facts:
        found = look()
        self._found, self._found_at = found, time.monotonic()
        return found
