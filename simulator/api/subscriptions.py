"""Subscriptions: created, changed, paused, resumed, canceled, listed."""

from typing import Any

from ..billing import (
    changes,
    customer_currency,
    discounts,
    first_period,
    lifecycle,
    pending_updates,
    periods,
    prorations,
)
from ..billing.items import check_new, new_item
from ..billing.pricing import currencies
from ..clock import DAY
from ..errors import ApiError, invalid, missing, missing_parameter, unsupported
from ..http import form, lists
from ..http.form import boolean, choice, integer, list_of, metadata, nested, optional, text, time_or
from ..http.route import Route, retrieve_route
from ..world import Object, World
from .customers import get_customer
from .payment_methods import attach
from .test_clocks import visible_objects

FEEDBACKS = (
    "customer_service",
    "low_quality",
    "missing_features",
    "other",
    "switched_service",
    "too_complex",
    "too_expensive",
    "unused",
)
PATH = "/v1/subscriptions"
STATUSES = ("active", "canceled", "incomplete", "incomplete_expired", "past_due", "paused", "trialing", "unpaid")

NEW_ITEM = {"price": text, "plan": text, "quantity": integer, "metadata": metadata, "tax_rates": list_of(text)}
ITEM = NEW_ITEM | {"id": text, "deleted": boolean}
PAYMENT = {
    "payment_behavior": choice(
        "allow_incomplete", "default_incomplete", "error_if_incomplete", "pending_if_incomplete"
    ),
    "proration_behavior": choice("always_invoice", "create_prorations", "none"),
    "proration_date": integer,
}
COMMENT = {
    "comment": optional(text),
    "feedback": optional(choice(*FEEDBACKS)),
}
FIELDS = {
    "add_invoice_items": list_of(nested({"price": text, "quantity": integer})),
    "automatic_tax": nested({"enabled": boolean}),
    "cancel_at": optional(time_or("max_period_end", "min_period_end")),
    "cancel_at_period_end": boolean,
    "default_payment_method": optional(text),
    "default_tax_rates": list_of(text),
    "description": optional(text),
    "discounts": list_of(nested({"coupon": text, "promotion_code": text})),
    "metadata": metadata,
    "off_session": boolean,
    "payment_behavior": PAYMENT["payment_behavior"],
    "proration_behavior": PAYMENT["proration_behavior"],
    "trial_end": time_or("now"),
    "trial_settings": nested(
        {"end_behavior": nested({"missing_payment_method": choice("cancel", "create_invoice", "pause")})}
    ),
}
NEW_ONLY = {
    "backdate_start_date": integer,
    "billing_cycle_anchor": integer,
    "billing_mode": nested({"type": choice("classic", "flexible")}),
    "collection_method": choice("charge_automatically"),
    "currency": text,
    "customer": text,
    "items": list_of(nested(NEW_ITEM)),
    "trial_period_days": integer,
}
CHANGE_ONLY = {
    "proration_date": integer,
    "billing_cycle_anchor": nested({"type": choice("now", "unchanged")}),
    "cancellation_details": nested(COMMENT),
    "items": list_of(nested(ITEM)),
    "pause_collection": optional(
        nested({"behavior": choice("keep_as_draft", "mark_uncollectible", "void"), "resumes_at": integer})
    ),
}


BILLED = frozenset(("add_invoice_items", "billing_cycle_anchor", "items", "trial_end"))
"""Parameters of a change that can change the bill."""


