"""Subscriptions."""

from typing import Any

from .. import billing, form, lists
from ..errors import ApiError, invalid, missing, missing_parameter, not_played
from ..form import boolean, choice, integer, list_of, metadata, nested, optional, text, time_or
from ..route import Route, retrieving
from ..world import Object, World
from .customers import live_customer
from .payment_methods import attached

PATH = "/v1/subscriptions"
STATUSES = ("active", "canceled", "incomplete", "incomplete_expired", "past_due", "paused", "trialing", "unpaid")
DAY_SECONDS = 86_400

ITEM = {"id": text, "price": text, "quantity": integer, "metadata": metadata, "deleted": boolean}
FIELDS = {
    "cancel_at": optional(integer),
    "cancel_at_period_end": boolean,
    "default_payment_method": optional(text),
    "description": optional(text),
    "items": list_of(nested(ITEM)),
    "metadata": metadata,
    "off_session": boolean,
    "payment_behavior": choice(
        "allow_incomplete", "default_incomplete", "error_if_incomplete", "pending_if_incomplete"
    ),
    "pause_collection": optional(
        nested({"behavior": choice("keep_as_draft", "mark_uncollectible", "void"), "resumes_at": integer})
    ),
    "proration_behavior": choice("create_prorations", "none"),
    "trial_end": time_or("now"),
}
NEW_ONLY = {
    "billing_mode": nested({"type": choice("classic", "flexible")}),
    "collection_method": choice("charge_automatically"),
    "currency": text,
    "customer": text,
    "trial_period_days": integer,
}


def create_subscription(world: World, params: dict[str, Any]) -> Object:
    customer = live_customer(world, params["customer"])
    if not params["items"]:
        raise missing_parameter("items")
    if params.get("payment_behavior") == "pending_if_incomplete":
        raise not_played("payment_behavior=pending_if_incomplete")
    subscription = _blank(world, customer, params.get("billing_mode", {}).get("type", "flexible"))
    subscription["trial_end"] = _trial_end(world, params)
    subscription["trial_start"] = world.now if subscription["trial_end"] else None
    items = [_item(world, subscription, given) for given in params["items"]]
    subscription["items"] = lists.whole(items, f"/v1/subscription_items?subscription={subscription['id']}")
    subscription["currency"] = items[0]["price"]["currency"]
    billing.set_period(subscription, world.now, world.now)
    _apply(world, subscription, params)
    billing.start(world, subscription, params.get("payment_behavior", "allow_incomplete"))
    return subscription


def update_subscription(world: World, params: dict[str, Any], subscription_id: str) -> Object:
    subscription = world.get("subscription", subscription_id)
    if subscription["status"] in billing.ENDED and params.keys() - {"metadata"}:
        raise ApiError(400, "A canceled subscription can only update its cancellation_details and metadata.")
    ends_trial = params.get("trial_end") == "now" and subscription["status"] == "trialing"
    with world.changing(subscription, billing.SUBSCRIPTION_UPDATED):
        _apply(world, subscription, params)
        for given in params.get("items", []):
            _change_item(world, subscription, given)
    if ends_trial:
        _end_trial(world, subscription)
    return subscription


def cancel_subscription(world: World, _params: dict[str, Any], subscription_id: str) -> Object:
    subscription = world.get("subscription", subscription_id)
    if subscription["status"] in billing.ENDED:
        raise missing("subscription", subscription_id)
    billing.cancel(world, subscription)
    return subscription


def list_subscriptions(world: World, params: dict[str, Any]) -> Object:
    found = world.all("subscription")
    if "customer" in params:
        world.get("customer", params["customer"], "customer")
        found = [each for each in found if each["customer"] == params["customer"]]
    if "price" in params:
        found = [each for each in found if params["price"] in _price_ids(each)]
    return lists.page([each for each in found if _is_listed(each["status"], params.get("status"))], params, PATH)


def _is_listed(status: str, wanted: str | None) -> bool:
    """Without a wanted status, everything but the canceled."""
    if wanted == "ended":
        return status in billing.ENDED
    return wanted == "all" or status == wanted or (wanted is None and status != "canceled")


def _price_ids(subscription: Object) -> set[str]:
    return {item["price"]["id"] for item in subscription["items"]["data"]}


def _apply(world: World, subscription: Object, params: dict[str, Any]) -> None:
    if params.get("default_payment_method"):
        customer = world.get("customer", subscription["customer"])
        method = attached(world, params["default_payment_method"], customer, "default_payment_method")
        subscription["default_payment_method"] = method["id"]
    subscription["metadata"] = form.merge_metadata(subscription["metadata"], params.get("metadata"))
    for name in ("description", "pause_collection"):
        if name in params:
            subscription[name] = params[name]
    _schedule_end(world, subscription, params)


