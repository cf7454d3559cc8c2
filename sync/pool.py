"""A pool of threads for the worker's jobs: one that hangs takes one place, and the others go on."""

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import NamedTuple

from ..errors import BillingError

LOOK_EVERY_SECONDS = 0.25  # a stop is noticed after so long while every place is taken

Ended = Future[BillingError | None]


class Job(NamedTuple):
    """One piece of work. Two jobs with the same key never run at once in a process.

    Shape   act: returns the error of this job, or None; raises only what concerns all jobs, such as DatabaseUnavailable
    """

    key: str
    act: Callable[[], BillingError | None]


class Pool:
    """Runs jobs in a limited number of threads, which are started when they are needed and kept.

    They are daemon threads: those of an executor would keep the process from ending for as long as Stripe hangs.

    Shape   at_thread_end: called in each thread when it ends, to close what belongs to it
    """

    def __init__(self, places: int, at_thread_end: Callable[[], object] = lambda: None) -> None:
        self._places = threading.Semaphore(places)
        self._at_thread_end = at_thread_end
        self._lock = threading.Lock()
        self._running: dict[str, Ended] = {}
        self._waiting: queue.SimpleQueue[tuple[Job, Ended] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

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

    def close(self) -> None:
        """Wait for the jobs that are running, then end the threads. The next job starts new ones."""
        with self._lock:
            threads, self._threads = self._threads, []
        for _ in threads:
            self._waiting.put(None)
        for thread in threads:
            thread.join()

    def _take_place(self, is_stopping: Callable[[], bool]) -> bool:
        while not is_stopping():
            if self._places.acquire(timeout=LOOK_EVERY_SECONDS):
                return True
        return False

    def _begin(self, job: Job, on_end: Callable[[Ended], object] | None) -> Ended:
        ended: Ended = Future()
        if on_end is not None:
            ended.add_done_callback(on_end)
        with self._lock:
            self._running[job.key] = ended
            self._waiting.put((job, ended))
            if len(self._threads) < len(self._running):
                thread = threading.Thread(target=self._work, name="corkage-job", daemon=True)
                self._threads.append(thread)
                thread.start()
        return ended

    def _work(self) -> None:
        while (taken := self._waiting.get()) is not None:
            self._run(*taken)
        self._at_thread_end()

    def _run(self, job: Job, ended: Ended) -> None:
        failure: BaseException | None = None
        error: BillingError | None = None
        try:
            error = job.act()
        except BaseException as raised:  # raised again where the job's result is read
            failure = raised
        with self._lock:
            self._running.pop(job.key, None)
        self._places.release()
        if failure is not None:
            ended.set_exception(failure)
        else:
            ended.set_result(error)
