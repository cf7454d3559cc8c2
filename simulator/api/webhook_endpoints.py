"""Webhook endpoints. Only the response to their creation shows the signing secret."""

from typing import Any

from ..http import form, lists
from ..http.form import boolean, list_of, metadata, optional, text
from ..http.route import Route
from ..versions import check_version
from ..world import Object, World

PATH = "/v1/webhook_endpoints"
FIELDS = {"description": optional(text), "enabled_events": list_of(text), "metadata": metadata, "url": text}


def create_endpoint(world: World, params: dict[str, Any]) -> Object:
    if params.get("api_version") is not None:
        check_version(params["api_version"], "api_version")
    endpoint = {
        "id": world.new_id("webhook_endpoint"),
        "object": "webhook_endpoint",
        "api_version": params.get("api_version"),
        "application": None,
        "created": world.now,
        "description": params.get("description"),
        "enabled_events": params["enabled_events"],
        "livemode": False,
        "metadata": form.merge_metadata({}, params.get("metadata")),
        "secret": params.get("secret") or f"whsec_{world.new_token(32)}",
        "status": "enabled",
        "url": params["url"],
    }
    return world.add("webhook_endpoint", endpoint)


def retrieve_endpoint(world: World, _params: dict[str, Any], endpoint_id: str) -> Object:
    return _without_secret(world.get("webhook_endpoint", endpoint_id))


def update_endpoint(world: World, params: dict[str, Any], endpoint_id: str) -> Object:
    endpoint = world.get("webhook_endpoint", endpoint_id)
    if "disabled" in params:
        endpoint["status"] = "disabled" if params.pop("disabled") else "enabled"
    given = params.pop("metadata", None)
    endpoint |= params | {"metadata": form.merge_metadata(endpoint["metadata"], given)}
    return _without_secret(endpoint)


def delete_endpoint(world: World, _params: dict[str, Any], endpoint_id: str) -> Object:
    world.get("webhook_endpoint", endpoint_id)
    world.remove("webhook_endpoint", endpoint_id)
    return {"id": endpoint_id, "object": "webhook_endpoint", "deleted": True}


def list_endpoints(world: World, params: dict[str, Any]) -> Object:
    return lists.page([_without_secret(each) for each in world.all("webhook_endpoint")], params, PATH)


def _without_secret(endpoint: Object) -> Object:
    return {name: value for name, value in endpoint.items() if name != "secret"}


ROUTES = (
    Route("POST", PATH, create_endpoint, FIELDS | {"api_version": text}, required=("enabled_events", "url")),
    Route("GET", f"{PATH}/<id>", retrieve_endpoint),
    Route("POST", f"{PATH}/<id>", update_endpoint, FIELDS | {"disabled": boolean}),
    Route("DELETE", f"{PATH}/<id>", delete_endpoint),
    Route("GET", PATH, list_endpoints, form.LIST),
)
