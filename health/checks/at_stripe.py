"""What the checks want from Stripe, each by one call."""

from collections.abc import Callable
from typing import Any

from ...config import Config
from ...gateway.gateway import MOST_TYPES, Gateway
from ...replica.prices import Catalogue
from ...sync import poll
from .check import AtStripe
from .permissions import missing

ACCOUNT, ENDPOINTS, DESTINATIONS, PORTALS = "account", "endpoints", "destinations", "portals"
UNDELIVERED, MISSING, PAYERS, PRICES = "undelivered", "missing", "payers", "prices"
PORTAL_PRODUCTS = "data.features.subscription_update.products"  # which Stripe leaves out otherwise
MOST_PAYERS = 1000  # of which is looked whether they are known here
DELIVERED_AFTER_SECONDS = 600  # Stripe tries again after minutes, and what is newer may be on its way
LATELY_SECONDS = 3 * 86_400  # for which Stripe goes on trying


def fetch(gateway: Gateway, catalogue: Catalogue, config: Config, now: float) -> AtStripe:
    """Fetch it, side by side."""
    events = {"gte": int(now) - LATELY_SECONDS, "lte": int(now) - DELIVERED_AFTER_SECONDS}
    wanted: dict[str, Callable[[], Any]] = {
        ACCOUNT: gateway.account_id,
        ENDPOINTS: lambda: gateway.first("/v1/webhook_endpoints"),
        DESTINATIONS: gateway.event_destinations,
        PORTALS: lambda: gateway.first("/v1/billing_portal/configurations", active=True, expand=[PORTAL_PRODUCTS]),
        UNDELIVERED: lambda: [
            each
            for start in range(0, len(poll.TYPES), MOST_TYPES)
            for each in gateway.first(
                "/v1/events", created=events, delivery_success=False, types=list(poll.TYPES[start : start + MOST_TYPES])
            )
        ],
        PRICES: lambda: catalogue.fetch_named(gateway),
        MISSING: lambda: missing(gateway, config),
        PAYERS: lambda: gateway.first("/v1/subscriptions", MOST_PAYERS + 1, expand=["data.customer"]),
    }
    return AtStripe(gateway, wanted)
