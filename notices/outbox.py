"""The outbox: which receiver is owed which notice, in order for each user, until it is delivered."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from peewee import Case, fn

from .. import storage
from ..models import NoticeDelivery, NoticeReceiver, NoticeRow
from ..pacing.pauses import LONGEST_PAUSE_SECONDS, LONGEST_WITH_JITTER_SECONDS, backoff, is_due, with_jitter
from ..texts import storable

AWAY_SECONDS = 7 * 86_400
SEEN_EVERY_SECONDS = 3600
LEASE_SECONDS = 60.0
CANDIDATES = 8  # read at once, so that a claim lost to another process costs no second query

Delivery: Any = NoticeDelivery  # or the checker takes its nullable columns for their values


_OWE = """
INSERT INTO corkage_notice_delivery (notice_id, receiver, user_id, next_attempt_at, attempts) VALUES (?, ?, ?, ?, 0)
ON CONFLICT (notice_id, receiver) DO """
_AGAIN = """UPDATE SET
    next_attempt_at = excluded.next_attempt_at, attempts = 0, error = NULL, delivered_at = NULL, outcome = NULL
"""


class Held(NamedTuple):
    """A notice that is claimed for delivery to one receiver."""

    receiver: str
    notice: NoticeRow
    attempts: int


def register(name: str, now: float) -> None:
    """Register a receiver: it is owed every notice from now on. To be repeated at least once a week.

    A receiver that was away for a week does not get the old notices: it may be another program by now.

    Errors  DatabaseUnavailable
    """
    known = NoticeReceiver.get_or_none(NoticeReceiver.name == name)
    if known is not None and not is_due(known.seen_at + SEEN_EVERY_SECONDS, now, SEEN_EVERY_SECONDS):
        return
    with storage.writing():
        if known is not None and known.seen_at <= now - AWAY_SECONDS:
            Delivery.update(delivered_at=now, outcome="away", error=None).where(*_pending(name)).execute()
        NoticeReceiver.insert(name=name, seen_at=now).on_conflict(
            conflict_target=[NoticeReceiver.name], preserve=[NoticeReceiver.seen_at]
        ).execute()


def owe(notices: Sequence[tuple[int, str]], now: float, *, again: bool = False) -> None:
    """Owe these notices (ids, with their users) to every registered receiver.

    To be called inside a writing transaction.

    Shape   again: also those that were delivered before; pauses after failures start over
    """
    receivers = present_receivers(now)
    owed = [(notice_id, receiver, user_id, now) for notice_id, user_id in notices for receiver in receivers]
    storage.execute_many(_OWE + (_AGAIN if again else "NOTHING"), owed)


def _pending(receiver: str) -> tuple[Any, ...]:
    return Delivery.receiver == receiver, Delivery.delivered_at.is_null()


def claim_next(receiver: str, now: float, besides: Collection[int] = ()) -> Held | None:
    """Claim the notice that is due the longest, against other processes; None when none is due.

    A user's notice is due once all earlier ones of that user are delivered. So the order holds, and a notice that fails
    does not delay other users'.

    Shape   besides: ids of notices that are being delivered
    """
    due = (
        Delivery.select(Delivery, NoticeRow)
        .join(NoticeRow)
        .where(*_pending(receiver), _is_due(now), Delivery.notice.not_in(list(besides)))
        .where(_is_first())
        .order_by(Delivery.next_attempt_at, Delivery.notice)
    )
    rows = list(due.limit(CANDIDATES))  # a cursor left open would keep this connection from writing
    return next((Held(receiver, row.notice, row.attempts) for row in rows if _move(row, now)), None)


def _is_due(now: float) -> Any:
    return is_due(Delivery.next_attempt_at, now, LONGEST_WITH_JITTER_SECONDS)


def _is_first() -> Any:
    """Return the condition that nothing earlier is owed to the same receiver about the same user."""
    earlier: Any = NoticeDelivery.alias()
    is_behind = earlier.select().where(
        earlier.receiver == Delivery.receiver,
        earlier.user_id == Delivery.user_id,
        earlier.delivered_at.is_null(),
        earlier.notice_id < Delivery.notice_id,
    )
    return ~fn.EXISTS(is_behind)


def _move(row: Any, now: float) -> bool:
    is_as_read = (*_row(row.receiver, row.notice_id), Delivery.next_attempt_at == row.next_attempt_at)
    with storage.writing():
        return bool(Delivery.update(next_attempt_at=now + LEASE_SECONDS).where(*is_as_read).execute())


def _row(receiver: str, notice_id: int) -> tuple[Any, ...]:
    return Delivery.notice == notice_id, *_pending(receiver)


def renew(held: Held, now: float) -> None:
    """Renew the claim on a notice while its delivery takes long."""
    with storage.writing():
        Delivery.update(next_attempt_at=now + LEASE_SECONDS).where(*_row(held.receiver, held.notice.id)).execute()


def mark_delivered(held: Held, outcome: str, now: float) -> None:
    """Mark a notice delivered."""
    values = {"delivered_at": now, "outcome": outcome, "error": None, "attempts": held.attempts + 1}
    with storage.writing():
        Delivery.update(values).where(*_row(held.receiver, held.notice.id)).execute()


def postpone(
    held: Held,
    error: str,
    now: float,
    at_least_seconds: float = 0,
    longest_seconds: float = LONGEST_PAUSE_SECONDS,
) -> None:
    """Store a failed attempt. The next ones follow with growing pauses, until the notice is delivered or pruned."""
    pause = with_jitter(backoff(held.attempts, longest=longest_seconds))
    failed = {"attempts": held.attempts + 1, "error": storable(error[:500])}
    with storage.writing():
        Delivery.update(failed, next_attempt_at=now + max(pause, at_least_seconds)).where(
            *_row(held.receiver, held.notice.id)
        ).execute()


def next_due_at(receiver: str) -> float | None:
    """Return when the receiver's next notice is due; None when nothing is pending."""
    earliest: float | None = storage.column(
        Delivery.select(fn.MIN(Delivery.next_attempt_at)).where(*_pending(receiver))
    )[0]
    return earliest


