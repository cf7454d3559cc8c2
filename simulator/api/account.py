"""The account that an API key belongs to."""

from typing import Any

from ..http.route import Route
from ..world import ACCOUNT_ID, Object, World


def retrieve_account(_world: World, _params: dict[str, Any]) -> Object:
    return {
        "id": ACCOUNT_ID,
        "object": "account",
        "business_profile": None,
        "business_type": None,
        "charges_enabled": True,
        "country": "US",
        "default_currency": "usd",
        "details_submitted": True,
        "email": None,
        "metadata": {},
        "payouts_enabled": True,
        "settings": None,
        "type": "standard",
    }


ROUTES = (Route("GET", "/v1/account", retrieve_account),)
