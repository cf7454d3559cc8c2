"""The account's balance and its transactions, to read."""

from typing import Any

from ...http import form, lists
from ...http.form import text
from ...http.route import Route, retrieve_route
from ...money import balance
from ...world import Object, World

PATH = "/v1/balance_transactions"


def retrieve_balance(world: World, _params: dict[str, Any]) -> Object:
    return balance.of_account(world)


def list_transactions(world: World, params: dict[str, Any]) -> Object:
    fields = {name: params[name] for name in ("currency", "source", "type") if name in params}
    return lists.page(world.where("balance_transaction", **fields), params, PATH)


ROUTES = (
    Route("GET", "/v1/balance", retrieve_balance),
    retrieve_route("balance_transaction", PATH),
    Route(
        "GET",
        PATH,
        list_transactions,
        form.LIST | {"created": form.created, "currency": text, "source": text, "type": text},
    ),
)
