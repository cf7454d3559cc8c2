"""Test clocks, each with its own customers. Everybody else is on the simulator's own clock."""

from typing import Any

from ..clock import Clock, add_interval
from ..errors import ApiError, invalid
from ..http import form, lists
from ..http.form import integer, text
from ..http.route import Route, retrieve_route
from ..scheduler import advance
from ..world import WORLD_CLOCK, Object, World

PATH = "/v1/test_helpers/test_clocks"
KIND = "test_helpers.test_clock"


def create_clock(world: World, params: dict[str, Any]) -> Object:
    clock = world.add(KIND, world.new_clock(Clock(world.new_id(KIND), params["frozen_time"]), params.get("name")))
    world.emit("test_helpers.test_clock.created", clock)
    return clock


def advance_clock(world: World, params: dict[str, Any], clock_id: str) -> Object:
    shown = world.get(KIND, clock_id)
    target = params["frozen_time"]
    if clock_id != WORLD_CLOCK and target > _latest_target(world, shown):
        raise invalid(
            "A test clock can be advanced by at most two intervals of its shortest subscription, or two years without "
            "one.",
            "frozen_time",
        )
    return advance(world, world.clocks[clock_id], target)


def delete_clock(world: World, _params: dict[str, Any], clock_id: str) -> Object:
    """Delete a clock and the customers on it."""
    clock = world.get(KIND, clock_id)
    if clock_id == WORLD_CLOCK:
        raise ApiError(400, "The simulator's own time cannot be deleted.", param="test_clock")
    for kind in ("customer", "subscription", "subscription_schedule", "invoice", "invoiceitem"):
        for each in world.all(kind):
            if each.get("test_clock") != clock_id:
                continue
            world.remove(kind, each["id"])
            for item in each["items"]["data"] if kind == "subscription" else ():
                world.remove("subscription_item", item["id"])
    world.remove(KIND, clock_id)
    del world.clocks[clock_id]
    world.emit("test_helpers.test_clock.deleted", clock | {"deleted": True})
    return {"id": clock_id, "object": KIND, "deleted": True}


def list_clocks(world: World, params: dict[str, Any]) -> Object:
    return lists.page(world.all(KIND), params, PATH)


def visible_objects(world: World, kind: str, params: dict[str, Any]) -> list[Object]:
    """Return what a list shows: objects on a test clock only if the clock or the customer is given as a filter."""
    found = [each for each in world.all(kind) if not each.get("deleted")]
    if "customer" in params:
        world.get("customer", params["customer"], "customer")
        return [each for each in found if each["customer"] == params["customer"]]
    wanted = params.get("test_clock", WORLD_CLOCK)
    return [each for each in found if each["test_clock"] == wanted]


def _latest_target(world: World, clock: Object) -> int:
    begin = clock["frozen_time"]
    prices = [
        item["price"]["recurring"]
        for each in world.where("subscription", test_clock=clock["id"])
        if each["status"] not in ("canceled", "incomplete_expired")
        for item in each["items"]["data"]
    ]
    ends = [add_interval(begin, each["interval"], 2 * each["interval_count"]) for each in prices]
    return min(ends, default=add_interval(begin, "year", 2))


ROUTES = (
    Route("POST", PATH, create_clock, {"frozen_time": integer, "name": text}, required=("frozen_time",)),
    retrieve_route(KIND, PATH),
    Route("POST", f"{PATH}/<id>/advance", advance_clock, {"frozen_time": integer}, required=("frozen_time",)),
    Route("DELETE", f"{PATH}/<id>", delete_clock),
    Route("GET", PATH, list_clocks, form.LIST),
)
