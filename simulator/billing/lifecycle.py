"""A subscription from its first day to its last: started, renewed, paused, resumed, expired, canceled."""

from ..clock import DAY, HOUR
from ..errors import ApiError
from ..world import Object, World
from . import invoices, payments, periods
from .periods import ENDED, UPDATED, next_period_end, period_of, set_period

EXPIRES_AFTER_SECONDS = 23 * HOUR
NOTICE_SECONDS = 3 * DAY  # how long before the end of a trial Stripe tells of it


def check_start(world: World, subscription: Object, behaviour: str) -> None:
    """Refuse a subscription that could not begin, before anything has happened.

    Errors  ApiError when there is nothing to charge, or the charge will fail and behaviour is "error_if_incomplete"
    """
    if not _is_charged_at_once(subscription) or behaviour == "default_incomplete":
        return
    method_id = periods.payment_method_of(subscription, world.get("customer", subscription["customer"]))
    if method_id is None:
        raise ApiError(400, payments.NO_PAYMENT_METHOD, code="resource_missing")
    if behaviour == "error_if_incomplete" and payments.foresee(world, method_id) in ("declined", "action"):
        raise payments.instrument_of(world, method_id).error()


def start(world: World, subscription: Object, behaviour: str, *, by_schedule: bool = False) -> None:
    """Bill a new subscription for the first time, and let the payment decide its status.

    Shape   behaviour: Stripe's `payment_behavior`; by_schedule: a subscription schedule makes it: active from the
            first, its invoice charged in an hour
    """
    customer = world.get("customer", subscription["customer"])
    is_trial = subscription["trial_end"] is not None
    subscription["status"] = "trialing" if is_trial else "active"
    method_id = periods.payment_method_of(subscription, customer)
    is_charged = not by_schedule and _is_charged_at_once(subscription)
    outcome = payments.foresee(world, method_id) if method_id else "declined"
    if is_charged and (behaviour == "default_incomplete" or outcome in ("declined", "action")):
        subscription["status"] = "incomplete"
    customer["currency"] = subscription["currency"]
    world.add("subscription", subscription)
    end = subscription["trial_end"] or next_period_end(subscription, world.now)
    set_period(world, subscription, world.now, end)
    invoice = invoices.draw_up(world, customer, subscription, "subscription_create")
    world.emit("customer.subscription.created", subscription)
    if is_trial:
        world.clock.schedule(max(world.now, end - NOTICE_SECONDS), "tell_of_trial_end", subscription["id"])
    if subscription["status"] == "incomplete":
        world.clock.schedule(world.now + EXPIRES_AFTER_SECONDS, "expire", subscription["id"])
    if by_schedule:
        invoices.finalize_later(world, invoice)
        return
    invoices.finalize(world, invoice)
    if not is_charged or behaviour != "default_incomplete":
        payments.attempt(world, invoice)


def renew(world: World, subscription_id: str, moment: int) -> None:
    """Begin the next period, when this one ends at this moment: end the subscription if so scheduled, else bill it."""
    subscription = world.find("subscription", subscription_id)
    if subscription is None or subscription["status"] not in ("active", "trialing", "past_due", "unpaid"):
        return
    if period_of(subscription)[1] != moment:
        return
    if subscription["cancel_at_period_end"] or (subscription["cancel_at"] or moment + 1) <= moment:
        periods.cancel(world, subscription)
    elif subscription["status"] == "trialing":
        end_trial(world, subscription)
    else:
        bill_period(world, subscription, moment)


def end_trial(world: World, subscription: Object, *, at_once: bool = False) -> None:
    """Go from the trial to the first paid period; without anything to charge, as the subscription's settings say.

    Shape   at_once: the trial was ended by hand, and the invoice is charged without an hour as a draft
    """
    customer = world.get("customer", subscription["customer"])
    if periods.payment_method_of(subscription, customer) is None:
        behaviour = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
        if behaviour == "cancel":
            periods.cancel(world, subscription)
            return
        if behaviour == "pause":
            pause(world, subscription, "trial_end_without_payment_method")
            return
    subscription["billing_cycle_anchor"] = world.now
    bill_period(world, subscription, world.now, at_once=at_once)


def bill_period(
    world: World,
    subscription: Object,
    begin: int,
    reason: str = "subscription_cycle",
    *,
    at_once: bool = False,
) -> Object:
    """Begin a period and make its invoice: charged in an hour, or at once."""
    customer = world.get("customer", subscription["customer"])
    with world.changing(subscription, UPDATED):
        if subscription["status"] == "trialing":
            subscription["status"] = "active"
        set_period(world, subscription, begin, next_period_end(subscription, begin))
        invoice = invoices.draw_up(world, customer, subscription, reason)
    if at_once:
        charge(world, invoice)
    else:
        invoices.finalize_later(world, invoice)
    return invoice