def _schedule_end(world: World, subscription: Object, params: dict[str, Any]) -> None:
    if params.get("cancel_at") and params.get("cancel_at_period_end"):
        raise invalid("You can set only one of cancel_at and cancel_at_period_end.", "cancel_at")
    if "cancel_at" in params:
        subscription["cancel_at"] = params["cancel_at"]
    if "cancel_at_period_end" in params:
        subscription["cancel_at_period_end"] = params["cancel_at_period_end"]
        subscription["cancel_at"] = billing.period_of(subscription)[1] if params["cancel_at_period_end"] else None
    is_ending = subscription["cancel_at"] is not None
    subscription["canceled_at"] = (subscription["canceled_at"] or world.now) if is_ending else None
    subscription["cancellation_details"]["reason"] = "cancellation_requested" if is_ending else None


def _end_trial(world: World, subscription: Object) -> None:
    with world.changing(subscription, billing.SUBSCRIPTION_UPDATED):
        subscription |= {"trial_end": world.now, "billing_cycle_anchor": world.now}
        billing.set_period(subscription, world.now, world.now)
    billing.renew(world, subscription)


def _trial_end(world: World, params: dict[str, Any]) -> int | None:
    if params.get("trial_period_days"):
        return world.now + int(params["trial_period_days"]) * DAY_SECONDS
    ends = params.get("trial_end")
    return None if ends in (None, "now") else int(ends)


def _change_item(world: World, subscription: Object, given: dict[str, Any]) -> None:
    items = subscription["items"]["data"]
    if "id" not in given:
        items.append(_item(world, subscription, given))
        billing.set_period(subscription, *billing.period_of(subscription))
        return
    item = next((each for each in items if each["id"] == given["id"]), None)
    if item is None:
        raise missing("subscription_item", given["id"], "items")
    if given.get("deleted"):
        items.remove(item)
    elif "price" in given:
        price = _recurring_price(world, given["price"])
        if price["recurring"] != item["price"]["recurring"]:
            raise not_played("a change to a price of another interval")
        item |= {"price": price, "plan": _plan(price)}
    item["quantity"] = given.get("quantity", item["quantity"])


def _item(world: World, subscription: Object, given: dict[str, Any]) -> Object:
    if "price" not in given:
        raise missing_parameter("items[0][price]")
    price = _recurring_price(world, given["price"])
    return {
        "id": world.new_id("subscription_item", 14),
        "object": "subscription_item",
        "billed_until": None,
        "billing_thresholds": None,
        "created": world.now,
        "current_period_end": 0,
        "current_period_start": 0,
        "discounts": [],
        "metadata": form.merge_metadata({}, given.get("metadata")),
        "plan": _plan(price),
        "price": price,
        "quantity": given.get("quantity", 1),
        "subscription": subscription["id"],
        "tax_rates": [],
    }


def _recurring_price(world: World, price_id: str) -> Object:
    price = world.get("price", price_id, "items[0][price]")
    if price["recurring"] is None:
        raise invalid(f"The price specified is set to `type=one_time`: {price_id}", "items[0][price]")
    return dict(price)


def _plan(price: Object) -> Object:
    """The older rendering of a price, which items still carry."""
    shared = ("active", "billing_scheme", "created", "currency", "id", "livemode", "metadata", "nickname", "product")
    recurring = price["recurring"]
    return {name: price[name] for name in shared} | {
        "object": "plan",
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "meter": None,
        "tiers_mode": None,
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }


NULLS = (
    "application application_fee_percent billing_cycle_anchor_config billing_thresholds cancel_at canceled_at "
    "customer_account days_until_due default_payment_method default_source description ended_at latest_invoice "
    "managed_payments next_pending_invoice_item_invoice on_behalf_of pause_collection pending_invoice_item_interval "
    "pending_setup_intent pending_update schedule test_clock transfer_data trial_end trial_start"
).split()


def _blank(world: World, customer: Object, billing_mode: str) -> Object:
    nulls: dict[str, Any] = dict.fromkeys(NULLS)
    flexible = {"proration_discounts": "included"} if billing_mode == "flexible" else None
    return nulls | {
        "id": world.new_id("subscription"),
        "object": "subscription",
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": world.now,
        "billing_mode": {"flexible": flexible, "type": billing_mode},
        "billing_schedules": [],
        "cancel_at_period_end": False,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": world.now,
        "customer": customer["id"],
        "default_tax_rates": [],
        "discounts": [],
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "livemode": False,
        "metadata": {},
        "payment_settings": {
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        "start_date": world.now,
        "status": "incomplete",
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
    }


ROUTES = (
    Route("POST", PATH, create_subscription, FIELDS | NEW_ONLY, required=("customer", "items")),
    retrieving("subscription", PATH),
    Route("POST", f"{PATH}/<id>", update_subscription, FIELDS),
    Route("DELETE", f"{PATH}/<id>", cancel_subscription, {"invoice_now": boolean, "prorate": boolean}),
    Route(
        "GET",
        PATH,
        list_subscriptions,
        form.LIST
        | {
            "created": form.created,
            "customer": text,
            "price": text,
            "status": choice("all", "ended", *STATUSES),
        },
    ),
)
