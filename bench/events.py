"""Signed events of 4 kB, as raw requests."""

import json
import time
from collections.abc import Sequence
from typing import Any

import stripe
from servers import AUTH_SECRET, WEBHOOK_SECRET

from corkage.identity import mint_token

BODY_BYTES = 4096
LATER_SECONDS = 3600


def event(event_id: str, customer: str, subscription_id: str | None = None) -> bytes:
    """Make the body of a customer.subscription.updated of exactly 4 kB."""
    subscription = {
        "id": subscription_id or f"sub_{customer}",
        "object": "subscription",
        "customer": customer,
        "status": "active",
    }
    body = {
        "id": event_id,
        "object": "event",
        "type": "customer.subscription.updated",
        "created": int(time.time()),
        "livemode": False,
        "api_version": "2026-10-28.endive",
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "data": {"object": subscription | {"metadata": {"filling": ""}}},
    }
    lacking = BODY_BYTES - len(json.dumps(body).encode())
    # Made of many fields, as Stripe's are: one long text would be parsed faster than a real event.
    filling = {f"field_{number:03}": {"id": f"si_{number:03}", "amount": number} for number in range(lacking // 60)}
    subscription["items"] = {"object": "list", "data": [filling]}
    subscription["metadata"] = {"filling": ""}
    lacking = BODY_BYTES - len(json.dumps(body | {"data": {"object": subscription}}).encode())
    subscription["metadata"] = {"filling": "x" * lacking}
    return json.dumps(body | {"data": {"object": subscription}}).encode()


def again(sent: dict[str, Any], event_id: str) -> bytes:
    """Make the body of a new event with the content of one that Stripe sent, of at least 4 kB.

    It is later than any fetch of a run, so that it is never skipped as old news.
    """
    anew = sent | {"id": event_id, "created": int(time.time()) + LATER_SECONDS}
    lacking = BODY_BYTES - len(json.dumps(anew).encode()) - len(', "filling": ""')
    return json.dumps(anew | {"filling": "x" * lacking}).encode()


def webhook(body: bytes, path: str = "/webhook", secret: str = WEBHOOK_SECRET) -> bytes:
    """Make the whole request, signed now."""
    signature = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, int(time.time()))
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json; charset=utf-8\r\n"
    head += f"Content-Length: {len(body)}\r\nStripe-Signature: {signature}\r\nUser-Agent: Stripe/1.0\r\n\r\n"
    return head.encode() + body


def distinct(prefix: str, count: int, secret: str = WEBHOOK_SECRET) -> list[bytes]:
    """Make so many webhooks, each a new event of a customer of its own, whom nobody knows."""
    named = [event(f"evt_{prefix}{number}", f"cus_{prefix}{number}") for number in range(count)]
    return [webhook(each, secret=secret) for each in named]


def of_changes(prefix: str, sent: Sequence[dict[str, Any]], count: int, secret: str = WEBHOOK_SECRET) -> list[bytes]:
    """Make so many webhooks with the contents of events that Stripe sent, in turn; each is a new event."""
    named = [again(sent[number % len(sent)], f"evt_{prefix}{number}") for number in range(count)]
    return [webhook(each, secret=secret) for each in named]


def ask_access(user: str, path: str = "/access") -> bytes:
    """Make a request for a user's access."""
    token = mint_token(AUTH_SECRET, user, now=time.time(), lifetime_seconds=3600)
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


def look(path: str) -> bytes:
    """Make a request for a page, as somebody who is not signed in."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/html\r\n\r\n".encode()


def click(user: str) -> bytes:
    """Make a click on "subscribe", which is answered with the address of a Checkout page."""
    token = mint_token(AUTH_SECRET, user, now=time.time(), lifetime_seconds=3600)
    body = b"plan=pro"
    head = f"POST /checkout HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
    head += "Accept: application/json\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def repeated(requests: Sequence[bytes], times: int) -> list[bytes]:
    return list(requests) * times
