"""A subscription's life: started, renewed, paused, resumed, expired, canceled."""

from collections.abc import Sequence

from ..clock import DAY, HOUR
from ..errors import ApiError
from ..money.instruments import expected_outcome, instrument_of
from ..world import Object, World
from . import discounts, first_period, invoiceitems, invoices, payments, periods
from .invoicing import due_dates
from .lines import used_items
from .periods import ENDED, UPDATED, period_of, start_periods
from .pricing.amounts import due_in_advance

EXPIRES_AFTER_SECONDS = 23 * HOUR
NOTICE_SECONDS = 3 * DAY  # Stripe sends trial_will_end three days before


def check_start(world: World, subscription: Object, behaviour: str, coupons: Sequence[Object] = ()) -> None:
    """Raise ApiError if the subscription cannot start. Changes nothing.

    Shape   coupons: what will be redeemed for it
    Errors  ApiError when there is nothing to charge, or the charge will fail and behaviour is "error_if_incomplete"
    """
    if not _is_charged_at_once(world, subscription, coupons) or behaviour == "default_incomplete":
        return
    method_id = periods.payment_method_of(subscription, world.get("customer", subscription["customer"]))
    if method_id is None:
        raise ApiError(400, payments.NO_PAYMENT_METHOD, code="resource_missing")
    if behaviour == "error_if_incomplete" and expected_outcome(world, method_id) in ("declined", "action"):
        raise instrument_of(world, method_id).error()


def start(
    world: World, subscription: Object, behaviour: str, *, by_schedule: bool = False, is_prorated: bool = True
) -> None:
    """Create the first invoice and charge it; the payment decides the subscription's status.

    Shape   behaviour: Stripe's `payment_behavior`; by_schedule: created by a subscription schedule, so it is active at
            once and its invoice is charged in an hour; is_prorated: charge a first period that is shorter, and the time
            since a backdated start
    """
    customer = world.get("customer", subscription["customer"])
    is_trial = subscription["trial_end"] is not None
    subscription["status"] = "trialing" if is_trial else "active"
    method_id = periods.payment_method_of(subscription, customer)
    coupons = [discounts.coupon_of(world, each) for each in discounts.in_force(world, customer, subscription)]
    is_charged = not by_schedule and _is_charged_at_once(world, subscription, coupons)
    outcome = expected_outcome(world, method_id) if method_id else "declined"
    if is_charged and (behaviour == "default_incomplete" or outcome in ("declined", "action")):
        subscription["status"] = "incomplete"
    customer["currency"] = subscription["currency"]
    world.add("subscription", subscription)
    for item in subscription["items"]["data"]:
        world.add("subscription_item", item)
    share = first_period.begin(world, subscription, is_prorated=is_prorated)
    invoice = invoices.create_draft(world, customer, subscription, "subscription_create", share=share)
    world.emit("customer.subscription.created", subscription)
    if is_trial:
        schedule_notice(world, subscription)
    if subscription["status"] == "incomplete":
        world.clock.schedule(world.now + EXPIRES_AFTER_SECONDS, "expire", subscription["id"])
    if by_schedule:
        invoices.schedule_finalization(world, invoice)
        return
    invoices.finalize(world, invoice)
    if not is_charged or behaviour != "default_incomplete":
        payments.attempt(world, invoice)


def renew(world: World, subscription_id: str, moment: int) -> None:
    """Start the next period: cancel if so scheduled, else bill it. Ignores a renewal that was rescheduled."""
    subscription = world.find("subscription", subscription_id)
    if subscription is None or subscription["status"] not in ("active", "trialing", "past_due", "unpaid"):
        return
    if subscription["schedule"]:
        world.actions["begin_phase"](world, subscription["schedule"], moment)
    due = [each for each in subscription["items"]["data"] if each["current_period_end"] == moment]
    if not due:
        return
    if subscription["cancel_at_period_end"] or (subscription["cancel_at"] or moment + 1) <= moment:
        cancel_at_end(world, subscription, due)
    elif subscription["status"] == "trialing":
        end_trial(world, subscription)
    else:
        bill_period(world, subscription, moment, items=due)


def cancel_at_end(world: World, subscription: Object, due: list[Object]) -> None:
    """Cancel at the end of a period, and bill what is still owed: usage, and pending invoice items."""
    bill_rest(world, subscription, due)
    periods.cancel(world, subscription)


def bill_rest(world: World, subscription: Object, ended: list[Object]) -> None:
    """Charge at once what was used of these metered items, and pending invoice items. Without any, do nothing."""
    customer = world.get("customer", subscription["customer"])
    used = used_items(ended) if subscription["status"] != "trialing" else []
    if not used and not invoiceitems.pending(world, customer, subscription):
        return
    invoice = invoices.create_draft(
        world, customer, subscription, "subscription_cycle" if used else "subscription_update", period=False, used=used
    )
    invoices.finalize(world, invoice)
    payments.attempt(world, invoice)


