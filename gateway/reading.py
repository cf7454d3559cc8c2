"""Stripe's objects, as their JSON has them, read into plain data (states.py).

Errors  KeyError, TypeError, AttributeError or ValueError for an object of another shape; the gateway translates them
Source  docs.stripe.com/api, API version 2026-10-28.endive
"""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .client import Object
from .mirrored import text_in
from .states import (
    CustomerState,
    InvoiceState,
    ItemState,
    LatestInvoice,
    MeterErrors,
    MeterState,
    PaidInvoice,
    PreviewState,
    PriceState,
    PurchaseState,
    ReturnState,
    ScheduleState,
    SessionState,
    SubscriptionState,
)


def customer_of(customer: Object, as_of: int) -> CustomerState:
    """Read a customer.

    Units   as_of as in CustomerState
    """
    if customer.get("deleted"):
        return CustomerState(customer["id"], deleted=True, as_of=as_of)
    metadata = customer["metadata"] or {}
    facts = (customer["email"], customer["name"], *_owner(metadata), text_in(metadata))
    return CustomerState(customer["id"], *facts, as_of=as_of)


def price_of(price: Object) -> PriceState:
    """Read a price, with what its product says where that is expanded."""
    recurring = price["recurring"] or {}
    product = price["product"]
    says = price["metadata"] or {}
    if "corkage_plan" not in says and isinstance(product, dict):
        says = product.get("metadata") or {}  # which a deleted product lacks
    options = price.get("currency_options")  # only where it is asked for
    return PriceState(
        id=price["id"],
        product_id=id_of(product),
        lookup_key=price["lookup_key"],
        unit_amount=price["unit_amount"],
        currency=price["currency"],
        interval=recurring.get("interval"),
        interval_count=recurring.get("interval_count"),
        app=says.get("corkage_app"),
        plan=says.get("corkage_plan"),
        is_metered=recurring.get("usage_type") == "metered",
        amounts=None if options is None else {name: each["unit_amount"] for name, each in options.items()},
        is_active=price["active"],
        has_active_product=product.get("active", True) if isinstance(product, dict) else True,
    )


def subscription_of(found: Object, items: Sequence[Object], paid: "Payments") -> SubscriptionState:
    """Read a subscription, with all of its items, and with what its invoices say."""
    metadata = found["metadata"] or {}
    app, user_id = _owner(metadata)
    period_end = min((item["current_period_end"] for item in items), default=None)
    paused = found["pause_collection"] or {}
    latest = expanded(found["latest_invoice"])
    billed, charged = _billed(latest)
    return SubscriptionState(
        id=found["id"],
        customer_id=id_of(found["customer"]),
        status=found["status"],
        currency=found["currency"],
        items=tuple(ItemState(each["id"], price_of(each["price"]), each.get("quantity")) for each in items),
        created=found["created"],
        current_period_end=period_end,
        cancel_at=found["cancel_at"] or (period_end if found["cancel_at_period_end"] else None),
        trial_start=found["trial_start"],
        trial_end=found["trial_end"],
        ended_at=found["ended_at"],
        unpaid_since=paid.unpaid_since,
        has_paid=paid.has_paid,
        payment_pending=paid.is_pending,
        pause_behavior=paused.get("behavior"),
        resumes_at=paused.get("resumes_at"),
        paid_until=paid.paid_until,
        billed=billed,
        charged=charged,
        test_clock=_clock_of(found["test_clock"]),
        latest_invoice=None if latest is None else latest_invoice_of(latest),
        lacks_card=_is_paused_for_a_card(found),
        has_card=_has_card(found),
        buyer_id=metadata.get("corkage_buyer"),
        app=app,
        user_id=user_id,
        sold=_sold(metadata),
        last_paid=paid.last_paid,
        schedule_id=id_of(found["schedule"]) if found.get("schedule") else None,
        ends_with_period=bool(found["cancel_at_period_end"]),
    )


def _sold(metadata: Object) -> tuple[str, str] | None:
    """Return the price and the plan that we sold, by our metadata."""
    price_id, plan = metadata.get("corkage_price"), metadata.get("corkage_plan")
    return (price_id, plan) if price_id and plan else None


