"""Lists of the v1 API, newest first, in pages."""

from collections.abc import Sequence
from typing import Any

from ..errors import invalid
from ..world import Object


def page(objects: Sequence[Object], params: dict[str, Any], url: str, created: str = "created") -> Object:
    """Return the page for limit, starting_after and ending_before."""
    limit = params.get("limit", 10)
    if not 1 <= limit <= 100:
        raise invalid("This value must be between 1 and 100 (inclusive).", "limit", "parameter_invalid_integer")
    if "starting_after" in params and "ending_before" in params:
        raise invalid("You cannot use both starting_after and ending_before.", "starting_after")
    chosen = list(objects)
    if "created" in params:
        chosen = [each for each in objects if _is_within(each[created], params["created"])]
    if "ending_before" in params:
        chosen = chosen[: _position(chosen, params["ending_before"], "ending_before")]
        data, has_more = chosen[-limit:], len(chosen) > limit
    else:
        start = _position(chosen, params["starting_after"], "starting_after") + 1 if "starting_after" in params else 0
        data, has_more = chosen[start : start + limit], len(chosen) > start + limit
    return {"object": "list", "data": data, "has_more": has_more, "url": url}


def embedded(objects: Sequence[Object], url: str) -> Object:
    """Return a list object for embedding in another object."""
    return {"object": "list", "data": list(objects), "has_more": False, "url": url}


def _position(objects: Sequence[Object], object_id: str, param: str) -> int:
    for position, each in enumerate(objects):
        if each["id"] == object_id:
            return position
    raise invalid(f"No such object: '{object_id}'", param, "resource_missing")


def _is_within(created: int, period: dict[str, int]) -> bool:
    return (
        created > period.get("gt", -1)
        and created >= period.get("gte", 0)
        and created < period.get("lt", created + 1)
        and created <= period.get("lte", created)
    )
