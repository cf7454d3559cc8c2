"""The mirror of grants: a user's running grants, in the metadata of their customer at Stripe, so that they outlive a
lost database. granted.py restores them.
"""

from collections.abc import Callable
from typing import NamedTuple

from .. import storage
from ..errors import BillingError, DatabaseUnavailable, StripeRefused, StripeUnavailable, UnknownCustomer
from ..gateway.client import SLOWEST_CALL_SECONDS
from ..gateway.gateway import Gateway
from ..gateway.mirrored import read, text_of, to_metadata
from ..gateway.states import CustomerState
from ..logs.facts import logger
from ..models import User
from ..replica.granted import restore, running
from ..replica.timelines import Timelines

BATCH = 50
LEASE_SECONDS = 4 * SLOWEST_CALL_SECONDS
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, MOST_DOUBLINGS = 60.0, 6 * 3600.0, 10

_DUE = """
SELECT m.user_id, u.stripe_customer_id, m.customer_id, m.due_at, m.attempts
FROM corkage_grant_mirror AS m
JOIN corkage_user AS u ON u.id = m.user_id
WHERE u.stripe_customer_id IS NOT NULL
    AND (m.due_at <= ? OR (m.due_at IS NULL AND m.customer_id IS DISTINCT FROM u.stripe_customer_id))
ORDER BY m.due_at, m.user_id
LIMIT ?
"""
_LEASE = "UPDATE corkage_grant_mirror SET due_at = ? WHERE user_id = ? AND due_at IS NOT DISTINCT FROM ?"
_WRITTEN = """
UPDATE corkage_grant_mirror
SET customer_id = ?, text = ?, error = ?, attempts = 0, due_at = CASE WHEN due_at = ? THEN ? ELSE due_at END
WHERE user_id = ?
"""
_POSTPONE = "UPDATE corkage_grant_mirror SET due_at = ?, attempts = attempts + 1, error = ? WHERE user_id = ?"

log = logger("corkage.mirror")


class _Due(NamedTuple):
    """A mirror to be written. old_customer_id: the customer that has it now, None where there is none."""

    user_id: str
    customer_id: str
    old_customer_id: str | None
    due_at: float | None
    attempts: int


class Mirror:
    """Writes the mirrors that are due. Any number of processes may do so at once."""

    def __init__(self, gateway: Gateway, timelines: Timelines, app: str) -> None:
        self._gateway, self._timelines, self._app = gateway, timelines, app

    def write_due(self, now: float, is_stopping: Callable[[], bool]) -> BillingError | None:
        """Write every mirror that is due. A failure is tried again later, and stops no other user's.

        Return the error of a Stripe that does not answer, which ends the run.

        Errors  DatabaseUnavailable
        """
        while due := [_Due(*row) for row in storage.rows(_DUE, (now, BATCH))]:
            for each in due:
                if is_stopping():
                    return None
                error = self._try_to_write(each, now)
                if isinstance(error, StripeUnavailable):
                    return error
        return None

    def _try_to_write(self, due: _Due, now: float) -> BillingError | None:
        leased_until = now + LEASE_SECONDS
        with storage.writing():
            if not storage.change(_LEASE, (leased_until, due.user_id, due.due_at)):
                return None  # another process writes it, or the grants changed in this moment
        try:
            self._write(due, leased_until, now)
        except DatabaseUnavailable:
            raise
        except BillingError as error:
            pause = min(SHORTEST_PAUSE_SECONDS * 2 ** min(due.attempts, MOST_DOUBLINGS), LONGEST_PAUSE_SECONDS)
            log.warning("the grants of user %s are not mirrored: %s: %s", due.user_id, error.code, error)
            with storage.writing():
                storage.change(_POSTPONE, (now + pause, f"{error.code}: {error}", due.user_id))
            return error
        return None

    def _write(self, due: _Due, leased_until: float, now: float) -> None:
        if due.old_customer_id not in (None, due.customer_id):
            self._clear(str(due.old_customer_id), due.user_id)
        state = self._gateway.customer(due.customer_id)
        if state.deleted or state.app not in (None, self._app):
            raise StripeRefused(f"{due.customer_id} was deleted, or is marked for another app")
        if state.grants:
            self._restore(due.user_id, state, now)
        grants = running(due.user_id, now)
        text = text_of(due.user_id, grants)
        if text != state.grants and (text or read(state.grants)[0] == due.user_id):
            self._gateway.mirror_grants(due.customer_id, to_metadata(text))
        left_out = len(grants) - len(read(text)[1])
        error = f"{left_out} of {len(grants)} grants do not fit into the customer's metadata" if left_out else None
        next_end = min((each.ends_at for each in grants if each.ends_at is not None), default=None)
        with storage.writing():
            is_known = storage.change(_WRITTEN, (due.customer_id, text, error, leased_until, next_end, due.user_id))
        if not is_known:  # the user was forgotten meanwhile
            self._clear(due.customer_id, due.user_id)

    def _restore(self, user_id: str, state: CustomerState, now: float) -> None:
        """Restore what is there before it is overwritten: the customer may have been linked in this moment."""
        with storage.writing():
            if User.get_or_none(User.id == user_id) and restore(user_id, state.grants, now):
                self._timelines.store([user_id], now)

    def _clear(self, customer_id: str, user_id: str) -> None:
        """Remove the user's mirror from a customer that is not theirs any more."""
        try:
            state = self._gateway.customer(customer_id)
            if not state.deleted and read(state.grants)[0] == user_id:
                self._gateway.mirror_grants(customer_id, to_metadata(""))
        except UnknownCustomer:
            log.info("%s, which had the grants of user %s, is not at Stripe any more", customer_id, user_id)
