"""GET /health: whether everything works, for an operator or a load balancer."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import bottle

from .. import storage
from ..errors import ConfigError, DatabaseUnavailable
from ..health.disk import room
from ..health.standing import Standing, facts, problems, stored, warnings
from ..notices import outbox
from ..service import Service
from ..sync import inbox
from .responses import json_response

UNREADABLE = "the database cannot be read"
UNWRITABLE = "nothing can be written to the database"


def show_health(service: Service) -> bottle.HTTPResponse:
    """Answer 200 while this process is well, else 503 with the problems; docs/monitoring.md says what they are.

    The answer is kept for a second.

    Shape   outdated: another process started with a newer Corkage or another plans.toml, and this one answers and
            takes webhooks, and applies none of them: no problem while it is replaced;
            backlog counts events not yet applied, failing those of them that failed at least once;
            oldest_pending_seconds is the age of the oldest of them, 0 when there is none;
            notices counts those not yet delivered, in the same way;
            left counts the webhooks since the start that were answered 200 and changed nothing, by reason;
            problems: a sentence each; warnings: the same, of what is no reason to send requests elsewhere;
            stripe, polled_at, synced_at, database: what was last seen, null for never;
            last_database_error and last_refused_webhook: the last one since the start, also when it is over:
            `{"at", "reason"}` or null
    """
    found = service.kept_health.get(lambda: _facts(service))
    return json_response(found, 200 if found["status"] == "ok" else 503)


def _facts(service: Service) -> dict[str, Any]:
    try:
        return health_of(service, time.time())
    except DatabaseUnavailable as error:
        storage.note(error)
        return _status([f"{UNREADABLE}: {error}"]) | _last(service)
    except ConfigError as error:  # a table is gone, or a right
        return _status([*error.problems]) | _last(service)


def health_of(service: Service, now: float) -> dict[str, Any]:
    """Return what an operator must know, from the database as it is now.

    Errors  DatabaseUnavailable
    """
    standing = standing_of(service, now)
    worker = service.worker_state()
    is_outdated = service.catalogue.timelines.is_outdated()
    counts = {**standing.events._asdict(), "notices": standing.notices._asdict(), "left": service.ignored}
    found = _status(_problems(service, standing, worker, now), list(_warnings(service, standing, now)))
    return found | {"worker": worker, "outdated": is_outdated} | counts | facts(standing) | _last(service)


def standing_of(service: Service, now: float) -> Standing:
    """Return what the process knows without asking Stripe.

    Errors  DatabaseUnavailable
    """
    seen, idle = service.watched.seen(), service.worker_idle_seconds()
    return Standing(inbox.backlog(now), outbox.backlog(now), seen, room(), idle, stored(now))


def _problems(service: Service, standing: Standing, worker: str, now: float) -> list[str]:
    unwritable, refusing = service.writable.problem(), service.refusals.problem(now)
    return [
        *(["the worker's thread died, and nothing is applied: restart Corkage"] if worker == "stopped" else []),
        *filter(None, [service.worker_problem()]),
        *([f"{UNWRITABLE}: {unwritable}"] if unwritable else []),
        *([refusing] if refusing else []),
        *problems(standing, now),
    ]


def _warnings(service: Service, standing: Standing, now: float) -> Iterator[str]:
    if service.catalogue.timelines.is_outdated():
        yield "another process has a newer Corkage or another plans.toml, and this one applies nothing: replace it"
    yield from warnings(standing, service.config, now)


def _status(found: list[str], warned: Sequence[str] = ()) -> dict[str, Any]:
    return {"status": "failing" if found else "ok", "problems": found, "warnings": list(warned)}


def _last(service: Service) -> dict[str, Any]:
    last = {
        "last_database_error": storage.current().trouble.last,
        "last_refused_webhook": service.refusals.last,
    }
    return {name: dict(zip(("at", "reason"), each, strict=True)) if each else None for name, each in last.items()}
