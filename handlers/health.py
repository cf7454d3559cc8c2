"""GET /health: whether everything works, for an operator or a load balancer."""

import time
from typing import Any

import bottle

from .. import storage
from ..errors import ConfigError, DatabaseUnavailable
from ..notices import outbox
from ..service import Service
from ..sync import inbox
from .responses import json_response

UNREADABLE = "the database cannot be read"
UNWRITABLE = "nothing can be written to the database"


def show_health(service: Service) -> bottle.HTTPResponse:
    """Answer 200 while all is well, else 503 with the problems: the database cannot be read or written, the worker's
    thread died, or every webhook of Stripe's is refused.

    Shape   outdated: another process started with a newer Corkage or another plans.toml, and this one answers and
            takes webhooks, and applies none of them: no problem while it is replaced;
            backlog counts events not yet applied, failing those of them that failed at least once;
            oldest_pending_seconds is the age of the oldest of them, 0 when there is none;
            notices counts those not yet delivered, in the same way;
            left counts the webhooks since the start that were answered 200 and changed nothing, by reason;
            problems: a sentence each; last_database_error and last_refused_webhook: the last one since the start, also
            when it is over: `{"at", "reason"}` or null
    """
    try:
        facts = health_of(service, time.time())
    except DatabaseUnavailable as error:
        storage.note(error)
        facts = _status([f"{UNREADABLE}: {error}"]) | _last(service)
    except ConfigError as error:  # a table is gone, or a right
        facts = _status([*error.problems]) | _last(service)
    return json_response(facts, 200 if facts["status"] == "ok" else 503)


def health_of(service: Service, now: float) -> dict[str, Any]:
    """Return what an operator must know, from the database as it is now.

    Errors  DatabaseUnavailable
    """
    backlog, notices = inbox.backlog(now)._asdict(), outbox.backlog(now)._asdict()
    worker = service.worker_state()
    is_outdated = service.catalogue.timelines.is_outdated()
    left = {"worker": worker, "outdated": is_outdated, **backlog, "notices": notices, "left": service.ignored}
    return _status(_problems(service, worker, now)) | left | _last(service)


def _problems(service: Service, worker: str, now: float) -> list[str]:
    unwritable, refusing = service.writable.problem(), service.refusals.problem(now)
    return [
        *(["the worker's thread died, and nothing is applied: restart Corkage"] if worker == "stopped" else []),
        *([f"{UNWRITABLE}: {unwritable}"] if unwritable else []),
        *([refusing] if refusing else []),
    ]


def _status(problems: list[str]) -> dict[str, Any]:
    return {"status": "failing" if problems else "ok", "problems": problems}


def _last(service: Service) -> dict[str, Any]:
    last = {
        "last_database_error": storage.current().trouble.last,
        "last_refused_webhook": service.refusals.last,
    }
    return {name: dict(zip(("at", "reason"), each, strict=True)) if each else None for name, each in last.items()}
