"""The transactions of a customer's balance."""

from typing import Any

from ...errors import missing
from ...http import form, lists
from ...http.form import integer, metadata, text
from ...http.route import Route
from ...money import customer_balance
from ...world import Object, World
from ..customers import get_customer

PATH = "/v1/customers/<id>/balance_transactions"
KIND = "customer_balance_transaction"


def create_transaction(world: World, params: dict[str, Any], customer_id: str) -> Object:
    customer = get_customer(world, customer_id, "id")
    tags = form.merge_metadata({}, params.get("metadata"))
    shown = {"currency": params["currency"].lower(), "description": params.get("description"), "metadata": tags}
    with world.changing(customer, "customer.updated"):
        return customer_balance.book(world, customer, params["amount"], "adjustment", **shown)


def retrieve_transaction(world: World, _params: dict[str, Any], customer_id: str, transaction_id: str) -> Object:
    found = world.get(KIND, transaction_id)
    if found["customer"] != customer_id:
        raise missing(KIND, transaction_id)
    return found


def update_transaction(world: World, params: dict[str, Any], customer_id: str, transaction_id: str) -> Object:
    found = retrieve_transaction(world, {}, customer_id, transaction_id)
    found["description"] = params.get("description", found["description"])
    found["metadata"] = form.merge_metadata(found["metadata"], params.get("metadata"))
    return found


def list_transactions(world: World, params: dict[str, Any], customer_id: str) -> Object:
    world.get("customer", customer_id)
    return lists.page(world.where(KIND, customer=customer_id), params, PATH.replace("<id>", customer_id))


ROUTES = (
    Route(
        "POST",
        PATH,
        create_transaction,
        {"amount": integer, "currency": text, "description": text, "metadata": metadata},
        required=("amount", "currency"),
    ),
    Route("GET", f"{PATH}/<id>", retrieve_transaction),
    Route("POST", f"{PATH}/<id>", update_transaction, {"description": text, "metadata": metadata}),
    Route("GET", PATH, list_transactions, form.LIST | {"created": form.created}),
)
