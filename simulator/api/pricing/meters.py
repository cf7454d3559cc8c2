"""Meters: what is counted of a customer's usage, and summaries of it."""

from typing import Any

from ...billing.pricing import usage
from ...clock import DAY, HOUR
from ...errors import ApiError, invalid, missing_parameter
from ...http import form, lists
from ...http.form import choice, integer, nested, text
from ...http.route import Route, retrieve_route
from ...world import Object, World
from ..customers import get_customer

PATH = "/v1/billing/meters"
KIND = "billing.meter"
MINUTE = 60
SUMMARY_LAG_SECONDS = MINUTE
"""Summaries omit what was reported later than this: Stripe adds up events after their response."""

WINDOWS = {"hour": HOUR, "day": DAY}


def create_meter(world: World, params: dict[str, Any]) -> Object:
    if "formula" not in params["default_aggregation"]:
        raise missing_parameter("default_aggregation[formula]")
    if world.where(KIND, event_name=params["event_name"], status="active"):
        raise invalid(f"An active meter already has the event name {params['event_name']}.", "event_name")
    meter = {
        "id": world.new_id(KIND),
        "object": KIND,
        "created": world.now,
        "customer_mapping": {"event_payload_key": "stripe_customer_id", "type": "by_id"}
        | params.get("customer_mapping", {}),
        "default_aggregation": params["default_aggregation"],
        "display_name": params["display_name"],
        "event_name": params["event_name"],
        "event_time_window": params.get("event_time_window"),
        "livemode": False,
        "status": "active",
        "status_transitions": {"deactivated_at": None},
        "updated": world.now,
        "value_settings": {"event_payload_key": "value"} | params.get("value_settings", {}),
    }
    world.add(KIND, meter)
    world.emit("billing.meter.created", meter)
    return meter


def update_meter(world: World, params: dict[str, Any], meter_id: str) -> Object:
    meter = world.get(KIND, meter_id)
    with world.changing(meter, "billing.meter.updated"):
        meter |= params | {"updated": world.now}
    return meter


def deactivate_meter(world: World, _params: dict[str, Any], meter_id: str) -> Object:
    return _set_status(world, meter_id, "inactive", "billing.meter.deactivated")


def reactivate_meter(world: World, _params: dict[str, Any], meter_id: str) -> Object:
    return _set_status(world, meter_id, "active", "billing.meter.reactivated")


def list_meters(world: World, params: dict[str, Any]) -> Object:
    fields = {"status": params["status"]} if "status" in params else {}
    return lists.page(world.where(KIND, **fields), params, PATH)


def list_summaries(world: World, params: dict[str, Any], meter_id: str) -> Object:
    """Return a customer's usage: one summary for the whole time, or one for each hour or day with usage."""
    meter = world.get(KIND, meter_id)
    customer = get_customer(world, params["customer"])
    start, end = params["start_time"], params["end_time"]
    window = WINDOWS.get(params.get("value_grouping_window", ""))
    for name in ("start_time", "end_time"):
        if params[name] % (window or MINUTE):
            raise invalid(f"{name} must be aligned with {'the window' if window else 'minute'} boundaries.", name)
    if end <= start:
        raise invalid("end_time must be after start_time.", "end_time")
    until = world.listed_until(world.world_time) - SUMMARY_LAG_SECONDS
    usages = [each for each in usage.reported(world, meter_id, customer["id"]) if each.received <= until]
    steps = range(start, end, window) if window else [start]
    summaries = [_summary(meter, usages, step, min(end, step + window) if window else end) for step in steps]
    shown = [each for each in summaries if each["aggregated_value"] or not window]
    return lists.page(shown[::-1], params, f"{PATH}/{meter_id}/event_summaries", created="start_time")


def _summary(meter: Object, usages: list[usage.Usage], start: int, end: int) -> Object:
    return {
        "id": f"mtrusg_test_{meter['id'].rpartition('_')[2]}_{start}_{end}",
        "object": "billing.meter_event_summary",
        "aggregated_value": float(usage.total(meter, usages, start, end)),
        "end_time": end,
        "livemode": False,
        "meter": meter["id"],
        "start_time": start,
    }


def _set_status(world: World, meter_id: str, status: str, event: str) -> Object:
    meter = world.get(KIND, meter_id)
    if meter["status"] == status:
        raise ApiError(400, f"The meter is {status} already.", param="id")
    meter |= {"status": status, "updated": world.now}
    meter["status_transitions"] = {"deactivated_at": world.now if status == "inactive" else None}
    world.emit(event, meter)
    return meter


ROUTES = (
    Route(
        "POST",
        PATH,
        create_meter,
        {
            "customer_mapping": nested({"event_payload_key": text, "type": choice("by_id")}),
            "default_aggregation": nested({"formula": choice("count", "last", "sum")}),
            "display_name": text,
            "event_name": text,
            "event_time_window": choice("day", "hour"),
            "value_settings": nested({"event_payload_key": text}),
        },
        required=("default_aggregation", "display_name", "event_name"),
    ),
    retrieve_route(KIND, PATH),
    Route("POST", f"{PATH}/<id>", update_meter, {"display_name": text}),
    Route("POST", f"{PATH}/<id>/deactivate", deactivate_meter),
    Route("POST", f"{PATH}/<id>/reactivate", reactivate_meter),
    Route("GET", PATH, list_meters, form.LIST | {"status": choice("active", "inactive")}),
    Route(
        "GET",
        f"{PATH}/<id>/event_summaries",
        list_summaries,
        form.LIST
        | {"customer": text, "end_time": integer, "start_time": integer, "value_grouping_window": choice(*WINDOWS)},
        required=("customer", "end_time", "start_time"),
    ),
)
