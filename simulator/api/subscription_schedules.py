"""Subscription schedules: made with phases or from a subscription, and changed."""

from typing import Any

from ..billing import discounts, periods, schedules
from ..billing.pricing.prices import is_metered, recurring_price
from ..clock import add_interval
from ..errors import ApiError, invalid, missing_parameter
from ..http import form, lists
from ..http.form import boolean, choice, integer, list_of, metadata, nested, text, time_or
from ..http.route import Route, retrieve_route
from ..versions import plan_of
from ..world import Object, World
from .customers import get_customer
from .subscriptions import cancel_subscription, create_subscription, update_subscription

PATH = "/v1/subscription_schedules"


def create_schedule(world: World, params: dict[str, Any]) -> Object:
    if "from_subscription" in params:
        return _from_subscription(world, params)
    for name in ("customer", "phases"):
        if not params.get(name):
            raise missing_parameter(name)
    customer = get_customer(world, params["customer"])
    begin = params.get("start_date", "now")
    begin = world.now if begin == "now" else int(begin)
    schedule_id = world.new_id("subscription_schedule")
    schedule = _blank(world, schedule_id, customer["id"]) | {
        "end_behavior": params.get("end_behavior", "release"),
        "metadata": form.merge_metadata({}, params.get("metadata")),
    }
    schedule["phases"] = _phases(world, params["phases"], begin)
    world.add("subscription_schedule", schedule)
    schedules.schedule_phases(world, schedule)
    world.emit("subscription_schedule.created", schedule)
    return schedule


def _from_subscription(world: World, params: dict[str, Any]) -> Object:
    """Create a schedule with one phase: the subscription's current period."""
    for name in ("customer", "end_behavior", "phases", "start_date"):
        if name in params:
            raise invalid(f"You cannot set `{name}` if `from_subscription` is set.", name)
    subscription = world.get("subscription", params["from_subscription"], "from_subscription")
    if subscription["schedule"]:
        raise invalid(
            f"You cannot migrate a subscription that is already attached to a schedule: {subscription['schedule']}.",
            "from_subscription",
        )
    if subscription["status"] in periods.ENDED:
        raise invalid("You cannot migrate a subscription that has ended.", "from_subscription")
    start, end = periods.period_of(subscription)
    items = [
        {"price": each["price"]["id"], "tax_rates": [rate["id"] for rate in each["tax_rates"]], **_quantity_of(each)}
        for each in subscription["items"]["data"]
    ]
    phase = _phase(world, {"items": items, "end_date": end}, start, is_sold=False)
    schedule = _blank(world, world.new_id("subscription_schedule"), subscription["customer"]) | {
        "current_phase": {"start_date": start, "end_date": end},
        "end_behavior": "release",
        "metadata": form.merge_metadata({}, params.get("metadata")),
        "phases": [phase | _of_subscription(subscription)],
        "status": "active",
        "subscription": subscription["id"],
    }
    world.add("subscription_schedule", schedule)
    with world.changing(subscription, periods.UPDATED):
        subscription["schedule"] = schedule["id"]
    schedules.schedule_phases(world, schedule)
    world.emit("subscription_schedule.created", schedule)
    return schedule


def _of_subscription(subscription: Object) -> Object:
    """Return what a phase made from a subscription takes over of it."""
    granted = [{"coupon": None, "discount": each, "promotion_code": None} for each in subscription["discounts"]]
    is_trialing = subscription["status"] == "trialing"
    return {"metadata": {}, "discounts": granted, "trial_end": subscription["trial_end"] if is_trialing else None}


def update_schedule(world: World, params: dict[str, Any], schedule_id: str) -> Object:
    schedule = _running(world, schedule_id)
    phases = _changed_phases(world, schedule, params["phases"]) if params.get("phases") else None
    with world.changing(schedule, "subscription_schedule.updated"):
        schedule["metadata"] = form.merge_metadata(schedule["metadata"], params.get("metadata"))
        schedule["end_behavior"] = params.get("end_behavior", schedule["end_behavior"])
        if phases:
            schedule["phases"] = phases
            if schedule["current_phase"]:
                schedule["current_phase"] = {name: phases[0][name] for name in ("start_date", "end_date")}
            schedules.schedule_phases(world, schedule)
    subscription = world.find("subscription", schedule["subscription"])
    if subscription and phases:
        behaviour = params.get("proration_behavior", "create_prorations")
        _change_subscription(world, subscription, phases[0] | {"proration_behavior": behaviour})
    if subscription:
        subscription["cancel_at"] = _end_of(schedule) if schedule["end_behavior"] == "cancel" else None
    return schedule


