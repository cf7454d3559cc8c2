"""The worker's thread. It loads the worker, and Stripe's library, only when it runs, so a start costs nothing."""

import atexit
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import storage
from ..errors import ConfigError, DatabaseUnavailable, Outdated
from ..logs.facts import logger
from ..pacing.lasting import Lasting
from ..trouble import Trouble

if TYPE_CHECKING:
    from .pool import Ended
    from .worker import Worker

LONGEST_SLEEP_SECONDS = 30.0
AFTER_A_BUG_SECONDS = 10.0
SHORTEST_SLEEP_SECONDS = 0.2  # another process may have claimed what is due
AT_EXIT_SECONDS = 2.0  # an interrupted customer is safe, but stays leased for minutes

LACKING = "nothing is applied, and it is tried again: %s"

log = logger("corkage.worker")


class WorkerThread:
    """Begins what is due, whenever something is or the thread is woken, until it is stopped.

    Shape   on_look: called each time that the thread looks for work
    Units   sleeps by the monotonic clock, so that a clock that is set back does not prolong a sleep
    """

    def __init__(self, worker: "Callable[[], Worker]", on_look: Callable[[], None] = lambda: None) -> None:
        self._make_worker = worker
        self._on_look = on_look
        self._looked_at = time.monotonic()
        self._worker: Worker | None = None
        self._woken = threading.Event()
        self._looks_at = 0.0
        self._lock = threading.Lock()
        self._stopping = False
        self._failures: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
        self._outdated = Trouble(log, logging.ERROR, "%s", "events are applied again, after %.0f s")
        self._exhausted = Trouble(log, logging.ERROR, LACKING, "events are applied again, after %.0f s")
        self._thread = Lasting(self.run, "corkage-worker", log)

    def start(self) -> None:
        """Start the thread. It runs until stop(), or until the process ends."""
        self._thread.start()
        atexit.register(self.stop, AT_EXIT_SECONDS)

    def wake(self, seconds: float = 0.0) -> None:
        """Make the thread look for due work in so many seconds, or earlier if it would anyway. Debounces bursts."""
        with self._lock:
            looks_at = time.monotonic() + seconds
            if looks_at < self._looks_at:
                self._looks_at = looks_at
                self._woken.set()

    def end(self) -> None:
        """Begin no more jobs."""
        self._stopping = True
        self._woken.set()

    def stop(self, longest_seconds: float | None = None) -> None:
        """Finish the running jobs, for so long at most, then end. Nothing is lost: the rest stays pending."""
        atexit.unregister(self.stop)
        self.end()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(longest_seconds)

    def is_alive(self) -> bool:
        """Return whether the thread runs."""
        return self._thread.is_alive()

    def idle_seconds(self) -> float:
        """Return for how long the thread has not looked for work: more than its longest sleep means that it hangs."""
        return time.monotonic() - self._looked_at

    def problem(self) -> str:
        """Return a sentence about what it lacks to go on, such as memory; "" for nothing."""
        reason = self._exhausted.reason
        return LACKING % reason if reason else ""

    def run(self, longest_seconds: float | None = None) -> None:
        """Run until stopped, in the calling thread; wait at the end for running jobs, for so long at most."""
        while not self._stopping:
            self._looks_at = float("inf")
            self.wake(self._pause())
            while not self._stopping and (seconds := self._looks_at - time.monotonic()) > 0:
                self._woken.wait(seconds)
                self._woken.clear()
        if self._worker is not None:
            self._worker.close(longest_seconds)

    def _pause(self) -> float:
        """Begin what is due, and return for how many seconds nothing else is."""
        self._looked_at = time.monotonic()
        try:
            return self._begin_due()
        except DatabaseUnavailable as error:
            storage.note(error)
            return 1.0
        except Outdated as error:
            self._outdated.begin(str(error))
            return LONGEST_SLEEP_SECONDS
        except ConfigError as error:
            log.error("the worker cannot work with this configuration: %s", "; ".join(error.problems))
            return LONGEST_SLEEP_SECONDS
        except (MemoryError, OSError) as error:  # no memory or no file handle is left, which passes
            self._exhausted.begin(str(error) or "no memory is left")
            return AFTER_A_BUG_SECONDS
        except Exception:  # a bug, which must not end `corkage work`: it runs this outside of a Lasting thread
            log.exception("a bug in the worker, going on")
            return AFTER_A_BUG_SECONDS

    def _begin_due(self) -> float:
        self._raise_failure()
        self._on_look()
        self._worker = self._make_worker()
        self._worker.begin_due(time.time(), lambda: self._stopping, self._note_end)
        self._outdated.end()
        self._exhausted.end()
        now = time.time()
        return max(SHORTEST_SLEEP_SECONDS, min(self._worker.next_due_at(now) - now, LONGEST_SLEEP_SECONDS))

    def _note_end(self, ended: "Ended") -> None:
        """Look again when a job has ended: a place is free, and more may be due. What it raised concerns all jobs."""
        if (failure := ended.exception()) is not None:
            self._failures.put(failure)
        self.wake()

    def _raise_failure(self) -> None:
        failures = []
        while not self._failures.empty():
            failures.append(self._failures.get())
        if failures:
            raise failures[0]
