"""What an operator may do on the page: fetch a user, grant or revoke a plan, change a subscription, link a customer,
replay an event, send a notice again.
"""

import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from ..access import Access
from ..errors import BillingError
from ..logs.facts import logger
from ..models import NoticeRow
from ..notices import outbox
from ..pages import N_
from ..pages.words import Words, money
from ..plans import DAY_SECONDS
from ..service import Service
from ..texts import is_user_id
from ..users.wishes import CHARGES, cancel_wish, change_wish, trial_wish

Translate = Callable[..., str]
Target = dict[str, str]

OPERATOR = "operator"
MOST_DAYS = 36_500
WISH_CHARGE = CHARGES[0]
_DIGITS = re.compile(r"[0-9]{1,5}")

log = logger("corkage.admin")


class Outcome(NamedTuple):
    """What an action did, in a sentence; reason: why it failed, for the log."""

    is_done: bool
    sentence: str
    reason: str = ""


class Action(NamedTuple):
    """An action: the question before it, its meaning, its button, the fields that name its target, and its function.

    Shape   optional: fields that may stay empty; foretell: returns what it will cost, in a sentence
    """

    title: str
    meaning: str
    button: str
    fields: tuple[str, ...]
    run: Callable[[Service, Target, Translate], Outcome]
    optional: tuple[str, ...] = ()
    foretell: Callable[[Service, Target, Words], str] | None = None


def perform(service: Service, name: str, target: Target, translate: Translate) -> Outcome:
    """Run an action and return its outcome. A refusal by Stripe or by us is an outcome, too, and is logged."""
    log.info("the operator asks for %s of %s", name, target)
    try:
        outcome = _run(name, service, target, translate)
    except BillingError as error:
        outcome = Outcome(False, translate(error.sentence), f"{error.code}: {error}")
    log.info("%s of %s: %s", name, target, "done" if outcome.is_done else outcome.reason or "failed")
    return outcome


def _run(name: str, service: Service, target: Target, _: Translate) -> Outcome:
    if "user" in target and not is_user_id(target["user"]):
        return Outcome(False, _("That is not a valid user id."), f"user {target['user']!r}")
    return ACTIONS[name].run(service, target, _)


def _sync(service: Service, target: Target, _: Translate) -> Outcome:
    before = service.access(target["user"])
    return _compared(before, service.sync(target["user"]), _)


def _link(service: Service, target: Target, _: Translate) -> Outcome:
    user_id = target["user"]
    before = service.access(user_id)
    with service.line.place(user_id):
        service.converger.link(user_id, target["customer"], time.time())
    return _compared(before, service.access(user_id), _)


def _replay(service: Service, target: Target, _: Translate) -> Outcome:
    from ..sync.replay import find, is_ignored, replay  # loads Stripe's SDK

    with service.line.place():
        found = find(service.gateway, target["event"])
        if found is None:
            return Outcome(False, _("Neither Stripe, which lists 30 days, nor this database knows the event."))
        if is_ignored(found):
            return Outcome(False, _("The event concerns nothing that is stored here."))
        (row,) = replay(service.worker, [found], time.time())
    if row.applied_at is None:
        return Outcome(False, _("It could not be applied yet. Corkage tries again by itself."), row.error or "")
    return Outcome(True, _("The event is applied: %(outcome)s.", outcome=row.outcome))


def _resend(_service: Service, target: Target, _: Translate) -> Outcome:
    now = time.time()
    if not outbox.present_receivers(now):
        return Outcome(False, _("There is no receiver of notices."))
    if not outbox.resend(NoticeRow.message_id == target["notice"], now):
        return Outcome(False, _("There is no such notice."))
    return Outcome(True, _("It will be sent again in a moment."))


def _grant(service: Service, target: Target, _: Translate) -> Outcome:
    days = target.get("days", "")
    if days and not (_DIGITS.fullmatch(days) and 0 < int(days) <= MOST_DAYS):
        return Outcome(False, _("That is not a number of days."), f"days {days!r}")
    user_id = target["user"]
    before = service.access(user_id)
    until = int(time.time()) + int(days) * DAY_SECONDS if days else None
    try:
        after = service.grant(user_id, target["plan"], until=until, reason=target.get("why", ""), given_by=OPERATOR)
    except ValueError as error:
        return Outcome(False, _("That is not a valid text."), str(error))
    return _compared(before, after, _)


def _revoke(service: Service, target: Target, _: Translate) -> Outcome:
    before = service.access(target["user"])
    if not service.revoke(target["user"], target["plan"]):
        return Outcome(False, _("There is no such grant."))
    return _compared(before, service.access(target["user"]), _)


def _change(service: Service, target: Target, _: Translate) -> Outcome:
    return _changed(service, target, "change", _change_wish(target, "now"), _)


def _change_later(service: Service, target: Target, _: Translate) -> Outcome:
    return _changed(service, target, "change", _change_wish(target, "period_end"), _)


def _cancel(service: Service, target: Target, _: Translate) -> Outcome:
    return _changed(service, target, "cancel", cancel_wish("period_end", None, None), _)


def _cancel_now(service: Service, target: Target, _: Translate) -> Outcome:
    return _changed(service, target, "cancel", cancel_wish("now", None, None), _)


def _resume(service: Service, target: Target, _: Translate) -> Outcome:
    return _changed(service, target, "resume", {}, _)


