"""Windows: the stretches of time after which a counted limit begins anew."""

import calendar
import datetime
import functools
from typing import NamedTuple

from ..plans import DAY_SECONDS, NEVER

MONTHS = 12


class Window(NamedTuple):
    """A stretch of time. Its beginning belongs to it, and its end does not.

    Units   Unix seconds; ends_at is None for one without an end
    """

    starts_at: int
    ends_at: int | None


def window_at(every: str, anchor: int, now: float) -> Window:
    """Return the window that a moment is in: a day in UTC, a month, or all time.

    Shape   every: "day", "month" or "never"
    Units   anchor in Unix seconds: a month begins as often after it as a subscription's that began then; 0 for calendar
            months in UTC
    """
    if every == NEVER:
        return Window(0, None)
    if every == "day":
        starts_at = int(now // DAY_SECONDS) * DAY_SECONDS
        return Window(starts_at, starts_at + DAY_SECONDS)
    first, second, third = _edges(anchor, int(now // DAY_SECONDS))
    return Window(first, second) if now < second else Window(second, third)


def anchor_of(created: int, period_end: int | None) -> int:
    """Return the anchor by which months end as a subscription's periods do.

    They begin when it was created or, after a trial or where its day of billing was set, from the end of its period.
    """
    if period_end is None or window_at("month", created, period_end).starts_at == period_end:
        return created
    return period_end


def _date(moment: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(moment, datetime.UTC)


@functools.lru_cache(maxsize=4096)  # asked for each use, and many are of the same day
def _edges(anchor: int, day: int) -> tuple[int, int, int]:
    """Return the beginning of the month that a day begins in, and those of the next two."""
    began, at = _date(anchor), _date(day * DAY_SECONDS)
    count = (at.year - began.year) * MONTHS + at.month - began.month
    if _after(began, count) > day * DAY_SECONDS:
        count -= 1
    return _after(began, count), _after(began, count + 1), _after(began, count + 2)


def _after(began: datetime.datetime, months: int) -> int:
    """Return so many months later, at the last day of a shorter month: as Stripe counts, from the day it began."""
    year, month = divmod(began.year * MONTHS + began.month - 1 + months, MONTHS)
    last_day = calendar.monthrange(year, month + 1)[1]
    return int(began.replace(year=year, month=month + 1, day=min(began.day, last_day)).timestamp())
