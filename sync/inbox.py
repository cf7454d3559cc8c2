"""The inbox: each event is stored once, and stays pending until its customer is converged."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from peewee import Case, fn

from .. import storage
from ..gateway.events import CATALOGUE_PREFIXES, CLOCK_EVENT, EventRef
from ..gateway.outage import WAS_DOWN
from ..models import IS_PURCHASE, StripeEvent
from ..pacing.pauses import DOUBLINGS, LONGEST_PAUSE_SECONDS, LONGEST_WITH_JITTER_SECONDS, backoff, with_jitter
from ..texts import storable

CERTAIN_SECONDS = 2  # the times of events and of Stripe's responses are rounded down to whole seconds
LONGEST_ERROR = 500
MOST_AT_ONCE = 10_000  # pending events that one fetch answers; more of one customer wait for the next

# One statement and no ORM: a webhook costs this and the commit, and no other write comes between test and insert.
# Never skipped as old news: customer events, because the customer is not always fetched, nor are charges and purchases;
# unknown subscriptions, because a list may have lacked them; lagging test clocks, because their events look older than
# they are.
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
        NOT is_always_news
            AND EXISTS (
                SELECT 1 FROM corkage_customer AS c
                WHERE c.id = named.customer_id AND c.fetched_at >= named.created + {CERTAIN_SECONDS}
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
                WHERE s.customer_id = named.customer_id AND s.clock_ahead < -{CERTAIN_SECONDS}
            ) AS is_old_news
    FROM (
        SELECT
            column1 AS id, column2 AS type, column3 AS object_id, column4 AS created, column5 AS source,
            column6 AS received_at, column7 AS next_attempt_at, column8 AS is_always_news,
            column9 AS names_subscription,
            coalesce(column10, (SELECT s.customer_id FROM corkage_subscription AS s WHERE s.id = column3))
                AS customer_id
        FROM (VALUES {{rows}}) AS given
    ) AS named
) AS event
WHERE true
ON CONFLICT DO NOTHING
"""  # noqa: S608 -- the only inserted value is a number of this module; all input is bound


def record(event: EventRef, source: str, now: float, due_at: float) -> None:
    """Store the event, once.

    An event from before the last fetch of its customer, by Stripe's clock, is old news and stored as applied. So the
    thin, the snapshot and the polled event of one change cost one fetch. Where the event names no customer, the replica
    may know the subscription's. A Checkout Session is not in the replica: it is fetched, which gives its subscription
    as well, even if a list still lacks it.

    Errors  DatabaseUnavailable when the event cannot be written
    """
    storage.write(_RECORD, _row(event, source, now, due_at))


def record_all(found: Sequence[EventRef], source: str, now: float, due_at: float) -> int:
    """Store many events, as record() does; return how many were new.

    Errors  DatabaseUnavailable; some may be stored
    """
    new = 0
    for piece in storage.pieces([_row(event, source, now, due_at) for event in found]):
        with storage.writing():
            for rows in storage.even_pieces(piece):
                new += storage.change(storage.with_rows(_RECORD, rows), [value for row in rows for value in row])
    return new


def _row(event: EventRef, source: str, now: float, due_at: float) -> tuple[object, ...]:
    return (
        event.id,
        event.type,
        event.object_id,
        event.created,
        source,
        now,
        due_at,
        event.is_always_news,
        (event.object_id or "").startswith("sub_"),
        event.customer_id,
    )


