"""GET /health: is everything in order, for an operator or a load balancer."""

import time
from typing import TYPE_CHECKING, Any

import bottle

from .. import storage
from ..errors import DatabaseUnavailable
from ..notices import outbox
from ..sync import inbox
from .responses import json_response

if TYPE_CHECKING:
    from ..billing_app import Billing


UNREADABLE = "the database cannot be read"
UNWRITABLE = "nothing can be written to the database"


def show_health(billing: "Billing") -> bottle.HTTPResponse:
    """Answer 200 while nothing is wrong, else 503 with what is. Wrong is: the database cannot be read or written, the
    worker's thread died, or every webhook of Stripe's is refused.

    Shape   backlog counts events not yet applied, failing those of them that were tried in vain;
            oldest_pending_seconds is the age of the oldest of them, 0 when there is none;
            notices counts those not yet taken by whom they are for, in the same way;
            left counts the webhooks since the start that were answered and changed nothing, by reason;
            problems: what is wrong, a sentence each; last_database_error and last_refused_webhook: since the start,
            `{"at", "reason"}` or null, of what is over, too
    """
    try:
        facts = health_of(billing, time.time())
    except DatabaseUnavailable as error:
        storage.note(error)
        facts = _status([f"{UNREADABLE}: {error}"]) | _last(billing)
    return json_response(facts, 200 if facts["status"] == "ok" else 503)


def health_of(billing: "Billing", now: float) -> dict[str, Any]:
    """Tell what an operator is to know, with the database as it is now.

    Errors  DatabaseUnavailable
    """
    backlog, notices = inbox.backlog(now)._asdict(), outbox.backlog(now)._asdict()
    worker = billing.worker_state()
    left = {"worker": worker, **backlog, "notices": notices, "left": billing.left}
    return _status(_problems(billing, worker, now)) | left | _last(billing)


def _problems(billing: "Billing", worker: str, now: float) -> list[str]:
    unwritable, refusing = billing.writable.problem(), billing.refusals.problem(now)
    return [
        *(["the worker's thread died, and nothing is applied: restart Corkage"] if worker == "stopped" else []),
        *([f"{UNWRITABLE}: {unwritable}"] if unwritable else []),
        *([refusing] if refusing else []),
    ]


def _status(problems: list[str]) -> dict[str, Any]:
    return {"status": "failing" if problems else "ok", "problems": problems}


def _last(billing: "Billing") -> dict[str, Any]:
    last = {
        "last_database_error": storage.current().trouble.last,
        "last_refused_webhook": billing.refusals.last,
    }
    return {name: dict(zip(("at", "reason"), each, strict=True)) if each else None for name, each in last.items()}