def create_subscription(world: World, params: dict[str, Any], *, by_schedule: bool = False) -> Object:
    customer = get_customer(world, params["customer"])
    if not params["items"]:
        raise missing_parameter("items")
    if params.get("payment_behavior") == "pending_if_incomplete":
        raise unsupported("payment_behavior=pending_if_incomplete")
    subscription = _blank(world, customer, params.get("billing_mode", {}).get("type", "flexible"))
    subscription["trial_end"] = _trial_end(world, params)
    subscription["trial_start"] = world.now if subscription["trial_end"] else None
    check_new(params["items"])
    items = [new_item(world, subscription, each, f"items[{at}]") for at, each in enumerate(params["items"])]
    subscription["items"] = lists.embedded(items, f"/v1/subscription_items?subscription={subscription['id']}")
    subscription["currency"] = currencies.choose(world, params.get("currency"), [each["price"] for each in items])
    customer_currency.check_currency(world, customer["id"], subscription["currency"])
    changes.check_intervals(subscription)
    changes.check(world, subscription, {"add_invoice_items": params.get("add_invoice_items", [])})
    subscription |= {
        "billing_cycle_anchor": subscription["trial_end"] or params.get("billing_cycle_anchor", world.now),
        "start_date": params.get("backdate_start_date", world.now),
    }
    first_period.check_anchor(world, subscription, params.get("backdate_start_date"))
    _apply(world, subscription, params)
    behaviour = params.get("payment_behavior", "allow_incomplete")
    if not by_schedule:
        coupons = [discounts.find_coupon(world, each)[0] for each in params.get("discounts", [])]
        coupons = coupons or [discounts.coupon_of(world, each) for each in discounts.in_force(world, customer, None)]
        lifecycle.check_start(world, subscription, behaviour, coupons)
    _apply_discounts(world, subscription, params)
    changes.add_invoice_items(world, subscription, params.get("add_invoice_items", []))
    lifecycle.start(
        world,
        subscription,
        behaviour,
        by_schedule=by_schedule,
        is_prorated=params.get("proration_behavior") != "none",
    )
    _schedule_end(world, subscription, params)
    return subscription


def update_subscription(world: World, params: dict[str, Any], subscription_id: str) -> Object:
    subscription = world.get("subscription", subscription_id)
    if subscription["status"] in periods.ENDED and params.keys() - {"metadata", "cancellation_details"}:
        raise ApiError(400, "A canceled subscription can only update its cancellation_details and metadata.")
    _check_schedule(subscription, params)
    behaviour = params.get("payment_behavior", "allow_incomplete")
    is_trialing = subscription["status"] == "trialing"
    if behaviour in ("error_if_incomplete", "pending_if_incomplete"):
        if is_trialing and params.get("trial_end") == "now":
            raise unsupported(f"payment_behavior={behaviour} with trial_end=now")
        failure = pending_updates.rehearse(world, subscription, lambda each: _change(world, each, dict(params)))
        if failure and behaviour == "error_if_incomplete":
            raise failure.error
        if failure:
            pending_updates.hold(world, subscription, params, failure)
            return subscription
    invoice = _change(world, subscription, params)
    if invoice and behaviour == "default_incomplete":
        pending_updates.wait_for_payment(world, subscription, invoice)
    elif invoice:
        lifecycle.charge(world, invoice)
    if is_trialing and params.get("trial_end") == "now":
        subscription["trial_end"] = world.now
        lifecycle.end_trial(world, subscription, at_once=True)
    return subscription


def _check_schedule(subscription: Object, params: dict[str, Any]) -> None:
    """Raise ApiError for what a schedule decides of its subscription."""
    for names, words in (({"cancel_at", "cancel_at_period_end"}, "cancelation"), ({"pause_collection"}, "pausing")):
        if subscription["schedule"] and params.keys() & names:
            raise ApiError(
                400,
                f"The subscription is managed by the subscription schedule `{subscription['schedule']}`, and updating "
                f"any {words} behavior directly is not allowed. Please update the schedule instead.",
            )


def _change(world: World, subscription: Object, params: dict[str, Any]) -> Object | None:
    """Make the changes; return the draft of the invoice to charge now, if there is one."""
    is_trialing = subscription["status"] == "trialing"
    trial_end = _trial_end(world, params)
    changes.check(world, subscription, params)
    with world.changing(subscription, periods.UPDATED):
        _apply(world, subscription, params)
        _apply_discounts(world, subscription, params)
        _schedule_end(world, subscription, params)
        invoice = None
        if params.keys() & BILLED:
            invoice = changes.change(world, subscription, params, None if is_trialing else trial_end)
        if trial_end and is_trialing:
            _move_trial_end(world, subscription, trial_end)
    return invoice


def apply_pending_update(world: World, subscription_id: str, _moment: int) -> None:
    """Make the changes that waited for a payment, which is made."""
    subscription = world.get("subscription", subscription_id)
    params = pending_updates.take(world, subscription)
    if params is None:
        return
    with world.changing(subscription, periods.UPDATED):
        subscription["pending_update"] = None
        trial_end = _trial_end(world, params)
        changes.change(world, subscription, params | {"proration_behavior": "none"}, trial_end, is_billed=True)
    world.emit("customer.subscription.pending_update_applied", subscription)


