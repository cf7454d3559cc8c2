"""Events."""

from typing import Any

from .. import form, lists
from ..errors import ApiError
from ..form import boolean, list_of, text
from ..route import Route, retrieving
from ..world import Object, World

PATH = "/v1/events"


def list_events(world: World, params: dict[str, Any]) -> Object:
    if "type" in params and "types" in params:
        raise ApiError(400, "You may only specify one of these parameters: type, types.", param="type")
    wanted = params.get("types") or ([params["type"]] if "type" in params else [])
    if len(wanted) > 20:
        raise ApiError(400, "You can give at most 20 types.", param="types")
    found = [each for each in world.all("event") if not wanted or _is_wanted(each["type"], wanted)]
    return lists.page(found, params, PATH)


def _is_wanted(kind: str, wanted: list[str]) -> bool:
    return any(kind == each or (each.endswith("*") and kind.startswith(each[:-1])) for each in wanted)


ROUTES = (
    retrieving("event", PATH),
    Route(
        "GET",
        PATH,
        list_events,
        form.LIST | {"created": form.created, "delivery_success": boolean, "type": text, "types": list_of(text)},
    ),
)
