"""Threads that go on for as long as the process does."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

AGAIN_SECONDS = 10.0


class Lasting(threading.Thread):
    """A daemon thread that calls its function again where that raised anything, and ends when it returns.

    A thread that died would be noticed by nobody who waits for its work, and only a restart would bring it back. What
    a function catches may be raised once more while it is being logged: there is no memory for the log either.
    """

    def __init__(self, act: Callable[[], object], name: str, log: logging.Logger) -> None:
        super().__init__(name=name, daemon=True)
        self._act, self._log = act, log

    def run(self) -> None:
        """Call the function until it returns."""
        while not self._has_returned():
            time.sleep(AGAIN_SECONDS)

    def _has_returned(self) -> bool:
        try:
            self._act()
        except BaseException as error:  # SystemExit, too: it would end this thread alone, without a word
            with suppress(Exception):
                self._log.error("the thread %s goes on after %r", self.name, error)
            return False
        return True