def finalize(world: World, invoice_id: str, moment: int) -> None:
    """End an invoice's hour as a draft, unless somebody did before."""
    invoice = world.find("invoice", invoice_id)
    if invoice and invoice["status"] == "draft" and invoice["automatically_finalizes_at"] == moment:
        charge(world, invoice)


def charge(world: World, invoice: Object) -> None:
    """Finalize an invoice and charge it, unless collection is paused or given up, or its subscription ended."""
    subscription = invoices.subscription_of(world, invoice)
    collection = (subscription or {}).get("pause_collection")
    is_left = collection and collection["behavior"] == "keep_as_draft"
    if is_left or (subscription and subscription["status"] in ("unpaid", *ENDED)):
        invoice |= {"auto_advance": False, "automatically_finalizes_at": None}
        return
    invoices.finalize(world, invoice)
    if collection:
        invoices.close(world, invoice, {"void": "void", "mark_uncollectible": "uncollectible"}[collection["behavior"]])
    else:
        payments.attempt(world, invoice)


def cancel_as_scheduled(world: World, subscription_id: str, moment: int) -> None:
    """End the subscription, when it is still to end at this moment."""
    subscription = world.find("subscription", subscription_id)
    if subscription and subscription["status"] not in ENDED and subscription["cancel_at"] == moment:
        periods.cancel(world, subscription)


def tell_of_trial_end(world: World, subscription_id: str, _moment: int) -> None:
    """Tell that a trial ends in three days, or when it is shorter, that it began."""
    subscription = world.find("subscription", subscription_id)
    if subscription and subscription["status"] == "trialing":
        if subscription["trial_end"] - world.now > NOTICE_SECONDS:
            world.clock.schedule(subscription["trial_end"] - NOTICE_SECONDS, "tell_of_trial_end", subscription_id)
        else:
            world.emit("customer.subscription.trial_will_end", subscription)


def expire(world: World, subscription_id: str, _moment: int) -> None:
    """End a subscription whose first payment never succeeded, and void its invoice."""
    subscription = world.find("subscription", subscription_id)
    if subscription is None or subscription["status"] != "incomplete":
        return
    periods.set_status(world, subscription, "incomplete_expired", ended_at=world.now)
    invoices.close(world, world.get("invoice", subscription["latest_invoice"]), "void")


def pause(world: World, subscription: Object, cause: str) -> None:
    """Pause the subscription itself: no periods, no invoices, until it is resumed."""
    details = {"subscription": {"type": cause}, "transitioned_at": world.now, "type": "subscription"}
    subscription |= {"status": "paused", "status_details": {"paused": details}}
    world.emit("customer.subscription.paused", subscription)


def resume(world: World, subscription: Object, *, anchor: str, waits_for_payment: bool) -> None:
    """Resume a paused subscription with a new period and its invoice.

    Shape   anchor: "now", or "unchanged" to go on with the period that it was paused in, without an invoice
    """
    start_, end = period_of(subscription)
    if anchor == "unchanged" and start_ <= world.now < end and subscription["trial_end"] is None:
        _set_resumed(world, subscription)
        world.clock.schedule(end, "renew", subscription["id"])
        return
    subscription["billing_cycle_anchor"] = world.now
    customer = world.get("customer", subscription["customer"])
    set_period(world, subscription, world.now, next_period_end(subscription, world.now))
    if not waits_for_payment:
        subscription["status"] = "active"
    invoice = invoices.draw_up(world, customer, subscription, "subscription_update")
    if waits_for_payment:
        world.behind.setdefault(invoice["id"], {})["resumes"] = True
    else:
        _set_resumed(world, subscription)
    charge(world, invoice)


def end_pause_of_collection(world: World, subscription_id: str, moment: int) -> None:
    """Collect again, when that is what was planned for this moment."""
    subscription = world.find("subscription", subscription_id)
    if subscription and (subscription["pause_collection"] or {}).get("resumes_at") == moment:
        with world.changing(subscription, UPDATED):
            subscription["pause_collection"] = None


def _set_resumed(world: World, subscription: Object) -> None:
    subscription |= {"status": "active", "status_details": None}
    world.emit("customer.subscription.resumed", subscription)


def _is_charged_at_once(subscription: Object) -> bool:
    items = subscription["items"]["data"]
    return (
        subscription["trial_end"] is None
        and sum((item["price"]["unit_amount"] or 0) * (item["quantity"] or 0) for item in items) > 0
    )
