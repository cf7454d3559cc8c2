"""GET /health: is everything in order, for an operator or a load balancer."""

import time
from typing import TYPE_CHECKING, Any

import bottle

from ..sync import inbox, outbox
from .edge import json_response

if TYPE_CHECKING:
    from ..billing_app import Billing


def show_health(billing: "Billing") -> bottle.HTTPResponse:
    """Answer 200 while the database answers and the worker's thread, where there is one, is alive; else 503.

    Shape   backlog counts events not yet applied, failing those of them that were tried in vain;
            oldest_pending_seconds is the age of the oldest of them, 0 when there is none;
            notices counts those not yet taken by whom they are for, in the same way;
            left counts the webhooks since the start that were answered and changed nothing, by reason
    Errors  DatabaseUnavailable
    """
    facts = health_of(billing, time.time())
    return json_response(facts, 200 if facts["status"] == "ok" else 503)


def health_of(billing: "Billing", now: float) -> dict[str, Any]:
    """Tell what an operator is to know, with the database as it is now.

    Errors  DatabaseUnavailable
    """
    backlog, notices = inbox.backlog(now)._asdict(), outbox.backlog(now)._asdict()
    worker = billing.worker_state()
    status = "failing" if worker == "stopped" else "ok"
    return {"status": status, "worker": worker, **backlog, "notices": notices, "left": billing.left}
