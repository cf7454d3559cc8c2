"""A pool for the worker's jobs: one that hangs takes one place, and the others go on."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import NamedTuple

from ..errors import BillingError
from ..gateway.side_by_side import Threads

LOOK_EVERY_SECONDS = 0.25  # a stop is noticed after so long while every place is taken

Ended = Future[BillingError | None]


class Job(NamedTuple):
    """One piece of work. Two jobs with the same key never run at once in a process.

    Shape   act: returns the error of this job, or None; raises only what concerns all jobs, such as DatabaseUnavailable
            let_go: gives back what was claimed for the job, which somebody else may do then
    """

    key: str
    act: Callable[[], BillingError | None]
    let_go: Callable[[], object] = lambda: None


class Pool:
    """Runs jobs in a limited number of threads.

    Shape   failed: the jobs that raised or could not begin, which several pools may share
    """

    def __init__(self, places: int, failed: deque[Job] | None = None) -> None:
        self._places = threading.Semaphore(places)
        self._threads = Threads()
        self._lock = threading.Lock()
        self._running: set[str] = set()
        self._failed = deque[Job]() if failed is None else failed

    def is_running(self, key: str) -> bool:
        """Return whether a job of this key is running."""
        return key in self._running

    def run(
        self, jobs: Iterator[Job], is_stopping: Callable[[], bool], on_end: Callable[[Ended], object] | None = None
    ) -> dict[str, Ended]:
        """Begin every job as soon as there is a place for it; return the jobs by key, without waiting for their end.

        Shape   jobs: the next one is read only when it can begin, so that nothing is claimed too early
        """
        begun: dict[str, Ended] = {}
        while self._take_place(is_stopping):
            job = None
            try:
                job = next(jobs, None)
            finally:
                if job is None:
                    self._places.release()
            if job is None:
                break
            begun[job.key] = self._begin(job, on_end)
        return begun

    def let_go_of_failed(self) -> None:
        """Give back what was claimed for the jobs that raised or could not begin: else it would wait for its lease.

        Errors  what let_go raises; call again
        """
        while self._failed:
            self._failed[0].let_go()
            self._failed.popleft()

    def close(self, longest_seconds: float | None = None) -> None:
        """Wait for the jobs that are running, for so long at most, then end the threads; the next starts new ones."""
        self._threads.close(longest_seconds)

    def _take_place(self, is_stopping: Callable[[], bool]) -> bool:
        while not is_stopping():
            if self._places.acquire(timeout=LOOK_EVERY_SECONDS):
                return True
        return False

    def _begin(self, job: Job, on_end: Callable[[Ended], object] | None) -> Ended:
        with self._lock:
            self._running.add(job.key)
        try:
            ended = self._threads.submit(lambda: self._run(job))
        except BaseException:  # there is no memory for it
            self._note_end(job, has_failed=True)
            raise
        if on_end is not None:
            ended.add_done_callback(on_end)
        return ended

    def _run(self, job: Job) -> BillingError | None:
        has_failed = True
        try:
            error = job.act()
            has_failed = False
        finally:
            self._note_end(job, has_failed=has_failed)
        return error

    def _note_end(self, job: Job, *, has_failed: bool) -> None:
        with self._lock:
            self._running.discard(job.key)
            if has_failed:
                self._failed.append(job)
        self._places.release()