def end_trial(world: World, subscription: Object, *, at_once: bool = False) -> None:
    """Start the first paid period; without a payment method, follow the subscription's trial settings.

    Shape   at_once: charge the invoice without its hour as a draft, because the trial was ended by hand
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
    items: list[Object] | None = None,
    at_once: bool = False,
) -> Object:
    """Start a period and create its invoice, charged at once or in an hour.

    Shape   items: the items that start a period, by default all. Metered items are billed for their last period
    """
    customer = world.get("customer", subscription["customer"])
    items = subscription["items"]["data"] if items is None else items
    used = used_items(items) if subscription["status"] != "trialing" else []
    with world.changing(subscription, UPDATED):
        if subscription["status"] == "trialing":
            subscription["status"] = "active"
        start_periods(world, subscription, begin, items)
        invoice = invoices.create_draft(world, customer, subscription, reason, items=items, used=used)
    if at_once:
        charge(world, invoice)
    else:
        invoices.schedule_finalization(world, invoice)
    return invoice


def finalize(world: World, invoice_id: str, moment: int) -> None:
    """Finalize and charge a draft after its hour, unless that already happened."""
    invoice = world.find("invoice", invoice_id)
    if invoice and invoice["status"] == "draft" and invoice["automatically_finalizes_at"] == moment:
        charge(world, invoice)


def charge(world: World, invoice: Object) -> None:
    """Finalize and charge an invoice, unless collection is paused or stopped, or the subscription ended."""
    subscription = invoices.subscription_of(world, invoice)
    collection = (subscription or {}).get("pause_collection")
    is_left = collection and collection["behavior"] == "keep_as_draft"
    if is_left or (subscription and subscription["status"] in ("unpaid", *ENDED)):
        invoice |= {"auto_advance": False, "automatically_finalizes_at": None}
        return
    invoices.finalize(world, invoice)
    if collection:
        invoices.close(world, invoice, {"void": "void", "mark_uncollectible": "uncollectible"}[collection["behavior"]])
    elif invoice["collection_method"] == due_dates.SENT:
        due_dates.send(world, invoice)
    else:
        payments.attempt(world, invoice)


def cancel_as_scheduled(world: World, subscription_id: str, moment: int) -> None:
    """Cancel the subscription, if its cancellation is still scheduled for this moment."""
    subscription = world.find("subscription", subscription_id)
    if subscription and subscription["status"] not in ENDED and subscription["cancel_at"] == moment:
        periods.cancel(world, subscription)


def announce_trial_end(world: World, subscription_id: str, _moment: int) -> None:
    """Emit trial_will_end three days before the end, or at the start of a shorter trial."""
    subscription = world.find("subscription", subscription_id)
    if subscription and subscription["status"] == "trialing":
        if subscription["trial_end"] - world.now > NOTICE_SECONDS:
            world.clock.schedule(subscription["trial_end"] - NOTICE_SECONDS, "tell_of_trial_end", subscription_id)
        else:
            world.emit("customer.subscription.trial_will_end", subscription)


def schedule_notice(world: World, subscription: Object) -> None:
    """Schedule the notice of a trial's end."""
    notice_at = max(world.now, subscription["trial_end"] - NOTICE_SECONDS)
    world.clock.schedule(notice_at, "tell_of_trial_end", subscription["id"])


def expire(world: World, subscription_id: str, _moment: int) -> None:
    """Expire a subscription without a successful first payment, and void its invoice."""
    subscription = world.find("subscription", subscription_id)
    if subscription is None or subscription["status"] != "incomplete":
        return
    periods.set_status(world, subscription, "incomplete_expired", ended_at=world.now)
    invoices.close(world, world.get("invoice", subscription["latest_invoice"]), "void")


def pause(world: World, subscription: Object, cause: str) -> None:
    """Pause the subscription: no periods and no invoices until it is resumed."""
    details = {"subscription": {"type": cause}, "transitioned_at": world.now, "type": "subscription"}
    subscription |= {"status": "paused", "status_details": {"paused": details}}
    world.emit("customer.subscription.paused", subscription)


def resume(world: World, subscription: Object, *, anchor: str, waits_for_payment: bool) -> None:
    """Resume a paused subscription with a new period and its invoice.

    Shape   anchor: "now", or "unchanged" to continue the period it was paused in, without an invoice
    """
    start_, end = period_of(subscription)
    if anchor == "unchanged" and start_ <= world.now < end and subscription["trial_end"] is None:
        _set_resumed(world, subscription)
        world.clock.schedule(end, "renew", subscription["id"])
        return
    subscription["billing_cycle_anchor"] = world.now
    customer = world.get("customer", subscription["customer"])
    start_periods(world, subscription, world.now)
    if not waits_for_payment:
        subscription["status"] = "active"
    invoice = invoices.create_draft(world, customer, subscription, "subscription_update")
    if waits_for_payment:
        world.hidden.setdefault(invoice["id"], {})["resumes"] = True
    else:
        _set_resumed(world, subscription)
    charge(world, invoice)


def end_pause_of_collection(world: World, subscription_id: str, moment: int) -> None:
    """Resume collection, if that is still scheduled for this moment."""
    subscription = world.find("subscription", subscription_id)
    if subscription and (subscription["pause_collection"] or {}).get("resumes_at") == moment:
        with world.changing(subscription, UPDATED):
            subscription["pause_collection"] = None


def _set_resumed(world: World, subscription: Object) -> None:
    subscription |= {"status": "active", "status_details": None}
    world.emit("customer.subscription.resumed", subscription)


def _is_charged_at_once(world: World, subscription: Object, coupons: Sequence[Object]) -> bool:
    """Return whether the first invoice asks for money: not in a trial, and not at 100 % off."""
    if subscription["trial_end"] is not None:
        return False
    items, currency = subscription["items"]["data"], subscription["currency"]
    amounts = [due_in_advance(world, item["price"], item.get("quantity"), currency) for item in items]
    for coupon in coupons:
        off = discounts.amounts_off(coupon, amounts)
        amounts = [amount - less for amount, less in zip(amounts, off, strict=True)]
    return sum(amounts) > 0