def cancel_subscription(world: World, params: dict[str, Any], subscription_id: str) -> Object:
    subscription = world.get("subscription", subscription_id)
    if subscription["status"] in periods.ENDED:
        raise missing("subscription", subscription_id)
    subscription["cancellation_details"] |= params.get("cancellation_details", {})
    is_credited = params.get("prorate") and subscription["status"] != "trialing"
    periods.cancel(world, subscription)
    if is_credited:
        prorations.credit(world, subscription, prorations.priced_items(subscription))
    if params.get("invoice_now"):
        lifecycle.bill_rest(world, subscription, subscription["items"]["data"])
    return subscription


def delete_discount(world: World, _params: dict[str, Any], subscription_id: str) -> Object:
    """Take all of a subscription's discounts away; return the first."""
    subscription = world.get("subscription", subscription_id)
    if not subscription["discounts"]:
        raise ApiError(404, "No active discount for subscription.", code="resource_missing")
    discount = world.get("discount", subscription["discounts"][0])
    with world.changing(subscription, periods.UPDATED):
        subscription["discounts"] = []
    world.emit("customer.discount.deleted", discount)
    return discount | {"deleted": True}


def pause_subscription(world: World, _params: dict[str, Any], subscription_id: str) -> Object:
    subscription = world.get("subscription", subscription_id)
    if subscription["status"] != "active":
        raise ApiError(400, f"A subscription that is {subscription['status']} cannot be paused.")
    lifecycle.pause(world, subscription, "pause_requested")
    return subscription


def resume_subscription(world: World, params: dict[str, Any], subscription_id: str) -> Object:
    subscription = world.get("subscription", subscription_id)
    if subscription["status"] != "paused":
        raise ApiError(400, "Only a paused subscription can be resumed.")
    lifecycle.resume(
        world,
        subscription,
        anchor=params.get("billing_cycle_anchor", {}).get("type", "now"),
        waits_for_payment=params.get("payment_behavior") == "resume_on_payment_success",
    )
    return subscription


def pay_with(world: World, customer_id: str, method_id: str) -> str:
    """Make this the payment method of a customer and of its running subscriptions; return its id."""
    customer = get_customer(world, customer_id)
    method_id = str(attach(world, method_id, customer, "payment_method")["id"])
    with world.changing(customer, "customer.updated"):
        customer["invoice_settings"] = customer["invoice_settings"] | {"default_payment_method": method_id}
    for subscription in world.where("subscription", customer=customer_id):
        if subscription["status"] not in periods.ENDED:
            update_subscription(world, {"default_payment_method": method_id}, subscription["id"])
    return method_id


def list_subscriptions(world: World, params: dict[str, Any]) -> Object:
    found = visible_objects(world, "subscription", params)
    if "price" in params:
        found = [each for each in found if params["price"] in _price_ids(each)]
    return lists.page([each for each in found if _is_listed(each["status"], params.get("status"))], params, PATH)


def _is_listed(status: str, wanted: str | None) -> bool:
    """Return whether a list shows this status; by default it omits canceled subscriptions."""
    if wanted == "ended":
        return status in periods.ENDED
    return wanted == "all" or status == wanted or (wanted is None and status != "canceled")


def _price_ids(subscription: Object) -> set[str]:
    return {item["price"]["id"] for item in subscription["items"]["data"]}


def _apply(world: World, subscription: Object, params: dict[str, Any]) -> None:
    if "default_payment_method" in params:
        subscription["default_payment_method"] = _method_of(world, subscription, params["default_payment_method"])
    subscription["metadata"] = form.merge_metadata(subscription["metadata"], params.get("metadata"))
    if "automatic_tax" in params:
        enabled = params["automatic_tax"]["enabled"]
        subscription["automatic_tax"] |= {"enabled": enabled, "liability": {"type": "self"} if enabled else None}
    if "default_tax_rates" in params:
        rates = [world.get("tax_rate", each, "default_tax_rates") for each in params["default_tax_rates"]]
        subscription["default_tax_rates"] = rates
    if "description" in params:
        subscription["description"] = params["description"]
    if "pause_collection" in params:
        subscription["pause_collection"] = _paused_collection(world, subscription, params["pause_collection"])
    subscription["cancellation_details"] |= params.get("cancellation_details", {})
    behaviour = params.get("trial_settings", {}).get("end_behavior", {})
    subscription["trial_settings"] = {"end_behavior": subscription["trial_settings"]["end_behavior"] | behaviour}