def _extend_trial(service: Service, target: Target, _: Translate) -> Outcome:
    days = target["days"]
    if not (_DIGITS.fullmatch(days) and 0 < int(days) <= MOST_DAYS):
        return Outcome(False, _("That is not a number of days."), f"days {days!r}")
    until = int(time.time()) + int(days) * DAY_SECONDS
    return _changed(service, target, "extend_trial", trial_wish(until), _)


def _changed(service: Service, target: Target, kind: str, wish: dict[str, Any] | None, _: Translate) -> Outcome:
    if wish is None:
        return Outcome(False, _("That is not a number."), f"{target}")
    before = service.access(target["user"])
    return _compared(before, service.change(target["user"], kind, wish, target["subscription"]), _)


def _change_wish(target: Target, when: str) -> dict[str, Any] | None:
    """Return the wish for what was typed; None for what is no number of seats."""
    quantity = target.get("quantity", "")
    if quantity and not _DIGITS.fullmatch(quantity):
        return None
    try:
        return change_wish(target["plan"], int(quantity) if quantity else None, when, WISH_CHARGE, None)
    except ValueError:
        return None


def _foretell_now(service: Service, target: Target, words: Words) -> str:
    return _foretold(service, target, _change_wish(target, "now"), words)


def _foretell_later(service: Service, target: Target, words: Words) -> str:
    return _foretold(service, target, _change_wish(target, "period_end"), words)


def _foretold(service: Service, target: Target, wish: dict[str, Any] | None, words: Words) -> str:
    """Return what a change will cost, as Stripe says, or why it will be refused."""
    if wish is None:
        return ""
    try:
        found = service.preview(target["user"], wish, target["subscription"])
    except BillingError as error:
        return words.gettext(error.sentence)
    now, later = (money(words, each, found.currency) for each in (found.charged_now, found.next_amount))
    return words.gettext("Charged now: %(now)s. The next payment: %(later)s.", now=now, later=later)


def _compared(before: Access, after: Access, _: Translate) -> Outcome:
    if before == after:
        return Outcome(True, _("Nothing was different. Access: %(access)s.", access=_short(after)))
    was, now = _short(before), _short(after)
    return Outcome(True, _("Access was %(before)s, and now is %(after)s.", before=was, after=now))


def _short(access: Access) -> str:
    return f"{access.reason} ({access.plan})" if access.plan else access.reason


ACTIONS = {
    "sync": Action(
        N_("Fetch this user from Stripe?"),
        N_("Corkage fetches everything that Stripe has of this user, and corrects what differs here."),
        N_("Fetch from Stripe"),
        ("user",),
        _sync,
    ),
    "grant": Action(
        N_("Give this plan to this user?"),
        N_("Nobody pays for it, and Stripe learns nothing of it. Without a number of days it lasts until you end it."),
        N_("Grant a plan"),
        ("user", "plan"),
        _grant,
        ("days", "why"),
    ),
    "revoke": Action(
        N_("End this grant now?"),
        N_("What the user pays for goes on."),
        N_("End the grant"),
        ("user", "plan"),
        _revoke,
    ),
    "change": Action(
        N_("Change this subscription now?"),
        N_("Without a number there are as many as before. The difference for the rest of the period is charged later."),
        N_("Change"),
        ("user", "subscription", "plan"),
        _change,
        ("quantity",),
        _foretell_now,
    ),
    "change_later": Action(
        N_("Change this subscription at the end of its period?"),
        N_("Without a number there are as many as before. Until then nothing changes."),
        N_("Change later"),
        ("user", "subscription", "plan"),
        _change_later,
        ("quantity",),
        _foretell_later,
    ),
    "cancel": Action(
        N_("Cancel this subscription at the end of its period?"),
        N_("Until then nothing changes, and it can be undone."),
        N_("Cancel at the period's end"),
        ("user", "subscription"),
        _cancel,
    ),
    "cancel_now": Action(
        N_("Cancel this subscription now?"),
        N_("It ends at once, without a refund, and never goes on again."),
        N_("Cancel now"),
        ("user", "subscription"),
        _cancel_now,
    ),
    "resume": Action(
        N_("Have this subscription go on?"),
        N_("A cancellation is undone. What Stripe has paused is charged at once."),
        N_("Resume"),
        ("user", "subscription"),
        _resume,
    ),
    "extend_trial": Action(
        N_("Have this trial last longer?"),
        N_("It then ends so many days from now, and the first payment is due at its end."),
        N_("Extend the trial"),
        ("user", "subscription", "days"),
        _extend_trial,
    ),
    "link": Action(
        N_("Give this customer to this user?"),
        N_("The customer's payments then count for this user, and for nobody else."),
        N_("Link a customer"),
        ("user", "customer"),
        _link,
    ),
    "replay": Action(
        N_("Apply this event again?"),
        N_("An event only says where to look: Corkage fetches the present state from Stripe."),
        N_("Replay"),
        ("event",),
        _replay,
    ),
    "resend": Action(
        N_("Send this notice again?"),
        N_("Every receiver gets this notice once more, with the same id."),
        N_("Send again"),
        ("notice",),
        _resend,
    ),
}
FIELDS = {
    "user": N_("User"),
    "plan": N_("Plan"),
    "subscription": N_("Subscription"),
    "quantity": N_("Quantity"),
    "days": N_("Days"),
    "why": N_("Reason"),
    "customer": N_("Stripe customer"),
    "event": N_("Event"),
    "notice": N_("Notice"),
}
