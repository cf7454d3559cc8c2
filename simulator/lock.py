"""The lock that lets one thread at a time change the world."""

import threading
from collections.abc import Callable


class WorldLock:
    """A reentrant lock. The outermost `with` calls `on_acquire` once it has the lock, then `on_release` at its end."""

    def __init__(self, on_acquire: Callable[[], None], on_release: Callable[[], None]) -> None:
        self._on_acquire, self._on_release = on_acquire, on_release
        self._lock = threading.RLock()
        self._depth = 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1
        if self._depth == 1:
            self._on_acquire()

    def __exit__(self, *_: object) -> None:
        try:
            if self._depth == 1:
                self._on_release()
        finally:
            self._depth -= 1
            self._lock.release()