def _changed_phases(world: World, schedule: Object, given: list[dict[str, Any]]) -> list[Object]:
    """Return the new phases. The current one must be among them, and keeps its start."""
    current = schedule["current_phase"]
    if current is None:
        begin = given[0].get("start_date", schedule["phases"][0]["start_date"])
        return _phases(world, given, int(world.now if begin == "now" else begin))
    begins = [each.get("start_date") for each in given]
    if begins[0] not in (current["start_date"], None):
        raise invalid(
            "The first phase must be the current one, with its start_date: it cannot be changed.",
            "phases[0][start_date]",
        )
    phases = _phases(world, given, current["start_date"], is_sold=False)
    if phases[0]["end_date"] < world.now:
        raise invalid("The current phase cannot end in the past.", "phases[0][end_date]")
    return phases


def _phases(world: World, given: list[dict[str, Any]], begin: int, *, is_sold: bool = True) -> list[Object]:
    """Return the phases, each from the end of the one before. is_sold: the first one's prices must be active."""
    phases = []
    for position, each in enumerate(given):
        wanted = each.get("start_date")
        if position and isinstance(wanted, int) and wanted != begin:
            raise invalid("A phase must start when the one before it ends.", f"phases[{position}][start_date]")
        phase = _phase(world, each, begin, is_sold=is_sold or position > 0)
        if phase["end_date"] <= begin:
            raise invalid("A phase must end after its start.", f"phases[{position}][end_date]")
        phases.append(phase)
        begin = phase["end_date"]
    return phases


def _end_of(schedule: Object) -> int:
    return int(schedule["phases"][-1]["end_date"])


def _quantity_of(item: Object) -> Object:
    """Return the item's quantity, which a metered one has not."""
    return {"quantity": item["quantity"]} if item.get("quantity") is not None else {}


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
    phase = next((each for each in schedule["phases"] if each["start_date"] == moment), None)
    if phase is None or (schedule["current_phase"] or {}).get("start_date") == moment:
        return
    with world.changing(schedule, "subscription_schedule.updated"):
        schedule["current_phase"] = {"start_date": phase["start_date"], "end_date": phase["end_date"]}
        _apply_phase(world, schedule, phase)


def _apply_phase(world: World, schedule: Object, phase: Object) -> None:
    if schedule["subscription"] is None:
        items = [
            {"price": each["price"], "tax_rates": [rate["id"] for rate in each["tax_rates"]], **_quantity_of(each)}
            for each in phase["items"]
        ]
        wanted = {"customer": schedule["customer"], "items": items, "metadata": phase["metadata"]}
        made = create_subscription(world, wanted, by_schedule=True)
        schedule |= {"status": "active", "subscription": made["id"]}
        made["schedule"] = schedule["id"]
        if schedule["end_behavior"] == "cancel":
            made["cancel_at"] = _end_of(schedule)
    else:
        _change_subscription(world, world.get("subscription", schedule["subscription"]), phase)


def _change_subscription(world: World, subscription: Object, phase: Object) -> None:
    """Give the subscription the phase's items, metadata, discounts and trial: what the phase lacks is taken away."""
    if subscription["status"] in periods.ENDED:
        return
    changes = _item_changes(subscription["items"]["data"], phase["items"])
    wanted = {name: phase[name] for name in ("metadata", "proration_behavior")}
    if subscription["status"] == "trialing" and subscription["trial_end"] > world.now:
        wanted["trial_end"] = phase["trial_end"] or "now"
    update_subscription(world, wanted | ({"items": changes} if changes else {}), subscription["id"])
    subscription["discounts"] = [_discount_of(world, subscription, each) for each in phase["discounts"]]


def _discount_of(world: World, subscription: Object, given: Object) -> str:
    if given.get("discount"):
        return str(world.get("discount", given["discount"], "phases[0][discounts]")["id"])
    owner = {"customer": subscription["customer"], "subscription": subscription["id"]}
    named = {name: value for name, value in given.items() if value}
    return str(discounts.create_discount(world, *discounts.find_coupon(world, named), **owner)["id"])


