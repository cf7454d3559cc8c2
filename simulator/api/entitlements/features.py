"""Features, and the products that include them."""

from typing import Any

from ...errors import ApiError, invalid
from ...http import form, lists
from ...http.form import boolean, metadata, text
from ...http.route import Route, retrieve_route
from ...world import Object, World

PATH = "/v1/entitlements/features"
OF_PRODUCT = "/v1/products/<id>/features"
KIND = "entitlements.feature"


def create_feature(world: World, params: dict[str, Any]) -> Object:
    if world.where(KIND, lookup_key=params["lookup_key"]):
        raise invalid("A feature with this lookup key already exists.", "lookup_key", "resource_already_exists")
    feature = {
        "id": world.new_id(KIND),
        "object": KIND,
        "active": True,
        "livemode": False,
        "lookup_key": params["lookup_key"],
        "metadata": form.merge_metadata({}, params.get("metadata")),
        "name": params["name"],
    }
    return world.add(KIND, feature)


def update_feature(world: World, params: dict[str, Any], feature_id: str) -> Object:
    feature = world.get(KIND, feature_id)
    feature["metadata"] = form.merge_metadata(feature["metadata"], params.pop("metadata", None))
    feature |= params
    return feature


def list_features(world: World, params: dict[str, Any]) -> Object:
    """List features, without archived ones unless `archived` asks for them alone."""
    found = world.where(KIND, active=not params.get("archived", False))
    found = [each for each in found if params.get("lookup_key") in (None, each["lookup_key"])]
    return lists.page(found, params, PATH)


def attach_feature(world: World, params: dict[str, Any], product_id: str) -> Object:
    product = world.get("product", product_id)
    feature = world.get(KIND, params["entitlement_feature"], "entitlement_feature")
    attached = features_of(world, product_id)
    if any(each["entitlement_feature"]["id"] == feature["id"] for each in attached):
        raise ApiError(400, "This feature is already attached to this product.", param="entitlement_feature")
    if not feature["active"]:
        raise invalid("This feature is archived.", "entitlement_feature")
    link = {"id": world.new_id("product_feature"), "object": "product_feature", "entitlement_feature": feature}
    world.hidden.setdefault(product["id"], {}).setdefault("features", []).append(link["id"])
    return world.add("product_feature", link | {"livemode": False})


def retrieve_product_feature(world: World, _params: dict[str, Any], product_id: str, link_id: str) -> Object:
    world.get("product", product_id)
    if link_id not in _link_ids(world, product_id):
        return world.get("product_feature", "")
    return world.get("product_feature", link_id)


def list_product_features(world: World, params: dict[str, Any], product_id: str) -> Object:
    world.get("product", product_id)
    return lists.page(list(reversed(features_of(world, product_id))), params, f"/v1/products/{product_id}/features")


def detach_feature(world: World, _params: dict[str, Any], product_id: str, link_id: str) -> Object:
    retrieve_product_feature(world, {}, product_id, link_id)
    _link_ids(world, product_id).remove(link_id)
    world.remove("product_feature", link_id)
    return {"id": link_id, "object": "product_feature", "deleted": True}


def features_of(world: World, product_id: str) -> list[Object]:
    """Return a product's features, oldest first."""
    return [world.get("product_feature", each) for each in _link_ids(world, product_id)]


def _link_ids(world: World, product_id: str) -> list[str]:
    found: list[str] = world.hidden.get(product_id, {}).get("features", [])
    return found


FEATURE = {"metadata": metadata, "name": text}

ROUTES = (
    Route("POST", PATH, create_feature, FEATURE | {"lookup_key": text}, required=("lookup_key", "name")),
    retrieve_route(KIND, PATH),
    Route("POST", f"{PATH}/<id>", update_feature, FEATURE | {"active": boolean}),
    Route("GET", PATH, list_features, form.LIST | {"archived": boolean, "lookup_key": text}),
    Route("POST", OF_PRODUCT, attach_feature, {"entitlement_feature": text}, required=("entitlement_feature",)),
    Route("GET", OF_PRODUCT, list_product_features, form.LIST),
    Route("GET", f"{OF_PRODUCT}/<id>", retrieve_product_feature),
    Route("DELETE", f"{OF_PRODUCT}/<id>", detach_feature),
)
