"""The inbox: an event is recorded once, and stays pending until its customer was converged after it came."""

import functools
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

from peewee import SQL, Case, fn

from .. import storage
from ..models import IS_PURCHASE, StripeEvent
from ..pauses import DOUBLINGS, LONGEST_WITH_JITTER_SECONDS, backoff, is_due, with_jitter
from .events import ABOUT_CUSTOMER, CATALOGUE_PREFIXES, CLOCK_EVENT, EventRef

SURELY_SEEN_SECONDS = 2  # an event's time is cut to whole seconds, and so is that of an answer
LONGEST_ERROR = 500
MOST_AT_ONCE = 10_000  # events that one look answers; more of one customer wait for its next look

# One statement and no ORM: a webhook costs this and the commit, and nothing can happen between question and answer.
# Never skipped: events of the customer itself, which is not always fetched; of a subscription that a list may have
# lacked; and of a lagging test clock, which may be newer than they look.
_RECORD = f"""
INSERT INTO corkage_stripe_event
    (id, type, customer_id, object_id, created, source, received_at, next_attempt_at, attempts, applied_at, outcome)
SELECT
    id, type, customer_id, object_id, created, source, received_at, next_attempt_at, 0,
    CASE WHEN is_old_news THEN received_at END,
    CASE WHEN is_old_news THEN 'known' END
FROM (
    SELECT
        *,
        NOT is_about_customer
            AND EXISTS (
                SELECT 1 FROM corkage_customer AS c
                WHERE c.id = named.customer_id AND c.fetched_at >= named.created + {SURELY_SEEN_SECONDS}
            )
            AND (
                NOT names_subscription
                OR EXISTS (
                    SELECT 1 FROM corkage_subscription AS s
                    WHERE s.id = named.object_id AND s.customer_id = named.customer_id
                )
            )
            AND NOT EXISTS (
                SELECT 1 FROM corkage_subscription AS s
                WHERE s.customer_id = named.customer_id AND s.clock_ahead < -{SURELY_SEEN_SECONDS}
            ) AS is_old_news
    FROM (
        SELECT
            ? AS id, ? AS type, ? AS object_id, ? AS created, ? AS source, ? AS received_at, ? AS next_attempt_at,
            ? AS is_about_customer, ? AS names_subscription,
            coalesce(?, (SELECT s.customer_id FROM corkage_subscription AS s WHERE s.id = ?)) AS customer_id
    ) AS named
) AS event
WHERE true
ON CONFLICT DO NOTHING
"""  # noqa: S608 -- SURELY_SEEN_SECONDS, a constant above; no input


def record(event: EventRef, source: str, now: float, due_at: float) -> bool:
    """Store the event, once, and return, when it is on disk, whether it is new.

    What happened before its customer was last fetched, by Stripe's own clock, says nothing new: it is stored as
    applied. So the thin, the snapshot and the polled event of one change cost one converge. Where the event names no
    customer, the replica may know the customer of its subscription; a Checkout Session that names no customer is
    fetched: it names the subscription, too, which a list may still lack.

    Errors  DatabaseUnavailable when the disk does not take it
    """
    values = (
        event.id,
        event.type,
        event.object_id,
        event.created,
        source,
        now,
        due_at,
        event.type in ABOUT_CUSTOMER,
        (event.object_id or "").startswith("sub_"),
        event.customer_id,
        event.object_id,
    )
    return storage.write(_RECORD, values) == 1


