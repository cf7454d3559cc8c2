"""The lock that lets one thread at a time change the world."""

import threading
from collections.abc import Callable


def _do_nothing() -> None:
    pass


class WorldLock:
    """A reentrant lock. `on_release` is called before the outermost `with` releases it."""

    def __init__(self) -> None:
        self.on_release: Callable[[], None] = _do_nothing
        self._lock = threading.RLock()
        self._depth = 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        try:
            if self._depth == 1:
                self.on_release()
        finally:
            self._depth -= 1
            self._lock.release()
