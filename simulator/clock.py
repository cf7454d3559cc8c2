"""The simulated Stripe's clocks, and the actions scheduled on them."""

import calendar
import copy
import datetime
import heapq
import itertools
import time
from typing import Any, NamedTuple

HOUR, DAY = 3_600, 86_400


class Due(NamedTuple):
    """A scheduled action on an object. `order` keeps actions of the same moment in the order they were scheduled."""

    moment: int
    order: int
    action: str
    object_id: str


class Clock:
    """Runs with the wall clock, or stands still if it is given a start. It only moves forward."""

    def __init__(self, clock_id: str, stands_at: int | None = None) -> None:
        self.id = clock_id
        self._stands_at = stands_at
        self._ahead = 0.0
        self._held: float | None = None
        self._due: list[Due] = []
        self._order = itertools.count()

    def now(self) -> int:
        """Return the current time in Unix seconds."""
        return int(self._wall() + self._ahead) if self._stands_at is None else self._stands_at

    def hold(self) -> None:
        """Stand still until `release`, so that all of one request happens in the same second."""
        self._held = time.time()

    def release(self) -> None:
        self._held = None

    def _wall(self) -> float:
        return time.time() if self._held is None else self._held

    def advance_to(self, moment: int) -> None:
        """Move forward to this moment, unless it has passed."""
        if self._stands_at is not None:
            self._stands_at = max(self._stands_at, moment)
        else:
            self._ahead = max(self._ahead, moment - self._wall())

    def schedule(self, moment: int, action: str, object_id: str) -> None:
        """Schedule an action; one in the past runs the next time due actions run."""
        heapq.heappush(self._due, Due(moment, next(self._order), action, object_id))

    def pop_due(self, until: int) -> Due | None:
        """Remove and return the first action due by then, or None."""
        return heapq.heappop(self._due) if self._due and self._due[0].moment <= until else None

    def to_state(self) -> dict[str, object]:
        """Return the clock's state for JSON."""
        return {"stands_at": self._stands_at, "ahead": self._ahead, "due": sorted(self._due)}

    def copy(self) -> "Clock":
        """Return a clock with the same time and the same scheduled actions."""
        copied = copy.copy(self)
        copied._due = list(self._due)
        return copied

    @classmethod
    def from_state(cls, clock_id: str, state: dict[str, Any]) -> "Clock":
        """Return a clock with a state from to_state()."""
        clock = cls(clock_id, state["stands_at"])
        clock._ahead = state["ahead"]
        clock._due = [Due(*each) for each in state["due"]]
        clock._order = itertools.count(max((each.order for each in clock._due), default=-1) + 1)
        return clock


def add_interval(moment: int, interval: str, count: int, anchor_day: int | None = None) -> int:
    """Add a price's interval. A day that a month lacks becomes its last, and the anchor's day returns afterwards."""
    if interval in ("day", "week"):
        return moment + count * {"day": DAY, "week": 7 * DAY}[interval]
    at = datetime.datetime.fromtimestamp(moment, datetime.UTC)
    months = at.month - 1 + count * {"month": 1, "year": 12}[interval]
    year, month = at.year + months // 12, months % 12 + 1
    day = min(anchor_day or at.day, calendar.monthrange(year, month)[1])
    return int(at.replace(year=year, month=month, day=day).timestamp())


def day_of(moment: int) -> int:
    """Return the day of the month, the anchor for monthly periods."""
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).day
