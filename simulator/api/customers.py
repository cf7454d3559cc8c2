"""Customers: created, updated, deleted, listed."""

from typing import Any

from ..billing import discounts, periods, tax_ids
from ..errors import ApiError, invalid, unsupported
from ..http import form, lists
from ..http.form import choice, email, integer, list_of, metadata, nested, optional, text
from ..http.route import Route
from ..world import Object, World
from .payment_methods import ADDRESS, attach
from .test_clocks import visible_objects

PATH = "/v1/customers"
FIELDS = {
    "address": optional(ADDRESS),
    "balance": integer,
    "coupon": optional(text),  # until API version clover, and still sent by the official CLI
    "description": optional(text),
    "email": optional(email),
    "invoice_settings": nested({"default_payment_method": optional(text), "footer": optional(text)}),
    "metadata": metadata,
    "name": optional(text),
    "phone": optional(text),
    "promotion_code": optional(text),  # likewise
    "preferred_locales": list_of(text),
    "tax_exempt": choice("exempt", "none", "reverse"),
    "shipping": optional(nested({"address": ADDRESS, "name": text, "phone": optional(text)})),
}


def create_customer(world: World, params: dict[str, Any]) -> Object:
    if "source" in params and not params["source"].startswith("tok_"):
        raise unsupported("sources other than test tokens")
    if "test_clock" in params:
        world.get("test_helpers.test_clock", params["test_clock"], "test_clock")
    ids = params.pop("tax_id_data", [])
    for at, given in enumerate(ids):
        tax_ids.check_tax_id(given, f"tax_id_data[{at}][value]")
    _check_discount(world, params)
    customer = world.add("customer", _blank(world))
    for given in ids:
        tax_ids.add_tax_id(world, customer, given["type"], given["value"])
    _apply(world, customer, params)
    if "source" in params:
        method = attach(world, params["source"], customer, "source")
        customer["invoice_settings"]["default_payment_method"] = method["id"]
    if "payment_method" in params:
        attach(world, params["payment_method"], customer, "payment_method")
    world.emit("customer.created", customer)
    return customer


def retrieve_customer(world: World, _params: dict[str, Any], customer_id: str) -> Object:
    return world.get("customer", customer_id)


def update_customer(world: World, params: dict[str, Any], customer_id: str) -> Object:
    customer = get_customer(world, customer_id, "id")
    _check_discount(world, params, customer_id)
    with world.changing(customer, "customer.updated"):
        _apply(world, customer, params)
    return customer


def delete_customer(world: World, _params: dict[str, Any], customer_id: str) -> Object:
    customer = get_customer(world, customer_id, "id")
    for subscription in world.where("subscription", customer=customer_id):
        if subscription["status"] not in periods.ENDED:
            periods.cancel(world, subscription)
    world.emit("customer.deleted", customer)
    stub = {"id": customer_id, "object": "customer", "deleted": True}
    customer["deleted"] = True
    world.add("customer", stub | {"created": customer["created"], "email": None})
    return stub


def list_customers(world: World, params: dict[str, Any]) -> Object:
    found = visible_objects(world, "customer", params)
    if "email" in params:
        found = [each for each in found if each["email"] == params["email"]]
    return lists.page(found, params, PATH)


def get_customer(world: World, customer_id: str, param: str = "customer") -> Object:
    """Return a customer that is not deleted."""
    customer = world.get("customer", customer_id, param)
    if customer.get("deleted"):
        raise invalid(f"No such customer: '{customer_id}'", param, "resource_missing")
    return customer


def delete_discount(world: World, _params: dict[str, Any], customer_id: str) -> Object:
    customer = get_customer(world, customer_id, "id")
    discount: Object | None = customer["discount"]
    if discount is None:
        raise ApiError(404, "No active discount for customer.", code="resource_missing")
    with world.changing(customer, "customer.updated"):
        discounts.drop_from_customer(world, customer)
    return discount | {"deleted": True}


def _check_discount(world: World, params: dict[str, Any], customer_id: str | None = None) -> None:
    given = _discount_given(params)
    if any(given.values()):
        discounts.check_redeemable(world, *discounts.find_coupon(world, given), customer_id)


def _discount_given(params: dict[str, Any]) -> dict[str, Any]:
    return {name: params[name] for name in ("coupon", "promotion_code") if name in params}


def _apply_discount(world: World, customer: Object, given: dict[str, Any]) -> None:
    """Set the customer's discount; an empty value takes it away."""
    if any(given.values()):
        discounts.grant_to_customer(world, customer, given)
    elif given and customer["discount"]:
        discounts.drop_from_customer(world, customer)


def _apply(world: World, customer: Object, params: dict[str, Any]) -> None:
    settings = params.get("invoice_settings", {})
    chosen = settings.get("default_payment_method")
    if chosen:
        method = attach(world, chosen, customer, "invoice_settings[default_payment_method]")
        settings = settings | {"default_payment_method": method["id"]}
    customer["invoice_settings"] = customer["invoice_settings"] | settings
    customer["metadata"] = form.merge_metadata(customer["metadata"], params.get("metadata"))
    _apply_discount(world, customer, _discount_given(params))
    plain = FIELDS.keys() - {"coupon", "invoice_settings", "metadata", "promotion_code"}
    customer |= {name: value for name, value in params.items() if name in plain}


def _blank(world: World) -> Object:
    return {
        "id": world.new_id("customer", 14),
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": world.now,
        "currency": None,
        "customer_account": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": world.new_token(8).upper(),
        "invoice_settings": dict.fromkeys(("custom_fields", "default_payment_method", "footer", "rendering_options")),
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": world.clock.id,
    }


ROUTES = (
    Route(
        "POST",
        PATH,
        create_customer,
        FIELDS
        | {
            "payment_method": text,
            "source": text,
            "tax_id_data": list_of(nested({"type": choice(*tax_ids.FORMS), "value": text})),
            "test_clock": text,
        },
    ),
    Route("GET", f"{PATH}/<id>", retrieve_customer),
    Route("POST", f"{PATH}/<id>", update_customer, FIELDS),
    Route("DELETE", f"{PATH}/<id>", delete_customer),
    Route("DELETE", f"{PATH}/<id>/discount", delete_discount),
    Route("GET", PATH, list_customers, form.LIST | {"created": form.created, "email": text, "test_clock": text}),
)