class Subject(NamedTuple):
    """What pending events are about: one look at it answers all of them.

    Shape   a customer or, where the events name none, an object of Stripe's, such as a test clock;
            CATALOGUE for prices and products
    """

    customer_id: str | None = None
    object_id: str | None = None
    is_clock: bool = False

    @property
    def events(self) -> Any:
        """Its pending events, as a condition on StripeEvent."""
        is_pending = StripeEvent.applied_at.is_null()
        if self.customer_id is not None:
            return is_pending & (StripeEvent.customer_id == self.customer_id)
        if self.object_id is not None:
            return is_pending & StripeEvent.customer_id.is_null() & (StripeEvent.object_id == self.object_id)
        is_of_catalogue = functools.reduce(operator.or_, map(StripeEvent.type.startswith, CATALOGUE_PREFIXES))
        return is_pending & StripeEvent.customer_id.is_null() & is_of_catalogue


CATALOGUE = Subject()


def subject_of(event_id: str) -> Subject | None:
    """Return what the event is about; None when it is not recorded."""
    event = StripeEvent.get_or_none(StripeEvent.id == event_id)
    return None if event is None else _subject(event)


def _subject(event: StripeEvent) -> Subject:
    if event.customer_id is not None:
        return Subject(event.customer_id)
    if event.type.startswith(CATALOGUE_PREFIXES):
        return CATALOGUE
    return Subject(object_id=event.object_id, is_clock=event.type == CLOCK_EVENT)


def due_customers(now: float, limit: int) -> list[str]:
    """Return the customers that have a due event: those who bought something first, then the longest waiting."""
    due = (StripeEvent.applied_at.is_null(), _is_due(now), StripeEvent.customer_id.is_null(False))
    by_age = StripeEvent.select(StripeEvent.customer_id).where(*due).group_by(StripeEvent.customer_id)
    earliest = fn.MIN(StripeEvent.next_attempt_at)
    bought = storage.column(by_age.where(SQL(IS_PURCHASE)).order_by(earliest).limit(limit))
    waiting = storage.column(by_age.order_by(earliest).limit(limit))
    return list(dict.fromkeys([*bought, *waiting]))[:limit]


def due_without_customer(now: float, limit: int) -> list[Subject]:
    """Return what due events are about that name no customer: purchases first, then the longest waiting."""
    due = (StripeEvent.applied_at.is_null(), _is_due(now), StripeEvent.customer_id.is_null())
    by_age = StripeEvent.select().where(*due).order_by(StripeEvent.next_attempt_at).limit(limit)
    return list(dict.fromkeys(_subject(event) for event in [*by_age.where(SQL(IS_PURCHASE)), *by_age]))


def _is_due(now: float) -> Any:
    return is_due(StripeEvent.next_attempt_at, now, LONGEST_WITH_JITTER_SECONDS)


def name_customer(event_ids: Sequence[str], customer_id: str, subscription_id: str | None, now: float) -> None:
    """Store which customer these events turned out to be about, and make them due for its converge.

    To be called inside a writing transaction.
    """
    found = {"customer_id": customer_id, "object_id": subscription_id, "next_attempt_at": now}
    for piece in storage.pieces(event_ids):
        StripeEvent.update(found).where(StripeEvent.id.in_(piece)).execute()


def next_due_at(now: float) -> float | None:
    """Return when the earliest pending event is due; None when nothing is pending."""
    moment = StripeEvent.next_attempt_at
    query = StripeEvent.select(fn.MIN(Case(None, [(_is_due(now), fn.MIN(moment, now))], moment)))
    earliest: float | None = storage.column(query.where(StripeEvent.applied_at.is_null()))[0]
    return earliest


class Pending(NamedTuple):
    """What a look must know of a pending event."""

    id: str
    type: str
    object_id: str | None


def pending_of(subject: Subject) -> list[Pending]:
    """Read the subject's pending events, due or not, since one look serves them all; at most so many at a time."""
    query: Any = StripeEvent.select(StripeEvent.id, StripeEvent.type, StripeEvent.object_id).where(subject.events)
    with storage.reading():
        return [Pending(*row) for row in query.order_by(StripeEvent.id).limit(MOST_AT_ONCE).tuples()]


class Backlog(NamedTuple):
    """How many events wait to be applied, how many of them failed at least once, how long the oldest waits."""

    backlog: int
    failing: int
    oldest_pending_seconds: int


