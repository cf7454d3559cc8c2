"""Products: created, updated, deleted, listed."""

from typing import Any

from ..errors import already_exists, invalid
from ..http import form, lists
from ..http.form import boolean, list_of, metadata, optional, text
from ..http.route import Route, retrieve_route
from ..world import Object, World

PATH = "/v1/products"
FIELDS = {
    "active": boolean,
    "description": optional(text),
    "images": list_of(text),
    "metadata": metadata,
    "name": text,
    "statement_descriptor": optional(text),
    "unit_label": optional(text),
    "url": optional(text),
}


def create_product(world: World, params: dict[str, Any]) -> Object:
    if world.find("product", params.get("id")):
        raise already_exists("product")
    product = {
        "id": params.get("id") or world.new_id("product", 14),
        "object": "product",
        "active": params.get("active", True),
        "created": world.now,
        "default_price": None,
        "description": params.get("description"),
        "images": params.get("images", []),
        "livemode": False,
        "marketing_features": [],
        "metadata": form.merge_metadata({}, params.get("metadata")),
        "name": params["name"],
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": params.get("statement_descriptor"),
        "tax_code": None,
        "tax_details": None,
        "type": "service",
        "unit_label": params.get("unit_label"),
        "updated": world.now,
        "url": params.get("url"),
    }
    world.add("product", product)
    world.emit("product.created", product)
    return product


def update_product(world: World, params: dict[str, Any], product_id: str) -> Object:
    product = world.get("product", product_id)
    with world.changing(product, "product.updated"):
        metadata_given = params.pop("metadata", None)
        product |= params | {"metadata": form.merge_metadata(product["metadata"], metadata_given)}
    product["updated"] = world.now
    return product


def delete_product(world: World, _params: dict[str, Any], product_id: str) -> Object:
    product = world.get("product", product_id)
    if world.where("price", product=product_id):
        raise invalid("This product cannot be deleted because it has one or more user-created prices.", "id")
    world.remove("product", product_id)
    world.emit("product.deleted", product)
    return {"id": product_id, "object": "product", "deleted": True}


def list_products(world: World, params: dict[str, Any]) -> Object:
    fields = {"active": params["active"]} if "active" in params else {}
    found = world.where("product", **fields)
    return lists.page([each for each in found if each["id"] in params.get("ids", [each["id"]])], params, PATH)


ROUTES = (
    Route("POST", PATH, create_product, FIELDS | {"id": text}, required=("name",)),
    retrieve_route("product", PATH),
    Route("POST", f"{PATH}/<id>", update_product, FIELDS),
    Route("DELETE", f"{PATH}/<id>", delete_product),
    Route("GET", PATH, list_products, form.LIST | {"active": boolean, "created": form.created, "ids": list_of(text)}),
)
