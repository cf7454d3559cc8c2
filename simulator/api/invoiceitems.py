"""Invoice items: charges that wait for a customer's next invoice."""

from typing import Any

from ..billing import customer_currency, invoiceitems
from ..billing.pricing import amounts, currencies
from ..errors import invalid, missing_parameter
from ..http import form, lists
from ..http.form import integer, metadata, nested, text
from ..http.route import Route, retrieve_route
from ..world import Object, World
from .customers import get_customer

PATH = "/v1/invoiceitems"


def create_invoiceitem(world: World, params: dict[str, Any]) -> Object:
    customer = get_customer(world, params["customer"])
    price = None
    if "pricing" in params:
        price = world.get("price", params["pricing"].get("price", ""), "pricing[price]")
    elif "amount" not in params or "currency" not in params:
        raise missing_parameter("currency" if "amount" in params else "amount")
    quantity = params.get("quantity", 1)
    currency = str(params.get("currency") or (price or {})["currency"]).lower()
    if price:
        currencies.check_price(world, price, currency, "currency")
    customer_currency.check_currency(world, customer["id"], currency)
    customer["currency"] = currency
    item = invoiceitems.new_item(
        world,
        customer=customer["id"],
        amount=amounts.amount_of(world, price, quantity, currency) if price else params["amount"],
        currency=currency,
        description=params.get("description"),
        period=(world.now, world.now),
        price=price,
        quantity=quantity,
    )
    item["metadata"] = form.merge_metadata({}, params.get("metadata"))
    return invoiceitems.add(world, item)


def delete_invoiceitem(world: World, _params: dict[str, Any], item_id: str) -> Object:
    item = world.get("invoiceitem", item_id)
    if item["invoice"]:
        raise invalid("An invoice item that is on an invoice cannot be deleted.", "id")
    world.remove("invoiceitem", item_id)
    world.emit("invoiceitem.deleted", item)
    return {"id": item_id, "object": "invoiceitem", "deleted": True}


def list_invoiceitems(world: World, params: dict[str, Any]) -> Object:
    fields = {name: params[name] for name in ("customer", "invoice") if name in params}
    found = world.where("invoiceitem", **fields)
    return lists.page(found, params, PATH, created="date")


ROUTES = (
    Route(
        "POST",
        PATH,
        create_invoiceitem,
        {
            "amount": integer,
            "currency": text,
            "customer": text,
            "description": text,
            "metadata": metadata,
            "pricing": nested({"price": text}),
            "quantity": integer,
        },
        required=("customer",),
    ),
    retrieve_route("invoiceitem", PATH),
    Route("DELETE", f"{PATH}/<id>", delete_invoiceitem),
    Route("GET", PATH, list_invoiceitems, form.LIST | {"created": form.created, "customer": text, "invoice": text}),
)
