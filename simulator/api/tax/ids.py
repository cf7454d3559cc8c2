"""Customers' tax ids, such as a VAT number."""

from typing import Any

from ...billing.tax_ids import FORMS, add_tax_id, check_tax_id
from ...errors import missing
from ...http import form, lists
from ...http.form import choice, text
from ...http.route import Route
from ...world import Object, World
from ..customers import get_customer

PATH = "/v1/customers/<id>/tax_ids"


def create_tax_id(world: World, params: dict[str, Any], customer_id: str) -> Object:
    customer = get_customer(world, customer_id, "id")
    check_tax_id(params, "value")
    return add_tax_id(world, customer, params["type"], params["value"])


def retrieve_tax_id(world: World, _params: dict[str, Any], customer_id: str, tax_id: str) -> Object:
    found = world.get("tax_id", tax_id)
    if found["customer"] != customer_id:
        raise missing("tax_id", tax_id)
    return found


def delete_tax_id(world: World, params: dict[str, Any], customer_id: str, tax_id: str) -> Object:
    found = retrieve_tax_id(world, params, customer_id, tax_id)
    world.remove("tax_id", tax_id)
    world.emit("customer.tax_id.deleted", found)
    return {"id": tax_id, "object": "tax_id", "deleted": True}


def list_tax_ids(world: World, params: dict[str, Any], customer_id: str) -> Object:
    get_customer(world, customer_id, "id")
    found = world.where("tax_id", customer=customer_id)
    return lists.page(found, params, f"/v1/customers/{customer_id}/tax_ids")


ROUTES = (
    Route("POST", PATH, create_tax_id, {"type": choice(*FORMS), "value": text}, required=("type", "value")),
    Route("GET", PATH, list_tax_ids, form.LIST),
    Route("GET", f"{PATH}/<id>", retrieve_tax_id),
    Route("DELETE", f"{PATH}/<id>", delete_tax_id),
)