def _item_changes(items: list[Object], wanted: list[Object]) -> list[dict[str, Any]]:
    """Return the changes that lead to the phase's items. An item keeps its id where it keeps its price."""
    free = {each["price"]["id"]: each for each in items}
    kept = {each["price"]: free.pop(each["price"]) for each in wanted if each["price"] in free}
    changes: list[dict[str, Any]] = []
    for each in wanted:
        quantity, rates = _quantity_of(each), [rate["id"] for rate in each["tax_rates"]]
        item = kept.get(each["price"])
        if item is None:
            changes.append({"price": each["price"], "tax_rates": rates, **quantity})
        elif _quantity_of(item) != quantity or [rate["id"] for rate in item["tax_rates"]] != rates:
            changes.append({"id": item["id"], "tax_rates": rates, **quantity})
    return changes + [{"id": each["id"], "deleted": True} for each in free.values()]


def _running(world: World, schedule_id: str) -> Object:
    schedule = world.get("subscription_schedule", schedule_id)
    if schedule["status"] not in ("not_started", "active"):
        raise ApiError(400, f"This subscription schedule is {schedule['status']} and cannot be changed.")
    return schedule


def _phase(world: World, given: dict[str, Any], begin: int, *, is_sold: bool = True) -> Object:
    """Return a phase. is_sold: its prices must be active, unless the subscription has them already."""
    if not given.get("items"):
        raise missing_parameter("phases[0][items]")
    ids = [each.get("price", "") for each in given["items"]]
    prices = [recurring_price(world, each) if is_sold else world.get("price", each, "phases") for each in ids]
    lasts: Object = given.get("duration") or prices[0]["recurring"]
    count = lasts.get("interval_count", 1) * given.get("iterations", 1)
    nulls = (
        "application_fee_percent automatic_tax billing_cycle_anchor billing_thresholds collection_method "
        "default_payment_method description invoice_settings on_behalf_of transfer_data trial_end"
    )
    end = world.now if given.get("end_date") == "now" else given.get("end_date")
    phase: Object = dict.fromkeys(nulls.split())
    return phase | {
        "add_invoice_items": [],
        "currency": prices[0]["currency"],
        "default_tax_rates": [],
        "discounts": [
            dict.fromkeys(("coupon", "discount", "promotion_code")) | each for each in given.get("discounts", [])
        ],
        "end_date": end or add_interval(begin, lasts["interval"], count),
        "items": [
            {
                "billing_thresholds": None,
                "discounts": [],
                "metadata": {},
                "plan": plan_of(price)["id"],
                "price": price["id"],
                "quantity": None if is_metered(price) else each.get("quantity", 1),
                "tax_rates": [world.get("tax_rate", rate, "phases") for rate in each.get("tax_rates", [])],
            }
            for price, each in zip(prices, given["items"], strict=True)
        ],
        "metadata": form.merge_metadata({}, given.get("metadata")),
        "proration_behavior": given.get("proration_behavior", "create_prorations"),
        "start_date": begin,
        "trial_end": given.get("trial_end"),
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


NEW_PHASE = {
    "duration": nested({"interval": choice("day", "week", "month", "year"), "interval_count": integer}),
    "end_date": integer,
    "items": list_of(nested({"price": text, "quantity": integer, "tax_rates": list_of(text)})),
    "iterations": integer,
    "metadata": metadata,
    "proration_behavior": choice("always_invoice", "create_prorations", "none"),
}

PHASE = {name: each for name, each in NEW_PHASE.items() if name != "iterations"}
PHASE |= {
    "discounts": list_of(nested({"coupon": text, "discount": text, "promotion_code": text})),
    "end_date": time_or("now"),
    "start_date": time_or("now"),
    "trial_end": integer,
}

ROUTES = (
    Route(
        "POST",
        PATH,
        create_schedule,
        {
            "customer": text,
            "end_behavior": choice("cancel", "release"),
            "from_subscription": text,
            "metadata": metadata,
            "phases": list_of(nested(NEW_PHASE)),
            "start_date": time_or("now"),
        },
    ),
    retrieve_route("subscription_schedule", PATH),
    Route(
        "POST",
        f"{PATH}/<id>",
        update_schedule,
        {
            "end_behavior": choice("cancel", "release"),
            "metadata": metadata,
            "phases": list_of(nested(PHASE)),
            "proration_behavior": NEW_PHASE["proration_behavior"],
        },
    ),
    Route("POST", f"{PATH}/<id>/cancel", cancel_schedule, {"invoice_now": boolean, "prorate": boolean}),
    Route("POST", f"{PATH}/<id>/release", release_schedule, {"preserve_cancel_date": boolean}),
    Route("GET", PATH, list_schedules, form.LIST | {"customer": text}),
)
