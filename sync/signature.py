"""The signature of a webhook, verified on the raw bytes of the body."""

import json
import re
from typing import Any

import stripe

from ..errors import InvalidBody, InvalidSignature

SIGNATURE_AGE_SECONDS = 300


def verify_signature(body: bytes, header: str | None, secrets: tuple[str, ...], now: float) -> dict[str, Any]:
    """Check that these bytes were signed with one of the secrets within the last 300 s; return the parsed body.

    Errors  InvalidSignature when no secret fits, or the timestamp is over 300 s old or ahead;
            InvalidBody when the bytes are signed, but are not a JSON object
    Source  docs.stripe.com/webhooks#verify-manually; the SDK does not check for a future timestamp, a
            signature that is not ASCII, or a body that is not UTF-8
    """
    if not header or not header.isascii():
        raise InvalidSignature("no Stripe-Signature header" if not header else "Stripe-Signature is not ASCII")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidBody(f"the body is not UTF-8: {error.reason} at byte {error.start}") from error
    _check_age(header, now)
    if not any(_is_signed(text, header, secret) for secret in secrets):
        raise InvalidSignature(f"none of the {len(secrets)} webhook secrets made this signature")
    return _parsed(text)


def _check_age(header: str, now: float) -> None:
    times = [value for key, _, value in (part.partition("=") for part in header.split(",")) if key == "t"]
    if len(times) != 1 or not re.fullmatch("[0-9]{1,15}", times[0]):
        raise InvalidSignature("Stripe-Signature has no single timestamp")
    age = now - int(times[0])
    if abs(age) > SIGNATURE_AGE_SECONDS:
        raise InvalidSignature(f"the signature is {abs(age):.0f} s {'old' if age > 0 else 'ahead of our clock'}")


def _is_signed(text: str, header: str, secret: str) -> bool:
    try:
        return bool(stripe.WebhookSignature.verify_header(text, header, secret, tolerance=None))
    except stripe.SignatureVerificationError:
        return False


def _parsed(text: str) -> dict[str, Any]:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidBody(f"the body is signed, but is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise InvalidBody(f"the body is signed, but is a JSON {type(parsed).__name__} instead of an object")
    return parsed
