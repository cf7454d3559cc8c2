"""Previews of invoices: what would be billed is billed in a rehearsal, and the invoice is all that is kept of it."""

from typing import Any

from ...billing import invoiceitems, invoices, periods
from ...billing.pricing import amounts
from ...errors import ApiError, missing_parameter
from ...http.form import boolean, choice, integer, list_of, nested, optional, text, time_or
from ...http.route import Route
from ...scheduler import run_for_customer
from ...world import Object, World, copy_json
from ..customers import get_customer
from ..subscriptions import ITEM, cancel_subscription, create_subscription, update_subscription

PATH = "/v1/invoices/create_preview"
RENEWED = ("active", "past_due", "trialing")
DRAFTED: Object = {
    "amount_paid": 0,
    "attempted": False,
    "auto_advance": True,
    "effective_at": None,
    "hosted_invoice_url": None,
    "invoice_pdf": None,
    "number": None,
    "status": "draft",
}


def create_preview(world: World, params: dict[str, Any]) -> Object:
    subscription = world.get("subscription", params["subscription"], "subscription") if "subscription" in params else {}
    if "customer" not in params and not subscription:
        raise missing_parameter("customer")
    customer = get_customer(world, params.get("customer") or subscription["customer"])
    if subscription and subscription["customer"] != customer["id"]:
        raise ApiError(400, "The subscription belongs to another customer.", param="subscription")
    with world.rehearsal(customer["id"]):
        shown: Object = copy_json(_next_invoice(world, customer["id"], params))
    preview_id = f"upcoming_in_{shown['id'].removeprefix('in_')}"
    for position, line in enumerate(shown["lines"]["data"]):
        line |= {"id": f"il_tmp_{shown['id'].removeprefix('in_')}{position}", "invoice": preview_id}
    shown["lines"]["url"] = f"/v1/invoices/{preview_id}/lines"
    shown["status_transitions"] = dict.fromkeys(shown["status_transitions"])
    return shown | DRAFTED | {"id": preview_id, "amount_remaining": shown["amount_due"]}


def _next_invoice(world: World, customer_id: str, params: dict[str, Any]) -> Object:
    """Return the invoice that would follow, of this rehearsal."""
    details = dict(params.get("subscription_details", {}))
    before = {each["id"] for each in world.where("invoice", customer=customer_id)}
    for given in params.get("invoice_items", []):
        _add_item(world, customer_id, given, params.get("currency"))
    if "subscription" not in params and details.get("items"):
        wanted = {"customer": customer_id, "payment_behavior": "default_incomplete"} | _of_request(params, details)
        create_subscription(world, wanted)
    elif "subscription" in params and details.pop("cancel_now", False):
        is_prorated = details.get("proration_behavior", "none") != "none"
        cancel_subscription(world, {"invoice_now": True, "prorate": is_prorated}, params["subscription"])
    elif "subscription" in params and _of_request(params, details):
        wanted = {"payment_behavior": "default_incomplete"} | _of_request(params, details)
        update_subscription(world, wanted, params["subscription"])
    new = [each for each in world.where("invoice", customer=customer_id) if each["id"] not in before]
    return new[0] if new else _renewal(world, customer_id, params.get("subscription"))


def _renewal(world: World, customer_id: str, subscription_id: str | None) -> Object:
    """Return the invoice of the next renewal, or of what is pending without one."""
    running = [
        each
        for each in world.where("subscription", customer=customer_id)
        if each["status"] in RENEWED and subscription_id in (None, each["id"])
    ]
    before = {each["id"] for each in world.where("invoice", customer=customer_id)}
    if running:
        run_for_customer(world, customer_id, min(periods.period_of(each)[1] for each in running))
    new = [each for each in world.where("invoice", customer=customer_id) if each["id"] not in before]
    new = [each for each in new if subscription_id in (None, _subscription_id(world, each))]
    if new:
        return new[0]
    customer = world.get("customer", customer_id)
    if subscription_id is None and invoiceitems.pending(world, customer, None):
        return invoices.create_draft(world, customer)
    raise ApiError(404, f"No upcoming invoices for customer: {customer_id}", code="invoice_upcoming_none")


def _subscription_id(world: World, invoice: Object) -> str | None:
    found = invoices.subscription_of(world, invoice)
    return found["id"] if found else None


def _of_request(params: dict[str, Any], details: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of the change that is previewed."""
    given = {name: value for name, value in details.items() if name != "cancel_now"}
    return given | {name: params[name] for name in ("currency", "discounts") if name in params}


def _add_item(world: World, customer_id: str, given: dict[str, Any], currency: str | None) -> None:
    price = world.get("price", given["price"], "invoice_items[0][price]") if "price" in given else None
    if price is None and "amount" not in given:
        raise missing_parameter("invoice_items[0][amount]")
    quantity = given.get("quantity", 1)
    currency = given.get("currency") or currency or (price["currency"] if price else None)
    if currency is None:
        raise missing_parameter("invoice_items[0][currency]")
    item = invoiceitems.new_item(
        world,
        customer=customer_id,
        amount=amounts.amount_of(world, price, quantity, currency) if price else given["amount"],
        currency=currency.lower(),
        description=given.get("description"),
        period=(world.now, world.now),
        price=price,
        quantity=quantity,
    )
    invoiceitems.add(world, item)


DETAILS = {
    "billing_cycle_anchor": nested({"type": choice("now", "unchanged")}),
    "cancel_at": optional(time_or("max_period_end", "min_period_end")),
    "cancel_at_period_end": boolean,
    "cancel_now": boolean,
    "items": list_of(nested(ITEM)),
    "proration_behavior": choice("always_invoice", "create_prorations", "none"),
    "proration_date": integer,
    "trial_end": time_or("now"),
}

ROUTES = (
    Route(
        "POST",
        PATH,
        create_preview,
        {
            "currency": text,
            "customer": text,
            "discounts": list_of(nested({"coupon": text, "promotion_code": text})),
            "invoice_items": list_of(
                nested({"amount": integer, "currency": text, "description": text, "price": text, "quantity": integer})
            ),
            "subscription": text,
            "subscription_details": nested(DETAILS),
        },
    ),
)
