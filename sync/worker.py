"""The worker: does whatever is due, once per call."""

import functools
import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .. import database
from ..errors import BillingError, DatabaseUnavailable, StripeError
from . import clocks, inbox, notices, overdue, recurring, unnamed
from .abreast import each_abreast
from .account import Account
from .converge import Converger
from .gateway import SLOWEST_CALL_SECONDS, Gateway
from .poll import poll
from .prices import Catalogue
from .pruning import prune_daily

BATCH = 50
FETCHES_ABREAST = 5  # at 150 ms an answer, and some for the writing, as many as Stripe's limit allows
CALLS_PER_SECOND = 22  # Stripe allows 25, to one address or, in a sandbox, to all: visitors' own calls find room
LEASE_SECONDS = 4 * SLOWEST_CALL_SECONDS
PRICES_EVERY_SECONDS = 3600.0
PRICES_AGAIN_SECONDS = 30.0

log = logging.getLogger("corkage.worker")


@dataclass(frozen=True, slots=True)
class Work:
    """What one round did. next_due_at is when something is due next, in Unix seconds."""

    converged: int
    failed: int
    next_due_at: float


@dataclass(frozen=True, slots=True)
class Polling:
    """How Stripe's events are polled; never when every_seconds is 0."""

    every_seconds: float
    settle_seconds: float
    livemode: bool


