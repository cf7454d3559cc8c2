"""corkage user change, cancel, resume, extend-trial: what a user pays for, changed at Stripe after a question."""

import argparse
import sys
import time
from typing import Any

from ..users.wishes import cancel_wish, change_wish, trial_wish
from . import DAY, FAILED, MISCONFIGURED, OK, moment, opened, written
from .user import show_user


def change(options: argparse.Namespace) -> int:
    """Print what another plan or quantity costs, ask, and change it."""
    if options.plan is None and options.quantity is None:
        print("Name a plan, --quantity or both.", file=sys.stderr)
        return MISCONFIGURED
    when = "period_end" if options.at_period_end else "now"
    wish = change_wish(options.plan, options.quantity, when, options.charge, None)
    with opened() as service:
        preview = service.preview(options.user, wish, options.subscription)
        now, later = (written(each, preview.currency) for each in (preview.charged_now, preview.next_amount))
        print(f"charged now: {now}\nnext payment: {later}{f', {moment(preview.next_at)}' if preview.next_at else ''}")
        wish |= {"prorated_at": preview.prorated_at if when == "now" and options.charge != "nothing" else None}
        return _make(options, "change", wish, service)


def cancel(options: argparse.Namespace) -> int:
    """Ask, and cancel a subscription, for the end of its period or now."""
    wish = cancel_wish("now" if options.now else "period_end", options.feedback, options.comment)
    with opened() as service:
        return _make(options, "cancel", wish, service)


def resume(options: argparse.Namespace) -> int:
    """Ask, and have a subscription go on that is canceled for later or paused."""
    with opened() as service:
        return _make(options, "resume", {}, service)


def extend_trial(options: argparse.Namespace) -> int:
    """Ask, and have a trial last longer: until a time, or for some days from now on."""
    until = int(time.time()) + options.days * DAY if options.days else options.until
    with opened() as service:
        return _make(options, "extend_trial", trial_wish(until), service)


def _make(options: argparse.Namespace, kind: str, wish: dict[str, Any], service: Any) -> int:
    if not (options.yes or _is_wanted(f"{kind.replace('_', ' ')} of {options.user} at Stripe?")):
        print("Nothing was changed.", file=sys.stderr)
        return FAILED
    service.change(options.user, kind, wish, options.subscription)
    show_user(service, options.user)
    return OK


def _is_wanted(question: str) -> bool:
    """Ask on a terminal. Without one, nothing is done unless --yes is given."""
    if not sys.stdin.isatty():
        print("Ask for it with --yes, where nobody can answer a question.", file=sys.stderr)
        return False
    return input(f"{question[0].upper()}{question[1:]} [y/N] ").strip().lower() in ("y", "yes")
