"""Signed events of 4 kB, as raw requests."""

import json
import time
from collections.abc import Sequence

import stripe
from servers import AUTH_SECRET, WEBHOOK_SECRET

from corkage.identity import mint_token

BODY_BYTES = 4096


def event(event_id: str, customer: str, subscription_id: str | None = None) -> bytes:
    """Make the body of a customer.subscription.updated of exactly 4 kB."""
    subscription = {
        "id": subscription_id or f"sub_{customer}",
        "object": "subscription",
        "customer": customer,
        "status": "active",
    }
    told = {
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
    lacking = BODY_BYTES - len(json.dumps(told).encode())
    # Made of many fields, as Stripe's are: one long text would be parsed faster than a real event.
    filling = {f"field_{number:03}": {"id": f"si_{number:03}", "amount": number} for number in range(lacking // 60)}
    subscription["items"] = {"object": "list", "data": [filling]}
    subscription["metadata"] = {"filling": ""}
    lacking = BODY_BYTES - len(json.dumps(told | {"data": {"object": subscription}}).encode())
    subscription["metadata"] = {"filling": "x" * lacking}
    return json.dumps(told | {"data": {"object": subscription}}).encode()


def webhook(body: bytes, path: str = "/webhook") -> bytes:
    """Make the whole request, signed now."""
    signature = stripe.WebhookSignature.generate_signature_header(body.decode(), WEBHOOK_SECRET, int(time.time()))
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json; charset=utf-8\r\n"
    head += f"Content-Length: {len(body)}\r\nStripe-Signature: {signature}\r\nUser-Agent: Stripe/1.0\r\n\r\n"
    return head.encode() + body


def distinct(prefix: str, count: int) -> list[bytes]:
    """Make so many webhooks, each a new event of a customer of its own."""
    return [webhook(event(f"evt_{prefix}{number}", f"cus_{prefix}{number}")) for number in range(count)]


def ask_access(user: str, path: str = "/access") -> bytes:
    """Make a request for a user's access."""
    token = mint_token(AUTH_SECRET, user, now=time.time(), lifetime_seconds=3600)
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


def repeated(requests: Sequence[bytes], times: int) -> list[bytes]:
    return list(requests) * times
