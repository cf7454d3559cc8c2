"""The changes that are owed: rows that are stored before anything is sent, and claimed by whoever sends it."""

import itertools
import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .. import storage
from ..access import LIVE
from ..errors import ChangeInProgress
from ..gateway.outage import WAS_DOWN
from ..models import ChangeRow, Subscription, User
from ..pacing.pauses import LONGEST_PAUSE_SECONDS, backoff, is_due, with_jitter
from ..texts import storable

CLAIM_SECONDS = 300.0  # more than six of the slowest calls, one after the other; Stripe's library is not loaded here
KEYS_LAST_SECONDS = 23 * 3600  # Stripe keeps idempotency keys for at least 24 hours
WAIT_SECONDS = 3.0
PAUSE_SECONDS = 0.1
END_ADDON, END_REPLACED = "end_addon", "end_replaced"
ASKED_BY_HOST = ("change", "cancel", "resume", "extend_trial")
BATCH = 50
LONGEST_ERROR = 500

table: Any = ChangeRow  # or the checker takes a nullable column for its value

_DUE = """
SELECT nonce FROM corkage_change WHERE done_at IS NULL AND not_before <= ? ORDER BY not_before, nonce LIMIT ?
"""
_MAKE_DUE_AFTER_OUTAGE = f"""
UPDATE corkage_change SET not_before = ? WHERE done_at IS NULL AND not_before > ? AND {WAS_DOWN}
"""  # noqa: S608 -- texts of this module and of outage.py; all input is bound
_NEXT = """
SELECT MIN(CASE WHEN claimed_until > not_before THEN claimed_until ELSE not_before END)
FROM corkage_change WHERE done_at IS NULL
"""


class Begun(NamedTuple):
    """A row, and whether this call has claimed it, to send it."""

    row: ChangeRow
    is_claimed: bool


def begin(user_id: str, subscription_id: str, kind: str, wish: Mapping[str, Any], now: float) -> Begun:
    """Store a change and claim it, or claim the one with the same wish that is owed already.

    One with another wish that is owed is superseded: the newest wish counts. While anybody sends a change of this
    subscription, the row is theirs, and not claimed.
    """
    text = json.dumps(wish, sort_keys=True)
    with storage.writing():
        owed = _owed(subscription_id)
        sending = next((each for each in owed if is_claimed(each, now)), None)
        if sending is not None:
            return Begun(sending, is_claimed=False)
        asked = [each for each in owed if each.kind in ASKED_BY_HOST]
        same = next((each for each in asked if (each.kind, each.wish) == (kind, text)), None)
        for other in asked:
            if other is not same:
                _end(other.nonce, "superseded", now)
        if same is None:
            same = add(user_id, subscription_id, kind, text, now)
        return Begun(_claimed(same.nonce, now), is_claimed=True)


def add(
    user_id: str, subscription_id: str, kind: str, wish: str, now: float, batch: str | None = None, not_before: int = 0
) -> ChangeRow:
    """Store a change that is owed. To be called inside a writing transaction."""
    User.insert(id=user_id, created_at=int(now)).on_conflict_ignore().execute()
    row: dict[str, Any] = {"nonce": str(uuid.uuid4()), "user": user_id, "subscription_id": subscription_id}
    row |= {"kind": kind, "wish": wish, "batch": batch, "created_at": int(now), "not_before": not_before or int(now)}
    table.insert(row).execute()
    found: ChangeRow = table.get_by_id(row["nonce"])
    return found


def due(now: float) -> list[str]:
    """Return the nonces of changes that are owed and may be sent, by their moments."""
    nonces = [nonce for (nonce,) in storage.rows(_DUE, (int(now), BATCH))]
    if not nonces:
        return []
    found = table.select().where(table.nonce.in_(nonces)).order_by(table.not_before, table.nonce)
    return [each.nonce for each in found if not is_claimed(each, now)]


def next_due_at(now: float) -> float | None:
    """Return when to look for a change that may be sent; None when none is owed."""
    found = storage.row(_NEXT)
    return None if found is None or found[0] is None else min(float(found[0]), now + CLAIM_SECONDS)


def claim(nonce: str, now: float) -> ChangeRow | None:
    """Claim a change that is owed; None when it has come to its end, somebody sends one of its subscription, or an
    earlier one is owed: a cancellation is undone after it was made. A price move has its day, and is in nobody's way.
    """
    with storage.writing():
        row = table.get_or_none(table.nonce == nonce)
        if row is None or row.done_at is not None:
            return None
        owed = _owed(row.subscription_id)
        earlier = itertools.takewhile(lambda each: each.nonce != nonce, owed)
        if any(is_claimed(each, now) for each in owed) or any(each.batch is None for each in earlier):
            return None
        return _claimed(nonce, now)


