"""Connected accounts and transfers to them. A connected account has no balance and no objects of its own."""

from typing import Any

from ...errors import ApiError, invalid, missing
from ...http import form, lists
from ...http.form import choice, metadata, positive, text
from ...http.route import Route, retrieve_route
from ...money import balance
from ...world import ACCOUNT_ID, Object, World

ACCOUNTS, TRANSFERS = "/v1/accounts", "/v1/transfers"
APPLICATION = {"id": "ca_CorkageSimulator", "object": "application", "name": "Corkage's simulator"}


def own_account() -> Object:
    """Return the account that the API key belongs to."""
    return _account(ACCOUNT_ID, "standard", enabled=True)


def create_account(world: World, params: dict[str, Any]) -> Object:
    created = _account(world.new_id("account", 16), params.get("type", "standard"), enabled=False)
    created["metadata"] = form.merge_metadata({}, params.get("metadata"))
    return world.add("account", created | {"email": params.get("email")})


def retrieve_account(world: World, _params: dict[str, Any], account_id: str) -> Object:
    return own_account() if account_id == ACCOUNT_ID else world.get("account", account_id)


def update_account(world: World, params: dict[str, Any], account_id: str) -> Object:
    account = world.get("account", account_id)
    with world.changing(account, "account.updated"):
        account["metadata"] = form.merge_metadata(account["metadata"], params.get("metadata"))
        account["email"] = params.get("email", account["email"])
    return account


def delete_account(world: World, _params: dict[str, Any], account_id: str) -> Object:
    """Delete a connected account, which ends the application's access to it."""
    world.get("account", account_id)
    world.remove("account", account_id)
    world.emit("account.application.deauthorized", APPLICATION)
    return {"id": account_id, "object": "account", "deleted": True}


def list_accounts(world: World, params: dict[str, Any]) -> Object:
    """Return the connected accounts, which the account itself is not one of."""
    return lists.page(world.all("account"), params, ACCOUNTS)


def create_transfer(world: World, params: dict[str, Any]) -> Object:
    """Move money from the balance to a connected account's."""
    if world.find("account", params["destination"]) is None:
        raise missing("destination", params["destination"], "destination")
    amount, currency = params["amount"], params["currency"].lower()
    available = {each["currency"]: each["amount"] for each in balance.of_account(world)["available"]}
    if amount > available.get(currency, 0):
        raise ApiError(
            400, "You have insufficient available funds in your Stripe account.", code="balance_insufficient"
        )
    transfer = _blank_transfer(world) | {
        "amount": amount,
        "currency": currency,
        "description": params.get("description"),
        "destination": params["destination"],
        "metadata": form.merge_metadata({}, params.get("metadata")),
        "transfer_group": params.get("transfer_group"),
    }
    world.add("transfer", transfer)
    transfer["balance_transaction"] = balance.book(world, "transfer", -amount, transfer)["id"]
    world.emit("transfer.created", transfer)
    return transfer


def update_transfer(world: World, params: dict[str, Any], transfer_id: str) -> Object:
    transfer = world.get("transfer", transfer_id)
    with world.changing(transfer, "transfer.updated"):
        transfer["metadata"] = form.merge_metadata(transfer["metadata"], params.get("metadata"))
        transfer["description"] = params.get("description", transfer["description"])
    return transfer


def reverse_transfer(world: World, params: dict[str, Any], transfer_id: str) -> Object:
    """Take back a part of a transfer, or what is left of it."""
    transfer = world.get("transfer", transfer_id)
    left = transfer["amount"] - transfer["amount_reversed"]
    amount = params.get("amount", left or 1)
    if amount > left:
        raise invalid(f"Reversal amount ({amount}) is greater than the amount that is left ({left}).", "amount")
    reversal = {
        "id": world.new_id("transfer_reversal"),
        "object": "transfer_reversal",
        "amount": amount,
        "balance_transaction": None,
        "created": world.now,
        "currency": transfer["currency"],
        "destination_payment_refund": None,
        "metadata": form.merge_metadata({}, params.get("metadata")),
        "source_refund": None,
        "transfer": transfer_id,
    }
    world.add("transfer_reversal", reversal)
    reversal["balance_transaction"] = balance.book(world, "transfer_refund", amount, reversal)["id"]
    transfer["amount_reversed"] += amount
    transfer["reversed"] = transfer["amount_reversed"] == transfer["amount"]
    reversals = [reversal, *transfer["reversals"]["data"]]
    transfer["reversals"] = lists.embedded(reversals, f"{TRANSFERS}/{transfer_id}/reversals")
    world.emit("transfer.reversed", transfer)
    return reversal


def list_transfers(world: World, params: dict[str, Any]) -> Object:
    fields = {name: params[name] for name in ("destination", "transfer_group") if name in params}
    return lists.page(world.where("transfer", **fields), params, TRANSFERS)


def list_reversals(world: World, params: dict[str, Any], transfer_id: str) -> Object:
    world.get("transfer", transfer_id)
    return lists.page(
        world.where("transfer_reversal", transfer=transfer_id), params, f"{TRANSFERS}/{transfer_id}/reversals"
    )


def _account(account_id: str, kind: str, *, enabled: bool) -> Object:
    return {
        "id": account_id,
        "object": "account",
        "business_profile": None,
        "business_type": None,
        "charges_enabled": enabled,
        "country": "US",
        "default_currency": "usd",
        "details_submitted": enabled,
        "email": None,
        "metadata": {},
        "payouts_enabled": enabled,
        "settings": None,
        "type": kind,
    }


def _blank_transfer(world: World) -> Object:
    transfer_id = world.new_id("transfer")
    return {
        "id": transfer_id,
        "object": "transfer",
        "amount_reversed": 0,
        "balance_transaction": None,
        "created": world.now,
        "destination_payment": None,
        "livemode": False,
        "reversals": lists.embedded([], f"{TRANSFERS}/{transfer_id}/reversals"),
        "reversed": False,
        "source_transaction": None,
        "source_type": "card",
    }


ROUTES = (
    Route("GET", "/v1/account", lambda _world, _params: own_account()),
    Route("GET", ACCOUNTS, list_accounts, form.LIST),
    Route(
        "POST",
        ACCOUNTS,
        create_account,
        {"email": text, "metadata": metadata, "type": choice("custom", "express", "standard")},
    ),
    Route("GET", f"{ACCOUNTS}/<id>", retrieve_account),
    Route("POST", f"{ACCOUNTS}/<id>", update_account, {"email": text, "metadata": metadata}),
    Route("DELETE", f"{ACCOUNTS}/<id>", delete_account),
    Route(
        "POST",
        TRANSFERS,
        create_transfer,
        {
            "amount": positive,
            "currency": text,
            "description": text,
            "destination": text,
            "metadata": metadata,
            "transfer_group": text,
        },
        required=("amount", "currency", "destination"),
    ),
    retrieve_route("transfer", TRANSFERS),
    Route("POST", f"{TRANSFERS}/<id>", update_transfer, {"description": text, "metadata": metadata}),
    Route("GET", TRANSFERS, list_transfers, form.LIST | {"destination": text, "transfer_group": text}),
    Route("POST", f"{TRANSFERS}/<id>/reversals", reverse_transfer, {"amount": positive, "metadata": metadata}),
    Route("GET", f"{TRANSFERS}/<id>/reversals", list_reversals, form.LIST),
)
