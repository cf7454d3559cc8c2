"""What /health knows without asking Stripe: what was seen on the way, and what the database and the disk say."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .. import storage
from ..config import Config
from ..gateway.watched import Seen
from ..models import SYNCED
from ..notices.outbox import Undelivered
from ..sync import jobs
from ..sync.inbox import Backlog
from . import programs
from .disk import Room
from .spans import size, span

LOOKED = "endpoint"  # the setting that says what the worker's hourly look at Stripe's endpoint found
LATELY_SECONDS = 3600.0  # for which a key that Stripe refused is a problem, unless it was taken since
HANGING_SECONDS = 300.0  # the worker sleeps for 30 s at most
WAITING_SECONDS = 300.0
APART_SECONDS, FAR_APART_SECONDS = 60.0, 300.0  # of the clocks; from the second on signatures are too old
POLLS_MISSED = 3
LONGEST_POLL_SECONDS = 3600.0


class Stored(NamedTuple):
    """What the database knows of itself.

    Shape   polled_at and synced_at: 0 for never; endpoint: what is wrong with Stripe's, None for nothing that is known;
            backup_at: when the last copy of the file was made, 0 for never;
            differing: the settings in which programs on this database differ
    """

    polled_at: float
    synced_at: float
    endpoint: str | None
    backup_at: float
    differing: tuple[str, ...]


class Standing(NamedTuple):
    """What a process knows. idle: for how long the worker's thread has not looked for work, None without one."""

    events: Backlog
    notices: Undelivered
    stripe: Seen
    room: Room
    idle: float | None
    stored: Stored


_SETTINGS = "SELECT name, value FROM corkage_setting WHERE name IN (?, ?, ?)"


def stored(now: float) -> Stored:
    """Return what the database knows of itself.

    Errors  DatabaseUnavailable
    """
    held: Mapping[str, str] = dict(storage.rows(_SETTINGS, (SYNCED, LOOKED, "backup")))
    return Stored(
        float(jobs.position("poll")),
        float(held.get(SYNCED, 0)),
        json.loads(held[LOOKED])["problem"] if LOOKED in held else None,
        float(json.loads(held["backup"])["at"]) if "backup" in held else 0.0,
        tuple(programs.differences(now)),
    )


def problems(standing: Standing, now: float) -> Iterator[str]:
    """Return what this very process suffers from, so that a load balancer is right to prefer another."""
    if standing.idle is not None and standing.idle > HANGING_SECONDS:
        yield f"the worker's thread hangs since {span(standing.idle)}, and nothing is applied: restart Corkage"
    stripe = standing.stripe
    if max(stripe.answered_at, now - LATELY_SECONDS) < stripe.refused_at:
        yield (
            f"Stripe refused STRIPE_SECRET_KEY {span(now - stripe.refused_at)} ago: nothing can be bought or fetched; "
            "set a key that is valid, and restart"
        )
    if stripe.ahead is not None and abs(stripe.ahead) > FAR_APART_SECONDS:
        yield f"{_clocks(stripe.ahead)}: webhooks are refused for their age; set this machine's clock"


def warnings(standing: Standing, config: Config, now: float) -> Iterator[str]:
    """Return what an operator should look at, and a load balancer need not mind."""
    yield from _of_stripe(standing, config, now)
    yield from _of_queues(standing)
    room = standing.room
    if room.is_scarce:
        yield f"{size(room.free or 0)} are free on the disk of the database"
    if room.has_large_wal:
        yield f"the write-ahead log has {size(room.wal or 0)}: a reader that does not end keeps it from being emptied"
    if standing.stored.differing:
        yield f"programs on this database differ in {', '.join(standing.stored.differing)}: corkage doctor names them"


def _of_stripe(standing: Standing, config: Config, now: float) -> Iterator[str]:
    stripe = standing.stripe
    if stripe.failed_at > stripe.answered_at:
        since = f", for {span(now - stripe.answered_at)}" if stripe.answered_at else ""
        yield f"Stripe does not answer{since}"
    if stripe.ahead is not None and APART_SECONDS < abs(stripe.ahead) <= FAR_APART_SECONDS:
        yield _clocks(stripe.ahead)
    late = max(LONGEST_POLL_SECONDS, POLLS_MISSED * config.poll_seconds)
    if standing.stored.polled_at and config.poll_seconds and now - standing.stored.polled_at > late:
        yield f"Stripe's events were last polled {span(now - standing.stored.polled_at)} ago"
    if standing.stored.endpoint:
        yield standing.stored.endpoint


def _clocks(ahead: float) -> str:
    return f"this machine's clock is {abs(ahead):.0f} s {'behind' if ahead > 0 else 'ahead of'} Stripe's"


def _of_queues(standing: Standing) -> Iterator[str]:
    events, notices = standing.events, standing.notices
    for name, failing, seconds in (
        ("events", events.failing, events.oldest_pending_seconds),
        ("notices", notices.failing, notices.oldest_pending_seconds),
    ):
        if failing:
            yield f"{failing} {name} fail, and the oldest that waits does so since {span(seconds)}"
        elif seconds > WAITING_SECONDS:
            yield f"{name} wait, the oldest since {span(seconds)}: does a worker run?"


def facts(standing: Standing) -> dict[str, Any]:
    """Return what /health shows of it beside problems and warnings."""
    return {
        "stripe": {
            "answered_at": standing.stripe.answered_at or None,
            "clock_ahead_seconds": None if standing.stripe.ahead is None else round(standing.stripe.ahead),
        },
        "polled_at": standing.stored.polled_at or None,
        "synced_at": standing.stored.synced_at or None,
        "database": standing.room._asdict(),
    }
