"""What happens to a subscription: billed, paid or declined, renewed, given up, canceled."""

from typing import Any

from .cards import CARDS
from .clock import add_interval, day_of
from .errors import ApiError
from .lists import whole
from .world import Object, World

ENDED = ("canceled", "incomplete_expired")
SUBSCRIPTION_UPDATED = "customer.subscription.updated"


def period_of(subscription: Object) -> tuple[int, int]:
    """Return when the subscription's present period starts and ends; its items share it."""
    item = subscription["items"]["data"][0]
    return item["current_period_start"], item["current_period_end"]


def set_period(subscription: Object, start: int, end: int) -> None:
    for item in subscription["items"]["data"]:
        item["current_period_start"], item["current_period_end"] = start, end


def next_period_end(subscription: Object, start: int) -> int:
    recurring = subscription["items"]["data"][0]["price"]["recurring"]
    anchor_day = day_of(subscription["billing_cycle_anchor"])
    return add_interval(start, recurring["interval"], recurring["interval_count"], anchor_day)


def start(world: World, subscription: Object, behaviour: str) -> None:
    """Bill a new subscription for the first time, and let the payment decide its status."""
    if subscription["trial_end"]:
        subscription["status"] = "trialing"
        set_period(subscription, world.now, subscription["trial_end"])
    else:
        set_period(subscription, world.now, next_period_end(subscription, world.now))
    card = _card(world, subscription)
    is_free = _amount(subscription) == 0 or subscription["status"] == "trialing"
    if card is None and not is_free and behaviour != "default_incomplete":
        raise ApiError(
            400,
            "This customer has no attached payment source or default payment method.",
            code="resource_missing",
        )
    if behaviour == "error_if_incomplete" and not is_free and card and CARDS[card].declines:
        raise CARDS[card].error()
    world.add("subscription", subscription)
    invoice = draw_up(world, subscription, "subscription_create")
    if not is_free and (behaviour == "default_incomplete" or (card and CARDS[card].declines)):
        subscription["status"] = "incomplete"
    elif subscription["status"] != "trialing":
        subscription["status"] = "active"
    world.emit("customer.subscription.created", subscription)
    finalize(world, invoice)
    if behaviour != "default_incomplete" or is_free:
        attempt(world, invoice)


def renew(world: World, subscription: Object) -> None:
    """Begin the next period: end the subscription when that was scheduled, else bill and charge."""
    _, end = period_of(subscription)
    if subscription["cancel_at_period_end"] or (subscription["cancel_at"] or end + 1) <= end:
        cancel(world, subscription)
        return
    with world.changing(subscription, SUBSCRIPTION_UPDATED):
        set_period(subscription, end, next_period_end(subscription, end))
        invoice = draw_up(world, subscription, "subscription_cycle")
        if subscription["status"] == "trialing":
            subscription["status"] = "active"
    finalize(world, invoice)
    attempt(world, invoice)


def give_up(world: World, subscription: Object, status: str) -> None:
    """Stop collecting, as the account is set: "canceled" or "unpaid"."""
    if status == "canceled":
        cancel(world, subscription, "payment_failed")
        return
    with world.changing(subscription, SUBSCRIPTION_UPDATED):
        subscription["status"] = status


def cancel(world: World, subscription: Object, reason: str = "cancellation_requested") -> None:
    """End the subscription now."""
    now = world.now
    subscription |= {"status": "canceled", "ended_at": now, "canceled_at": subscription["canceled_at"] or now}
    subscription["cancellation_details"]["reason"] = reason
    world.emit("customer.subscription.deleted", subscription)


def draw_up(world: World, subscription: Object, reason: str) -> Object:
    """Make the invoice of the present period, as a draft."""
    customer = world.get("customer", subscription["customer"])
    invoice = _blank_invoice(world, customer, subscription, reason)
    period_start, period_end = period_of(subscription)
    lines = [
        _line(world, invoice["id"], subscription, item, {"start": period_start, "end": period_end})
        for item in subscription["items"]["data"]
    ]
    total = sum(line["amount"] for line in lines)
    invoice["lines"] = whole(lines, f"/v1/invoices/{invoice['id']}/lines")
    for name in (
        "amount_due",
        "amount_remaining",
        "subtotal",
        "subtotal_excluding_tax",
        "total",
        "total_excluding_tax",
    ):
        invoice[name] = total
    world.add("invoice", invoice)
    subscription["latest_invoice"] = invoice["id"]
    world.emit("invoice.created", invoice)
    return invoice


def finalize(world: World, invoice: Object) -> None:
    customer = world.get("customer", invoice["customer"])
    invoice |= {"status": "open", "auto_advance": True, "effective_at": world.now}
    invoice["number"] = f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04d}"
    customer["next_invoice_sequence"] += 1
    invoice["hosted_invoice_url"] = f"{world.base_url}/i/{invoice['id']}"
    invoice["status_transitions"]["finalized_at"] = world.now
    world.emit("invoice.finalized", invoice)


def attempt(world: World, invoice: Object) -> bool:
    """Charge an open invoice, and let its subscription follow; tell whether it was paid."""
    subscription = subscription_of(world, invoice)
    card = _card(world, subscription)
    if invoice["amount_due"] and (card is None or CARDS[card].declines):
        _fail(world, invoice, subscription)
        return False
    settle(world, invoice)
    return True