def backlog(now: float) -> Backlog:
    """Count what is pending.

    Errors  DatabaseUnavailable when the file cannot be read
    """
    query: Any = StripeEvent.select(
        fn.COUNT(StripeEvent.id),
        fn.COALESCE(fn.SUM(StripeEvent.attempts > 0), 0),
        fn.COALESCE(fn.MIN(StripeEvent.received_at), now),
    ).where(StripeEvent.applied_at.is_null())
    with storage.reading():
        pending, failing, oldest = query.tuples().get()
    return Backlog(pending, failing, max(0, int(now - oldest)))


def lease(subject: Subject, now: float, until: float) -> bool:
    """Claim the subject's due events against other workers, as many as one look answers; return whether there were any
    left to claim."""
    due = StripeEvent.select(StripeEvent.id).where(subject.events, _is_due(now)).order_by(StripeEvent.id)
    with storage.writing():
        claimed = StripeEvent.update(next_attempt_at=until).where(StripeEvent.id.in_(due.limit(MOST_AT_ONCE))).execute()
    return bool(claimed)


def make_due(now: float, event_id: str | None = None) -> bool:
    """Make everything pending due now, or one event, whatever it waits for; return whether there was any."""
    chosen = (StripeEvent.id == event_id,) if event_id else ()
    with storage.writing():
        changed = StripeEvent.update(next_attempt_at=now).where(StripeEvent.applied_at.is_null(), *chosen).execute()
    return bool(changed)


def mark_applied(event_ids: Sequence[str], outcome: str, now: float) -> None:
    """Mark these events applied. To be called inside the transaction that applies them."""
    for piece in storage.pieces(event_ids):
        StripeEvent.update(applied_at=now, outcome=outcome, error=None).where(
            StripeEvent.id.in_(piece), StripeEvent.applied_at.is_null()
        ).execute()


def postpone(subject: Subject, leased_until: float, error: str, now: float) -> None:
    """Store a failed attempt on the events that were leased for it, and the next one after a pause.

    It is repeated for ever, with growing pauses: nothing recorded is given up. One statement, however many they are.
    """
    pauses = [(attempts, now + with_jitter(backoff(attempts))) for attempts in range(DOUBLINGS)]
    values = {
        "attempts": StripeEvent.attempts + 1,
        "error": error[:LONGEST_ERROR],
        "next_attempt_at": Case(StripeEvent.attempts, pauses, now + with_jitter(backoff(DOUBLINGS))),
    }
    with storage.writing():
        StripeEvent.update(values).where(subject.events, StripeEvent.next_attempt_at == leased_until).execute()


def reopen(event: EventRef, source: str, now: float) -> None:
    """Make an event pending and due, whether it is new, waits, or was applied before."""
    record(event, source, now, now)
    waits_since = Case(None, [(StripeEvent.applied_at.is_null(), StripeEvent.received_at)], now)
    with storage.writing():
        StripeEvent.update(
            applied_at=None, outcome=None, attempts=0, error=None, received_at=waits_since, next_attempt_at=now
        ).where(StripeEvent.id == event.id).execute()


STATES = ("failing", "pending", "applied")


def in_state(state: str, limit: int) -> list[StripeEvent]:
    """Return events: "failing" ones were tried, "pending" ones not yet; the longest waiting first.

    Shape   "applied" ones the latest first
    """
    is_pending = StripeEvent.applied_at.is_null()
    where, order = {
        "failing": ((is_pending, StripeEvent.attempts > 0), StripeEvent.received_at),
        "pending": ((is_pending, StripeEvent.attempts == 0), StripeEvent.received_at),
        "applied": ((StripeEvent.applied_at.is_null(False),), StripeEvent.applied_at.desc()),
    }[state]
    return list(StripeEvent.select().where(*where).order_by(order).limit(limit))
