"""Invoices: drafted, finalized, closed. Their payment is in payments.py."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from ..clock import HOUR
from ..http.lists import embedded
from ..money import customer_balance, invoice_payments
from ..world import Object, World
from . import discounts, invoiceitems, lines, taxes
from .invoicing import due_dates
from .lines import WHOLE, UsedItem

Share = Callable[[Object], Fraction]
"""Returns the part of an item's current period that is billed."""

DRAFT_SECONDS = HOUR  # a renewal's invoice can be edited for an hour


def bill_whole(_item: Object) -> Fraction:
    return WHOLE


def create_draft(
    world: World,
    customer: Object,
    subscription: Object | None = None,
    reason: str = "manual",
    *,
    period: bool = True,
    items: Sequence[Object] | None = None,
    used: Sequence[UsedItem] = (),
    share: Share = bill_whole,
    include_pending: bool = True,
    sold: Sequence[Object] = (),
) -> Object:
    """Create a draft invoice.

    Shape   period: bill the items' current period; items: by default all of the subscription's; used: metered items to
            bill for their usage; share: returns the part of an item's period to bill; include_pending: bill pending
            invoice items; sold: other invoice items to bill
    """
    invoice = _blank(world, customer, subscription, reason)
    if sold:
        invoice["currency"] = sold[0]["currency"]
    billed: list[Object] = []
    if subscription and period:
        for each in subscription["items"]["data"] if items is None else items:
            billed += lines.of_item(world, invoice["id"], subscription, each, share(each))
    waiting = invoiceitems.pending(world, customer, subscription) if include_pending else []
    billed += _item_lines(world, invoice, (*reversed(waiting), *sold))
    if subscription and used:
        world.hidden.setdefault(invoice["id"], {})["used"] = [list(each) for each in used]
        billed += _usage_lines(world, invoice, subscription)
    invoice["discounts"] = discounts.in_force(world, customer, subscription)
    invoice["lines"] = embedded(billed, f"/v1/invoices/{invoice['id']}/lines")
    _set_amounts(world, invoice, customer)
    world.add("invoice", invoice)
    discounts.remove_used(world, customer, subscription, invoice["discounts"])
    if subscription:
        subscription["latest_invoice"] = invoice["id"]
    world.emit("invoice.created", invoice)
    return invoice


def _item_lines(world: World, invoice: Object, items: Sequence[Object]) -> list[Object]:
    """Put invoice items on the invoice."""
    for item in items:
        item["invoice"] = invoice["id"]
    return [lines.of_invoiceitem(world, item) for item in items]


def _usage_lines(world: World, invoice: Object, subscription: Object) -> list[Object]:
    used = [UsedItem(*each) for each in world.hidden[invoice["id"]]["used"]]
    return [line for each in used for line in lines.of_usage(world, invoice["id"], subscription, each)]


def _set_amounts(world: World, invoice: Object, customer: Object) -> None:
    for discount_id in invoice["discounts"]:
        _apply_discount(world, discount_id, invoice["lines"]["data"])
    taxes.tax_lines(world, invoice, customer, subscription_of(world, invoice), invoice["lines"]["data"])
    _set_totals(invoice, invoice["discounts"], invoice["lines"]["data"])
    _set_amount_due(invoice, customer)


def update_usage(world: World, invoice: Object) -> None:
    """Count usage that was reported while the invoice was a draft."""
    subscription = subscription_of(world, invoice)
    if subscription is None or "used" not in world.hidden.get(invoice["id"], {}):
        return
    counted = {each[0] for each in world.hidden[invoice["id"]]["used"]}
    kept = [each for each in invoice["lines"]["data"] if _billed_item(each) not in counted]
    for line in kept:
        line["discount_amounts"] = []
    total = invoice["total"]
    invoice["lines"]["data"] = kept + _usage_lines(world, invoice, subscription)
    _set_amounts(world, invoice, world.get("customer", invoice["customer"]))
    if invoice["total"] != total:
        world.emit("invoice.updated", invoice, {"total": total})


def _billed_item(line: Object) -> str | None:
    details: Object = line["parent"]["subscription_item_details"] or {}
    return details.get("subscription_item")


def schedule_finalization(world: World, invoice: Object, *, enabled: bool = True) -> None:
    """Finalize the draft in an hour, as Stripe does with renewals; if not enabled, only on request."""
    invoice["automatically_finalizes_at"] = world.now + DRAFT_SECONDS if enabled else None
    if enabled:
        world.clock.schedule(invoice["automatically_finalizes_at"], "finalize", invoice["id"])


def finalize(world: World, invoice: Object) -> None:
    """Turn a draft into an open invoice with a number."""
    customer = world.get("customer", invoice["customer"])
    update_usage(world, invoice)
    if not customer.get("deleted"):
        _set_amount_due(invoice, customer)
        with world.changing(customer, "customer.updated"):
            _use_balance(world, invoice, customer)
        invoice["number"] = f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04d}"
        customer["next_invoice_sequence"] += 1
    invoice |= {"status": "open", "automatically_finalizes_at": None, "effective_at": world.now}
    invoice["hosted_invoice_url"] = f"{world.base_url}/i/{invoice['id']}"
    invoice["invoice_pdf"] = f"{world.base_url}/i/{invoice['id']}/pdf"
    invoice["status_transitions"]["finalized_at"] = world.now
    due_dates.start(world, invoice)
    world.emit("invoice.finalized", invoice)
    if invoice["amount_due"]:
        invoice_payments.intent_for(world, invoice)


