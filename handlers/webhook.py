"""POST /webhook: store an event of Stripe's, and answer 200 once it is on disk."""

import time
from typing import Any

import bottle

from ..errors import InvalidSignature, NotConfigured
from ..gateway import events
from ..gateway.signature import verify_signature
from ..logs.facts import about, logger
from ..models import setting
from ..service import Service
from ..sync import inbox
from . import quick
from .responses import JSON_HEADERS, LARGEST_BODIES, json_response, read_body

RECEIVED = '{"received": true}'
_RECEIVED = quick.Answer(JSON_HEADERS | {"Vary": "Origin"}, RECEIVED)

log = logger("corkage.webhook")


def receive_webhook(service: Service) -> bottle.HTTPResponse:
    """Verify the bytes, store the event once, wake the worker.

    Errors  NotConfigured, BodyTooLarge, InvalidSignature, InvalidBody, DatabaseUnavailable;
            with BILLING_WORKER=inline also what converging raises: the event then stays pending
    """
    if not service.config.webhook_secrets:
        raise NotConfigured("STRIPE_WEBHOOK_SECRET is not set: webhooks cannot be verified")
    _receive(service, read_body(), bottle.request.environ)
    return json_response(RECEIVED)


def receive_quickly(service: Service, environ: dict[str, Any]) -> quick.Answer | None:
    """Do the same; see quick.py.

    Errors  as receive_webhook()
    """
    if not service.config.webhook_secrets:
        return None
    body = quick.read_body(environ, LARGEST_BODIES["/webhook"])
    if body is None:
        return None
    _receive(service, body, environ)
    return _RECEIVED


def _receive(service: Service, body: bytes, environ: dict[str, Any]) -> None:
    now = time.time()
    payload = _verified(service, body, environ.get("HTTP_STRIPE_SIGNATURE"), now)
    event = events.read_event(payload)
    _store(service, event, now)
    service.refusals.accept(now)


def _verified(service: Service, body: bytes, header: str | None, now: float) -> dict[str, Any]:
    try:
        return verify_signature(body, header, service.config.webhook_secrets, now)
    except InvalidSignature as error:
        service.refusals.refuse(header, body, str(error), now)
        raise


def _reason_to_ignore(service: Service, event: events.EventRef) -> str | None:
    """Return why an event changes nothing here; None for one that must be stored."""
    if event.account and event.account != setting("account"):
        return "connected_account"
    if event.livemode != service.config.livemode:
        return "other_mode"
    return None if event.is_wanted else "other_kind"


def _store(service: Service, event: events.EventRef, now: float) -> None:
    reason = _reason_to_ignore(service, event)
    if reason:
        service.count_ignored(reason)
        with about(event=event.id, customer=event.customer_id):
            log.info("%s %s: ignored: %s", event.id, event.type, reason)
        return
    inbox.record(event, "webhook", now, due_at=now + service.debounce_seconds)
    with about(event=event.id, customer=event.customer_id):
        log.debug("%s %s: stored", event.id, event.type)
    service.apply_soon(event, now)
