"""What this process sees of Stripe beside the answers: how many calls, how long, which fail, and Stripe's clock."""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # of the times that are counted, in seconds
SIMULATOR = "simulator"  # what our offline Stripe calls itself: its clock is moved at will
UNREACHABLE = "unreachable"


class Seen(NamedTuple):
    """What was seen of Stripe since the start.

    Shape   calls: answered or not; errors: by status, or "unreachable"; taken: how many calls took no longer than each
            of BOUNDS and more than the one before, and last how many took longer;
            answered_at, refused_at, failed_at: when a call last was answered, was refused for the key, or failed;
            ahead: by how much Stripe's clock is ahead of this machine's, as it was last seen; None while it was not
    Units   seconds; times in Unix seconds, 0 for never; ahead is exact to about a second
    """

    calls: int
    seconds: float
    taken: tuple[int, ...]
    errors: dict[str, int]
    answered_at: float
    refused_at: float
    failed_at: float
    ahead: float | None


class Watched:
    """Notes each call to Stripe. One for all clients of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds = 0.0
        self._taken = [0] * (len(BOUNDS) + 1)
        self._errors: Counter[str] = Counter()
        self._answered_at = self._refused_at = self._failed_at = 0.0
        self._ahead: float | None = None

    def note(self, status: int, headers: Mapping[str, Any], began: float, ended: float) -> None:
        """Note an answer.

        Units   began, ended: Unix seconds by this machine's clock
        """
        ahead = _ahead(headers, (began + ended) / 2)
        with self._lock:
            self._count(began, ended)
            if status >= 400:
                self._errors[str(status)] += 1
            if status == 401:
                self._refused_at = ended
            elif status >= 500:
                self._failed_at = ended
            else:
                self._answered_at = ended
            if ahead is not None:
                self._ahead = ahead

    def note_failure(self, began: float, ended: float) -> None:
        """Note a call without an answer."""
        with self._lock:
            self._count(began, ended)
            self._errors[UNREACHABLE] += 1
            self._failed_at = ended

    def _count(self, began: float, ended: float) -> None:
        seconds = max(0.0, ended - began)
        self._seconds += seconds
        self._taken[bisect_left(BOUNDS, seconds)] += 1

    def seen(self) -> Seen:
        """Return what was seen until now."""
        with self._lock:
            return Seen(
                sum(self._taken),
                self._seconds,
                tuple(self._taken),
                dict(self._errors),
                self._answered_at,
                self._refused_at,
                self._failed_at,
                self._ahead,
            )


def _ahead(headers: Mapping[str, Any], now: float) -> float | None:
    """Return by how much the clock of an answer's Date is ahead of ours. That of our simulator says nothing."""
    date = headers.get("Date")
    if not date or headers.get("Server") == SIMULATOR:
        return None
    try:
        return parsedate_to_datetime(str(date)).timestamp() + 0.5 - now  # it is rounded down to whole seconds
    except (TypeError, ValueError):
        return None
