"""corkage user: look at a user, grant or revoke a plan, link a customer."""

import time
from typing import Any

from ..access import REASONS, Access, Answer, Holding
from ..admin.queries import customers_of, grants_of, purchases_of
from ..health.spans import DAY
from ..logs.clean import one_line
from ..models import Credit, Customer, Grant, Price, Purchase, Subscription
from ..replica import granted
from ..replica.standing import standings_of
from ..selling.usage import Usage
from ..service import Service
from . import FAILED, OK, moment, opened, written
from .finding import found, found_or_new
from .output import print_json

OPERATOR = "operator"
COPIES = {
    granted.MIRRORED: "mirrored at Stripe",
    granted.WAITING: "only here until the worker has mirrored it at Stripe",
    granted.NO_CUSTOMER: "only here: the user has no customer at Stripe",
    granted.FAILED: "only here: it could not be mirrored at Stripe: ",
}


def show(user: str, as_json: bool) -> int:
    """Print what a user holds, each thing with what it gives and why, and then the answer."""
    with opened() as service:
        user_id = found(user)
        if as_json:
            print_json(_as_json(service, user_id))
        else:
            show_user(service, user_id)
    return OK


def _as_json(service: Service, user_id: str) -> dict[str, Any]:
    standings = standings_of(user_id, service.catalogue.timelines.plans, time.time())
    return {
        "user": user_id,
        "customers": [customer.id for customer, _ in customers_of(user_id)],
        "holdings": [
            {
                "kind": each.kind,
                "id": each.id,
                "items": [
                    {"plan": item.plan, "price": item.price_id, "quantity": item.quantity} for item in each.items
                ],
                "gives": each.answer._asdict(),
            }
            for each in standings
        ],
        "access": service.access(user_id)._asdict(),
        "usage": [each._asdict() for each in service.usage(user_id).values()],
    }


def grant(user: str, plan: str, until: int | None, days: int | None, quantity: int, reason: str) -> int:
    """Give a user a plan, and print the result."""
    until = int(time.time()) + days * DAY if days else until
    with opened() as service:
        user = found_or_new(user)
        service.grant(user, plan, until=until, quantity=quantity, reason=reason, given_by=OPERATOR)
        show_user(service, user)
    return OK


def grants(only_here: bool, as_json: bool) -> int:
    """Print every running grant, and whether Stripe has a copy of it."""
    with opened():
        running = granted.in_use(time.time())
        listed = [each for each in running if each.copy != granted.MIRRORED or not only_here]
    if as_json:
        print_json([_grant_as_json(each) for each in listed])
        return OK
    for each in listed:
        grant, times = each.grant, f" x {each.grant.quantity}" if (each.grant.quantity or 1) > 1 else ""
        print(f"{grant.user_id}: {grant.plan}{times}, {_of_grant(grant)}\n  {COPIES[each.copy]}{one_line(each.error)}")
    if not listed:
        print("no grants" + (" that are only here" if only_here else ""))
    return OK


def _grant_as_json(each: granted.InUse) -> dict[str, Any]:
    names = "user_id plan quantity reason given_by created_at ends_at".split()
    return {name: getattr(each.grant, name) for name in names} | {"copy": each.copy, "error": each.error or None}


def revoke(user: str, plan: str) -> int:
    """End a grant, and print the result; return 1 when there was none."""
    with opened() as service:
        user = found(user)
        was_there = service.revoke(user, plan)
        if was_there:
            show_user(service, user)
        else:
            print(f"{user} has no running grant of {plan}")
    return OK if was_there else FAILED


def link(user: str, customer: str) -> int:
    """Link a Stripe customer to a user, and print the result. The user is named by the id alone: an e-mail may be
    somebody else's word.
    """
    with opened() as service:
        service.worker.converger.link(user, customer, time.time())
        show_user(service, user)
    return OK


