"""corkage user: look at a user, link or forget one."""

import argparse
import time

from ..access import REASONS, Access
from ..admin.queries import customers_of
from ..identity import Identity
from ..models import Subscription
from . import OK, moment, opened


def show(options: argparse.Namespace) -> int:
    """Print whether this user may in, why, and the subscriptions behind it."""
    with opened() as service:
        _print_user(service.access(options.user))
    return OK


def link(options: argparse.Namespace) -> int:
    """Link a Stripe customer to a user, and print the result."""
    with opened() as service:
        service.worker.converger.link(Identity(options.user).user_id, options.customer, time.time())
        _print_user(service.access(options.user))
    return OK


def forget(options: argparse.Namespace) -> int:
    """Cancel what the user pays for, and forget them, at Stripe and here."""
    with opened() as service:
        service.forget(options.user)
    print(f"{options.user} is forgotten")
    return OK


def _print_user(access: Access) -> None:
    print(f"{access.user_id}: {'yes' if access.allowed else 'no'}, {access.reason} ({REASONS[access.reason]})")
    _print_fact("plan", access.plan or "none", access.plan or access.price_id)
    _print_fact("features", ", ".join(access.features), access.features)
    _print_fact("until", moment(access.until), access.until)
    _print_fact("stale", "the period is over, and Stripe has not said what comes next", access.stale)
    for customer, subscriptions in customers_of(access.user_id):
        note = "deleted at Stripe" if customer.deleted_at else f"fetched {moment(customer.fetched_at)}"
        print(f"  {customer.id}: {note}")
        for each in subscriptions:
            print(f"    {each.id}: {each.status}, {_dates(each)}")


def _print_fact(name: str, text: str, is_shown: object) -> None:
    if is_shown:
        print(f"  {name}: {text}")


def _dates(subscription: Subscription) -> str:
    named = (
        ("trial ends", subscription.trial_end),
        ("period ends", subscription.current_period_end),
        ("unpaid since", subscription.unpaid_since),
        ("is cancelled at", subscription.cancel_at),
        ("ended", subscription.ended_at),
    )
    return ", ".join(f"{name} {moment(at)}" for name, at in named if at) or "no dates"