def _apply_discounts(world: World, subscription: Object, params: dict[str, Any]) -> None:
    if "discounts" in params:
        owner = {"customer": subscription["customer"], "subscription": subscription["id"]}
        granted = [
            discounts.create_discount(world, *discounts.find_coupon(world, each), **owner)
            for each in params["discounts"]
        ]
        subscription["discounts"] = [each["id"] for each in granted]


def _method_of(world: World, subscription: Object, given: str | None) -> str | None:
    """Attach the payment method and return its id. None unsets it, so that the customer's is charged."""
    if given is None:
        return None
    customer = world.get("customer", subscription["customer"])
    return str(attach(world, given, customer, "default_payment_method")["id"])


def _paused_collection(world: World, subscription: Object, given: dict[str, Any] | None) -> Object | None:
    if given is None:
        return None
    if "behavior" not in given:
        raise missing_parameter("pause_collection[behavior]")
    if "resumes_at" in given:
        world.clock.schedule(given["resumes_at"], "end_pause_of_collection", subscription["id"])
    return {"resumes_at": None} | given


def _schedule_end(world: World, subscription: Object, params: dict[str, Any]) -> None:
    if not params.keys() & {"cancel_at", "cancel_at_period_end"}:
        return
    if params.get("cancel_at") and params.get("cancel_at_period_end"):
        raise invalid("You can set only one of cancel_at and cancel_at_period_end.", "cancel_at")
    if "cancel_at" in params:
        ends = {
            "max_period_end": periods.latest_end(subscription),
            "min_period_end": periods.period_of(subscription)[1],
        }
        cancel_at = ends.get(params["cancel_at"], params["cancel_at"])
        if cancel_at is not None and cancel_at <= world.now:
            raise invalid("cancel_at must be in the future.", "cancel_at")
        subscription |= {"cancel_at": cancel_at, "cancel_at_period_end": False}
    if "cancel_at_period_end" in params:
        subscription["cancel_at_period_end"] = params["cancel_at_period_end"]
        subscription["cancel_at"] = periods.period_of(subscription)[1] if params["cancel_at_period_end"] else None
    is_ending = subscription["cancel_at"] is not None
    if is_ending:
        world.clock.schedule(subscription["cancel_at"], "cancel", subscription["id"])
    subscription["canceled_at"] = (subscription["canceled_at"] or world.now) if is_ending else None
    subscription["cancellation_details"]["reason"] = "cancellation_requested" if is_ending else None


def _move_trial_end(world: World, subscription: Object, trial_end: int) -> None:
    subscription |= {"trial_end": trial_end, "billing_cycle_anchor": trial_end}
    periods.set_period(world, subscription, periods.period_of(subscription)[0], trial_end)
    lifecycle.schedule_notice(world, subscription)


def _trial_end(world: World, params: dict[str, Any]) -> int | None:
    if params.get("trial_period_days"):
        return world.now + int(params["trial_period_days"]) * DAY
    ends = params.get("trial_end")
    if ends in (None, "now"):
        return None
    if int(ends) <= world.now:
        raise invalid("Timestamp must be in the future.", "trial_end")
    return int(ends)


NULLS = (
    "application application_fee_percent billing_cycle_anchor_config billing_thresholds cancel_at canceled_at "
    "customer_account days_until_due default_payment_method default_source description ended_at latest_invoice "
    "managed_payments next_pending_invoice_item_invoice on_behalf_of pause_collection pending_invoice_item_interval "
    "pending_setup_intent pending_update schedule status_details transfer_data trial_end trial_start"
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
        "test_clock": world.clock.id,
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
    }


ROUTES = (
    Route("POST", PATH, create_subscription, FIELDS | NEW_ONLY, required=("customer", "items")),
    retrieve_route("subscription", PATH),
    Route("POST", f"{PATH}/<id>", update_subscription, FIELDS | CHANGE_ONLY),
    Route(
        "DELETE",
        f"{PATH}/<id>",
        cancel_subscription,
        {"cancellation_details": nested(COMMENT), "invoice_now": boolean, "prorate": boolean},
    ),
    Route("DELETE", f"{PATH}/<id>/discount", delete_discount),
    Route("POST", f"{PATH}/<id>/pause", pause_subscription, {"type": choice("subscription")}),
    Route(
        "POST",
        f"{PATH}/<id>/resume",
        resume_subscription,
        {
            "billing_cycle_anchor": nested({"type": choice("now", "unchanged")}),
            "payment_behavior": choice("resume_on_payment_attempt", "resume_on_payment_success"),
        },
    ),
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
            "test_clock": text,
        },
    ),
)
