"""Payments of invoices: charges, authentication, retries, and delayed bank payments."""

from ..clock import DAY
from ..errors import ApiError
from ..money import intents, invoice_payments
from ..money.instruments import instrument_of
from ..test_cards import Instrument, Outcome
from ..world import Object, World
from . import invoices, periods
from .periods import UPDATED

NO_PAYMENT_METHOD = "This customer has no attached payment source or default payment method."
UNPAID_STATUSES = ("incomplete", "past_due", "unpaid")


def instrument_for(world: World, invoice: Object, method_id: str | None) -> Instrument:
    """Return what an invoice is charged to: the given payment method, else the subscription's or customer's."""
    customer = world.get("customer", invoice["customer"])
    subscription = invoices.subscription_of(world, invoice)
    return instrument_of(world, method_id or periods.payment_method_of(subscription, customer) or "")


def attempt(world: World, invoice: Object, method_id: str | None = None, *, by_schedule: bool = True) -> Outcome:
    """Charge an open invoice, and update its subscription's status.

    Shape   by_schedule: an automatic attempt, which counts and schedules the next; the customer's own attempts do not
    Errors  ApiError when there is no payment method and the attempt is not automatic
    """
    customer = world.get("customer", invoice["customer"])
    subscription = invoices.subscription_of(world, invoice)
    method_id = method_id or periods.payment_method_of(subscription, customer)
    if not invoice["amount_due"]:
        mark_paid(world, invoice)
        return "paid"
    if method_id is None and not by_schedule:
        raise ApiError(400, NO_PAYMENT_METHOD, code="resource_missing")
    intent = invoice_payments.intent_for(world, invoice)
    outcome = intents.confirm(world, intent, method_id) if method_id else "declined"
    if outcome == "paid":
        _count_attempt(invoice, by_schedule)
        mark_paid(world, invoice)
    elif outcome == "pending":
        _start_delayed_payment(world, invoice, str(method_id), by_schedule)
    else:
        _fail(world, invoice, by_schedule=by_schedule, needs_action=outcome == "action")
    return outcome


def mark_paid(world: World, invoice: Object) -> None:
    """Mark the invoice paid, and activate its subscription."""
    invoice |= {"status": "paid", "attempted": True, "amount_paid": invoice["amount_due"], "amount_remaining": 0}
    invoice["next_payment_attempt"] = None
    invoice["status_transitions"]["paid_at"] = world.now
    world.emit("invoice.paid", invoice)
    world.emit("invoice.payment_succeeded", invoice)
    invoice_payments.mark_paid(world, invoice)
    subscription = invoices.subscription_of(world, invoice)
    if subscription and "pending_update" in world.hidden.get(invoice["id"], {}):
        world.actions["apply_pending_update"](world, subscription["id"], world.now)
        return
    if subscription is None or subscription["latest_invoice"] != invoice["id"]:
        return
    if subscription["status"] in UNPAID_STATUSES:
        periods.set_status(world, subscription, "active")
    elif world.hidden.get(invoice["id"], {}).get("resumes"):
        subscription |= {"status": "active", "status_details": None}
        world.emit("customer.subscription.resumed", subscription)


def retry(world: World, invoice_id: str, moment: int) -> None:
    """Retry a failed payment, if the retry is still scheduled for this moment."""
    invoice = world.find("invoice", invoice_id)
    if invoice and invoice["status"] == "open" and invoice["next_payment_attempt"] == moment:
        attempt(world, invoice)


def receive_bank_answer(world: World, invoice_id: str, _moment: int) -> None:
    """Settle a delayed payment: the bank has answered."""
    invoice = world.find("invoice", invoice_id)
    if invoice is None or invoice["status"] != "open":
        return
    waiting = world.hidden[invoice_id].pop("waiting")
    intent = invoice_payments.intent_of(world, invoice)
    is_paid = intents.settle(world, intent) if intent else not instrument_of(world, waiting["method"]).declines
    if is_paid:
        mark_paid(world, invoice)
    else:
        _fail(world, invoice, by_schedule=waiting["by_schedule"])
    for session in world.where("checkout.session", invoice=invoice_id):
        finish_delayed_payment(world, session, paid=is_paid)


def finish_delayed_payment(world: World, session: Object, *, paid: bool) -> None:
    """Set the payment status of a Checkout Session after a delayed payment, and emit the event."""
    if paid:
        session["payment_status"] = "paid"
    kind = "async_payment_succeeded" if paid else "async_payment_failed"
    world.emit(f"checkout.session.{kind}", session)


def is_pending(world: World, invoice: Object) -> bool:
    """Return whether a delayed payment of this invoice is pending."""
    return "waiting" in world.hidden.get(invoice["id"], {})


def give_up(world: World, subscription: Object, status: str) -> None:
    """Stop collecting. The account's rule says how: "canceled", "unpaid", or "past_due" forever."""
    if status == "canceled":
        periods.cancel(world, subscription, "payment_failed")
    elif status == "unpaid":
        periods.set_status(world, subscription, "unpaid")


def _start_delayed_payment(world: World, invoice: Object, method_id: str, by_schedule: bool) -> None:
    """Wait for the bank. As at Stripe, the subscription is active while the payment is pending."""
    _count_attempt(invoice, by_schedule)
    invoice |= {"attempted": True, "next_payment_attempt": None}
    world.hidden.setdefault(invoice["id"], {})["waiting"] = {"method": method_id, "by_schedule": by_schedule}
    world.clock.schedule(world.now + world.rules.delayed_payment_days * DAY, "answer_of_bank", invoice["id"])
    subscription = invoices.subscription_of(world, invoice)
    if subscription and subscription["status"] in UNPAID_STATUSES:
        periods.set_status(world, subscription, "active")


def _fail(world: World, invoice: Object, *, by_schedule: bool, needs_action: bool = False) -> None:
    _count_attempt(invoice, by_schedule)
    invoice["attempted"] = True
    subscription = invoices.subscription_of(world, invoice)
    is_held = "pending_update" in world.hidden.get(invoice["id"], {})
    is_retried = invoice["auto_advance"] and not is_held and subscription and subscription["status"] != "incomplete"
    days = world.rules.retry_days
    failures = invoice["attempt_count"]
    if by_schedule:
        has_next = is_retried and failures <= len(days)
        invoice["next_payment_attempt"] = world.now + days[failures - 1] * DAY if has_next else None
        if has_next:
            world.clock.schedule(invoice["next_payment_attempt"], "retry", invoice["id"])
    world.emit("invoice.payment_failed", invoice)
    if needs_action:
        world.emit("invoice.payment_action_required", invoice)
    if subscription is None or not is_retried:
        return
    if subscription["status"] in ("active", "trialing"):
        with world.changing(subscription, UPDATED):
            subscription["status"] = "past_due"
    if subscription["status"] == "past_due" and by_schedule and invoice["next_payment_attempt"] is None:
        give_up(world, subscription, world.rules.after_retries)


def _count_attempt(invoice: Object, by_schedule: bool) -> None:
    invoice["attempt_count"] += 1 if by_schedule else 0
