"""The destinations of events, webhook endpoints and the v2 API's event destinations, and their payloads."""

from .. import versions
from ..errors import ApiError, missing
from ..world import Object, World
from . import thin

KINDS = ("webhook_endpoint", "v2.core.event_destination")


def for_event(world: World, event: Object) -> list[Object]:
    """Return the destinations that want the event."""
    return [each for kind in KINDS for each in world.all(kind) if _wants(each, event["type"])]


def get(world: World, destination_id: str, param: str) -> Object:
    """Return an enabled destination.

    Errors  ApiError when the id is unknown or the destination is disabled
    """
    found = next(filter(None, (world.find(kind, destination_id) for kind in KINDS)), None)
    if found is None:
        raise missing("webhook_endpoint", destination_id, param)
    if found["status"] != "enabled":
        raise ApiError(400, f"The webhook endpoint {destination_id} is disabled.", param=param)
    return found


def url_of(destination: Object) -> str:
    return str(_endpoint_of(destination)["url"])


def secret_of(destination: Object) -> str:
    endpoint = _endpoint_of(destination)
    return str(endpoint.get("secret") or endpoint["signing_secret"])


def payload_for(world: World, destination: Object, event: Object) -> Object:
    """Return the event as a destination receives it: thin, or a snapshot in the destination's API version."""
    if is_thin(destination):
        return thin.notification(event)
    version = destination.get("api_version") or destination.get("snapshot_api_version") or event["api_version"]
    return versions.render_event(world, event, version)


def is_thin(destination: Object) -> bool:
    return destination.get("event_payload") == "thin"


def _endpoint_of(destination: Object) -> Object:
    return destination.get("webhook_endpoint") or destination


def _wants(destination: Object, kind: str) -> bool:
    if thin.is_snapshot_only(kind) if is_thin(destination) else thin.is_thin_only(kind):
        return False
    name = thin.thin_type(kind) if is_thin(destination) else kind
    wanted = destination["enabled_events"]
    return destination["status"] == "enabled" and ("*" in wanted or name in wanted)