# These run for each event, or each time that the worker looks for work. As plain SQL, too: to write a statement takes
# Peewee longer than it takes the database to execute it.
_IS_DUE = "(next_attempt_at <= ? OR next_attempt_at > ?)"  # as pauses.is_due has it; see _moments()
_DUE_CUSTOMERS = f"""
SELECT customer_id FROM corkage_stripe_event
WHERE applied_at IS NULL AND customer_id IS NOT NULL AND {_IS_DUE} AND {{which}}
GROUP BY customer_id ORDER BY min(next_attempt_at), customer_id LIMIT ?
"""  # noqa: S608 -- texts of this module; all input is bound
_DUE_OTHERS = f"""
SELECT type, customer_id, object_id FROM corkage_stripe_event
WHERE applied_at IS NULL AND customer_id IS NULL AND {_IS_DUE} AND {{which}}
ORDER BY next_attempt_at, id LIMIT ?
"""  # noqa: S608 -- texts of this module; all input is bound
_PURCHASES_FIRST = (IS_PURCHASE, "true")
_NEXT_DUE_AT = """
SELECT min(CASE WHEN next_attempt_at > ? THEN ? ELSE next_attempt_at END)
FROM corkage_stripe_event WHERE applied_at IS NULL
"""
_PENDING = """
SELECT id, type, object_id FROM corkage_stripe_event
WHERE applied_at IS NULL AND {which} ORDER BY id LIMIT ?
"""
_LEASE = f"""
UPDATE corkage_stripe_event SET next_attempt_at = ? WHERE id IN (
    SELECT id FROM corkage_stripe_event WHERE applied_at IS NULL AND {{which}} AND {_IS_DUE}
    ORDER BY id LIMIT ?
)
"""  # noqa: S608 -- texts of this module; all input is bound
# Not IS NULL: PostgreSQL, whose statistics usually know of no pending event, would read the index of all that are.
_MARK_APPLIED = """
UPDATE corkage_stripe_event SET applied_at = ?, outcome = ?, error = NULL
WHERE id IN ({marks}) AND coalesce(applied_at, 0) = 0
"""
_POSTPONE = f"""
UPDATE corkage_stripe_event SET attempts = attempts + 1, error = ?,
    next_attempt_at = CASE attempts {" ".join(f"WHEN {attempts} THEN ?" for attempts in range(DOUBLINGS))} ELSE ? END
WHERE applied_at IS NULL AND {{which}} AND next_attempt_at = ?
"""  # noqa: S608 -- texts of this module; all input is bound
_LET_GO = """
UPDATE corkage_stripe_event SET next_attempt_at = ? WHERE applied_at IS NULL AND {which} AND next_attempt_at = ?
"""
_MAY_BE_LEASED = """
applied_at IS NULL AND next_attempt_at > ? AND next_attempt_at <= ?
AND (attempts > 0 OR next_attempt_at > received_at + ?)
"""
_MAY_ANY = f"SELECT 1 FROM corkage_stripe_event WHERE {_MAY_BE_LEASED} LIMIT 1"  # noqa: S608 -- as above
_END_LEASES = f"UPDATE corkage_stripe_event SET next_attempt_at = ? WHERE {_MAY_BE_LEASED}"  # noqa: S608 -- as above
_MAKE_DUE_AFTER_OUTAGE = f"""
UPDATE corkage_stripe_event SET next_attempt_at = ? WHERE applied_at IS NULL AND next_attempt_at > ? AND {WAS_DOWN}
"""  # noqa: S608 -- texts of this module and of outage.py; all input is bound


class Subject(NamedTuple):
    """What pending events point at. One fetch of it answers all of them.

    Shape   a customer or, where the events name none, another object of Stripe, such as a test clock;
            CATALOGUE for prices and products
    """

    customer_id: str | None = None
    object_id: str | None = None
    is_clock: bool = False

    @property
    def condition(self) -> str:
        """The condition that finds its events, in SQL."""
        if self.customer_id is not None:
            return "customer_id = ?"
        if self.object_id is not None:
            return "customer_id IS NULL AND object_id = ?"
        is_of_catalogue = " OR ".join(f"type LIKE '{each}%'" for each in CATALOGUE_PREFIXES)
        return f"customer_id IS NULL AND ({is_of_catalogue})"

    @property
    def values(self) -> tuple[str, ...]:
        """The values of the condition."""
        return tuple(each for each in (self.customer_id or self.object_id,) if each is not None)


CATALOGUE = Subject()


def subject_of(event_id: str) -> Subject | None:
    """Return what a stored event points at; None when it is not stored."""
    found = storage.row("SELECT type, customer_id, object_id FROM corkage_stripe_event WHERE id = ?", (event_id,))
    return None if found is None else _subject(*found)


def _subject(kind: str, customer_id: str | None, object_id: str | None) -> Subject:
    if customer_id is not None:
        return Subject(customer_id)
    if kind.startswith(CATALOGUE_PREFIXES):
        return CATALOGUE
    return Subject(object_id=object_id, is_clock=kind == CLOCK_EVENT)


def due_customers(now: float, limit: int) -> list[str]:
    """Return the customers with a due event: purchases first, then the longest waiting."""
    return list(dict.fromkeys(customer_id for (customer_id,) in _due(_DUE_CUSTOMERS, now, limit)))[:limit]


def due_without_customer(now: float, limit: int) -> list[Subject]:
    """Return what due events without a customer point at: purchases first, then the longest waiting."""
    return list(dict.fromkeys(_subject(*row) for row in _due(_DUE_OTHERS, now, limit)))


def _due(query: str, now: float, limit: int) -> Iterator[tuple[Any, ...]]:
    for which in _PURCHASES_FIRST:
        yield from storage.rows(query.format(which=which), (*_moments(now), limit))


def _moments(now: float) -> tuple[float, float]:
    return now, now + LONGEST_WITH_JITTER_SECONDS


def name_customer(event_ids: Sequence[str], customer_id: str, object_id: str | None, now: float) -> None:
    """Store the customer that was found for these events, and what of it, and make them due for its converge.

    To be called inside a writing transaction.
    """
    found = {"customer_id": customer_id, "object_id": object_id, "next_attempt_at": now}
    for piece in storage.pieces(event_ids):
        StripeEvent.update(found).where(StripeEvent.id.in_(piece)).execute()


def next_due_at(now: float) -> float | None:
    """Return when the earliest pending event is due; None when nothing is pending."""
    now, horizon = _moments(now)
    found = storage.row(_NEXT_DUE_AT, (horizon, now))
    return found[0] if found else None


