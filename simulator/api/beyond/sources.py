"""Customers' sources: cards of the old API. They are kept and shown; payments use payment methods."""

from typing import Any

from ...errors import invalid, missing
from ...http import form, lists
from ...http.form import metadata, text
from ...http.route import Route
from ...test_cards import INSTRUMENTS, resolve_name
from ...world import Object, World
from ..customers import get_customer

PATH = "/v1/customers/<id>/sources"
BRANDS = {"amex": "American Express", "mastercard": "MasterCard", "visa": "Visa"}
"""As this old API calls them."""


def create_source(world: World, params: dict[str, Any], customer_id: str) -> Object:
    customer = get_customer(world, customer_id, "id")
    name = resolve_name(params["source"]) if params["source"].startswith("tok_") else None
    if name is None:
        raise invalid(f"No such token: '{params['source']}'", "source", "resource_missing")
    if INSTRUMENTS[name].declines == "attach":
        raise INSTRUMENTS[name].error()
    source = _blank_card(world, name) | {
        "customer": customer["id"],
        "metadata": form.merge_metadata({}, params.get("metadata")),
    }
    world.add("card", source)
    world.emit("customer.source.created", source)
    return source


def retrieve_source(world: World, _params: dict[str, Any], customer_id: str, source_id: str) -> Object:
    source = world.find("card", source_id)
    if source is None or source["customer"] != customer_id:
        raise missing("source", source_id)
    return source


def update_source(world: World, params: dict[str, Any], customer_id: str, source_id: str) -> Object:
    source = retrieve_source(world, {}, customer_id, source_id)
    with world.changing(source, "customer.source.updated"):
        source["metadata"] = form.merge_metadata(source["metadata"], params.get("metadata"))
        source["name"] = params.get("name", source["name"])
    return source


def delete_source(world: World, _params: dict[str, Any], customer_id: str, source_id: str) -> Object:
    source = retrieve_source(world, {}, customer_id, source_id)
    world.remove("card", source_id)
    world.emit("customer.source.deleted", source)
    return {"id": source_id, "object": "card", "deleted": True}


def list_sources(world: World, params: dict[str, Any], customer_id: str) -> Object:
    world.get("customer", customer_id)
    found = world.where("card", customer=customer_id) if params.get("object", "card") == "card" else []
    return lists.page(found, params, PATH.replace("<id>", customer_id))


def _blank_card(world: World, name: str) -> Object:
    instrument = INSTRUMENTS[name]
    nulls: dict[str, Any] = dict.fromkeys(
        "address_city address_country address_line1 address_line1_check address_line2 address_state address_zip "
        "address_zip_check cvc_check dynamic_last4 name tokenization_method".split()
    )
    return nulls | {
        "id": world.new_id("card"),
        "object": "card",
        "brand": BRANDS[instrument.brand],
        "country": "US",
        "exp_month": 12,
        "exp_year": 2034,
        "fingerprint": instrument.number[-8:],
        "funding": "credit",
        "last4": instrument.number[-4:],
    }


ROUTES = (
    Route("POST", PATH, create_source, {"metadata": metadata, "source": text}, required=("source",)),
    Route("GET", f"{PATH}/<id>", retrieve_source),
    Route("POST", f"{PATH}/<id>", update_source, {"metadata": metadata, "name": text}),
    Route("DELETE", f"{PATH}/<id>", delete_source),
    Route("GET", PATH, list_sources, form.LIST | {"object": text}),
)