def _clock_of(clock: object) -> tuple[str, int] | None:
    """Return the id and the time of an expanded test clock."""
    return (clock["id"], clock["frozen_time"]) if isinstance(clock, dict) else None


def purchases_of(session: Object, items: Sequence[Object]) -> tuple[PurchaseState, ...]:
    """Read what a Checkout Session sold once: one PurchaseState for each price, none unless it is paid, or was free.

    Shape   items: all its line items
    """
    is_sold = session["mode"] == "payment" and session["payment_status"] in ("paid", "no_payment_required")
    if not is_sold or session["status"] != "complete" or not session["customer"]:
        return ()
    metadata = session["metadata"] or {}
    app, user_id = _owner(metadata)
    sold = _sold(metadata)
    found: dict[str, PurchaseState] = {}
    for item in items:
        price = price_of(item["price"])
        before = found.get(price.id)
        found[price.id] = PurchaseState(
            id=session["id"],
            customer_id=id_of(session["customer"]),
            price=price,
            quantity=(item["quantity"] or 1) + ((before.quantity or 1) if before else 0),
            created=_paid_at(session),
            amount=item["amount_total"] + (before.amount if before else 0),
            currency=item["currency"],
            payment_intent=id_of(session["payment_intent"]) if session["payment_intent"] else None,
            app=app,
            user_id=user_id,
            sold=sold,
        )
    return tuple(found.values())


def _paid_at(session: Object) -> int:
    """Return when its expanded invoice was paid, in Unix seconds; without one, when the session was made."""
    paid_at = ((expanded(session["invoice"]) or {}).get("status_transitions") or {}).get("paid_at")
    made_at: int = session["created"]
    return int(paid_at) if paid_at else made_at


def return_of(found: Object) -> ReturnState:
    """Read a refund or a dispute."""
    facts = (found["status"] or "", found["amount"], found["currency"], found["created"])
    return ReturnState(found["id"], found["object"], *facts)


def schedule_of(schedule: Object, now: int) -> ScheduleState:
    """Read a schedule, as of a moment by the clock of its subscription."""
    later = [each for each in schedule["phases"] if each["start_date"] > now]
    return ScheduleState(
        schedule["id"],
        is_plain=schedule["end_behavior"] == "release" and len(later) <= 1,
        next_items=tuple((id_of(each["price"]), each.get("quantity")) for each in later[0]["items"]) if later else None,
    )


def phases_of(schedule: Object, items: Sequence[Object]) -> list[Object]:
    """Return the parameters of two phases: the present one as it is, and one of a day with other items.

    Shape   items: parameters, each with the price that it had: "was". Its discounts and tax rates are kept
    """
    present = _repeated_phase(schedule["phases"][0])
    before = {each["price"]: each for each in present["items"]}
    after = [
        {name: before[each["was"]][name] for name in ("discounts", "tax_rates") if name in before.get(each["was"], {})}
        | {name: value for name, value in each.items() if name != "was"}
        for each in items
    ]
    kept = {name: present[name] for name in _KEPT_BY_NEXT_PHASE if name in present}
    lasts = {"interval": "day", "interval_count": 1}
    return [present, kept | {"items": after, "duration": lasts, "proration_behavior": "none"}]


def _repeated_phase(phase: Object) -> Object:
    """Return the parameters that keep a phase as it is: what a request leaves out of a phase, Stripe takes away."""
    kept: Object = {name: phase[name] for name in ("start_date", "end_date", "trial_end") if phase.get(name)}
    kept |= {name: phase[name] for name in _OF_PHASE if phase.get(name) is not None}
    kept |= _kept_discounts(phase)
    if phase.get("default_tax_rates"):
        kept["default_tax_rates"] = [id_of(each) for each in phase["default_tax_rates"]]
    if (phase.get("automatic_tax") or {}).get("enabled"):
        kept["automatic_tax"] = {"enabled": True}
    return kept | {"items": [_repeated_item(each) for each in phase["items"]]}


_KEPT_BY_NEXT_PHASE = ("automatic_tax", "collection_method", "default_payment_method", "default_tax_rates", "discounts")
_OF_PHASE = ("collection_method", "default_payment_method", "description", "proration_behavior")


