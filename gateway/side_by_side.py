"""Calls side by side: what need not wait for each other's answer does not."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

_Waiting = queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None]


class Threads:
    """Threads that are started when they are needed, and kept.

    They are daemon threads: those of an executor would keep the process from ending for as long as Stripe hangs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._waiting = _Waiting()
        self._threads: list[threading.Thread] = []

    def submit(self, act: Callable[[], Any]) -> Future[Any]:
        """Call the function in another thread, at once; in this one where the system gives no other."""
        ended: Future[Any] = Future()
        with self._lock:
            self._running += 1
            has_thread = self._running <= len(self._threads) or self._start_thread()
            if has_thread:
                self._waiting.put((act, ended))
        if not has_thread:
            _run(act, ended, self._count_end)
        return ended

    def _start_thread(self) -> bool:
        thread = threading.Thread(target=self._work, args=(self._waiting,), name="corkage-job", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # there is no memory for its stack, or there are too many
            return False
        self._threads.append(thread)
        return True

    def together(self, *calls: Callable[[], Any]) -> list[Any]:
        """Call the functions side by side, the first in this thread; return their results when all have ended.

        Errors  the first error of any of them
        """
        others = [self.submit(call) for call in calls[1:]]
        own: Future[Any] = Future()
        for call in calls[:1]:
            _run(call, own)
        ended = [own, *others] if calls else []
        failures = [error for each in ended if (error := each.exception()) is not None]
        if failures:
            raise failures[0]
        return [each.result() for each in ended]

    def close(self, longest_seconds: float | None = None) -> None:
        """Wait for what is running, for so long at most, then end the threads. The next call starts new ones."""
        with self._lock:  # what is submitted from now on has threads of its own, which go on
            threads, self._threads = self._threads, []
            waiting, self._waiting = self._waiting, _Waiting()
        for _ in threads:
            waiting.put(None)
        ends = None if longest_seconds is None else time.monotonic() + longest_seconds
        for thread in threads:
            thread.join(None if ends is None else max(ends - time.monotonic(), 0.0))

    def _work(self, waiting: _Waiting) -> None:
        while (taken := waiting.get()) is not None:
            act, ended = taken
            _run(act, ended, self._count_end)

    def _count_end(self) -> None:
        with self._lock:
            self._running -= 1


def _run(act: Callable[[], Any], ended: Future[Any], before_end: Callable[[], object] = lambda: None) -> None:
    failure: BaseException | None = None
    result: Any = None
    try:
        result = act()
    except BaseException as raised:  # raised again where the result is read
        failure = raised
    before_end()
    if failure is not None:
        ended.set_exception(failure)
    else:
        ended.set_result(result)
