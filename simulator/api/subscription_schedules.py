"""Subscription schedules. Unsupported: schedules made from a subscription, and changes of phases."""

from typing import Any

from ..billing import periods, schedules
from ..billing.pricing.prices import recurring_price
from ..clock import add_interval
from ..errors import ApiError, missing_parameter
from ..http import form, lists
from ..http.form import boolean, choice, integer, list_of, metadata, nested, text, time_or
from ..http.route import Route, retrieve_route
from ..versions import plan_of
from ..world import Object, World
from .customers import get_customer
from .subscriptions import cancel_subscription, create_subscription, update_subscription

PATH = "/v1/subscription_schedules"


def create_schedule(world: World, params: dict[str, Any]) -> Object:
    customer = get_customer(world, params["customer"])
    begin = params.get("start_date", "now")
    begin = world.now if begin == "now" else int(begin)
    schedule_id = world.new_id("subscription_schedule")
    schedule = _blank(world, schedule_id, customer["id"]) | {
        "end_behavior": params.get("end_behavior", "release"),
        "metadata": form.merge_metadata({}, params.get("metadata")),
    }
    for given in params["phases"]:
        phase = _phase(world, given, begin)
        schedule["phases"].append(phase)
        begin = phase["end_date"]
    world.add("subscription_schedule", schedule)
    schedules.schedule_phases(world, schedule)
    world.emit("subscription_schedule.created", schedule)
    return schedule


def update_schedule(world: World, params: dict[str, Any], schedule_id: str) -> Object:
    schedule = _running(world, schedule_id)
    with world.changing(schedule, "subscription_schedule.updated"):
        schedule["metadata"] = form.merge_metadata(schedule["metadata"], params.get("metadata"))
        schedule["end_behavior"] = params.get("end_behavior", schedule["end_behavior"])
    return schedule


def cancel_schedule(world: World, params: dict[str, Any], schedule_id: str) -> Object:
    """Cancel a schedule and its subscription; by default with a credit, and an invoice for pending items."""
    schedule = _running(world, schedule_id)
    subscription = world.find("subscription", schedule["subscription"])
    if subscription and subscription["status"] not in periods.ENDED:
        cancel_subscription(world, {"invoice_now": True, "prorate": True} | params, subscription["id"])
    schedules.cancel(world, schedule)
    return schedule


def release_schedule(world: World, params: dict[str, Any], schedule_id: str) -> Object:
    schedule = _running(world, schedule_id)
    schedules.release(world, schedule, keeps_end=params.get("preserve_cancel_date", False))
    return schedule


def list_schedules(world: World, params: dict[str, Any]) -> Object:
    fields = {"customer": params["customer"]} if "customer" in params else {}
    return lists.page(world.where("subscription_schedule", **fields), params, PATH)


def begin_phase(world: World, schedule_id: str, moment: int) -> None:
    """Start a phase: the first creates the subscription, later ones change it."""
    schedule = world.find("subscription_schedule", schedule_id)
    if schedule is None or schedule["status"] not in ("not_started", "active"):
        return
    phase = next(each for each in schedule["phases"] if each["start_date"] == moment)
    with world.changing(schedule, "subscription_schedule.updated"):
        schedule["current_phase"] = {"start_date": phase["start_date"], "end_date": phase["end_date"]}
        _apply_phase(world, schedule, phase)


def _apply_phase(world: World, schedule: Object, phase: Object) -> None:
    items = [{"price": each["price"], "quantity": each["quantity"]} for each in phase["items"]]
    if schedule["subscription"] is None:
        wanted = {"customer": schedule["customer"], "items": items, "metadata": phase["metadata"]}
        made = create_subscription(world, wanted, by_schedule=True)
        schedule |= {"status": "active", "subscription": made["id"]}
        made["schedule"] = schedule["id"]
        if schedule["end_behavior"] == "cancel":
            made["cancel_at"] = schedule["phases"][-1]["end_date"]
    else:
        subscription = world.get("subscription", schedule["subscription"])
        leaving = [{"id": each["id"], "deleted": True} for each in subscription["items"]["data"]]
        wanted = {name: phase[name] for name in ("metadata", "proration_behavior")}
        update_subscription(world, {"items": items + leaving, **wanted}, subscription["id"])