def settle(world: World, invoice: Object) -> None:
    """Mark the invoice paid, and its subscription with it."""
    invoice |= {"status": "paid", "attempted": True, "amount_paid": invoice["amount_due"], "amount_remaining": 0}
    invoice["attempt_count"] += 1 if invoice["amount_due"] else 0
    invoice["next_payment_attempt"] = None
    invoice["status_transitions"]["paid_at"] = world.now
    world.emit("invoice.paid", invoice)
    world.emit("invoice.payment_succeeded", invoice)
    subscription = subscription_of(world, invoice)
    if subscription["latest_invoice"] == invoice["id"] and subscription["status"] in (
        "incomplete",
        "past_due",
        "unpaid",
    ):
        with world.changing(subscription, SUBSCRIPTION_UPDATED):
            subscription["status"] = "active"


def close(world: World, invoice: Object, status: str) -> None:
    """Void an invoice, or write it off as uncollectible."""
    invoice |= {"status": status, "auto_advance": False, "next_payment_attempt": None}
    name = {"void": "voided_at", "uncollectible": "marked_uncollectible_at"}[status]
    invoice["status_transitions"][name] = world.now
    world.emit({"void": "invoice.voided", "uncollectible": "invoice.marked_uncollectible"}[status], invoice)


def subscription_of(world: World, invoice: Object) -> Object:
    return world.get("subscription", invoice["parent"]["subscription_details"]["subscription"])


def _fail(world: World, invoice: Object, subscription: Object) -> None:
    invoice |= {"attempted": True, "next_payment_attempt": world.now + 3 * 86_400}
    invoice["attempt_count"] += 1
    world.emit("invoice.payment_failed", invoice)
    if subscription["status"] in ("active", "trialing"):
        with world.changing(subscription, SUBSCRIPTION_UPDATED):
            subscription["status"] = "past_due"


def _card(world: World, subscription: Object) -> str | None:
    """Name the test card that will be charged: the subscription's own, else the customer's."""
    customer = world.get("customer", subscription["customer"])
    chosen = subscription["default_payment_method"] or customer["invoice_settings"]["default_payment_method"]
    return world.cards[chosen] if chosen else None


def _amount(subscription: Object) -> int:
    items = subscription["items"]["data"]
    return sum((item["price"]["unit_amount"] or 0) * (item["quantity"] or 0) for item in items)


def _line(world: World, invoice_id: str, subscription: Object, item: Object, period: dict[str, int]) -> Object:
    price, is_trial = item["price"], subscription["status"] == "trialing"
    amount = 0 if is_trial else price["unit_amount"] * item["quantity"]
    details = {
        "invoice_item": None,
        "proration": False,
        "proration_details": {"credited_items": None},
        "subscription": subscription["id"],
        "subscription_item": item["id"],
    }
    return {
        "id": world.new_id("line_item"),
        "object": "line_item",
        "amount": amount,
        "currency": price["currency"],
        "description": "Trial period" if is_trial else f"{item['quantity']} x {price['id']}",
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": invoice_id,
        "livemode": False,
        "metadata": dict(subscription["metadata"]),
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": details,
            "type": "subscription_item_details",
        },
        "period": period,
        "pretax_credit_amounts": [],
        "pricing": {
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details",
            "unit_amount_decimal": price["unit_amount_decimal"],
        },
        "quantity": item["quantity"],
        "quantity_decimal": str(item["quantity"]),
        "subtotal": amount,
        "taxes": [],
    }


NULL_ON_INVOICES = (
    "account_country account_name account_tax_ids application automatically_finalizes_at custom_fields "
    "customer_account customer_address customer_phone customer_shipping default_payment_method default_source "
    "description due_date effective_at ending_balance footer from_invoice hosted_invoice_url invoice_pdf "
    "last_finalization_error latest_revision next_payment_attempt number on_behalf_of receipt_number rendering "
    "shipping_cost shipping_details statement_descriptor test_clock webhooks_delivered_at"
).split()


def _blank_invoice(world: World, customer: Object, subscription: Object, reason: str) -> Object:
    nulls: dict[str, Any] = dict.fromkeys(NULL_ON_INVOICES)
    details = {
        "metadata": dict(subscription["metadata"]),
        "pause_collection": None,
        "subscription": subscription["id"],
    }
    return nulls | {
        "id": world.new_id("invoice"),
        "object": "invoice",
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_shipping": 0,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": True,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": False,
            "liability": None,
            "provider": None,
            "status": None,
        },
        "billing_reason": reason,
        "collection_method": "charge_automatically",
        "created": world.now,
        "currency": subscription["currency"],
        "customer": customer["id"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
        "default_tax_rates": [],
        "discounts": [],
        "issuer": {"type": "self"},
        "livemode": False,
        "metadata": {},
        "parent": {"quote_details": None, "subscription_details": details, "type": "subscription_details"},
        "payment_settings": {"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
        "period_end": world.now,
        "period_start": world.now,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "starting_balance": 0,
        "status": "draft",
        "status_transitions": dict.fromkeys(("finalized_at", "marked_uncollectible_at", "paid_at", "voided_at")),
        "total_discount_amounts": [],
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
    }
