"""Which webhook endpoint Stripe should have for this product: where, with which events, and the marks that it bears."""

import hashlib
import ipaddress
import json
from typing import Any
from urllib.parse import urlsplit

from ..config import Config
from ..gateway.events import CLOCK_EVENT
from . import poll

APP, SECRET = "corkage_app", "corkage_secret"  # keys of its metadata: who made it, and a digest of its secret
LOCAL = ("localhost", "localhost.localdomain")


def endpoint_url(config: Config) -> str | None:
    """Return where Stripe shall post events; None where Stripe cannot reach us, and we poll."""
    if not config.billing_url:
        return None
    is_reachable = config.stripe_api_base is not None or _is_public(config.billing_url)
    return f"{config.billing_url}/webhook" if is_reachable else None


def _is_public(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return host not in LOCAL and "." in host


def endpoint_events(config: Config) -> list[str]:
    """Return the events that the endpoint shall send. Test clocks exist in a sandbox only."""
    return sorted(each for each in poll.TYPES if each != CLOCK_EVENT or not config.livemode)


def fingerprint(value: Any) -> str:
    """Return a short digest, to be kept in the metadata of what was stored at Stripe, or of a secret."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
