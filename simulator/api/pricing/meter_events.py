"""Meter events: reported usage. A thin event reports later the ones that could not be counted."""

from decimal import Decimal, InvalidOperation
from typing import Any

from ...billing.pricing import usage
from ...billing.pricing.usage import Usage
from ...clock import DAY
from ...errors import invalid
from ...http.form import integer, map_of, text
from ...http.route import Route
from ...webhooks import thin
from ...world import Object, World
from .meters import KIND as METER
from .meters import MINUTE

PATH = "/v1/billing/meter_events"
OLDEST_SECONDS, NEWEST_SECONDS = 35 * DAY, 5 * MINUTE
UNIQUE_SECONDS = DAY
LONGEST_IDENTIFIER = 100
NO_METER = "billing.meter_event"
"""Stands for the meter of events that name none, where their errors are kept."""

MESSAGES = {
    "archived_meter": "The meter is inactive.",
    "meter_event_customer_not_found": "The customer was not found.",
    "meter_event_invalid_value": "The value is not a number.",
    "meter_event_no_customer_defined": "The payload names no customer.",
    "no_meter": "No meter has this event name.",
}


def create_event(world: World, params: dict[str, Any]) -> Object:
    """Accept an event; count it, or report later why it cannot be counted."""
    found = world.where(METER, event_name=params["event_name"])
    meter = next((each for each in found if each["status"] == "active"), next(iter(found), None))
    now = world.clock_of(_customer_id(meter, params["payload"])).now()
    timestamp = params.get("timestamp", now)
    if not now - OLDEST_SECONDS <= timestamp <= now + NEWEST_SECONDS:
        raise invalid(
            "The timestamp must be within the past 35 calendar days or up to 5 minutes in the future.", "timestamp"
        )
    identifier = params.get("identifier") or f"simulated_{world.new_token(24)}"
    if len(identifier) > LONGEST_IDENTIFIER:
        raise invalid(f"Invalid string: must be at most {LONGEST_IDENTIFIER} characters", "identifier")
    _claim(world, identifier)
    event = {
        "object": "billing.meter_event",
        "created": now,
        "event_name": params["event_name"],
        "identifier": identifier,
        "livemode": False,
        "payload": params["payload"],
        "timestamp": timestamp,
    }
    error = _error(world, meter, event)
    if meter and not error:
        value = event["payload"].get(meter["value_settings"]["event_payload_key"], "1")
        usage.record(
            world, meter, str(_customer_id(meter, event["payload"])), Usage(timestamp, value, world.world_time)
        )
    elif error:
        _note_error(world, meter, error, identifier)
    return event


def report_errors(world: World, meter_id: str, moment: int) -> None:
    """Send the thin event about what could not be counted since the last one."""
    noted = world.hidden.get(meter_id, {}).pop("errors", [])
    if not noted:
        return
    meter = world.find(METER, meter_id)
    codes = sorted({code for code, _ in noted})
    data = {
        "developer_message_summary": f"There {'is' if len(noted) == 1 else 'are'} {len(noted)} invalid event(s)",
        "reason": {
            "error_count": len(noted),
            "error_types": [_error_type(code, noted) for code in codes],
        },
        "validation_end": thin.timestamp(moment + 1),
        "validation_start": thin.timestamp(moment),
    }
    kind = "error_report_triggered" if meter else "no_meter_found"
    world.emit_thin(f"v1.billing.meter.{kind}", meter, data)


def _error_type(code: str, noted: list[list[str]]) -> Object:
    samples = [identifier for each, identifier in noted if each == code]
    return {
        "code": code,
        "error_count": len(samples),
        "sample_errors": [{"error_message": MESSAGES[code], "request": {"identifier": each}} for each in samples[:10]],
    }


def _error(world: World, meter: Object | None, event: Object) -> str | None:
    if meter is None:
        return "no_meter"
    if meter["status"] != "active":
        return "archived_meter"
    customer_id = _customer_id(meter, event["payload"])
    if not customer_id:
        return "meter_event_no_customer_defined"
    customer = world.find("customer", customer_id)
    if customer is None or customer.get("deleted"):
        return "meter_event_customer_not_found"
    is_counted = meter["default_aggregation"]["formula"] == "count"
    value = event["payload"].get(meter["value_settings"]["event_payload_key"], "")
    return None if is_counted or _is_number(value) else "meter_event_invalid_value"


def _customer_id(meter: Object | None, payload: dict[str, str]) -> str | None:
    return payload.get(meter["customer_mapping"]["event_payload_key"]) if meter else None


def _is_number(value: str) -> bool:
    try:
        return Decimal(value).is_finite()
    except InvalidOperation:
        return False


def _note_error(world: World, meter: Object | None, code: str, identifier: str) -> None:
    meter_id = meter["id"] if meter else NO_METER
    world.hidden.setdefault(meter_id, {}).setdefault("errors", []).append([code, identifier])
    world.clock.schedule(world.now, "report_meter_errors", meter_id)


def _claim(world: World, identifier: str) -> None:
    """Take an identifier, which is unique for a day."""
    taken = world.hidden.setdefault(NO_METER, {}).setdefault("identifiers", {})
    if taken.get(identifier, -UNIQUE_SECONDS) > world.world_time - UNIQUE_SECONDS:
        raise invalid(f"An event already exists with identifier {identifier}.", "identifier", "duplicate_meter_event")
    taken[identifier] = world.world_time


ROUTES = (
    Route(
        "POST",
        PATH,
        create_event,
        {"event_name": text, "identifier": text, "payload": map_of(text), "timestamp": integer},
        required=("event_name", "payload"),
    ),
)