class Undelivered(NamedTuple):
    """How many notices are owed, how many of them failed at least once, and how long the oldest waits."""

    pending: int
    failing: int
    oldest_pending_seconds: int


def backlog(now: float) -> Undelivered:
    """Count what is owed, to all receivers together.

    Errors  DatabaseUnavailable when the database cannot be read
    """
    query = (
        Delivery.select(
            fn.COUNT(Delivery.notice),
            fn.COUNT(Case(None, [(Delivery.attempts > 0, 1)])),
            fn.COALESCE(fn.MIN(NoticeRow.created_at), now),
        )
        .join(NoticeRow)
        .where(Delivery.delivered_at.is_null())
    )
    with storage.reading():
        pending, failing, oldest = query.tuples().get()
    return Undelivered(pending, failing, max(0, int(now - oldest)))


STATES = ("failing", "pending", "delivered")


def in_state(state: str, limit: int) -> list[Any]:
    """Return notices that are "pending" (not tried yet) or "failing" (tried at least once), the longest waiting first.

    Shape   "delivered" ones the latest first
    """
    is_pending = Delivery.delivered_at.is_null()
    by_age = Delivery.notice + 0  # by the column itself SQLite would read all that was delivered, which is in order
    where, order = {
        "failing": ((is_pending, Delivery.attempts > 0), by_age),
        "pending": ((is_pending, Delivery.attempts == 0), by_age),
        "delivered": ((~is_pending,), Delivery.delivered_at.desc()),
    }[state]
    return list(
        Delivery.select(Delivery, NoticeRow)
        .join(NoticeRow)
        .where(*where)
        .order_by(order, Delivery.receiver)
        .limit(limit)
    )


def waiting_since(moment: float) -> list[Any]:
    """Return, for each receiver, when its oldest untried notice was due, if that was before this moment."""
    query = (
        Delivery.select(Delivery.receiver, fn.MIN(Delivery.next_attempt_at).alias("next_attempt_at"))
        .where(Delivery.delivered_at.is_null(), Delivery.attempts == 0, Delivery.next_attempt_at < moment, _is_first())
        .group_by(Delivery.receiver)
    )
    return list(query)


def resend(wanted: Any, now: float) -> int:
    """Owe the notices of this condition on NoticeRow to every receiver again; return how many there are."""
    with storage.writing():
        chosen: Any = list(NoticeRow.select(NoticeRow.id, NoticeRow.user).where(wanted).tuples())
        owe(chosen, now, again=True)
    return len(chosen)


def retry(now: float) -> int:
    """Make all failing notices due now; return how many there are."""
    failing = (Delivery.delivered_at.is_null(), Delivery.attempts > 0)
    with storage.writing():
        changed: int = Delivery.update(attempts=0, next_attempt_at=now).where(*failing).execute()
    return changed


def present_receivers(now: float) -> list[str]:
    """Return the receivers that are owed notices now."""
    query = "SELECT name FROM corkage_notice_receiver WHERE seen_at > ?"
    return [name for (name,) in storage.rows(query, (now - AWAY_SECONDS,))]


def older_than(moment: float, limit: int) -> list[int]:
    """Return the ids of notices that are older, delivered or not."""
    return storage.column(NoticeRow.select(NoticeRow.id).where(NoticeRow.created_at < moment).limit(limit))


def delete(notice_ids: Sequence[int]) -> int:
    """Delete these notices; return how many deliveries were still pending."""
    chosen = Delivery.notice.in_(notice_ids)
    with storage.writing():
        undelivered: int = Delivery.select().where(chosen, Delivery.delivered_at.is_null()).count()
        Delivery.delete().where(chosen).execute()
        NoticeRow.delete().where(NoticeRow.id.in_(notice_ids)).execute()
    return undelivered