def _repeated_item(item: Object) -> Object:
    kept: Object = {"price": id_of(item["price"])} | _kept_discounts(item)
    if item.get("quantity") is not None:
        kept["quantity"] = item["quantity"]
    if item.get("tax_rates"):
        kept["tax_rates"] = [id_of(each) for each in item["tax_rates"]]
    return kept


def _kept_discounts(held: Object) -> Object:
    """Return a phase's or an item's discounts as parameters: running ones by their id."""
    names = ("discount", "promotion_code", "coupon")
    given = [
        next(((name, each[name]) for name in names if each.get(name)), None) for each in held.get("discounts") or []
    ]
    found = [{name: id_of(value)} for name, value in filter(None, given)]
    return {"discounts": found} if found else {}


def preview_of(invoice: Object) -> PreviewState:
    """Read the preview of an invoice."""
    lines = [each for each in invoice["lines"]["data"] if not _is_proration(each)]
    return PreviewState(invoice["amount_due"], sum(each["amount"] for each in lines), invoice["currency"])


def _is_proration(line: Object) -> bool:
    parent = line["parent"] or {}
    details = parent.get("subscription_item_details") or parent.get("invoice_item_details") or {}
    return bool(details.get("proration"))


def session_of(session: Object) -> SessionState:
    """Read a Checkout Session."""
    customer = session["customer"]
    return SessionState(
        session["id"],
        session["status"] or "",
        session["url"],
        session["expires_at"],
        subscription_id=id_of(session["subscription"]) if session["subscription"] else None,
        customer_id=id_of(customer) if customer else None,
        is_customer_gone=isinstance(customer, dict) and bool(customer.get("deleted")),
        is_once=session["mode"] == "payment",
        is_unpaid=session["payment_status"] == "unpaid",
    )


def latest_invoice_of(invoice: Object) -> LatestInvoice:
    """Read the invoice by which Stripe judges a subscription."""
    return LatestInvoice(str(invoice["id"]), invoice["status"] or "", invoice.get("hosted_invoice_url"))


def invoice_of(invoice: Object, latest: Mapping[str | None, str]) -> InvoiceState:
    """Read an invoice.

    Shape   latest: the newest invoice of each subscription
    """
    subscription_id = subscription_id_of(invoice)
    return InvoiceState(
        id=invoice["id"],
        number=invoice["number"],
        created=invoice["created"],
        status=invoice["status"] or "",
        total=invoice["total"],
        currency=invoice["currency"],
        page_url=invoice.get("hosted_invoice_url"),
        pdf_url=invoice.get("invoice_pdf"),
        subscription_id=subscription_id,
        is_latest=latest[subscription_id] == invoice["id"],
    )


def _billed(invoice: Object | None) -> tuple[int, int] | tuple[None, None]:
    """Return what an invoice bills for whole periods of a subscription, and what of it is left after discounts."""
    lines = [each for each in invoice["lines"]["data"] if _is_of_whole_period(each)] if invoice else []
    if not lines:
        return None, None
    billed = sum(each["amount"] for each in lines)
    return billed, billed - sum(off["amount"] for each in lines for off in each["discount_amounts"] or ())


def _is_of_whole_period(line: Object) -> bool:
    details = (line["parent"] or {}).get("subscription_item_details")
    return bool(details and not details["proration"])


class Payments(NamedTuple):
    """What the invoices of a subscription say; see SubscriptionState."""

    has_paid: bool
    is_pending: bool
    unpaid_since: int | None
    paid_until: int | None
    last_paid: PaidInvoice | None


def payments_of(found: Object, invoices: Sequence[Object], *, has_paid: bool) -> Payments:
    """Return what invoices say, the newest first, to the first that was paid.

    A draft counts where it is the first invoice: after a trial or a period every invoice is a draft for an hour.
    """
    unpaid = [each for each in invoices if each["total"] > 0 and (each["status"] == "open" or _is_first_draft(each))]
    has_paid = has_paid or any(map(is_paid, invoices))
    is_past_due = found["status"] == "past_due"
    otherwise = _due(invoices[0]) if invoices else found["created"]
    return Payments(
        has_paid=has_paid,
        is_pending=(found["status"] == "active" or is_past_due) and bool(unpaid) and not has_paid,
        unpaid_since=min(map(_due, unpaid), default=otherwise) if is_past_due else None,
        paid_until=max(_ends_of_paid(invoices), default=None) if is_void(found) else None,
        last_paid=last_paid_of(invoices),
    )


