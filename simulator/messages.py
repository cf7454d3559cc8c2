"""A webhook on the wire: signed, posted, answered or not."""

import hashlib
import hmac
import http.client
import json
import time
from urllib.parse import urlsplit

from .world import Object

ANSWER_SECONDS = 10.0


def signed(content: Object, secret: str) -> tuple[bytes, dict[str, str]]:
    """Write the content as Stripe does, and sign it, on the wall clock: receivers compare it with theirs.

    Source  docs.stripe.com/webhooks#verify-manually
    """
    body = json.dumps(content, indent=2).encode()
    timestamp = int(time.time())
    signature = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return body, {
        "Content-Type": "application/json; charset=utf-8",
        "Stripe-Signature": f"t={timestamp},v1={signature}",
        "User-Agent": "Stripe/1.0 (simulation)",
    }


def post(url: str, message: tuple[bytes, dict[str, str]]) -> int:
    """Send a webhook and return the status of the answer; 0 when there was none."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("POST", parts.path or "/", *message)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
