"""Prices: created, updated, listed, and moved between lookup keys."""

from typing import Any

from ..billing.pricing import prices
from ..errors import ApiError, invalid, missing_parameter
from ..http import form, lists
from ..http.form import boolean, choice, integer, list_of, metadata, nested, optional, text
from ..http.route import Route, retrieve_route
from ..versions import plan_of
from ..world import Object, World
from . import products
from .pricing.rates import CURRENCY_OPTIONS, RATE, rate_of, tiers_of

PATH = "/v1/prices"
FIELDS = {
    "active": boolean,
    "lookup_key": optional(text),
    "metadata": metadata,
    "nickname": optional(text),
    "tax_behavior": choice("exclusive", "inclusive", "unspecified"),
    "transfer_lookup_key": boolean,
}
RECURRING = {
    "interval": choice("day", "week", "month", "year"),
    "interval_count": integer,
    "meter": text,
    "usage_type": choice("licensed", "metered"),
}


def create_price(world: World, params: dict[str, Any]) -> Object:
    price_id = params.get("id") or world.new_id("price")
    recurring = _recurring(world, params["recurring"]) if params.get("recurring") else None
    is_tiered = params.get("billing_scheme") == "tiered"
    rate, hidden = rate_of(params, is_tiered=is_tiered), _hidden(params, is_tiered)
    _check_rate(params, rate, recurring)
    _take_lookup_key(world, params, price_id)
    price = {
        "id": price_id,
        "object": "price",
        "active": params.get("active", True),
        "billing_scheme": params.get("billing_scheme", "per_unit"),
        "created": world.now,
        "currency": params["currency"].lower(),
        "livemode": False,
        "lookup_key": params.get("lookup_key"),
        "metadata": form.merge_metadata({}, params.get("metadata")),
        "nickname": params.get("nickname"),
        "product": _product(world, params),
        "recurring": recurring,
        "tax_behavior": params.get("tax_behavior", "unspecified"),
        "tiers_mode": params.get("tiers_mode"),
        "transform_quantity": params.get("transform_quantity"),
        "type": "recurring" if recurring else "one_time",
        **rate,
    }
    if hidden:
        world.hidden[price_id] = hidden
    world.add("price", price)
    if recurring:
        prices.plan_for(world, price)
    world.emit("price.created", price)
    return price


def update_price(world: World, params: dict[str, Any], price_id: str) -> Object:
    price = world.get("price", price_id)
    options = _options(params.pop("currency_options", {}), price["tiers_mode"] is not None)
    _take_lookup_key(world, params, price_id)
    if options:
        hidden = world.hidden.setdefault(price_id, {})
        hidden["currency_options"] = hidden.get("currency_options", {}) | options
    with world.changing(price, "price.updated"):
        params.pop("transfer_lookup_key", None)
        metadata_given = params.pop("metadata", None)
        price |= params | {"metadata": form.merge_metadata(price["metadata"], metadata_given)}
    if price["recurring"]:
        prices.plan_for(world, price).update(plan_of(price))
    return price


def list_prices(world: World, params: dict[str, Any]) -> Object:
    fields = {name: params[name] for name in ("active", "product", "type", "currency") if name in params}
    found = world.where("price", **fields)
    if "lookup_keys" in params:
        if len(params["lookup_keys"]) > 10:
            raise invalid("You can give at most 10 lookup keys.", "lookup_keys")
        found = [each for each in found if each["lookup_key"] in params["lookup_keys"]]
    for name, wanted in params.get("recurring", {}).items():
        found = [each for each in found if each["recurring"] and each["recurring"][name] == wanted]
    return lists.page(found, params, PATH)


def _product(world: World, params: dict[str, Any]) -> str:
    if "product_data" in params:
        return str(products.create_product(world, params["product_data"])["id"])
    if "product" not in params:
        raise missing_parameter("product")
    return str(world.get("product", params["product"], "product")["id"])


def _recurring(world: World, given: dict[str, Any]) -> Object:
    if "interval" not in given:
        raise missing_parameter("recurring[interval]")
    recurring: Object = {"interval_count": 1, "meter": None, "trial_period_days": None, "usage_type": "licensed"}
    recurring |= given
    if recurring["usage_type"] == "metered" and not recurring["meter"]:
        raise invalid("Metered prices must be backed by a meter.", "recurring[meter]")
    if recurring["meter"]:
        if recurring["usage_type"] != "metered":
            raise invalid("Only metered prices can have a meter.", "recurring[meter]")
        meter = world.get("billing.meter", recurring["meter"], "recurring[meter]")
        if meter["status"] != "active":
            raise invalid(f"The meter {meter['id']} is inactive.", "recurring[meter]")
    return recurring


def _check_rate(params: dict[str, Any], rate: Object, recurring: Object | None) -> None:
    is_tiered = params.get("billing_scheme") == "tiered"
    for name in ("tiers", "tiers_mode"):
        if is_tiered and name not in params:
            raise missing_parameter(name)
        if not is_tiered and name in params:
            raise invalid(f"`{name}` can only be used with `billing_scheme=tiered`.", name)
    if is_tiered and "transform_quantity" in params:
        raise invalid("`transform_quantity` cannot be combined with tiers.", "transform_quantity")
    if params.get("transform_quantity", {"divide_by": 1}).get("divide_by", 0) < 1:
        raise invalid("This value must be greater than or equal to 1.", "transform_quantity[divide_by]")
    if rate["custom_unit_amount"] and recurring:
        raise invalid("`custom_unit_amount` can only be used with one-time prices.", "custom_unit_amount")


def _hidden(params: dict[str, Any], is_tiered: bool) -> Object:
    """Return what the API shows of a price only where it is expanded."""
    hidden: Object = {"tiers": tiers_of(params["tiers"])} if is_tiered and "tiers" in params else {}
    options = _options(params.get("currency_options", {}), is_tiered)
    return hidden | ({"currency_options": options} if options else {})


def _options(given: dict[str, Any], is_tiered: bool) -> Object:
    options = {}
    for currency, each in ((name.lower(), each) for name, each in given.items()):
        within = f"currency_options[{currency}]"
        options[currency] = rate_of(each, within, is_tiered=is_tiered) | {"tax_behavior": "unspecified"}
        if is_tiered:
            options[currency]["tiers"] = tiers_of(each.get("tiers", []), f"{within}[tiers]")
    return options


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
        | RATE
        | {
            "currency": text,
            "currency_options": CURRENCY_OPTIONS,
            "product": text,
            "product_data": nested({"name": text, "metadata": metadata, "active": boolean, "id": text}),
            "recurring": nested(RECURRING),
        },
        required=("currency",),
    ),
    retrieve_route("price", PATH),
    Route("POST", f"{PATH}/<id>", update_price, FIELDS | {"currency_options": CURRENCY_OPTIONS}),
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
            "recurring": nested(
                {"interval": RECURRING["interval"], "meter": text, "usage_type": RECURRING["usage_type"]}
            ),
            "type": choice("one_time", "recurring"),
        },
    ),
)
