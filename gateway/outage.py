"""Whether Stripe is down. That is one state for all who wait for it, and not a failure of each of them.

While it is down, one call at a time asks whether it is up again, and nothing else is tried: so nothing else waits for
longer than it is down. Its first answer makes all due that failed meanwhile.
"""

import threading

from ..pacing.pauses import LONGEST_PAUSE_SECONDS as LONGEST_OTHERWISE
from ..pacing.pauses import with_jitter

DOWN_AFTER = 3  # failures without an answer in between: one may be of that customer alone
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 2.0, 30.0
ASKING_SECONDS = 60.0  # more than the slowest call takes: by then its outcome is known, or was lost
WAS_DOWN = "(error LIKE 'stripe_unavailable%' OR error LIKE 'stripe_failed%')"
"""The condition, in SQL, that finds what failed because Stripe was down: by the codes of errors.py."""


class Outage:
    """Counts failures since Stripe's last answer.

    Units   now: Unix seconds
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures = 0
        self._began_at = self._failed_at = self.next_try_at = 0.0
        self._has_ended = False

    @property
    def is_down(self) -> bool:
        """Whether Stripe is down."""
        return self._failures >= DOWN_AFTER

    @property
    def longest_pause(self) -> float:
        """How long what failed may wait. While Stripe is down that is not its own fault, and no reason to wait long."""
        return LONGEST_PAUSE_SECONDS if self.is_down else LONGEST_OTHERWISE

    def note_answer(self) -> None:
        """Note that Stripe has answered."""
        if not self._failures:
            return
        with self._lock:
            self._has_ended = self._has_ended or self.is_down
            self._failures = 0

    def note_failure(self, now: float) -> None:
        """Note that Stripe has not answered, or not as it does when all is well."""
        with self._lock:
            if not self._failures:
                self._began_at = now
            self._failures += 1
            self._failed_at = now
            self._rest(now)

    def admits(self, now: float) -> bool:
        """Return whether Stripe may be asked now: always while it is up, else once after each pause, which begins with
        the outcome.
        """
        if not self.is_down:
            return True
        with self._lock:
            # Who asks may have looked at the clock before the last failure; earlier than that it was set back.
            if self._failed_at - ASKING_SECONDS <= now < self.next_try_at:
                return False
            self.next_try_at = now + ASKING_SECONDS
            return True

    def end_pause(self) -> None:
        """Let Stripe be asked at once: somebody wants to know, or nobody has asked after the last pause."""
        self.next_try_at = 0.0

    def take_end(self) -> bool:
        """Return whether an outage has ended since this was called last."""
        if not self._has_ended:
            return False
        with self._lock:
            ended, self._has_ended = self._has_ended, False
            return ended

    def _rest(self, now: float) -> None:
        """Pause half as long as the outage has lasted, within limits."""
        pause = min(max((now - self._began_at) / 2, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
        self.next_try_at = now + with_jitter(pause)
