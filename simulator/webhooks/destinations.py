"""Who is told of events: webhook endpoints, and the event destinations of the v2 API. What each of them is sent."""

from ..errors import ApiError, missing
from ..world import API_VERSION, Object, World
from . import thin, versions

KINDS = ("webhook_endpoint", "v2.core.event_destination")


def wanting(world: World, event: Object) -> list[Object]:
    """List the receivers that are to be told of the event."""
    return [each for kind in KINDS for each in world.all(kind) if _wants(each, event["type"])]


def named(world: World, receiver_id: str, param: str) -> Object:
    """Find a receiver that can be sent to.

    Errors  ApiError when there is none of this id, or when it is disabled
    """
    found = next(filter(None, (world.find(kind, receiver_id) for kind in KINDS)), None)
    if found is None:
        raise missing("webhook_endpoint", receiver_id, param)
    if found["status"] != "enabled":
        raise ApiError(400, f"The webhook endpoint {receiver_id} is disabled.", param=param)
    return found


def url_of(receiver: Object) -> str:
    return str(_endpoint_of(receiver)["url"])


def secret_of(receiver: Object) -> str:
    endpoint = _endpoint_of(receiver)
    return str(endpoint.get("secret") or endpoint["signing_secret"])


def content_for(world: World, receiver: Object, event: Object) -> Object:
    """Make what a receiver is sent of an event: thin, or with the object as it was, in the receiver's API version."""
    if is_thin(receiver):
        return thin.notification(event)
    version = receiver.get("api_version") or receiver.get("snapshot_api_version") or API_VERSION
    return versions.rendered(world, event, version)


def is_thin(receiver: Object) -> bool:
    return receiver.get("event_payload") == "thin"


def _endpoint_of(receiver: Object) -> Object:
    return receiver.get("webhook_endpoint") or receiver


def _wants(receiver: Object, kind: str) -> bool:
    told = thin.type_of(kind) if is_thin(receiver) else kind
    wanted = receiver["enabled_events"]
    return receiver["status"] == "enabled" and ("*" in wanted or told in wanted)
