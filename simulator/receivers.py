"""Who is told of events: webhook endpoints."""

from .world import Object, World


def wanting(world: World, event: Object) -> list[Object]:
    """List the receivers that are to be told of the event."""
    return [each for each in world.all("webhook_endpoint") if _wants(each, event["type"])]


def url_of(receiver: Object) -> str:
    return str(receiver["url"])


def secret_of(receiver: Object) -> str:
    return str(receiver["secret"])


def _wants(receiver: Object, kind: str) -> bool:
    wanted = receiver["enabled_events"]
    return receiver["status"] == "enabled" and ("*" in wanted or kind in wanted)
