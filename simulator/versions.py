"""Older API versions: responses and events in their shape.

Each step turns one release's shape into the previous one's; a response or an event takes every step back to its
version. The steps are the differences between the classes of Stripe's SDKs for those versions. Fields that a version
only added stay: Stripe asks clients to ignore unknown fields. ENDIVE needs no step, and neither does a version that
follows its release within the same name.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from .errors import ApiError, invalid, unsupported
from .world import API_VERSION, Object, World

ACACIA = "2024-09-30.acacia"
BASIL = "2025-03-31.basil"
CLOVER = "2025-09-30.clover"
DAHLIA = "2026-03-25.dahlia"
ENDIVE = "2026-09-30.endive"
VERSIONS = (
    ACACIA,
    "2024-10-28.acacia",
    "2024-11-20.acacia",
    "2024-12-18.acacia",
    "2025-01-27.acacia",
    "2025-02-24.acacia",
    BASIL,
    "2025-04-30.basil",
    "2025-05-28.basil",
    "2025-06-30.basil",
    "2025-07-30.basil",
    "2025-08-27.basil",
    CLOVER,
    "2025-10-29.clover",
    "2025-11-17.clover",
    "2025-12-15.clover",
    "2026-01-28.clover",
    "2026-02-25.clover",
    DAHLIA,
    "2026-04-22.dahlia",
    "2026-05-27.dahlia",
    "2026-06-24.dahlia",
    "2026-07-29.dahlia",
    "2026-08-26.dahlia",
    ENDIVE,
    API_VERSION,
)
"""Oldest first, which is also their order as strings."""

DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
DELETED = {"id", "object", "deleted"}
"""The fields of an object's deletion, which has no shape of its own."""

Step = Mapping[str, Callable[[World, Object], Object]]
"""By type of object: a function that returns its older shape, which shares unchanged values."""


def check_version(version: str, param: str | None = None) -> None:
    """Raise ApiError for a version that Stripe does not have, or that is older than the simulator's oldest."""
    if version in VERSIONS:
        return
    if DATE.match(version) and version[:10] < ACACIA[:10]:
        raise unsupported(f"API version {version}. It supports {ACACIA} to {API_VERSION}.")
    message = f"Invalid Stripe API version: {version}. (The simulator supports {ACACIA} to {API_VERSION}.)"
    raise invalid(message, param) if param else ApiError(400, message, is_replayed=False)


def rendered(world: World, response: Object, version: str) -> Object:
    """Return a response in the shape of this API version. Events in it stay in theirs."""
    return dict(_downgrade(world, response, _steps_to(version)))


def render_event(world: World, event: Object, version: str) -> Object:
    """Return the event in the shape of this API version."""
    steps = _steps_to(version)
    data = event["data"]
    subject = _downgrade(world, data["object"], steps)
    older = {"object": subject}
    if "previous_attributes" in data:
        before = _downgrade(world, data["object"] | data["previous_attributes"], steps)
        older["previous_attributes"] = {name: value for name, value in before.items() if subject.get(name) != value}
    return event | {"api_version": version, "data": older}


def _steps_to(version: str) -> list[Step]:
    return [step for since, step in STEPS if version < since]


def _downgrade(world: World, subject: Object, steps: list[Step]) -> Any:
    for step in steps:
        subject = _walk(world, subject, step)
    return subject


def _walk(world: World, node: Any, step: Step) -> Any:
    """Apply a step to an object and every nested object, except the user's own metadata."""
    if isinstance(node, list):
        return [_walk(world, each, step) for each in node]
    if not isinstance(node, dict) or node.get("object") == "event" or node.keys() <= DELETED:
        return node
    older = step.get(str(node.get("object")))
    node = older(world, node) if older else node
    return {name: value if name == "metadata" else _walk(world, value, step) for name, value in node.items()}


def _without(node: Object, *names: str) -> Object:
    return {name: value for name, value in node.items() if name not in names}


# Before dahlia

UI_MODES = {"hosted_page": "hosted", "embedded_page": "embedded", "elements": "custom"}


def _session_before_dahlia(_world: World, session: Object) -> Object:
    mode = session.get("ui_mode")  # the official CLI reads a session without one
    return session | {"ui_mode": UI_MODES[mode]} if mode in UI_MODES else session


# Before clover


def _discount_before_clover(world: World, discount: Object) -> Object:
    return _without(discount, "source") | {"coupon": world.find("coupon", discount["source"]["coupon"])}


def _code_before_clover(world: World, code: Object) -> Object:
    return _without(code, "promotion") | {"coupon": world.find("coupon", code["promotion"]["coupon"])}


# Before basil


def _subscription_before_basil(world: World, subscription: Object) -> Object:
    items = subscription["items"]["data"]
    return subscription | {
        "current_period_end": items[0]["current_period_end"],
        "current_period_start": items[0]["current_period_start"],
        "discount": _only_discount(world, subscription),
    }


def _item_before_basil(_world: World, item: Object) -> Object:
    return _without(item, "current_period_end", "current_period_start")


def _invoice_before_basil(world: World, invoice: Object) -> Object:
    details = (invoice["parent"] or {}).get("subscription_details")
    intent = world.find("payment_intent", world.hidden.get(invoice["id"], {}).get("intent"))
    nulls = dict.fromkeys(("application_fee_amount", "quote", "tax", "transfer_data"))
    return (
        _without(invoice, "parent", "total_taxes")
        | nulls
        | {
            "charge": intent and intent["latest_charge"],
            "discount": _only_discount(world, invoice),
            "payment_intent": intent and intent["id"],
            "paid": invoice["status"] == "paid",
            "paid_out_of_band": "out_of_band" in world.hidden.get(invoice["id"], {}),
            "subscription": details and details["subscription"],
            "subscription_details": {"metadata": details["metadata"] if details else None},
            "tax": sum(each["amount"] for each in invoice["total_taxes"]) if invoice["total_taxes"] else None,
            "total_tax_amounts": _tax_amounts_before_basil(invoice["total_taxes"]),
        }
    )


