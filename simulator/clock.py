"""The simulator's time: the wall's, or a start of one's own, moved forward at will."""

import calendar
import datetime
import time


class Clock:
    """Runs with the wall clock, from `start` on; `advance_to` moves it ahead, and never back."""

    def __init__(self, start: int | None = None) -> None:
        self._ahead = 0.0 if start is None else start - time.time()

    def now(self) -> int:
        """Return the present time in Unix seconds."""
        return int(time.time() + self._ahead)

    def advance_to(self, moment: int) -> None:
        """Move forward to this moment, unless it has passed."""
        self._ahead = max(self._ahead, moment - time.time())


def add_interval(moment: int, interval: str, count: int, anchor_day: int | None = None) -> int:
    """Add a price's interval; months end where the calendar ends them, and the anchor's day comes back after."""
    if interval in ("day", "week"):
        return moment + count * {"day": 86_400, "week": 604_800}[interval]
    at = datetime.datetime.fromtimestamp(moment, datetime.UTC)
    months = at.month - 1 + count * {"month": 1, "year": 12}[interval]
    year, month = at.year + months // 12, months % 12 + 1
    day = min(anchor_day or at.day, calendar.monthrange(year, month)[1])
    return int(at.replace(year=year, month=month, day=day).timestamp())


def day_of(moment: int) -> int:
    """Return the day of the month, to anchor months to."""
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).day