def close(world: World, invoice: Object, status: str) -> None:
    """Void an invoice, or mark it as uncollectible."""
    invoice |= {"status": status, "auto_advance": False, "next_payment_attempt": None}
    name = {"void": "voided_at", "uncollectible": "marked_uncollectible_at"}[status]
    invoice["status_transitions"][name] = world.now
    world.emit({"void": "invoice.voided", "uncollectible": "invoice.marked_uncollectible"}[status], invoice)
    if status == "void":
        invoice_payments.cancel(world, invoice, "void_invoice")


def subscription_of(world: World, invoice: Object) -> Object | None:
    """Return an invoice's subscription; None for a one-off invoice."""
    details = (invoice["parent"] or {}).get("subscription_details")
    return world.get("subscription", details["subscription"]) if details else None


def _apply_discount(world: World, discount_id: str, billed: list[Object]) -> None:
    discountable = [each for each in billed if each["discountable"]]
    left = [each["amount"] - sum(taken["amount"] for taken in each["discount_amounts"]) for each in discountable]
    for line, amount in zip(
        discountable, discounts.amounts_off(discounts.coupon_of(world, discount_id), left), strict=True
    ):
        line["discount_amounts"].append({"amount": amount, "discount": discount_id})


def _set_totals(invoice: Object, discount_ids: list[str], billed: list[Object]) -> None:
    invoice["subtotal"] = invoice["subtotal_excluding_tax"] = sum(line["amount"] for line in billed)
    invoice["total_discount_amounts"] = [
        {
            "amount": sum(
                each["amount"]
                for line in billed
                for each in line["discount_amounts"]
                if each["discount"] == discount_id
            ),
            "discount": discount_id,
        }
        for discount_id in discount_ids
    ]
    taken = sum(each["amount"] for each in invoice["total_discount_amounts"])
    invoice["total"] = invoice["total_excluding_tax"] = invoice["subtotal"] - taken
    if invoice["total_taxes"]:
        tax, added = sum(each["amount"] for each in invoice["total_taxes"]), taxes.added(invoice["total_taxes"])
        invoice["total"] += added
        invoice["total_excluding_tax"] = invoice["total"] - tax
        invoice["subtotal_excluding_tax"] -= tax - added


def _set_amount_due(invoice: Object, customer: Object) -> None:
    """Apply the customer's balance, credit or debt, to the invoice's total."""
    invoice["starting_balance"] = customer["balance"]
    invoice["amount_due"] = invoice["amount_remaining"] = max(0, invoice["total"] + customer["balance"])


def _use_balance(world: World, invoice: Object, customer: Object) -> None:
    """Take what the invoice uses of the customer's balance, or add what it credits."""
    invoice["ending_balance"] = _remaining_balance(invoice)
    amount = invoice["ending_balance"] - customer["balance"]
    if amount:
        shown = {"invoice": invoice["id"], "currency": invoice["currency"]}
        customer_balance.book(world, customer, amount, "applied_to_invoice", **shown)


def _remaining_balance(invoice: Object) -> int:
    return min(0, int(invoice["total"] + invoice["starting_balance"]))


NULLS = (
    "account_country account_name account_tax_ids application automatically_finalizes_at custom_fields "
    "customer_account default_payment_method default_source "
    "description due_date effective_at ending_balance from_invoice hosted_invoice_url invoice_pdf "
    "last_finalization_error latest_revision next_payment_attempt number on_behalf_of receipt_number rendering "
    "shipping_cost shipping_details statement_descriptor webhooks_delivered_at"
).split()


NO_TAX = {"disabled_reason": None, "enabled": False, "liability": None, "provider": None, "status": None}


def _blank(world: World, customer: Object, subscription: Object | None, reason: str) -> Object:
    nulls: dict[str, Any] = dict.fromkeys(NULLS)
    return nulls | {
        "id": world.new_id("invoice"),
        "object": "invoice",
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_shipping": 0,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": subscription is not None,
        "automatic_tax": dict(NO_TAX),
        "billing_reason": reason,
        "collection_method": "charge_automatically",
        "created": world.now,
        "currency": subscription["currency"] if subscription else customer["currency"] or "usd",
        "customer": customer["id"],
        **{f"customer_{name}": customer[name] for name in ("address", "email", "name", "phone", "shipping")},
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
        "default_tax_rates": [],
        "footer": customer["invoice_settings"]["footer"],
        "issuer": {"type": "self"},
        "livemode": False,
        "metadata": {},
        "parent": _parent(subscription) if subscription else None,
        "payment_settings": {"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
        "period_end": world.now,
        "period_start": world.now,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "status": "draft",
        "status_transitions": dict.fromkeys(("finalized_at", "marked_uncollectible_at", "paid_at", "voided_at")),
        "test_clock": world.clock.id,
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
    }


def _parent(subscription: Object) -> Object:
    details = {"metadata": dict(subscription["metadata"]), "subscription": subscription["id"]}
    return {"quote_details": None, "subscription_details": details, "type": "subscription_details"}