def last_paid_of(invoices: Sequence[Object]) -> PaidInvoice | None:
    """Return the newest of these invoices, the newest first, that money came for."""
    return next((PaidInvoice(each["id"], each["amount_paid"]) for each in invoices if is_paid(each)), None)


def _ends_of_paid(invoices: Sequence[Object]) -> list[int]:
    """Return when the periods of what was paid end."""
    return [line["period"]["end"] for each in invoices if each["status"] == "paid" for line in each["lines"]["data"]]


def says_whether_pending(latest: Object | None) -> bool:
    """Return whether this invoice alone says if a first payment is pending: it was paid, or there is no other yet."""
    return latest is not None and (is_paid(latest) or latest["billing_reason"] == "subscription_create")


def is_void(found: Object) -> bool:
    """Return whether collection is paused, and invoices are void meanwhile."""
    return found["pause_collection"] is not None and found["pause_collection"]["behavior"] == "void"


def is_paid(invoice: Object) -> bool:
    """Return whether money came for this invoice."""
    return bool(invoice["status"] == "paid" and invoice["total"] > 0)


def _is_first_draft(invoice: Object) -> bool:
    return bool(invoice["status"] == "draft" and invoice["billing_reason"] == "subscription_create")


def _due(invoice: Object) -> int:
    due: int = invoice["due_date"] or invoice["created"]
    return due


def subscription_id_of(invoice: Object) -> str | None:
    """Return the id of the subscription that the invoice is for."""
    details = (invoice["parent"] or {}).get("subscription_details")
    return id_of(details["subscription"]) if details else None


def expanded(related: object) -> Object | None:
    """Return a related object; None where there is none, or only its id came."""
    return related if isinstance(related, dict) else None


def id_of(related: Any) -> str:
    """Return the id of a related object, which is an id or, expanded, an object."""
    return str(related["id"] if isinstance(related, dict) else related)


def _owner(metadata: Mapping[str, str] | None) -> tuple[str | None, str | None]:
    known = metadata or {}
    return known.get("corkage_app"), known.get("corkage_user")


def _is_paused_for_a_card(found: Object) -> bool:
    """Return whether it waits since the end of its trial for a payment method, and for nothing else."""
    if found["status"] != "paused":
        return False
    paused = (found.get("status_details") or {}).get("paused") or {}  # which older API versions do not have
    subscription = paused.get("subscription")
    return subscription is not None and subscription["type"] == "trial_end_without_payment_method"


def _has_card(found: Object) -> bool:
    """Return whether there is something to charge, as far as the subscription, or its expanded customer, says."""
    customer = expanded(found["customer"]) or {}
    settings = customer.get("invoice_settings") or {}
    own = found["default_payment_method"] or found["default_source"]
    return bool(own or settings.get("default_payment_method") or customer.get("default_source"))


def meter_of(meter: Object) -> MeterState:
    """Read a meter."""
    return MeterState(
        id=meter["id"],
        event_name=meter["event_name"],
        formula=meter["default_aggregation"]["formula"],
        customer_key=meter["customer_mapping"]["event_payload_key"],
        value_key=meter["value_settings"]["event_payload_key"],
    )


def meter_errors_of(event: Object) -> tuple[MeterErrors, ...]:
    """Read the event that says which events of a meter could not be counted: one MeterErrors for each reason."""
    created = int(datetime.datetime.fromisoformat(event["created"]).timestamp())
    meter_id = (event.get("related_object") or {}).get("id")
    return tuple(
        MeterErrors(
            meter_id,
            created,
            each["code"],
            each["error_count"],
            tuple(sample["request"]["identifier"] for sample in each["sample_errors"]),
        )
        for each in event["data"]["reason"]["error_types"]
    )
