"""One thing at a time changes the world, and what follows from it waits until that is done."""

import threading
from collections.abc import Callable


def _nothing() -> None:
    pass


class Turns:
    """A lock, taken with `with`, also again by whom has it. `at_end` is called as a turn ends, still within it."""

    def __init__(self) -> None:
        self.at_end: Callable[[], None] = _nothing
        self._lock = threading.RLock()
        self._depth = 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        try:
            if self._depth == 1:
                self.at_end()
        finally:
            self._depth -= 1
            self._lock.release()
