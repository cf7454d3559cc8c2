"""Pauses between retries: how long each is, and when a stored one is over."""

import random
from typing import Any

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 5.0, 3600.0
JITTER = 0.25
DOUBLINGS = 20  # by then every pause has reached its limit; over a thousand would overflow a float


def backoff(attempts: int, first: float = FIRST_PAUSE_SECONDS, longest: float = LONGEST_PAUSE_SECONDS) -> float:
    """Return the pause after so many failed attempts: the first one doubled each time, up to the longest."""
    return min(first * 2.0 ** min(attempts, DOUBLINGS), longest)


def with_jitter(pause: float) -> float:
    """Return the pause, a quarter longer or shorter, so that what failed together is not retried together."""
    return pause * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 -- spreads retries in time, and is no secret


LONGEST_WITH_JITTER_SECONDS = LONGEST_PAUSE_SECONDS * (1 + JITTER)


def is_due(moment: Any, now: float, longest_seconds: float) -> Any:
    """Return whether a stored moment, a column or a number, has come.

    A moment further ahead than the longest pause was stored before the clock was set back. Waiting for it could take
    days, so it counts as due.

    Units   moment and now in Unix seconds
    """
    return (moment <= now) | (moment > now + longest_seconds)