class Worker:
    """Applies what is pending. Any number of them may run, in threads and processes, on one file."""

    def __init__(
        self,
        gateway: Gateway,
        catalogue: Catalogue,
        converger: Converger,
        polling: Polling,
        account: Account,
        keep_events_days: int = 90,
    ) -> None:
        self.gateway = gateway
        self.catalogue = catalogue
        self.converger = converger
        self.polling = polling
        self.account = account
        self.keep_events_days = keep_events_days

    def check_account(self) -> None:
        """Make sure that the key still belongs to the Stripe account that the file mirrors, where the key may tell.

        Errors  ConfigError when it is another; StripeError as the gateway's
        """
        self.account.check(lambda: self.gateway)

    def work_once(self, now: float, is_stopping: Callable[[], bool] = lambda: False) -> Work:
        """Do all that is due at `now`. What fails is postponed and does not stop the rest.

        Shape   is_stopping: asked between one customer and the next; what is left then stays due
        Errors  ConfigError when the file mirrors another account; DatabaseUnavailable: nothing is lost, call again
        """
        try:
            self.check_account()
        except StripeError as error:
            log.warning("Stripe did not tell whose key this is: %s: %s", error.code, error)
        prune_daily(now, self.keep_events_days)
        did = [
            self._refresh_prices(now),
            self._poll(now, is_stopping),
            self._follow_clocks(now),
            self._find_customers(now),
        ]
        claimed = self._claim_customers(now, is_stopping)
        tried = each_abreast(claimed, lambda customer_id: self.converge_or_postpone(customer_id, now), FETCHES_ABREAST)
        notices.note_what_time_changed(now, BATCH)
        failed = sum(each is not None for each in did + tried)
        return Work(tried.count(None), failed, self._next_due_at())

    def work_at_once(self, now: float) -> Work:
        """Poll, and apply all that is pending, without any of the pauses that spare Stripe calls; where polling is
        off, what came by webhook.

        Errors  as work_once()
        """
        recurring.make_due("poll", now)
        polled = self.work_once(now)
        inbox.make_due(now)
        applied = self.work_once(now)
        return Work(polled.converged + applied.converged, polled.failed + applied.failed, applied.next_due_at)

    def apply_now(self, event_id: str, now: float) -> BillingError | None:
        """Apply a recorded event without waiting for its turn; return what went wrong, None when all is applied."""
        self.check_account()
        if not inbox.make_due(now, event_id):
            return None
        did: list[BillingError | None] = []
        if inbox.customer_of(event_id) is None:
            did = [self._follow_clocks(now), self._refresh_prices(now), self._find_customers(now)]
        customer_id = inbox.customer_of(event_id)
        if customer_id is None:
            return next((error for error in did if error), None)
        return self.converge_or_postpone(customer_id, now)

    def converge_or_postpone(self, customer_id: str, now: float) -> BillingError | None:
        """Converge the customer; when that fails, note it on the pending events and return the error."""
        waiting = [event.id for event in inbox.pending_of(customer_id)]
        return self._try(customer_id, waiting, lambda: self.converger.converge(customer_id, now), now)

    def _try(self, subject: str, waiting: list[str], act: Callable[[], object], now: float) -> BillingError | None:
        """Do what one customer's or one object's events ask for; when that fails, note it on them, and return why."""
        try:
            act()
        except DatabaseUnavailable:
            raise
        except BillingError as error:
            log.warning("%s could not be looked at, will be tried again: %s: %s", subject, error.code, error)
            inbox.postpone(waiting, f"{error.code}: {error}", now)
            return error
        except Exception as error:  # a bug that one of them brings to light must not stop all the others
            log.exception("%s could not be looked at, will be tried again", subject)
            inbox.postpone(waiting, f"bug: {type(error).__name__}", now)
            return BillingError(f"{subject} could not be looked at: {error!r}")
        return None

    def _claim_customers(self, now: float, is_stopping: Callable[[], bool]) -> Iterator[str]:
        """Claim, one after the other, the customers that have due events, then those that nothing was heard of."""
        for customer_id in inbox.due_customers(now, BATCH):
            if not is_stopping() and inbox.lease(customer_id, now, now + LEASE_SECONDS):
                overdue.claim(customer_id, now)  # one look answers both
                yield customer_id
        for customer_id in overdue.customers(now, BATCH):
            if not is_stopping() and overdue.claim(customer_id, now):
                yield customer_id

    def _refresh_prices(self, now: float) -> BillingError | None:
        waiting = inbox.due_catalogue_events(now)
        if waiting:
            recurring.make_due("prices", now)
        if not recurring.claim("prices", now, PRICES_EVERY_SECONDS):
            return None
        try:
            self.catalogue.refresh(self.gateway, now)
        except DatabaseUnavailable:
            raise
        except BillingError as error:
            log.warning("the prices could not be refreshed, will be tried again: %s: %s", error.code, error)
            inbox.postpone(waiting, f"{error.code}: {error}", now)
            recurring.make_due("prices", now + PRICES_AGAIN_SECONDS)
            return error
        with database.writing():
            inbox.mark_applied(waiting, "refreshed", now)
        return None

    def _follow_clocks(self, now: float) -> BillingError | None:
        """Follow the test clocks that were moved; return what went wrong with one of them."""
        return self._look(clocks.follow, inbox.due_clocks(now), now)

    def _find_customers(self, now: float) -> BillingError | None:
        """Learn whose the events are that name no customer; return what went wrong with one of them."""
        return self._look(unnamed.find_customer, inbox.due_without_customer(now), now)

    def _look(
        self, act: Callable[[Gateway, str, list[str], float], None], due: dict[str, list[str]], now: float
    ) -> BillingError | None:
        """Look at some of the objects with their events; return what went wrong with one of them."""
        failed = None
        for object_id, waiting in itertools.islice(due.items(), BATCH):
            looked = functools.partial(act, self.gateway, object_id, waiting, now)
            failed = self._try(object_id, waiting, looked, now) or failed
        return failed

    def _poll(self, now: float, is_stopping: Callable[[], bool]) -> BillingError | None:
        if not self.polling.every_seconds or not recurring.claim("poll", now, self.polling.every_seconds):
            return None
        try:
            poll(self.converger, now, self.polling.livemode, self.polling.settle_seconds, is_stopping)
        except InterruptedError:
            recurring.make_due("poll", now)
        except DatabaseUnavailable:
            raise
        except BillingError as error:
            log.warning("Stripe's events could not be polled, will be tried again: %s: %s", error.code, error)
            return error
        return None

    def _next_due_at(self) -> float:
        polled_at = recurring.next_run_at("poll") if self.polling.every_seconds else None
        moments = (
            inbox.next_due_at(),
            recurring.next_run_at("prices"),
            polled_at,
            overdue.next_ask_at(),
            notices.next_note_at(),
        )
        return min(each for each in moments if each is not None)
