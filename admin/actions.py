"""What an operator may do on the page: fetch a user, grant or revoke a plan, link a customer, replay an event, send a
notice again.
"""

import logging
import re
import time
from collections.abc import Callable
from typing import NamedTuple

from ..access import Access
from ..errors import BillingError
from ..models import NoticeRow
from ..notices import outbox
from ..pages import N_
from ..plans import DAY_SECONDS
from ..service import Service
from ..texts import is_user_id

Translate = Callable[..., str]
Target = dict[str, str]

OPERATOR = "operator"
MOST_DAYS = 36_500
_DIGITS = re.compile(r"[0-9]{1,5}")

log = logging.getLogger("corkage.admin")


class Outcome(NamedTuple):
    """What an action did, in a sentence; reason: why it failed, for the log."""

    is_done: bool
    sentence: str
    reason: str = ""


class Action(NamedTuple):
    """An action: the question before it, its meaning, its button, the fields that name its target, and its function.

    Shape   optional: fields that may stay empty
    """

    title: str
    meaning: str
    button: str
    fields: tuple[str, ...]
    run: Callable[[Service, Target, Translate], Outcome]
    optional: tuple[str, ...] = ()


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
    with service.line.place():
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
    "days": N_("Days"),
    "why": N_("Reason"),
    "customer": N_("Stripe customer"),
    "event": N_("Event"),
    "notice": N_("Notice"),
}
