"""Lines that could come by the hundred: the first are logged as they are, then how many more came, and when it ended.

All of them are logged at DEBUG. Anybody can cause such lines, with values of their own: of each kind of line, only so
many values are kept apart, and all others together.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from .clean import LONGEST_VALUE, one_line
from .pace import Pace

MOST_VALUES = 20  # of one kind
OTHERS = "\n"  # stands for all other values
LOOK_SECONDS = 30.0


@dataclass
class _Case:
    """One thing that is met again and again; text: of its last line."""

    log: logging.Logger
    level: int
    text: str
    pace: Pace
    first: int


class Repeats:
    """The repeated lines of one process. A thread sums them up, and ends when there is nothing more to sum up."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._cases: dict[tuple[str, str], _Case] = {}
        self._values: Counter[str] = Counter()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def log(
        self, log: logging.Logger, level: int, kind: str, value: str, message: str, *args: object, first: int = 1
    ) -> None:
        """Log a line, or count it.

        Shape   kind: what lines are the same, of a few; value: what keeps those of a kind apart, or "";
                first: how many are logged as they are
        """
        is_first = self._note(log, level, kind, value, message % args, first)
        log.log(level if is_first else logging.DEBUG, message, *args)

    def _note(self, log: logging.Logger, level: int, kind: str, value: str, text: str, first: int) -> bool:
        now = self._clock()
        with self._lock:
            is_known = (kind, value) in self._cases
            key = (kind, value if is_known or self._values[kind] < MOST_VALUES else OTHERS)
            case = self._cases.get(key)
            if case is None:
                self._cases[key] = _Case(log, level, one_line(text, LONGEST_VALUE), Pace(now), first)
                self._values[kind] += 1
                self._watch()
                return True
            case.text = one_line(text, LONGEST_VALUE)
            case.pace.meet(now)
            if case.pace.count <= case.first:
                case.pace.unsaid = 0
                return True
            return False

    def sum_up(self, now: float, *, at_end: bool = False) -> None:
        """Log how often each was met since it was last logged, where that is due, and what has ended."""
        with self._lock:
            lines = [line for key in list(self._cases) for line in self._lines(key, now, at_end)]
        for log, level, text, values in lines:
            log.log(level, text, *values)

    def _lines(
        self, key: tuple[str, str], now: float, at_end: bool
    ) -> list[tuple[logging.Logger, int, str, tuple[object, ...]]]:
        case = self._cases[key]
        which = " and others like it" if key[1] == OTHERS else ""
        found = case.pace.rest(now) if at_end and case.pace.unsaid else case.pace.summary(now)
        if found:
            return [(case.log, case.level, "%d more in %.0f s%s, the last: %s", (*found, which, case.text))]
        if not case.pace.is_over(now):
            return []
        del self._cases[key]
        self._values[key[0]] -= 1
        if case.pace.count <= case.first:
            return []
        values = (now - case.pace.last, case.pace.count, case.text)
        return [(case.log, logging.INFO, "over, for %.0f s by now; %d times in all, the last: %s", values)]

    def close(self) -> None:
        """Log what was only counted, and end the thread."""
        self._closed.set()
        self.sum_up(self._clock(), at_end=True)

    def _watch(self) -> None:
        if self._closed.is_set() or (self._thread is not None and self._thread.is_alive()):
            return
        self._thread = threading.Thread(target=self._run, name="corkage-repeats", daemon=True)
        with suppress(RuntimeError):  # no memory for a thread: what is counted is summed up by the next
            self._thread.start()

    def _run(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            self.sum_up(self._clock())
            with self._lock:
                if not self._cases:
                    self._thread = None
                    return