def _tax_amounts_before_basil(taxes: list[Object]) -> list[Object]:
    return [
        {name: each[name] for name in ("amount", "taxability_reason", "taxable_amount")}
        | {"inclusive": each["tax_behavior"] == "inclusive", "tax_rate": each["tax_rate_details"]["tax_rate"]}
        for each in taxes
    ]


def _line_before_basil(world: World, line: Object) -> Object:
    parent = line["parent"]
    details = parent[parent["type"]]
    price = _price_of(world, line)
    return _without(line, "parent", "pricing", "taxes") | {
        "amount_excluding_tax": line["amount"],
        "plan": _plan_of(price),
        "price": price,
        "proration": details["proration"],
        "proration_details": details["proration_details"],
        "subscription": details["subscription"],
        "tax_amounts": _tax_amounts_before_basil(line["taxes"]),
        "tax_rates": [],
        "type": "subscription" if parent["subscription_item_details"] else "invoiceitem",
        "unit_amount_excluding_tax": line["pricing"] and line["pricing"]["unit_amount_decimal"],
        **{name: details[name] for name in ("invoice_item", "subscription_item") if details.get(name)},
    }


def _invoiceitem_before_basil(world: World, item: Object) -> Object:
    details = (item["parent"] or {}).get("subscription_details") or {}
    price = _price_of(world, item)
    decimal = item["pricing"]["unit_amount_decimal"] if item["pricing"] else str(item["amount"])
    return _without(item, "parent", "pricing") | {
        "plan": _plan_of(price),
        "price": price,
        "subscription": details.get("subscription"),
        "unit_amount": int(decimal) if decimal.lstrip("-").isdecimal() else None,
        "unit_amount_decimal": decimal,
    }


def _intent_before_basil(world: World, intent: Object) -> Object:
    return intent | {"invoice": world.hidden.get(intent["id"], {}).get("invoice")}


def _charge_before_basil(world: World, charge: Object) -> Object:
    return charge | {"invoice": world.hidden.get(charge["payment_intent"] or "", {}).get("invoice")}


def _credit_note_before_basil(_world: World, note: Object) -> Object:
    """Older credit notes have one refund, or null for several."""
    refunds = [each["refund"] for each in note["refunds"]]
    return _without(note, "refunds", "total_taxes") | {
        "refund": refunds[0] if len(refunds) == 1 else None,
        "tax_amounts": [],
    }


def _credit_line_before_basil(_world: World, line: Object) -> Object:
    return _without(line, "taxes") | {
        "amount_excluding_tax": line["amount"],
        "tax_amounts": [],
        "unit_amount_excluding_tax": line["unit_amount_decimal"],
    }


def _price_before_basil(_world: World, price: Object) -> Object:
    recurring = price["recurring"]
    return price | {"recurring": recurring and recurring | {"aggregate_usage": None}}


def _plan_before_basil(_world: World, plan: Object) -> Object:
    return plan | {"aggregate_usage": None}


def _session_before_basil(_world: World, session: Object) -> Object:
    return session | {"shipping_details": None}


def _schedule_before_basil(_world: World, schedule: Object) -> Object:
    return schedule | {"phases": [phase | {"coupon": None} for phase in schedule["phases"]]}


def _only_discount(world: World, owner: Object) -> Object | None:
    """Return the discount if there is exactly one: the older field could hold one, and was null for several."""
    if len(owner["discounts"]) != 1:
        return None
    return _discount_before_clover(world, world.get("discount", owner["discounts"][0]))


def _price_of(world: World, billed: Object) -> Object | None:
    details = (billed["pricing"] or {}).get("price_details")
    return world.find("price", details["price"]) if details else None


def plan_of(price: Object) -> Object:
    """Return the older shape of a price, which subscription items still have."""
    shared = ("active", "billing_scheme", "created", "currency", "id", "livemode", "metadata", "nickname", "product")
    recurring = price["recurring"]
    return {name: price[name] for name in shared} | {
        "object": "plan",
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "meter": recurring["meter"],
        "tiers_mode": price["tiers_mode"],
        "transform_usage": price["transform_quantity"],
        "trial_period_days": None,
        "usage_type": recurring["usage_type"],
    }


def _plan_of(price: Object | None) -> Object | None:
    return plan_of(price) if price and price["recurring"] else None


STEPS: tuple[tuple[str, Step], ...] = (
    (DAHLIA, {"checkout.session": _session_before_dahlia}),
    (CLOVER, {"discount": _discount_before_clover, "promotion_code": _code_before_clover}),
    (
        BASIL,
        {
            "charge": _charge_before_basil,
            "checkout.session": _session_before_basil,
            "credit_note": _credit_note_before_basil,
            "credit_note_line_item": _credit_line_before_basil,
            "invoice": _invoice_before_basil,
            "invoiceitem": _invoiceitem_before_basil,
            "line_item": _line_before_basil,
            "payment_intent": _intent_before_basil,
            "plan": _plan_before_basil,
            "price": _price_before_basil,
            "subscription": _subscription_before_basil,
            "subscription_item": _item_before_basil,
            "subscription_schedule": _schedule_before_basil,
        },
    ),
)
"""By the version that introduced the newer shape, newest first."""
