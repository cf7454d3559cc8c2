"""corkage user change, cancel, resume, extend-trial: what a user pays for, changed at Stripe after a question."""

import sys
import time
from typing import Any

from ..health.spans import DAY
from ..service import Service
from ..users.wishes import cancel_wish, change_wish, trial_wish
from . import FAILED, MISCONFIGURED, OK, moment, opened, written
from .output import is_wanted
from .user import show_user


def change(
    user: str,
    plan: str | None,
    quantity: int | None,
    at_period_end: bool,
    charge: str,
    subscription: str | None,
    yes: bool,
) -> int:
    """Print what another plan or quantity costs, ask, and change it."""
    if plan is None and quantity is None:
        print("Name a plan, --quantity or both.", file=sys.stderr)
        return MISCONFIGURED
    when = "period_end" if at_period_end else "now"
    wish = change_wish(plan, quantity, when, charge, None)
    with opened() as service:
        preview = service.preview(user, wish, subscription)
        now, later = (written(each, preview.currency) for each in (preview.charged_now, preview.next_amount))
        print(f"charged now: {now}\nnext payment: {later}{f', {moment(preview.next_at)}' if preview.next_at else ''}")
        wish |= {"prorated_at": preview.prorated_at if when == "now" and charge != "nothing" else None}
        return _make(service, user, "change", wish, subscription, yes=yes)


def cancel(user: str, now: bool, feedback: str | None, comment: str | None, subscription: str | None, yes: bool) -> int:
    """Ask, and cancel a subscription, for the end of its period or now."""
    wish = cancel_wish("now" if now else "period_end", feedback, comment)
    with opened() as service:
        return _make(service, user, "cancel", wish, subscription, yes=yes)


def resume(user: str, subscription: str | None, yes: bool) -> int:
    """Ask, and have a subscription go on that is canceled for later or paused."""
    with opened() as service:
        return _make(service, user, "resume", {}, subscription, yes=yes)


def extend_trial(user: str, until: int | None, days: int | None, subscription: str | None, yes: bool) -> int:
    """Ask, and have a trial last longer: until a time, or for some days from now on."""
    end = int(time.time()) + days * DAY if days else until or 0
    with opened() as service:
        return _make(service, user, "extend_trial", trial_wish(end), subscription, yes=yes)


def _make(service: Service, user: str, kind: str, wish: dict[str, Any], subscription: str | None, *, yes: bool) -> int:
    if not is_wanted(f"{kind.replace('_', ' ').capitalize()} of {user} at Stripe?", yes=yes):
        print("Nothing was changed.", file=sys.stderr)
        return FAILED
    service.change(user, kind, wish, subscription)
    show_user(service, user)
    return OK
