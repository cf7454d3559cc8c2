"""The kinds of values that options take, each with a sentence about what is wanted.

The modules with the same bounds and choices are slow to load; a test compares them.
"""

import datetime
import re
import time
from collections.abc import Callable
from typing import Any

import click

from ..texts import check_user_id

DAY = 86_400
FOREVER = 253_402_300_799  # the last second of the year 9999
LAST_PORT = 65_535
LEAST_THREADS, MOST_THREADS = 2, 1000
MOST_COUNTED = 36_500  # days, seats, lines
LONGEST_TEXT = 500
LONGEST_TOKEN_SECONDS = DAY
MOST_MONTHS = 120
EVENT_STATES = ("failing", "pending", "applied")
NOTICE_STATES = ("failing", "pending", "delivered")
CHARGES = ("next_invoice", "now", "nothing")
FEEDBACKS = (
    "customer_service",
    "low_quality",
    "missing_features",
    "other",
    "switched_service",
    "too_complex",
    "too_expensive",
    "unused",
)
UNITS = {"s": 1, "m": 60, "h": 3600, "d": DAY}


class Parsed(click.ParamType):  # type: ignore[type-arg]  # takes a type from click 8.5 on, and none before
    """A value that a function parses. Its ValueError says what was wanted."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the parsed value; a default, which is no text, as it is."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Return a parser of whole numbers between two bounds."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
            raise ValueError(f"wanted a whole number from {least} to {most}, not {text!r}")
        return int(text)

    return parse


def an_end(text: str) -> int:
    """Parse a time to come: a date, at which that day begins, or a date and time; UTC unless it says otherwise."""
    try:
        at = datetime.datetime.fromisoformat(text)
        seconds = int((at if at.tzinfo else at.replace(tzinfo=datetime.UTC)).timestamp())
    except (ValueError, OverflowError):
        raise ValueError(f"wanted a time such as 2027-01-31 or 2027-01-31T12:00, not {text!r}") from None
    if not time.time() < seconds < FOREVER:
        raise ValueError(f"wanted a time to come, not {text!r}")
    return seconds


def a_time(text: str) -> float:
    """Parse a time: a date, a date and time (UTC unless it says otherwise), or how long ago, such as 90m, 12h or 3d."""
    ago = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if ago:
        return time.time() - int(ago[1]) * UNITS[ago[2]]
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"wanted a time such as 2h, 3d or 2026-11-01T12:00, not {text!r}") from None
    return (at if at.tzinfo else at.replace(tzinfo=datetime.UTC)).timestamp()


def _text(text: str) -> str:
    if not text.isprintable() or len(text) > LONGEST_TEXT:
        raise ValueError(f"wanted at most {LONGEST_TEXT} printable characters")
    return text


def _name(text: str) -> str:
    if not re.fullmatch("[A-Za-z0-9_.-]{1,50}", text):
        raise ValueError("wanted up to 50 letters, digits, and _ . -")
    return text


def _user_id(text: str) -> str:
    check_user_id(text)
    return text


PORT = Parsed("port", whole_number(0, LAST_PORT))
THREADS = Parsed("number", whole_number(LEAST_THREADS, MOST_THREADS))
COUNT = Parsed("number", whole_number(1, MOST_COUNTED))
MONTHS = Parsed("number", whole_number(1, MOST_MONTHS))
DAYS = Parsed("days", whole_number(0, MOST_COUNTED))
SECONDS = Parsed("seconds", whole_number(1, LONGEST_TOKEN_SECONDS))
END = Parsed("when", an_end)
TIME = Parsed("when", a_time)
TEXT = Parsed("text", _text)
USER = Parsed("user", _user_id)
NAME = Parsed("name", _name)
FILE = click.Path(dir_okay=False)
