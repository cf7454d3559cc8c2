"""Customers' cash balances: money that a customer sent by bank transfer. Nothing is paid from them."""

from typing import Any

from ...http import form, lists
from ...http.form import positive, text
from ...http.route import Route
from ...world import Object, World
from ..customers import get_customer

BALANCE = "/v1/customers/<id>/cash_balance"
TRANSACTIONS = "/v1/customers/<id>/cash_balance_transactions"


def fund(world: World, params: dict[str, Any], customer_id: str) -> Object:
    """Play a bank transfer from the customer."""
    customer = get_customer(world, customer_id, "id")
    amount, currency = params["amount"], params["currency"].lower()
    held = _held(world, customer["id"])
    held[currency] = held.get(currency, 0) + amount
    transaction = {
        "id": world.new_id("customer_cash_balance_transaction"),
        "object": "customer_cash_balance_transaction",
        "created": world.now,
        "currency": currency,
        "customer": customer["id"],
        "customer_account": None,
        "ending_balance": held[currency],
        "livemode": False,
        "net_amount": amount,
        "type": "funded",
    }
    world.add("customer_cash_balance_transaction", transaction)
    world.emit("customer_cash_balance_transaction.created", transaction)
    world.emit("cash_balance.funds_available", _shown(world, customer["id"]))
    return transaction


def retrieve_balance(world: World, _params: dict[str, Any], customer_id: str) -> Object:
    get_customer(world, customer_id, "id")
    return _shown(world, customer_id)


def list_transactions(world: World, params: dict[str, Any], customer_id: str) -> Object:
    get_customer(world, customer_id, "id")
    found = world.where("customer_cash_balance_transaction", customer=customer_id)
    return lists.page(found, params, TRANSACTIONS.replace("<id>", customer_id))


def _held(world: World, customer_id: str) -> dict[str, int]:
    held: dict[str, int] = world.hidden.setdefault(customer_id, {}).setdefault("cash", {})
    return held


def _shown(world: World, customer_id: str) -> Object:
    return {
        "object": "cash_balance",
        "available": dict(_held(world, customer_id)) or None,
        "customer": customer_id,
        "customer_account": None,
        "livemode": False,
        "settings": {"reconciliation_mode": "automatic", "using_merchant_default": True},
    }


ROUTES = (
    Route(
        "POST",
        "/v1/test_helpers/customers/<id>/fund_cash_balance",
        fund,
        {"amount": positive, "currency": text},
        required=("amount", "currency"),
    ),
    Route("GET", BALANCE, retrieve_balance),
    Route("GET", TRANSACTIONS, list_transactions, form.LIST),
)
