"""The thread that goes on calling the worker. Starting it costs nothing: what the worker needs, it imports itself."""

import atexit
import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import database
from ..errors import ConfigError, DatabaseUnavailable

if TYPE_CHECKING:
    from .worker import Worker

LONGEST_SLEEP_SECONDS = 30.0
AFTER_A_BUG_SECONDS = 10.0
SHORTEST_SLEEP_SECONDS = 0.2  # what is due, and was not done, another process has claimed
AT_EXIT_SECONDS = 2.0  # a customer left in mid-air is safe, but leased: for minutes nobody would look at it

log = logging.getLogger("corkage.worker")


class WorkerThread:
    """Calls work_once whenever something is due or somebody wakes it, until it is stopped."""

    def __init__(self, worker: "Callable[[], Worker]") -> None:
        self._make_worker = worker
        self._woken = threading.Event()
        self._looks_at = 0.0
        self._lock = threading.Lock()
        self._stopping = False
        self._thread = threading.Thread(target=self.run, name="corkage-worker", daemon=True)

    def start(self) -> None:
        """Go on until stop(), or until the process ends."""
        self._thread.start()
        atexit.register(self.stop, AT_EXIT_SECONDS)

    def wake(self, at: float = 0.0) -> None:
        """Have the thread look at what is due by then, in Unix seconds. It goes on sleeping when it would anyway: a
        burst of events does not have it look again for each."""
        with self._lock:
            if at < self._looks_at:
                self._looks_at = at
                self._woken.set()

    def stop(self, longest_seconds: float | None = None) -> None:
        """Finish the customer at hand, for so long at most, then end. Nothing is lost: what is left stays pending."""
        atexit.unregister(self.stop)
        self._stopping = True
        self._woken.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(longest_seconds)

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def run(self) -> None:
        """Go on until stopped; what start() has the thread do."""
        while not self._stopping:
            self._looks_at = float("inf")
            self.wake(time.time() + self._pause())
            while not self._stopping and (seconds := self._looks_at - time.time()) > 0:
                self._woken.wait(seconds)
                self._woken.clear()

    def _pause(self) -> float:
        """Do what is due, and tell how long there is nothing to do."""
        try:
            work = self._make_worker().work_once(time.time(), lambda: self._stopping)
        except DatabaseUnavailable as error:
            database.note(error)
            return 1.0
        except ConfigError as error:
            log.error("the worker cannot work with this configuration: %s", error)
            return LONGEST_SLEEP_SECONDS
        except Exception:  # a dead thread would apply nothing any more, and tell nobody but /health
            log.exception("the worker stumbled over a bug, going on")
            return AFTER_A_BUG_SECONDS
        shortest = 0.0 if work.converged or work.failed else SHORTEST_SLEEP_SECONDS
        return max(shortest, min(work.next_due_at - time.time(), LONGEST_SLEEP_SECONDS))
