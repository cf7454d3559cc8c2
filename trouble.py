"""Log a lasting problem once when it begins, now and then while it lasts, and once when it is over."""

import logging
import threading
import time

from .logs.pace import Pace

MOST_REASONS = 10


class Trouble:
    """One thing that can be wrong for a while: the present reason, and the last one.

    Shape   began, over: texts for the log, with a place for the reason and for the seconds that it lasted;
            reason is empty while all is well; last: when it was last met, in Unix seconds, and its reason then;
            pause_seconds: for so long after a line its next beginning is not logged. For what strangers can begin, and
            others end, many times a second. If it lasts, it is logged after a minute
    """

    def __init__(self, log: logging.Logger, level: int, began: str, over: str, pause_seconds: float = 0) -> None:
        self._log, self._level, self._began, self._over = log, level, began, over
        self._pause_seconds = pause_seconds
        self._lock = threading.Lock()
        self._pace = Pace(0)
        self._reasons: set[str] = set()
        self._is_quiet = self._is_said = False
        self._said_at = 0.0
        self.since = self._held_until = 0.0
        self.reason = ""
        self.last: tuple[float, str] | None = None

    def begin(self, reason: str) -> None:
        """Note that the problem was met. Log it if the reason is new, and else after a minute and every ten minutes."""
        with self._lock:
            now = time.time()
            self.last = (now, reason)
            if not self.reason:
                self.since, self._pace, self._reasons = now, Pace(now), set()
                self._is_quiet, self._is_said = abs(now - self._said_at) < self._pause_seconds, False
            else:
                self._pace.meet(now)
            self.reason = reason
            is_news = not self._is_quiet and reason not in self._reasons and len(self._reasons) < MOST_REASONS
            if is_news:
                self._reasons.add(reason)
            again = None if is_news else self._pace.summary(now)
            if is_news or again:
                self._is_said, self._said_at = True, now
        if again:
            self._log.log(self._level, self._began + "; %d more in %.0f s", reason, *again)
        else:
            self._log.log(self._level if is_news else logging.DEBUG, self._began, reason)

    def hold(self, seconds: float) -> None:
        """Let it end no earlier than so many seconds after now: what goes well does not show that it is over."""
        self._held_until = time.monotonic() + seconds

    def end(self) -> None:
        """Note that all is well. Log it if it was not."""
        if not self.reason or time.monotonic() < self._held_until:
            return
        with self._lock:
            was, self.reason = self.reason, ""
        if was:
            self._log.log(logging.WARNING if self._is_said else logging.DEBUG, self._over, time.time() - self.since)
