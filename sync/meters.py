"""Meters: the outbox of usage that Stripe bills. Rows are stored with the use (selling/metered.py), and sent from here.

Stripe takes one event a call. So what a user uses of a limit is one row, until it is sent some minutes after the first
use. Each row has an identifier, which Stripe counts once for at least a day; after that it is asked first what it has.
"""

from functools import partial
from typing import NamedTuple

from .. import storage
from ..errors import BillingError, StripeError, StripeRefused
from ..gateway.client import SLOWEST_CALL_SECONDS
from ..gateway.gateway import Gateway
from ..gateway.outage import WAS_DOWN
from ..logs.facts import logger
from ..pacing.pauses import LONGEST_WITH_JITTER_SECONDS, backoff, with_jitter
from ..texts import storable
from .jobs import DAY_SECONDS

HOUR_SECONDS = 3600
MINUTE = 60
GIVE_UP_SECONDS = 34 * DAY_SECONDS  # Stripe takes events of the last 35 days
UNIQUE_SECONDS = 23 * HOUR_SECONDS  # Stripe keeps identifiers for at least a day
AT_ONCE = 8
LONGEST_ERROR = 500
LEASE_SECONDS = 2 * SLOWEST_CALL_SECONDS

_OWED = "sent_at IS NULL AND lost_at IS NULL"
_DUE = f"""
SELECT id FROM corkage_meter_event
WHERE {_OWED} AND (next_attempt_at <= ? OR next_attempt_at > ?) ORDER BY next_attempt_at, id LIMIT ?
"""  # noqa: S608 -- texts of this module; all input is bound
_NEXT = f"SELECT min(next_attempt_at) FROM corkage_meter_event WHERE {_OWED}"  # noqa: S608 -- a text of this module
_MAKE_DUE = f"UPDATE corkage_meter_event SET next_attempt_at = ? WHERE {_OWED} AND next_attempt_at > ?"  # noqa: S608 -- a text of this module
_MAKE_DUE_AFTER_OUTAGE = f"{_MAKE_DUE} AND {WAS_DOWN}"
_GIVE_UP = f"""
UPDATE corkage_meter_event SET lost_at = ? WHERE {_OWED} AND created_at < ? AND next_attempt_at <= ?
"""  # noqa: S608 -- texts of this module; all input is bound
_READ = """
SELECT id, customer_id, event_name, amount, used_at, attempts, asked_at FROM corkage_meter_event
WHERE id IN ({marks}) ORDER BY id
"""
_CLAIM = """
UPDATE corkage_meter_event SET attempts = attempts + 1, asked_at = coalesce(asked_at, ?), next_attempt_at = ?
WHERE id IN ({marks})
"""
_SENT = "UPDATE corkage_meter_event SET sent_at = ?, error = NULL WHERE id = ?"
_FAILED = "UPDATE corkage_meter_event SET error = ?, next_attempt_at = ?, asked_at = ? WHERE id = ? AND sent_at IS NULL"
_SENT_IN_MINUTE = """
SELECT coalesce(sum(amount), 0) FROM corkage_meter_event
WHERE customer_id = ? AND event_name = ? AND used_at >= ? AND used_at < ? AND sent_at IS NOT NULL
"""

log = logger("corkage.meters")


class Owed(NamedTuple):
    """A row that is claimed for sending. asked_at: as before the claim."""

    id: str
    customer_id: str
    event_name: str
    amount: int
    used_at: int
    attempts: int
    asked_at: int | None


def are_due(now: float) -> bool:
    """Return whether something is to be sent."""
    return bool(storage.rows(_DUE, (now, now + LONGEST_WITH_JITTER_SECONDS, 1)))


def next_due_at() -> float | None:
    """Return when something is next to be sent; None when nothing is owed."""
    found = storage.row(_NEXT)
    return found[0] if found else None


def make_due(now: float) -> None:
    """Make all that is owed due now: end its gathering or backoff."""
    if next_due_at() is not None:
        with storage.writing():
            storage.change(_MAKE_DUE, (now, now))


def make_due_after_outage(now: float) -> None:
    """Make all due now that failed because Stripe was down. To be called inside a writing transaction."""
    storage.change(_MAKE_DUE_AFTER_OUTAGE, (now, now))


def send_some(gateway: Gateway, now: float) -> list[BillingError]:
    """Send some of what is due; return the errors of what failed, which is retried later with backoff.

    Errors  DatabaseUnavailable
    """
    owed = _claim(now)
    outcomes = gateway.side_by_side(*(partial(_send, gateway, each, now) for each in owed))
    sent = [(int(now), each.id) for each, error in zip(owed, outcomes, strict=True) if error is None]
    failed = [(each, error) for each, error in zip(owed, outcomes, strict=True) if error is not None]
    with storage.writing():
        storage.execute_many(_SENT, sent)
        storage.execute_many(_FAILED, [_failed(*each, now, gateway.outage.longest_pause) for each in failed])
    for each, error in failed:
        log.warning("usage %s of %s was not sent, will retry: %s: %s", each.id, each.customer_id, error.code, error)
    return [error for _, error in failed]


def _claim(now: float) -> list[Owed]:
    """Claim some rows, so that nothing else sends them, and none of them grows any more."""
    with storage.writing():
        if lost := storage.change(_GIVE_UP, (int(now), now - GIVE_UP_SECONDS, now)):
            log.error("%d rows of usage were not sent for 34 days, and Stripe takes them no more: doctor", lost)
        due = storage.rows(_DUE, (now, now + LONGEST_WITH_JITTER_SECONDS, AT_ONCE))
        ids = [id_ for (id_,) in due]
        if not ids:
            return []
        marks = ", ".join("?" * len(ids))
        asked = {row[0]: row[-1] for row in storage.rows(_READ.format(marks=marks), ids)}
        storage.change(_CLAIM.format(marks=marks), (int(now), now + LEASE_SECONDS, *ids))
        claimed = [Owed(*row) for row in storage.rows(_READ.format(marks=marks), ids)]
    return [each._replace(asked_at=asked[each.id]) for each in claimed]


def _send(gateway: Gateway, owed: Owed, now: float) -> StripeError | None:
    """Send a row; return the error where Stripe does not have it, or may not."""
    try:
        if not (owed.asked_at and owed.asked_at < now - UNIQUE_SECONDS and _is_there(gateway, owed)):
            gateway.report_usage(owed.event_name, owed.customer_id, owed.amount, owed.id, owed.used_at)
    except StripeError as error:
        return error
    return None


def _is_there(gateway: Gateway, owed: Owed) -> bool:
    """Return whether Stripe has counted a row whose identifier it may have forgotten, by the sum of its minute."""
    meters = {each.event_name: each for each in gateway.meters()}
    if owed.event_name not in meters:
        return False
    starts_at = owed.used_at - owed.used_at % MINUTE
    place = (owed.customer_id, owed.event_name, starts_at, starts_at + MINUTE)
    ((others,),) = storage.rows(_SENT_IN_MINUTE, place)
    there = gateway.usage_of(meters[owed.event_name].id, owed.customer_id, starts_at, starts_at + MINUTE)
    return bool(there >= others + owed.amount)


def _failed(owed: Owed, error: BillingError, now: float, longest_pause: float) -> tuple[object, ...]:
    """Return the values of a failed attempt. What Stripe has refused it does not have."""
    asked_at = owed.asked_at if isinstance(error, StripeRefused) else owed.asked_at or int(now)
    text = storable(f"{error.code}: {error}"[:LONGEST_ERROR])
    return text, now + with_jitter(backoff(owed.attempts - 1, longest=longest_pause)), asked_at, owed.id