def _running(world: World, schedule_id: str) -> Object:
    schedule = world.get("subscription_schedule", schedule_id)
    if schedule["status"] not in ("not_started", "active"):
        raise ApiError(400, f"This subscription schedule is {schedule['status']} and cannot be changed.")
    return schedule


def _phase(world: World, given: dict[str, Any], begin: int) -> Object:
    if not given.get("items"):
        raise missing_parameter("phases[0][items]")
    prices = [recurring_price(world, each.get("price", "")) for each in given["items"]]
    lasts: Object = given.get("duration") or prices[0]["recurring"]
    count = lasts.get("interval_count", 1) * given.get("iterations", 1)
    nulls = (
        "application_fee_percent automatic_tax billing_cycle_anchor billing_thresholds collection_method "
        "default_payment_method description invoice_settings on_behalf_of transfer_data trial_end"
    )
    phase: Object = dict.fromkeys(nulls.split())
    return phase | {
        "add_invoice_items": [],
        "currency": prices[0]["currency"],
        "default_tax_rates": [],
        "discounts": [],
        "end_date": given.get("end_date") or add_interval(begin, lasts["interval"], count),
        "items": [
            {
                "billing_thresholds": None,
                "discounts": [],
                "metadata": {},
                "plan": plan_of(price)["id"],
                "price": price["id"],
                "quantity": each.get("quantity", 1),
                "tax_rates": [],
            }
            for price, each in zip(prices, given["items"], strict=True)
        ],
        "metadata": form.merge_metadata({}, given.get("metadata")),
        "proration_behavior": given.get("proration_behavior", "create_prorations"),
        "start_date": begin,
    }


def _blank(world: World, schedule_id: str, customer_id: str) -> Object:
    nulls = "application canceled_at completed_at current_phase customer_account released_at released_subscription"
    settings = (
        "application_fee_percent automatic_tax billing_thresholds default_payment_method description on_behalf_of "
        "transfer_data"
    )
    invoice_settings = dict.fromkeys(("account_tax_ids", "custom_fields", "days_until_due", "description", "footer"))
    schedule: Object = dict.fromkeys(nulls.split())
    return schedule | {
        "id": schedule_id,
        "object": "subscription_schedule",
        "billing_mode": {"flexible": {"proration_discounts": "included"}, "type": "flexible"},
        "created": world.now,
        "customer": customer_id,
        "default_settings": dict.fromkeys(settings.split())
        | {
            "billing_cycle_anchor": "automatic",
            "collection_method": "charge_automatically",
            "invoice_settings": invoice_settings | {"issuer": {"type": "self"}},
        },
        "livemode": False,
        "pause_schedules": [],
        "phases": [],
        "status": "not_started",
        "subscription": None,
        "test_clock": world.clock.id,
    }


PHASE = {
    "duration": nested({"interval": choice("day", "week", "month", "year"), "interval_count": integer}),
    "end_date": integer,
    "items": list_of(nested({"price": text, "quantity": integer})),
    "iterations": integer,
    "metadata": metadata,
    "proration_behavior": choice("always_invoice", "create_prorations", "none"),
}

ROUTES = (
    Route(
        "POST",
        PATH,
        create_schedule,
        {
            "customer": text,
            "end_behavior": choice("cancel", "release"),
            "metadata": metadata,
            "phases": list_of(nested(PHASE)),
            "start_date": time_or("now"),
        },
        required=("customer", "phases"),
    ),
    retrieve_route("subscription_schedule", PATH),
    Route("POST", f"{PATH}/<id>", update_schedule, {"end_behavior": choice("cancel", "release"), "metadata": metadata}),
    Route("POST", f"{PATH}/<id>/cancel", cancel_schedule, {"invoice_now": boolean, "prorate": boolean}),
    Route("POST", f"{PATH}/<id>/release", release_schedule, {"preserve_cancel_date": boolean}),
    Route("GET", PATH, list_schedules, form.LIST | {"customer": text}),
)