def show_user(service: Service, user_id: str) -> None:
    """Print what a user holds, and the answer."""
    for customer, _ in customers_of(user_id):
        print(f"{customer.id}: {_of_customer(customer)}")
    subscriptions = {each.id: each for _, rows in customers_of(user_id) for each in rows}
    grants = {str(each.id): each for each in grants_of(user_id)}
    purchases = purchases_of(user_id)
    for standing in standings_of(user_id, service.catalogue.timelines.plans, time.time()):
        print(f"{standing.kind} {standing.id}: {', '.join(map(_item, standing.items))}")
        for bought, _, credit in purchases:
            if (standing.kind, standing.id) == ("purchase", bought.id):
                print(f"  {_of_purchase(bought, credit)}")
        if standing.answer.reason != "no_subscription":  # as of a pack, which gives credit and nothing else
            _print_answer("  by itself", standing.answer)
        if standing.kind == "subscription":
            row = subscriptions[standing.id]
            print(f"  at Stripe: {row.status}, {_dates(row)}{_pause(row)}")
        if standing.kind == "grant":
            print(f"  {_of_grant(grants[standing.id])}")
    _print_answer(user_id, service.access(user_id))
    for usage in service.usage(user_id).values():
        _print_fact(f"used of {usage.name}", _of_usage(usage), usage.limit or usage.used or usage.credit)


def _of_usage(usage: Usage) -> str:
    credit = f", and {usage.credit} left from packs" if usage.credit else ""
    anew = f", begins anew {moment(usage.resets_at)}" if usage.resets_at else ""
    return f"{usage.used} of {usage.limit}{credit}{anew}"


def _print_answer(heading: str, answer: Answer | Access) -> None:
    meaning = REASONS[answer.reason].replace("`", "")
    print(f"{heading}: {'yes' if answer.allowed else 'no'}, {answer.reason} ({meaning})")
    _print_fact("plan", answer.plan, answer.plan)
    _print_fact("plans", ", ".join(answer.plans), answer.plans and answer.plans != (answer.plan,))
    _print_fact("quantity", str(answer.quantity), (answer.quantity or 1) > 1)
    _print_fact("features", ", ".join(answer.features), answer.features)
    _print_fact("limits", ", ".join(f"{name} {limit}" for name, limit in answer.limits.items()), answer.limits)
    _print_fact("until", moment(answer.until), answer.until)
    is_stale = isinstance(answer, Access) and answer.stale
    _print_fact("stale", "the period is over, and Stripe has not said what comes next", is_stale)


def _print_fact(name: str, text: str | None, is_shown: object) -> None:
    if is_shown:
        print(f"  {name}: {text}")


def _of_customer(customer: Customer) -> str:
    if customer.deleted_at:
        return "deleted at Stripe"
    if customer.missing_at:
        return f"Stripe does not know it since {moment(customer.missing_at)}"
    return f"fetched {moment(customer.fetched_at)}"


def _item(holding: Holding) -> str:
    price = Price.get_or_none(Price.id == holding.price_id)
    names = [holding.plan or "no plan", *([price.lookup_key or price.id] if price else [])]
    return " ".join(names) + (f" x {holding.quantity}" if (holding.quantity or 1) > 1 else "")


def _of_purchase(row: Purchase, credit: list[Credit]) -> str:
    """Return a purchase in a line. Its amount is in minor units, as Stripe has it."""
    left = [f"{each.left} of {each.amount} {each.name} left" for each in credit]
    facts = [
        f"bought {moment(row.created)} for {written(row.amount, row.currency)}",
        *left,
        row.returned and f"is {row.returned}",
    ]
    return ", ".join(filter(None, facts))


def _of_grant(grant: Grant) -> str:
    since = f"given by {grant.given_by or 'your product'} on {moment(grant.created_at)}"
    ends = f", ends {moment(grant.ends_at)}" if grant.ends_at else ", without an end"
    return since + ends + (f": {grant.reason}" if grant.reason else "")


def _dates(subscription: Subscription) -> str:
    named = (
        ("trial ends", subscription.trial_end),
        ("period ends", subscription.current_period_end),
        ("unpaid since", subscription.unpaid_since),
        ("is cancelled at", subscription.cancel_at),
        ("ended", subscription.ended_at),
    )
    return ", ".join(f"{name} {moment(at)}" for name, at in named if at) or "no dates"


def _pause(subscription: Subscription) -> str:
    if not subscription.pause_behavior:
        return ""
    until = f" until {moment(subscription.resumes_at)}" if subscription.resumes_at else ""
    return f", collection paused ({subscription.pause_behavior}){until}"