def is_claimed(row: ChangeRow, now: float) -> bool:
    """Return whether somebody sends the change now."""
    return not is_due(row.claimed_until or 0, now, CLAIM_SECONDS)


def is_repeatable(row: ChangeRow, now: float) -> bool:
    """Return whether what was decided may be sent again: Stripe still knows its idempotency keys."""
    return row.params is not None and abs(now - (row.decided_at or 0)) <= KEYS_LAST_SECONDS


def wait_for(row: ChangeRow, clock: Callable[[], float]) -> ChangeRow | None:
    """Wait for whoever sends a change; return the row when it has come to its end, None when it is free again.

    Errors  ChangeInProgress when that takes longer than a call can wait
    """
    deadline = clock() + WAIT_SECONDS
    while True:
        found: ChangeRow | None = table.get_or_none(table.nonce == row.nonce)
        if found is None or not is_claimed(found, clock()):
            return None
        if found.done_at is not None:
            return found
        if clock() >= deadline:
            raise ChangeInProgress(f"user {row.user_id}: {row.kind} of {row.subscription_id} is being sent")
        time.sleep(PAUSE_SECONDS)


def store_decision(row: ChangeRow, steps: Sequence[Any], now: float) -> None:
    """Store what is to be sent, before it is sent. The keys are new: those of before may repeat another answer."""
    row.turn, row.params, row.decided_at = row.turn + 1, json.dumps(steps), int(now)
    change(row.nonce, turn=row.turn, params=row.params, decided_at=row.decided_at)


def end(row: ChangeRow, outcome: str, now: float, error: str = "") -> None:
    """Store how a change ended."""
    with storage.writing():
        _end(row.nonce, outcome, now, error)


def make_due_after_outage(now: float) -> None:
    """Make all due now that failed because Stripe was down. To be called inside a writing transaction."""
    storage.change(_MAKE_DUE_AFTER_OUTAGE, (int(now), int(now)))


def postpone(
    row: ChangeRow, error: str, now: float, *, forgets: bool = False, longest_pause: float = LONGEST_PAUSE_SECONDS
) -> None:
    """Store a failure. The change stays owed, and is sent again after a pause.

    Shape   forgets: decide anew what to send, on what Stripe says then
    """
    rests = with_jitter(backoff(row.attempts, longest=longest_pause))
    later = {"claimed_until": None, "not_before": int(now + rests), "attempts": row.attempts + 1}
    decided = {"params": None, "decided_at": None} if forgets else {}
    change(row.nonce, error=storable(error[:LONGEST_ERROR]), **later, **decided)


def change(nonce: str, **values: object) -> None:
    """Change a row that is owed."""
    with storage.writing():
        table.update(values).where(table.nonce == nonce, table.done_at.is_null()).execute()


def newest_done(subscription_id: str) -> ChangeRow | None:
    """Return the newest change of a subscription that was made, or that had nothing to do."""
    made = (table.subscription_id == subscription_id, table.outcome.in_(("done", "already")))
    found: ChangeRow | None = (
        table.select().where(*made).order_by(table.done_at.desc(), table.created_at.desc()).first()
    )
    return found


def failing(limit: int) -> list[ChangeRow]:
    """Return changes that are owed and failed at least once, the oldest first."""
    wanted = (table.done_at.is_null(), table.attempts > 0)
    return list(table.select().where(*wanted).order_by(table.created_at, table.nonce).limit(limit))


def refused_ends(limit: int) -> list[ChangeRow]:
    """Return the changes that should have ended an add-on, or a subscription that is replaced, and that were refused,
    while it goes on.
    """
    is_going_on = (Subscription.status.in_(LIVE), Subscription.cancel_at.is_null())
    goes_on = Subscription.select(Subscription.id).where(*is_going_on)
    wanted = (table.kind.in_((END_ADDON, END_REPLACED)), table.error.is_null(False), table.done_at.is_null(False))
    found = table.select().where(*wanted, table.subscription_id.in_(goes_on))
    return list(found.order_by(table.done_at.desc()).limit(limit))


def _owed(subscription_id: str) -> list[Any]:
    mine = (table.subscription_id == subscription_id, table.done_at.is_null())
    return list(table.select().where(*mine).order_by(table.created_at, table.nonce))


def _claimed(nonce: str, now: float) -> ChangeRow:
    table.update(claimed_until=now + CLAIM_SECONDS).where(table.nonce == nonce).execute()
    found: ChangeRow = table.get_by_id(nonce)
    return found


def _end(nonce: str, outcome: str, now: float, error: str = "") -> None:
    values = {"done_at": int(now), "outcome": outcome, "error": storable(error[:LONGEST_ERROR]) or None}
    table.update(values).where(table.nonce == nonce, table.done_at.is_null()).execute()
