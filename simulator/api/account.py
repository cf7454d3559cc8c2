"""The account that an API key belongs to. It has no connected accounts."""

from typing import Any

from ..errors import missing
from ..http import form, lists
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


def retrieve_account_by_id(world: World, params: dict[str, Any], account_id: str) -> Object:
    if account_id != ACCOUNT_ID:
        raise missing("account", account_id)
    return retrieve_account(world, params)


def list_accounts(_world: World, params: dict[str, Any]) -> Object:
    """Return the connected accounts, which the account itself is not one of."""
    return lists.page([], params, "/v1/accounts")


ROUTES = (
    Route("GET", "/v1/account", retrieve_account),
    Route("GET", "/v1/accounts", list_accounts, form.LIST),
    Route("GET", "/v1/accounts/<id>", retrieve_account_by_id),
)