class Pending(NamedTuple):
    """A pending event, as converging needs it."""

    id: str
    type: str
    object_id: str | None


def pending_of(subject: Subject) -> list[Pending]:
    """Return the subject's pending events, due or not: one fetch answers all of them. At most MOST_AT_ONCE."""
    found = storage.rows(_PENDING.format(which=subject.condition), (*subject.values, MOST_AT_ONCE))
    return [Pending(*row) for row in found]


class Backlog(NamedTuple):
    """How many events are pending, how many of them have failed, and for how long the oldest waits."""

    backlog: int
    failing: int
    oldest_pending_seconds: int


def backlog(now: float) -> Backlog:
    """Count the pending events.

    Errors  DatabaseUnavailable when the database cannot be read
    """
    query: Any = StripeEvent.select(
        fn.COUNT(StripeEvent.id),
        fn.COUNT(Case(None, [(StripeEvent.attempts > 0, 1)])),
        fn.COALESCE(fn.MIN(StripeEvent.received_at), now),
    ).where(StripeEvent.applied_at.is_null())
    with storage.reading():
        pending, failing, oldest = query.tuples().get()
    return Backlog(pending, failing, max(0, int(now - oldest)))


def lease(subject: Subject, now: float, until: float) -> bool:
    """Claim the subject's due events, so that no other worker applies them; return whether there were any.

    To be called inside a writing transaction.
    """
    values = (until, *subject.values, *_moments(now), MOST_AT_ONCE)
    return bool(storage.change(_LEASE.format(which=subject.condition), values))


def let_go(subject: Subject, leased_until: float, now: float) -> None:
    """Make the leased events of a subject due again, which nobody applies any more."""
    with storage.writing():
        storage.change(_LET_GO.format(which=subject.condition), (now, *subject.values, leased_until))


def end_leases(now: float, longest: float, debounce_seconds: float) -> None:
    """Make every pending event due that is leased until `longest` at most, or waits as long after a failure."""
    values = (now, longest, debounce_seconds)
    if storage.row(_MAY_ANY, values):
        with storage.writing():
            storage.change(_END_LEASES, (now, *values))


def make_due(now: float, event_id: str | None = None) -> bool:
    """Make all pending events due now, or one event: end its debounce or backoff. Return whether there was any."""
    chosen = (StripeEvent.id == event_id,) if event_id else ()
    with storage.writing():
        changed = StripeEvent.update(next_attempt_at=now).where(StripeEvent.applied_at.is_null(), *chosen).execute()
    return bool(changed)


def mark_applied(event_ids: Sequence[str], outcome: str, now: float) -> None:
    """Mark these events applied. To be called inside the transaction that applies them."""
    for piece in storage.pieces(event_ids):
        storage.change(_MARK_APPLIED.format(marks=", ".join("?" * len(piece))), (now, outcome, *piece))


def make_due_after_outage(now: float) -> None:
    """Make all events due that failed because Stripe was down. To be called inside a writing transaction."""
    storage.change(_MAKE_DUE_AFTER_OUTAGE, (now, now))


def postpone(
    subject: Subject, leased_until: float, error: str, now: float, longest_pause: float = LONGEST_PAUSE_SECONDS
) -> None:
    """Store a failed attempt on the leased events, and when to retry, with backoff.

    Retries never end: no stored event is given up. One statement for any number of events.
    """
    due = [now + with_jitter(backoff(attempts, longest=longest_pause)) for attempts in range(DOUBLINGS + 1)]
    values = (storable(error[:LONGEST_ERROR]), *due, *subject.values, leased_until)
    with storage.writing():
        storage.change(_POSTPONE.format(which=subject.condition), values)


def reopen(event: EventRef, source: str, now: float) -> None:
    """Make an event pending and due, whether it is new, pending or applied."""
    record(event, source, now, now)
    waits_since = Case(None, [(StripeEvent.applied_at.is_null(), StripeEvent.received_at)], now)
    with storage.writing():
        StripeEvent.update(
            applied_at=None, outcome=None, attempts=0, error=None, received_at=waits_since, next_attempt_at=now
        ).where(StripeEvent.id == event.id).execute()


STATES = ("failing", "pending", "applied")


def in_state(state: str, limit: int) -> list[StripeEvent]:
    """Return events: "failing" ones have failed, "pending" ones wait for their first try; the longest waiting first.

    Shape   "applied" ones are sorted latest first
    """
    is_pending = StripeEvent.applied_at.is_null()
    where, order = {
        "failing": ((is_pending, StripeEvent.attempts > 0), StripeEvent.received_at),
        "pending": ((is_pending, StripeEvent.attempts == 0), StripeEvent.received_at),
        "applied": ((StripeEvent.applied_at.is_null(False),), StripeEvent.applied_at.desc()),
    }[state]
    return list(StripeEvent.select().where(*where).order_by(order).limit(limit))
