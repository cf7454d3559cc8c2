"""Events: listed, retrieved, and sent again."""

from typing import Any

from ..errors import ApiError, missing, unsupported
from ..http import form, lists
from ..http.form import boolean, list_of, text
from ..http.route import Route
from ..versions import render_event
from ..webhooks.thin import is_thin_only
from ..world import Object, World

PATH = "/v1/events"


def list_events(world: World, params: dict[str, Any]) -> Object:
    if "type" in params and "types" in params:
        raise ApiError(400, "You may only specify one of these parameters: type, types.", param="type")
    wanted = params.get("types") or ([params["type"]] if "type" in params else [])
    if len(wanted) > 20:
        raise ApiError(400, "You can give at most 20 types.", param="types")
    snapshots = (each for each in world.all("event") if not is_thin_only(each["type"]))
    found = [each for each in snapshots if not wanted or _is_wanted(each["type"], wanted)]
    if "delivery_success" in params:
        found = [each for each in found if (each["pending_webhooks"] == 0) is params["delivery_success"]]
    page = lists.page(found, params, PATH)
    return page | {"data": [_shown(world, each) for each in page["data"]]}


def retrieve_event(world: World, _params: dict[str, Any], event_id: str) -> Object:
    event = world.get("event", event_id)
    if is_thin_only(event["type"]):
        raise missing("event", event_id)
    return _shown(world, event)


def retry_event(world: World, params: dict[str, Any], event_id: str) -> Object:
    """Send an event again, as `stripe events resend` does."""
    event = world.get("event", event_id)
    if "account" in params:
        raise unsupported("events of connected accounts")
    if "webhook_endpoint" not in params:
        raise unsupported("events resent to `stripe listen`; name an endpoint: --webhook-endpoint=we_...")
    world.deliveries.resend(event, params["webhook_endpoint"])
    return _shown(world, event)


def _shown(world: World, event: Object) -> Object:
    """Return the event in the API version of its creation, whatever the request's is."""
    return render_event(world, event, event["api_version"])


def _is_wanted(kind: str, wanted: list[str]) -> bool:
    return any(kind == each or (each.endswith("*") and kind.startswith(each[:-1])) for each in wanted)


ROUTES = (
    Route("GET", f"{PATH}/<id>", retrieve_event),
    Route(
        "POST",
        f"{PATH}/<id>/retry",
        retry_event,
        {"account": text, "for_stripecli": boolean, "webhook_endpoint": text},
    ),
    Route(
        "GET",
        PATH,
        list_events,
        form.LIST | {"created": form.created, "delivery_success": boolean, "type": text, "types": list_of(text)},
    ),
)
