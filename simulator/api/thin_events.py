"""Events in the v2 API: thin events, retrieved and listed."""

import datetime
import operator
from typing import Any

from ..errors import invalid
from ..http import v2
from ..http.form import list_of, nested, text
from ..http.route import Route
from ..webhooks import thin
from ..world import Object, World

PATH = "/v2/core/events"


def retrieve_event(world: World, _params: dict[str, Any], event_id: str) -> Object:
    return thin.full_event(thin.find_snapshot(world, event_id))


def list_events(world: World, params: dict[str, Any]) -> Object:
    wanted = params.get("types")
    if wanted and len(wanted) > 20:
        raise invalid("You can give at most 20 types.", "types")
    bounds = {name: _moment(value, f"created[{name}]") for name, value in params.get("created", {}).items()}
    found = [
        event
        for event in world.all("event")
        if not thin.is_snapshot_only(event["type"])
        and (not wanted or thin.thin_type(event["type"]) in wanted)
        and params.get("object_id") in (None, event["data"]["object"].get("id"))
        and all(COMPARISONS[name](event["created"], bound) for name, bound in bounds.items())
    ]
    return v2.page([thin.full_event(each) for each in found], params, PATH)


def _moment(value: str, name: str) -> float:
    try:
        moment = datetime.datetime.fromisoformat(value)
    except ValueError:
        raise invalid(f"{name} must be an RFC 3339 time.", name) from None
    if moment.tzinfo is None:
        raise invalid(f"{name} must have a time zone.", name)
    return moment.timestamp()


COMPARISONS = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}

ROUTES = (
    Route("GET", f"{PATH}/<id>", retrieve_event),
    Route(
        "GET",
        PATH,
        list_events,
        v2.LIST | {"created": nested(dict.fromkeys(COMPARISONS, text)), "object_id": text, "types": list_of(text)},
    ),
)
