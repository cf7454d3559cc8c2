"""Prices: created, updated, listed, and moved between lookup keys."""

from typing import Any

from ..errors import ApiError, invalid, missing_parameter
from ..http import form, lists
from ..http.form import boolean, choice, integer, list_of, metadata, nested, optional, text
from ..http.route import Route, retrieve_route
from ..world import Object, World
from . import products

PATH = "/v1/prices"
FIELDS = {
    "active": boolean,
    "lookup_key": optional(text),
    "metadata": metadata,
    "nickname": optional(text),
    "transfer_lookup_key": boolean,
}
RECURRING = {"interval": choice("day", "week", "month", "year"), "interval_count": integer}


def create_price(world: World, params: dict[str, Any]) -> Object:
    if params["unit_amount"] < 0:
        raise invalid("This value must be greater than or equal to 0.", "unit_amount")
    recurring = params.get("recurring")
    price_id = params.get("id") or world.new_id("price")
    _take_lookup_key(world, params, price_id)
    price = {
        "id": price_id,
        "object": "price",
        "active": params.get("active", True),
        "billing_scheme": "per_unit",
        "created": world.now,
        "currency": params["currency"].lower(),
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": params.get("lookup_key"),
        "metadata": form.merge_metadata({}, params.get("metadata")),
        "nickname": params.get("nickname"),
        "product": _product(world, params),
        "recurring": _recurring(recurring) if recurring else None,
        "tax_behavior": "unspecified",
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "recurring" if recurring else "one_time",
        "unit_amount": params["unit_amount"],
        "unit_amount_decimal": str(params["unit_amount"]),
    }
    world.add("price", price)
    world.emit("price.created", price)
    return price


def update_price(world: World, params: dict[str, Any], price_id: str) -> Object:
    price = world.get("price", price_id)
    _take_lookup_key(world, params, price_id)
    with world.changing(price, "price.updated"):
        params.pop("transfer_lookup_key", None)
        metadata_given = params.pop("metadata", None)
        price |= params | {"metadata": form.merge_metadata(price["metadata"], metadata_given)}
    return price


def active_price(world: World, price_id: str, param: str) -> Object:
    """Return a price that is active and whose product is active."""
    price = world.get("price", price_id, param)
    if not price["active"]:
        raise invalid(f"The price specified is inactive. This field only accepts active prices: {price_id}", param)
    if not world.get("product", price["product"])["active"]:
        raise invalid(
            f"Price `{price_id}` is not available to be purchased because its product is not active.",
            param,
            "product_inactive",
        )
    return price


def list_prices(world: World, params: dict[str, Any]) -> Object:
    fields = {name: params[name] for name in ("active", "product", "type", "currency") if name in params}
    found = world.where("price", **fields)
    if "lookup_keys" in params:
        if len(params["lookup_keys"]) > 10:
            raise invalid("You can give at most 10 lookup keys.", "lookup_keys")
        found = [each for each in found if each["lookup_key"] in params["lookup_keys"]]
    return lists.page(found, params, PATH)


def _product(world: World, params: dict[str, Any]) -> str:
    if "product_data" in params:
        return str(products.create_product(world, params["product_data"])["id"])
    if "product" not in params:
        raise missing_parameter("product")
    return str(world.get("product", params["product"], "product")["id"])


def _recurring(given: dict[str, Any]) -> Object:
    if "interval" not in given:
        raise missing_parameter("recurring[interval]")
    return {
        "interval": given["interval"],
        "interval_count": given.get("interval_count", 1),
        "meter": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }


def _take_lookup_key(world: World, params: dict[str, Any], price_id: str) -> None:
    """Free the wanted lookup key: `transfer_lookup_key` takes it from the price that holds it."""
    key = params.get("lookup_key")
    for holder in world.where("price", lookup_key=key) if key else []:
        if holder["id"] == price_id:
            continue
        if not params.get("transfer_lookup_key"):
            raise ApiError(
                400, f"A price (`{holder['id']}`) already uses that lookup key.", param="lookup_key", is_replayed=False
            )
        with world.changing(holder, "price.updated"):
            holder["lookup_key"] = None


ROUTES = (
    Route(
        "POST",
        PATH,
        create_price,
        FIELDS
        | {
            "currency": text,
            "product": text,
            "product_data": nested({"name": text, "metadata": metadata, "active": boolean, "id": text}),
            "recurring": nested(RECURRING),
            "unit_amount": integer,
        },
        required=("currency", "unit_amount"),
    ),
    retrieve_route("price", PATH),
    Route("POST", f"{PATH}/<id>", update_price, FIELDS),
    Route(
        "GET",
        PATH,
        list_prices,
        form.LIST
        | {
            "active": boolean,
            "created": form.created,
            "currency": text,
            "lookup_keys": list_of(text),
            "product": text,
            "type": choice("one_time", "recurring"),
        },
    ),
)
