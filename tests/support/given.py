"""What a user must get, from Stripe's own objects and the grants: written without the program's rule, to compare."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from corkage.plans import Plan

DAY = 86_400


class Given(NamedTuple):
    """What a user gets at a moment."""

    allowed: bool
    plans: frozenset[str]
    features: frozenset[str]
    limits: dict[str, int]


class GivenPlan(NamedTuple):
    """A plan that was given, until ends_at by our clock."""

    plan: str
    ends_at: int | None


def invoices_of(world: Any, subscription: Any) -> list[Any]:
    """Return the invoices of a subscription, oldest first, also those of one second."""
    found = [
        each
        for each in reversed(world.all("invoice"))
        if ((each["parent"] or {}).get("subscription_details") or {}).get("subscription") == subscription["id"]
    ]
    return sorted(found, key=lambda each: each["created"])


def unpaid_after_the_last_paid(invoices: Sequence[Any]) -> list[Any]:
    paid = [number for number, each in enumerate(invoices) if each["status"] == "paid" and each["total"] > 0]
    return [each for each in invoices[paid[-1] + 1 if paid else 0 :] if each["status"] == "open" and each["total"] > 0]


def is_pending(invoices: Sequence[Any]) -> bool:
    """Whether something above zero is to be paid, and nothing above zero ever was."""
    priced = [each for each in invoices if each["total"] > 0]
    is_to_be_paid = any(
        each["status"] == "open" or (each["status"] == "draft" and each["billing_reason"] == "subscription_create")
        for each in priced
    )
    return is_to_be_paid and not any(each["status"] == "paid" for each in priced)


def is_refunded(world: Any, invoices: Sequence[Any]) -> bool:
    """Whether all that was last paid went back."""
    paid = [each for each in invoices if each["status"] == "paid" and each["total"] > 0]
    if not paid or not paid[-1]["amount_paid"]:
        return False
    payments = [each["payment"] for each in world.all("invoice_payment") if each["invoice"] == paid[-1]["id"]]
    intents = {each["payment_intent"] for each in payments}
    refunds = [each for each in world.all("refund") if each["status"] not in ("failed", "canceled")]
    back = sum(each["amount"] for each in refunds if each["payment_intent"] in intents)
    return bool(back >= paid[-1]["amount_paid"])


def lets_in(world: Any, subscription: Any, plan: Plan | None, at: int) -> bool:
    """Whether an item of this subscription lets in, or would if its plan were no add-on. at: by Stripe's clock."""
    status, invoices = subscription["status"], invoices_of(world, subscription)
    is_denied = plan is not None and plan.pending == "deny" and is_pending(invoices)
    if is_refunded(world, invoices):
        return False
    if status == "past_due":
        unpaid = unpaid_after_the_last_paid(invoices)
        since = unpaid[0]["created"] if unpaid else invoices[-1]["created"]
        return not is_denied and at < since + (plan.grace_days if plan else 0) * DAY
    if status not in ("active", "trialing") or (status == "active" and is_denied):
        return False
    paused = subscription["pause_collection"]
    if not paused or paused["behavior"] != "void" or at >= (paused["resumes_at"] or at + 1):
        return True
    lines = [line for each in invoices if each["status"] == "paid" for line in each["lines"]["data"]]
    return at < max((line["period"]["end"] for line in lines), default=0)


def given(
    world: Any,
    subscriptions: Iterable[Any],
    grants: Iterable[GivenPlan],
    plans: dict[str, Plan],
    moments: tuple[int, int],
) -> Given:
    """Return what all of this gives together.

    Shape   plans: by the id of a price, and by key; moments: the same one by our clock and by Stripe's
    """
    ours, at_stripe = moments
    held = [
        (plan, item.get("quantity", 1))
        for each in subscriptions
        for item in each["items"]["data"]
        if lets_in(world, each, plan := plans.get(item["price"]["id"]), at_stripe)
    ]
    held += [(plans[each.plan], 1) for each in grants if each.ends_at is None or ours < each.ends_at]
    bases = [plan for plan, _ in held if plan is None or not plan.adds_to]
    named = {plan.key: plan for plan in bases if plan}
    free = {key: plan for key, plan in plans.items() if plan.free}
    addons = [(plan, count) for plan, count in held if plan and set(plan.adds_to) & set(named)]
    in_force = named | free | {plan.key: plan for plan, _ in addons}
    limits: dict[str, int] = {}
    for plan in (named | free).values():
        limits |= {name: max(limits.get(name, 0), int(limit)) for name, limit in plan.limits.items()}
    for plan, count in addons:
        limits |= {name: limits.get(name, 0) + int(limit) * count for name, limit in plan.limits.items()}
    features = frozenset(feature for plan in in_force.values() for feature in plan.features)
    return Given(bool(bases), frozenset(in_force), features, limits)
