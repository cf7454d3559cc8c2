"""Changes of a subscription that wait for the payment of their invoice, or fail without it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ..clock import HOUR
from ..errors import ApiError
from ..money.instruments import expected_outcome, instrument_of
from ..world import Object, World, copy_json
from . import invoices, payments, periods

LONGEST_SECONDS = 23 * HOUR


class Failure(NamedTuple):
    """What a rehearsed change would leave: its draft, the invoice items on it, and the subscription."""

    error: ApiError
    invoice: Object
    invoiceitems: list[Object]
    subscription: Object


def rehearse(world: World, subscription: Object, change: Callable[[Object], Object | None]) -> Failure | None:
    """Return what the change would leave if its payment failed; None if it is paid, or nothing is due."""
    with world.rehearsal(subscription["customer"], repeats_ids=False):
        changed = world.get("subscription", subscription["id"])
        invoice = change(changed)
        error = _expected_error(world, invoice, changed) if invoice else None
        if invoice is None or error is None:
            return None
        billed = world.where("invoiceitem", customer=subscription["customer"], invoice=invoice["id"])
        return Failure(error, copy_json(invoice), copy_json(billed[::-1]), copy_json(changed))


def hold(world: World, subscription: Object, params: dict[str, Any], failure: Failure) -> None:
    """Make the invoice of the change, and keep the change until it is paid or expires."""
    ends = [periods.period_of(subscription)[1], world.now + LONGEST_SECONDS]
    expires_at = min([*ends, *([subscription["trial_end"]] if subscription["status"] == "trialing" else [])])
    invoice = failure.invoice
    for item in failure.invoiceitems:
        world.add("invoiceitem", item)
    world.add("invoice", invoice)
    world.hidden.setdefault(invoice["id"], {})["pending_update"] = params
    with world.changing(subscription, periods.UPDATED):
        subscription["latest_invoice"] = invoice["id"]
        subscription["pending_update"] = _pending(subscription, failure.subscription, expires_at)
    world.emit("invoice.created", invoice)
    invoices.finalize(world, invoice)
    payments.attempt(world, invoice, by_schedule=False)
    world.clock.schedule(expires_at, "expire_pending_update", subscription["id"])


def take(world: World, subscription: Object) -> dict[str, Any] | None:
    """Return the change that waits, and forget it."""
    if not subscription["pending_update"]:
        return None
    params: dict[str, Any] = world.hidden[_invoice_id(world, subscription)].pop("pending_update")
    return params


def expire(world: World, subscription_id: str, moment: int) -> None:
    """Discard a change that was not paid in time, and void its invoice."""
    subscription = world.find("subscription", subscription_id)
    if not subscription or (subscription["pending_update"] or {}).get("expires_at") != moment:
        return
    invoice = world.get("invoice", _invoice_id(world, subscription))
    with world.changing(subscription, periods.UPDATED):
        subscription["pending_update"] = None
    invoices.close(world, invoice, "void")
    world.emit("customer.subscription.pending_update_expired", subscription)


def wait_for_payment(world: World, subscription: Object, invoice: Object) -> None:
    """Leave the invoice open, to be paid with the customer's confirmation."""
    invoices.finalize(world, invoice)
    if not invoice["amount_due"]:
        payments.attempt(world, invoice)
    elif subscription["status"] == "active":
        periods.set_status(world, subscription, "past_due")


def _expected_error(world: World, invoice: Object, subscription: Object) -> ApiError | None:
    if not invoice["amount_due"]:
        return None
    customer = world.get("customer", subscription["customer"])
    method_id = periods.payment_method_of(subscription, customer)
    if method_id is None:
        return ApiError(400, payments.NO_PAYMENT_METHOD, code="resource_missing")
    outcome = expected_outcome(world, method_id)
    if outcome == "action":
        return ApiError(
            402,
            "This payment requires additional user action before it can be completed successfully.",
            code="subscription_payment_intent_requires_action",
            kind="card_error",
        )
    return instrument_of(world, method_id).error() if outcome == "declined" else None


def _invoice_id(world: World, subscription: Object) -> str:
    """Return the invoice that the change waits for, even if a renewal has made a later one."""
    return next(
        str(each["id"])
        for each in world.where("invoice", customer=subscription["customer"])
        if "pending_update" in world.hidden.get(each["id"], {})
        and invoices.subscription_of(world, each) is subscription
    )


def _pending(before: Object, after: Object, expires_at: int) -> Object:
    """Return the changes as the API shows them: those that there are."""
    names = ("billing_cycle_anchor", "trial_end")
    changed = {name: after[name] if after[name] != before[name] else None for name in names}
    return changed | {
        "cancel_at_period_end": None,
        "discount": None,
        "discounts": None,
        "expires_at": expires_at,
        "metadata": None,
        "subscription_items": after["items"]["data"],
        "trial_from_plan": None,
    }
