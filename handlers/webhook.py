"""POST /webhook: take an event of Stripe's, and say 200 once it is on disk."""

import logging
import time
from typing import TYPE_CHECKING, Any

import bottle

from ..errors import InvalidSignature, NotConfigured
from ..models import setting
from ..sync import events, inbox
from .responses import json_response, read_body

if TYPE_CHECKING:
    from ..billing_app import Billing

log = logging.getLogger("corkage.webhook")


def receive_webhook(billing: "Billing") -> bottle.HTTPResponse:
    """Verify the bytes, record the event once, wake the worker.

    Errors  NotConfigured, BodyTooLarge, InvalidSignature, InvalidBody, DatabaseUnavailable;
            with BILLING_WORKER=inline also what converging raises: the event then stays pending
    """
    if not billing.config.webhook_secrets:
        raise NotConfigured("STRIPE_WEBHOOK_SECRET is not set: webhooks cannot be verified")
    body = read_body()
    now = time.time()
    payload = _verified(billing, body, now)
    event = events.read_event(payload)
    _take(billing, event, now)
    billing.refusals.accept(now)
    return json_response({"received": True})


def _verified(billing: "Billing", body: bytes, now: float) -> dict[str, Any]:
    header = bottle.request.environ.get("HTTP_STRIPE_SIGNATURE")
    try:
        return billing.verify_signature(body, header, now)
    except InvalidSignature as error:
        billing.refusals.refuse(header, body, str(error), now)
        raise


def _reason_to_leave(billing: "Billing", event: events.EventRef) -> str | None:
    """Tell why an event changes nothing here; None for one that is to be recorded."""
    if event.account and event.account != setting("account"):
        return "connected_account"
    if event.livemode != billing.config.livemode:
        return "other_mode"
    return None if event.is_wanted else "other_kind"


def _take(billing: "Billing", event: events.EventRef, now: float) -> None:
    reason = _reason_to_leave(billing, event)
    if reason:
        billing.count_left(reason)
        log.info("%s %s: left: %s", event.id, event.type, reason)
        return
    inbox.record(event, "webhook", now, due_at=now + billing.settle_seconds)
    log.debug("%s %s: taken", event.id, event.type)
    billing.apply_soon(event, now)
