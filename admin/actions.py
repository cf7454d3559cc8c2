"""What an operator may do on the page: fetch a user, link a customer, replay an event, tell of a change again."""

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ..access import Access
from ..errors import BillingError
from ..identity import Identity
from ..models import NoticeRow
from ..notices import outbox
from ..service import Service

if TYPE_CHECKING:
    from ..pages.words import Words

log = logging.getLogger("corkage.admin")


class Outcome(NamedTuple):
    """What came of it, in a sentence; reason: what the log says, where it did not work."""

    is_done: bool
    sentence: str
    reason: str = ""


def repair(service: Service, what: str, to: dict[str, str], words: "Words") -> Outcome:
    """Do it, and tell what came of it. What Stripe or we refuse is an outcome as well, and is logged."""
    log.info("the operator asks for %s of %s", what, to)
    try:
        outcome = REPAIRS[what](service, to, words)
    except BillingError as error:
        outcome = Outcome(False, words.gettext(error.sentence), f"{error.code}: {error}")
    log.info("%s of %s: %s", what, to, "done" if outcome.is_done else outcome.reason or "in vain")
    return outcome


def _sync(service: Service, to: dict[str, str], words: "Words") -> Outcome:
    before = service.access(to["user"])
    return _compared(before, service.sync(to["user"]), words)


def _link(service: Service, to: dict[str, str], words: "Words") -> Outcome:
    try:
        user_id = Identity(to["user"]).user_id
    except ValueError as error:
        return Outcome(False, words.gettext("There can be no such user."), str(error))
    before = service.access(user_id)
    with service.stripe_slot():
        service.converger.link(user_id, to["customer"], time.time())
    return _compared(before, service.access(user_id), words)


def _replay(service: Service, to: dict[str, str], words: "Words") -> Outcome:
    from ..sync.replay import find, is_left, replay

    with service.stripe_slot():
        found = find(service.gateway, to["event"])
        if found is None:
            return Outcome(False, words.gettext("Neither Stripe, which tells 30 days, nor this file knows the event."))
        if is_left(found):
            return Outcome(False, words.gettext("The event says nothing about anything that is held here."))
        (row,) = replay(service.worker, [found], time.time())
    if row.applied_at is None:
        return Outcome(
            False, words.gettext("It could not be applied yet, and is tried again by itself."), row.error or ""
        )
    return Outcome(True, words.gettext("The event is applied: %(outcome)s.", outcome=row.outcome))


def _resend(_service: Service, to: dict[str, str], words: "Words") -> Outcome:
    now = time.time()
    if not outbox.present_receivers(now):
        return Outcome(False, words.gettext("There is nobody to be told of changes."))
    if not outbox.resend(NoticeRow.message_id == to["notice"], now):
        return Outcome(False, words.gettext("There is no such notice."))
    return Outcome(True, words.gettext("It is told again in a moment."))


def _compared(before: Access, after: Access, words: "Words") -> Outcome:
    if before == after:
        sentence = words.gettext("Nothing was different. Access: %(access)s.", access=_short(after))
        return Outcome(True, sentence)
    was, now = _short(before), _short(after)
    return Outcome(True, words.gettext("Access was %(before)s, and now is %(after)s.", before=was, after=now))


def _short(access: Access) -> str:
    return f"{access.reason} ({access.plan})" if access.plan else access.reason


REPAIRS: dict[str, Callable[[Service, dict[str, str], "Words"], Outcome]] = {
    "sync": _sync,
    "link": _link,
    "replay": _replay,
    "resend": _resend,
}
