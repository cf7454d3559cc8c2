"""Who is told of events: webhook endpoints. What each of them is sent."""

from . import renderings
from .world import API_VERSION, Object, World


def wanting(world: World, event: Object) -> list[Object]:
    """List the receivers that are to be told of the event."""
    return [each for each in world.all("webhook_endpoint") if _wants(each, event["type"])]


def url_of(receiver: Object) -> str:
    return str(receiver["url"])


def secret_of(receiver: Object) -> str:
    return str(receiver["secret"])


def content_for(world: World, receiver: Object, event: Object) -> Object:
    """Make what a receiver is sent of an event: in the receiver's API version."""
    return renderings.rendered(world, event, receiver["api_version"] or API_VERSION)


def _wants(receiver: Object, kind: str) -> bool:
    wanted = receiver["enabled_events"]
    return receiver["status"] == "enabled" and ("*" in wanted or kind in wanted)
