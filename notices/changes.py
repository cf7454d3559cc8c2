"""Notices of changed access, each stored once, in order, in the transaction that makes the change."""

import json
import uuid
from typing import Any

from .. import storage
from ..access import Access, access_at
from ..models import CURRENT, OWING, NoticeRow, User
from . import outbox
from .notice import AccessSummary

TRIAL_ENDS_SOON_SECONDS = 3 * 86_400  # as early as Stripe's own trial_will_end


def note(user_id: str, now: float, *, notifies: bool = True) -> None:
    """Store notices of what changed for the user since the last one, and when time alone will change more.

    To be called inside a writing transaction, after the user's row was updated.

    Shape   notifies: False stores the new state without a notice
    """
    user = User.get_by_id(user_id)
    access = access_at(user_id, now)
    before, after = _unpacked(user.notified), _summary(user, access, now)
    for kind in kinds_of(before, after) if notifies else ():
        _write(user_id, kind, json.dumps(before._asdict()), json.dumps(after._asdict()), now)
    User.update(notified=_packed(after), next_change_at=_next_change_at(user, access, now)).where(
        User.id == user_id
    ).execute()


def kinds_of(before: AccessSummary, after: AccessSummary) -> list[str]:
    """Return the kinds of change between two states, in the order of their notices."""
    stays_in = before.allowed and after.allowed
    happened = {
        "payment_failed": before.status not in OWING and after.status in OWING,
        "payment_recovered": before.status in OWING and after.status in CURRENT,
        "access_granted": after.allowed and not before.allowed,
        "access_revoked": before.allowed and not after.allowed,
        "plan_changed": stays_in and before.bought != after.bought,
        "cancellation_scheduled": after.allowed and before.cancel_at is None and after.cancel_at is not None,
        "cancellation_undone": stays_in and before.cancel_at is not None and after.cancel_at is None,
        "trial_ending": after.trial_ending and not before.trial_ending,
    }
    return [kind for kind, has_happened in happened.items() if has_happened]


def _write(user_id: str, kind: str, before: str, after: str, now: float) -> None:
    values = {"user": user_id, "kind": kind, "before": before, "after": after, "created_at": now}
    notice_id = NoticeRow.insert(message_id=f"ntc_{uuid.uuid4().hex}", **values).execute()
    outbox.owe([(notice_id, user_id)], now)


def note_what_time_changed(now: float, limit: int) -> None:
    """Store the notices of what time alone has changed, such as the end of a grace period."""
    for user_id in storage.column(_by_time(User.id).where(User.next_change_at <= now).limit(limit)):
        with storage.writing():
            note(user_id, now)


def next_note_at() -> int | None:
    """Return when time alone will change somebody's access; None when it will not."""
    moment: int | None = next(iter(storage.column(_by_time(User.next_change_at).limit(1))), None)
    return moment


def _by_time(column: Any) -> Any:
    return User.select(column).where(User.next_change_at.is_null(False)).order_by(User.next_change_at)


def _unpacked(text: str | None) -> AccessSummary:
    return AccessSummary(*json.loads(text or "[]")[: len(AccessSummary._fields)])


def _packed(summary: AccessSummary) -> str:
    """Return the values as a JSON list without the defaults at its end: every user's row holds one."""
    values, defaults = list(summary), list(AccessSummary())
    while values and values[-1] == defaults[len(values) - 1]:
        values.pop()
    return json.dumps(values, separators=(",", ":"))


def _summary(user: User, access: Access, now: float) -> AccessSummary:
    fields = {name: getattr(access, name) for name in AccessSummary._fields if name != "trial_ending"}
    return AccessSummary(**fields, trial_ending=_trial_ends_soon(user, access, now))


def _trial_ends_soon(user: User, access: Access, now: float) -> bool:
    at = _trial_warning_at(user, access)
    return at is not None and at <= now


def _trial_warning_at(user: User, access: Access) -> int | None:
    """Return when, by our clock, a trial that will be paid for has three days left."""
    if access.reason != "trialing" or user.trial_end is None:
        return None
    return user.trial_end - TRIAL_ENDS_SOON_SECONDS - user.clock_ahead


def _next_change_at(user: User, access: Access, now: float) -> int | None:
    grace_end = access.until - user.clock_ahead if access.reason == "grace" and access.until is not None else None
    moments = (grace_end, _trial_warning_at(user, access))
    return min((each for each in moments if each is not None and each > now), default=None)
