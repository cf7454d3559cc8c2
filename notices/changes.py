"""Notices of changed access, each stored once, in order, in the transaction that makes the change."""

import json
import uuid
from typing import Any

from .. import storage
from ..access import Access, access_at
from ..models import OPENING, OWING, NoticeRow, User
from . import outbox

TRIAL_ENDS_SOON_SECONDS = 3 * 86_400  # as early as Stripe's own trial_will_end
BOUGHT = ("plan", "price_id", "quantity")
OF_ACCESS = ("allowed", "reason", "status", *BOUGHT, "cancel_at")
FIELDS = (*OF_ACCESS, "trial_ending")

Summary = dict[str, Any]
"""A user's access in a notice: the fields of Access that matter, and whether a trial ends soon."""


KINDS = (
    "payment_failed",
    "payment_recovered",
    "access_granted",
    "access_revoked",
    "plan_changed",
    "cancellation_scheduled",
    "cancellation_undone",
    "trial_ending",
)


def note(user_id: str, now: float, *, notifies: bool = True) -> None:
    """Store notices of what changed for the user since the last one, and when time alone will change more.

    To be called inside a writing transaction, after the user's row was updated.

    Shape   notifies: False stores the new state without a notice
    """
    user = User.get_by_id(user_id)
    access = access_at(user_id, now)
    before, after = _before(user), _summary(user, access, now)
    for kind in kinds_of(before, after) if notifies else ():
        _write(user_id, kind, json.dumps(before), json.dumps(after), now)
    User.update(notified=_packed(after), next_change_at=_next_change_at(user, access, now)).where(
        User.id == user_id
    ).execute()


def kinds_of(before: Summary, after: Summary) -> list[str]:
    """Return the kinds of notices between two states, in the order in which a host receives them."""
    is_kept = before["allowed"] and after["allowed"]
    happened = {
        "payment_failed": before["status"] not in OWING and after["status"] in OWING,
        "payment_recovered": before["status"] in OWING and after["status"] in OPENING,
        "access_granted": after["allowed"] and not before["allowed"],
        "access_revoked": before["allowed"] and not after["allowed"],
        "plan_changed": is_kept and any(before[name] != after[name] for name in BOUGHT),
        "cancellation_scheduled": after["allowed"] and before["cancel_at"] is None and after["cancel_at"] is not None,
        "cancellation_undone": is_kept and before["cancel_at"] is not None and after["cancel_at"] is None,
        "trial_ending": after["trial_ending"] and not before["trial_ending"],
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


def _before(user: User) -> Summary:
    return NOTHING | dict(zip(FIELDS, json.loads(user.notified or "[]"), strict=False))


def _packed(summary: Summary) -> str:
    """Return it as a JSON list without names and without empty values at its end: every user's row holds one."""
    values = [summary[name] for name in FIELDS]
    while values and values[-1] is NOTHING[FIELDS[len(values) - 1]]:
        values.pop()
    return json.dumps(values, separators=(",", ":"))


def _summary(user: User, access: Access, now: float) -> Summary:
    return {name: getattr(access, name) for name in OF_ACCESS} | {"trial_ending": _trial_ends_soon(user, access, now)}


def _trial_ends_soon(user: User, access: Access, now: float) -> bool:
    at = _trial_warning_at(user, access)
    return at is not None and at <= now


def _trial_warning_at(user: User, access: Access) -> int | None:
    """Return when, by our clock, a trial that will be paid for has three days left."""
    if access.reason != "trialing" or user.trial_end is None:
        return None
    return user.trial_end - TRIAL_ENDS_SOON_SECONDS - user.clock_ahead


NOTHING = _summary(User(), Access("", allowed=False, reason=""), 0)


def _next_change_at(user: User, access: Access, now: float) -> int | None:
    grace_end = access.until - user.clock_ahead if access.reason == "grace" and access.until is not None else None
    moments = (grace_end, _trial_warning_at(user, access))
    return min((each for each in moments if each is not None and each > now), default=None)
