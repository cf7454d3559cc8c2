"""Event destinations of the v2 API, thin or snapshot. Only webhooks are supported, not Stripe's other types."""

from typing import Any

from ..errors import ApiError, invalid, missing_parameter, unsupported
from ..http import form, v2
from ..http.form import choice, list_of, metadata, nested, text
from ..http.route import Route
from ..versions import check_version
from ..webhooks import thin
from ..world import Object, World

PATH = "/v2/core/event_destinations"
KIND = "v2.core.event_destination"
URL, SECRET = "webhook_endpoint.url", "webhook_endpoint.signing_secret"
INCLUDE = list_of(choice(URL))


def create_destination(world: World, params: dict[str, Any]) -> Object:
    if params.get("events_from", ["@self"]) != ["@self"]:
        raise unsupported("events of other accounts")
    if "url" not in params.get("webhook_endpoint", {}):
        raise missing_parameter("webhook_endpoint.url")
    endpoint = {"signing_secret": f"whsec_{world.new_token(32)}", "url": params["webhook_endpoint"]["url"]}
    is_thin = params["event_payload"] == "thin"
    _check_version(params, is_thin)
    _check_events(params["enabled_events"], is_thin)
    created = thin.timestamp(world.now)
    destination = {
        "id": world.new_id(KIND),
        "object": KIND,
        "amazon_eventbridge": None,
        "azure_event_grid": None,
        "created": created,
        "description": params.get("description", ""),
        "enabled_events": params["enabled_events"],
        "event_payload": params["event_payload"],
        "events_from": ["@self"],
        "livemode": False,
        "metadata": form.merge_metadata({}, params.get("metadata")),
        "name": params["name"],
        "snapshot_api_version": None if is_thin else params.get("snapshot_api_version", world.api_version),
        "status": "enabled",
        "status_details": None,
        "type": params["type"],
        "updated": created,
        "webhook_endpoint": endpoint,
    }
    return _shown(world.add(KIND, destination), params)


def retrieve_destination(world: World, params: dict[str, Any], destination_id: str) -> Object:
    return _shown(_get_destination(world, destination_id), params)


def delete_destination(world: World, _params: dict[str, Any], destination_id: str) -> Object:
    _get_destination(world, destination_id)
    world.remove(KIND, destination_id)
    return {"id": destination_id, "object": KIND}


def disable_destination(world: World, _params: dict[str, Any], destination_id: str) -> Object:
    return _set_status(world, destination_id, "disabled", {"disabled": {"reason": "user"}})


def enable_destination(world: World, _params: dict[str, Any], destination_id: str) -> Object:
    return _set_status(world, destination_id, "enabled", None)


def list_destinations(world: World, params: dict[str, Any]) -> Object:
    return v2.page([_shown(each, params) for each in world.all(KIND)], params, PATH)


def _get_destination(world: World, destination_id: str) -> Object:
    found = world.find(KIND, destination_id)
    if found is None:
        raise ApiError(404, f"No such event destination: '{destination_id}'", code="not_found")
    return found


def _set_status(world: World, destination_id: str, status: str, details: Object | None) -> Object:
    destination = _get_destination(world, destination_id)
    destination |= {"status": status, "status_details": details, "updated": thin.timestamp(world.now)}
    return _shown(destination, {})


def _shown(destination: Object, params: dict[str, Any]) -> Object:
    """Hide the endpoint's URL and secret unless `include` asks for them."""
    wanted = params.get("include", ())
    endpoint = destination["webhook_endpoint"]
    shown = {name: endpoint[name] if f"webhook_endpoint.{name}" in wanted else None for name in endpoint}
    return destination | {"webhook_endpoint": shown}


def _check_version(params: dict[str, Any], is_thin: bool) -> None:
    if is_thin and "snapshot_api_version" in params:
        raise invalid("Thin events are not pinned to an API version.", "snapshot_api_version")
    if "snapshot_api_version" in params:
        check_version(params["snapshot_api_version"], "snapshot_api_version")


def _check_events(names: list[str], is_thin: bool) -> None:
    """Refuse event names that would never arrive: unsupported ones, and those of the other payload."""
    if not names:
        raise missing_parameter("enabled_events")
    for name in names:
        if is_thin and thin.is_unsupported(name):
            raise unsupported(f"the event {name}")
        if name.startswith(("v1.", "v2.")) is not is_thin and name != "*":
            payload = "thin" if is_thin else "snapshot"
            raise invalid(f"{name} is not an event that comes with a {payload} payload.", "enabled_events")


ROUTES = (
    Route(
        "POST",
        PATH,
        create_destination,
        {
            "description": text,
            "enabled_events": list_of(text),
            "event_payload": choice("snapshot", "thin"),
            "events_from": list_of(text),
            "include": list_of(choice(SECRET, URL)),
            "metadata": metadata,
            "name": text,
            "snapshot_api_version": text,
            "type": choice("webhook_endpoint"),
            "webhook_endpoint": nested({"url": text}),
        },
        required=("enabled_events", "event_payload", "name", "type"),
    ),
    Route("GET", f"{PATH}/<id>", retrieve_destination, {"include": INCLUDE}),
    Route("DELETE", f"{PATH}/<id>", delete_destination),
    Route("POST", f"{PATH}/<id>/disable", disable_destination),
    Route("POST", f"{PATH}/<id>/enable", enable_destination),
    Route("GET", PATH, list_destinations, v2.LIST | {"include": INCLUDE}),
)
