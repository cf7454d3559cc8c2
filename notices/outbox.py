"""The outbox: which receiver is owed which notice, in their order for each user, until it has taken it."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from peewee import fn

from .. import storage
from ..models import Notice, NoticeDelivery, NoticeReceiver
from ..pauses import LONGEST_WITH_JITTER_SECONDS, backoff, is_due, with_jitter

AWAY_SECONDS = 7 * 86_400
SEEN_EVERY_SECONDS = 3600
LEASE_SECONDS = 60.0
CANDIDATES = 8  # read at once, so that a claim which another process won costs no second look

Delivery: Any = NoticeDelivery  # or the checker takes its nullable columns for their values


class Held(NamedTuple):
    """A notice that was claimed, to be told to one receiver."""

    receiver: str
    notice: Notice
    attempts: int


def register(name: str, now: float) -> None:
    """Have the receiver owed every notice from now on. To be said again, at least once a week.

    One that was away for a week is not told what was left: by now it may be another, and the news is old.

    Errors  DatabaseUnavailable
    """
    known = NoticeReceiver.get_or_none(NoticeReceiver.name == name)
    if known is not None and not is_due(known.seen_at + SEEN_EVERY_SECONDS, now, SEEN_EVERY_SECONDS):
        return
    with storage.writing():
        if known is not None and known.seen_at <= now - AWAY_SECONDS:
            Delivery.update(delivered_at=now, outcome="away", error=None).where(*_pending(name)).execute()
        NoticeReceiver.insert(name=name, seen_at=now).on_conflict_replace().execute()


def owe(notices: Sequence[tuple[int, str]], now: float, *, again: bool = False) -> None:
    """Owe these notices (ids, with their users) to every receiver there is.

    To be called inside a writing transaction.

    Shape   again: those that were taken before, too; the pauses after failures begin anew
    """
    receivers = present_receivers(now)
    fresh = {"next_attempt_at": now, "attempts": 0, "error": None, "delivered_at": None, "outcome": None}
    for notice_id, user_id in notices:
        for receiver in receivers:
            row = {"notice": notice_id, "receiver": receiver, "user_id": user_id} | fresh
            insert = Delivery.insert(row)
            (insert.on_conflict_replace() if again else insert.on_conflict_ignore()).execute()


def _pending(receiver: str) -> tuple[Any, ...]:
    return Delivery.receiver == receiver, Delivery.delivered_at.is_null()


def claim_next(receiver: str, now: float, besides: Collection[int] = ()) -> Held | None:
    """Claim the notice that is due the longest, against other processes; None when none is due.

    A user's notice is due once all before it were taken, so the order holds, and who fails holds up nobody else.

    Shape   besides: ids of notices that are being told already
    """
    due = (
        Delivery.select(Delivery, Notice)
        .join(Notice)
        .where(*_pending(receiver), _is_due(now), Delivery.notice.not_in(list(besides)))
        .where(_is_first())
        .order_by(Delivery.next_attempt_at, Delivery.notice)
    )
    rows = list(due.limit(CANDIDATES))  # a cursor left open would keep this connection from writing
    return next((Held(receiver, row.notice, row.attempts) for row in rows if _move(row, now)), None)


def _is_due(now: float) -> Any:
    return is_due(Delivery.next_attempt_at, now, LONGEST_WITH_JITTER_SECONDS)


def _is_first() -> Any:
    """Whether nothing earlier is owed to the same receiver about the same user."""
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
    """Keep the claim on a notice that takes long to be told."""
    with storage.writing():
        Delivery.update(next_attempt_at=now + LEASE_SECONDS).where(*_row(held.receiver, held.notice.id)).execute()


def mark_delivered(held: Held, outcome: str, now: float) -> None:
    """Note that the receiver has taken it."""
    taken = {"delivered_at": now, "outcome": outcome, "error": None, "attempts": held.attempts + 1}
    with storage.writing():
        Delivery.update(taken).where(*_row(held.receiver, held.notice.id)).execute()


def postpone(held: Held, error: str, now: float, at_least_seconds: float = 0) -> None:
    """Note a failed attempt, and try again later, with growing pauses, until it is taken or pruned."""
    pause = with_jitter(backoff(held.attempts))
    failed = {"attempts": held.attempts + 1, "error": error[:500]}
    with storage.writing():
        Delivery.update(failed, next_attempt_at=now + max(pause, at_least_seconds)).where(
            *_row(held.receiver, held.notice.id)
        ).execute()


def next_due_at(receiver: str) -> float | None:
    """Tell when the receiver is next to be told something; None when nothing is pending."""
    earliest: float | None = storage.column(
        Delivery.select(fn.MIN(Delivery.next_attempt_at)).where(*_pending(receiver))
    )[0]
    return earliest


class Backlog(NamedTuple):
    """How many notices are owed to a receiver, how many of them were told in vain, how long the oldest waits."""

    pending: int
    failing: int
    oldest_pending_seconds: int


def backlog(now: float) -> Backlog:
    """Count what is owed, to all receivers together.

    Errors  DatabaseUnavailable when the file cannot be read
    """
    query = (
        Delivery.select(
            fn.COUNT(Delivery.notice),
            fn.COALESCE(fn.SUM(Delivery.attempts > 0), 0),
            fn.COALESCE(fn.MIN(Notice.created_at), now),
        )
        .join(Notice)
        .where(Delivery.delivered_at.is_null())
    )
    with storage.reading():
        pending, failing, oldest = query.tuples().get()
    return Backlog(pending, failing, max(0, int(now - oldest)))


STATES = ("failing", "pending", "delivered")


def in_state(state: str, limit: int) -> list[Any]:
    """List what is owed: "failing" was told in vain, "pending" waits for its first turn; the longest waiting first.

    Shape   "delivered" ones the latest first
    """
    is_pending = Delivery.delivered_at.is_null()
    where, order = {
        "failing": ((is_pending, Delivery.attempts > 0), Delivery.notice),
        "pending": ((is_pending, Delivery.attempts == 0), Delivery.notice),
        "delivered": ((~is_pending,), Delivery.delivered_at.desc()),
    }[state]
    return list(
        Delivery.select(Delivery, Notice).join(Notice).where(*where).order_by(order, Delivery.receiver).limit(limit)
    )


def waiting_since(moment: float) -> list[Any]:
    """List, for each receiver, when the notice was due that waits the longest for its first turn, since this moment."""
    query = (
        Delivery.select(Delivery.receiver, fn.MIN(Delivery.next_attempt_at).alias("next_attempt_at"))
        .where(Delivery.delivered_at.is_null(), Delivery.attempts == 0, Delivery.next_attempt_at < moment, _is_first())
        .group_by(Delivery.receiver)
    )
    return list(query)


def resend(wanted: Any, now: float) -> int:
    """Owe the notices that this condition on Notice chooses to every receiver, once more; tell how many there are."""
    with storage.writing():
        chosen: Any = list(Notice.select(Notice.id, Notice.user).where(wanted).tuples())
        owe(chosen, now, again=True)
    return len(chosen)


def retry(now: float) -> int:
    """Have all that was told in vain due now, its pauses forgotten; tell how many there are."""
    failing = (Delivery.delivered_at.is_null(), Delivery.attempts > 0)
    with storage.writing():
        changed: int = Delivery.update(attempts=0, next_attempt_at=now).where(*failing).execute()
    return changed


def present_receivers(now: float) -> list[str]:
    """Tell who is owed what changes now."""
    return storage.column(NoticeReceiver.select(NoticeReceiver.name).where(NoticeReceiver.seen_at > now - AWAY_SECONDS))


def withdraw(user_id: str) -> None:
    """Forget what was to be told, and was told, of a user. To be called inside a writing transaction."""
    Delivery.delete().where(Delivery.user_id == user_id).execute()
    Notice.delete().where(Notice.user == user_id).execute()


def older_than(moment: float, limit: int) -> list[int]:
    """Return the ids of notices that are older, delivered or not."""
    return storage.column(Notice.select(Notice.id).where(Notice.created_at < moment).limit(limit))


def forget(numbers: Sequence[int]) -> int:
    """Forget these notices; tell how many times one of them was never taken."""
    chosen = Delivery.notice.in_(numbers)
    with storage.writing():
        untaken: int = Delivery.select().where(chosen, Delivery.delivered_at.is_null()).count()
        Delivery.delete().where(chosen).execute()
        Notice.delete().where(Notice.id.in_(numbers)).execute()
    return untaken
