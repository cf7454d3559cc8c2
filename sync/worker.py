"""The worker: each call does all work that is due."""

import functools
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from .. import storage
from ..errors import BillingError, DatabaseUnavailable, Outdated, StripeError, StripeUnavailable
from ..gateway.account import Account
from ..gateway.client import SLOWEST_CALL_SECONDS
from ..gateway.gateway import Gateway
from ..gateway.states import SubscriptionState
from ..logs.facts import about, logger
from ..models import CheckoutAttempt
from ..replica import owed as changes
from ..replica import revenue, stale, timelines
from ..replica.prices import Catalogue
from . import inbox, jobs, lookups, meters
from .converge import Converger
from .jobs import DAY_SECONDS, prune
from .mirror import Mirror
from .poll import poll
from .pool import Ended, Job, Pool

BATCH = 50
TIMELINES = "timelines"
METERS = "meters"
JOBS_AT_ONCE = 8  # at 150 ms a response four reach Stripe's limit: as many more may hang
CALLS_PER_SECOND = 22  # Stripe allows 25 (in a sandbox, for all endpoints together): the rest is for visitors
LEASE_SECONDS = 4 * SLOWEST_CALL_SECONDS
HOUR_SECONDS = 3600.0
PRICES_AGAIN_SECONDS = 30.0
ENDPOINT_AGAIN_SECONDS = 300.0
MIRROR_SECONDS = 120.0
CUSTOMER = "customer "  # the prefix of a customer's job key

log = logger("corkage.worker")


@dataclass(frozen=True, slots=True)
class Work:
    """What one call did. next_due_at: when more is due, in Unix seconds."""

    converged: int
    failed: int
    next_due_at: float


@dataclass(frozen=True, slots=True)
class Polling:
    """How Stripe's events are polled. 0 for every_seconds means never."""

    every_seconds: float
    debounce_seconds: float
    livemode: bool


class _Recurring(NamedTuple):
    """A recurring job: each time one process runs it. 0 for every_seconds means never."""

    name: str
    every_seconds: float
    act: Callable[[float, Callable[[], bool]], BillingError | None]
    asks_stripe: bool


class Sales(Protocol):
    """What the worker does at Stripe for those who buy; see selling/checkout.py."""

    def open_pages(self, now: float) -> list[CheckoutAttempt]:
        """Return the attempts with an open page that sells what their user has by now."""

    def close_page(self, attempt: CheckoutAttempt) -> None:
        """Close the page of one."""

    def resume_paused(self, customer_id: str, subscriptions: tuple[SubscriptionState, ...]) -> bool:
        """Resume what waited for a card that its user went to give; return whether anything goes on."""


class Owed(Protocol):
    """The changes that are owed to Stripe; see selling/changes.py."""

    def due(self, now: float) -> list[str]:
        """Return the changes that may be sent."""

    def next_due_at(self, now: float) -> float | None:
        """Return when the next may be sent."""

    def carry_on(self, nonce: str) -> BillingError | None:
        """Send one; return the error that kept it from being made."""


class Worker:
    """Applies pending events. Any number of workers may run on one database, in threads and processes."""

    def __init__(
        self,
        gateway: Gateway,
        catalogue: Catalogue,
        converger: Converger,
        polling: Polling,
        account: Account,
        sales: Sales,
        owed: Owed,
        keep_events_days: int = 90,
        look_at_endpoint: Callable[[float], bool] | None = None,
    ) -> None:
        self.gateway = gateway
        self.catalogue = catalogue
        self.converger = converger
        self.timelines = catalogue.timelines
        self.polling = polling
        self.account = account
        self.sales = sales
        self.mirror = Mirror(gateway, self.timelines, converger.app)
        self.owed = owed
        self.keep_events_days = keep_events_days
        self._looks = look_at_endpoint
        self._failed: deque[Job] = deque()
        self._pool = self._new_pool()
        self._has_begun = False

    def check_account(self) -> None:
        """Check that the key belongs to the Stripe account that the database mirrors.

        Errors  ConfigError when it belongs to another; StripeError as the gateway's
        """
        self.account.check(lambda: self.gateway)

    def work_once(self, now: float, is_stopping: Callable[[], bool] = lambda: False) -> Work:
        """Do all work that is due at `now`, and wait for its end. A failure is retried later and stops no other job.

        Shape   is_stopping: checked before each job; the rest stays due
        Errors  ConfigError when the database mirrors another account; Outdated when another process is newer;
                DatabaseUnavailable: nothing is lost, call again
        """
        converged = failed = 0
        pool = self._new_pool()
        try:
            while begun := self._begin_due(pool, now, is_stopping):
                for key, ended in begun.items():
                    failed += ended.result() is not None
                    converged += ended.result() is None and key.startswith(CUSTOMER)
        finally:
            pool.close()  # whatever is raised: the caller may close the database next
        return Work(converged, failed, self.next_due_at(now))

    def _new_pool(self) -> Pool:
        return Pool(JOBS_AT_ONCE, self._failed)

    def begin_due(
        self, now: float, is_stopping: Callable[[], bool], on_end: Callable[[Ended], object] | None = None
    ) -> dict[str, Ended]:
        """Begin what is due at `now`, side by side, and return it without waiting for its end.

        What hangs takes one place of several. Call it again when something ended: that may have made more due.

        Errors  as work_once(); what a job raises is in its future
        """
        return self._begin_due(self._pool, now, is_stopping, on_end)

    def _begin_due(
        self,
        pool: Pool,
        now: float,
        is_stopping: Callable[[], bool],
        on_end: Callable[[Ended], object] | None = None,
    ) -> dict[str, Ended]:
        self.timelines.refuse_if_outdated()
        pool.let_go_of_failed()
        self._end_leases_of_the_dead(now)
        self._try_to_check_account()
        self.timelines.follow_time(now)
        if self.gateway.outage.take_end():
            _make_due_after_outage(now)
        return pool.run(self._jobs(pool, now, is_stopping), is_stopping, on_end)

    def _end_leases_of_the_dead(self, now: float) -> None:
        """Where no other process uses the database, make due what one that was killed had claimed; once."""
        if not self._has_begun and storage.is_alone():
            inbox.end_leases(now, now + LEASE_SECONDS, self.polling.debounce_seconds)
        self._has_begun = True

    def close(self, longest_seconds: float | None = None) -> None:
        """Wait for what begin_due() began, for so long at most, and end its threads."""
        self._pool.close(longest_seconds)

    def work_at_once(self, now: float) -> Work:
        """Poll, if polling is on, apply all pending events and send all usage, without debounce or backoff.

        Errors  as work_once()
        """
        self.gateway.outage.end_pause()
        jobs.make_due("poll", now)
        polled = self.work_once(now)
        inbox.make_due(now)
        meters.make_due(now)
        applied = self.work_once(now)
        return Work(polled.converged + applied.converged, polled.failed + applied.failed, applied.next_due_at)

    def apply_now(self, event_id: str, now: float) -> BillingError | None:
        """Apply a stored event now, without debounce; return the error, or None when it is applied."""
        self.check_account()
        if self.timelines.is_outdated():
            return Outdated("another process is newer, and applies events")
        if not inbox.make_due(now, event_id):
            return None
        subject, error = inbox.subject_of(event_id), None
        if subject is not None and subject.customer_id is None:
            error = self._apply_at_once(subject, now)
            subject = inbox.subject_of(event_id)  # its customer may be known now
        if subject is None or subject.customer_id is None:
            return error
        return self._apply_at_once(subject, now)

    def _apply_at_once(self, subject: inbox.Subject, now: float) -> BillingError | None:
        _lease(subject, now)
        return self._apply(subject, now)

    def _apply(self, subject: inbox.Subject, now: float) -> BillingError | None:
        """Apply the leased events of a subject. On failure store the error on them, and return it."""
        name = subject.customer_id or subject.object_id or "the catalogue"
        try:
            with about(customer=subject.customer_id):
                self._fetch(subject, now)
        except DatabaseUnavailable:
            raise
        except BillingError as error:
            log.warning("%s could not be fetched, will retry: %s: %s", name, error.code, error)
            longest_pause = self.gateway.outage.longest_pause
            inbox.postpone(subject, now + LEASE_SECONDS, f"{error.code}: {error}", now, longest_pause)
            return error
        except Exception as error:  # a bug that one customer reveals must not stop the others
            log.exception("%s could not be applied, will retry", name)
            inbox.postpone(subject, now + LEASE_SECONDS, f"bug: {type(error).__name__}", now)
            return BillingError(f"{name} could not be applied: {error!r}")
        return None

    def _fetch(self, subject: inbox.Subject, now: float) -> None:
        if subject.customer_id is not None:
            found = self.converger.converge(subject.customer_id, now)
            if self.sales.resume_paused(subject.customer_id, found.subscriptions):
                self.converger.converge(subject.customer_id, now)
        elif subject == inbox.CATALOGUE:
            self._refresh_prices(now)
        elif subject.is_clock:
            lookups.advance_clock(self.gateway, self.timelines, subject, now)
        else:
            lookups.find_customer(self.gateway, subject, now)

    def _jobs(self, pool: Pool, now: float, is_stopping: Callable[[], bool]) -> Iterator[Job]:
        """Claim what is due: timelines and other work of our own, then what asks Stripe, as far as that is up."""
        if timelines.are_waiting() and not pool.is_running(TIMELINES):
            yield Job(TIMELINES, functools.partial(self._renew, now, is_stopping))
        yield from self._due_recurring(pool, now, is_stopping, asks_stripe=False)
        asking = self._asking_jobs(pool, now, is_stopping)
        while self.gateway.outage.admits(now):
            job = next(asking, None)
            if job is None:
                self.gateway.outage.end_pause()
                return
            yield job._replace(act=functools.partial(self._noting_outage, job.act, now))

    def _noting_outage(self, act: Callable[[], BillingError | None], now: float) -> BillingError | None:
        began = time.monotonic()
        error = act()
        if isinstance(error, StripeUnavailable):
            self.gateway.outage.note_failure(now + time.monotonic() - began)  # it may have hung for long
        else:  # if Stripe was not asked at all, it may be asked by the next
            self.gateway.outage.end_pause()
        return error

    def _due_recurring(
        self, pool: Pool, now: float, is_stopping: Callable[[], bool], *, asks_stripe: bool
    ) -> Iterator[Job]:
        next_runs = self._next_runs(now)
        for name, every_seconds, act, asks in self._recurring():
            is_due = asks == asks_stripe and next_runs[name] <= now and not pool.is_running(name)
            if is_due and jobs.claim(name, now, every_seconds):
                yield Job(name, functools.partial(act, now, is_stopping))

    def _asking_jobs(self, pool: Pool, now: float, is_stopping: Callable[[], bool]) -> Iterator[Job]:
        """Claim what asks Stripe: recurring jobs, usage, events, then stale subscriptions."""
        yield from self._due_recurring(pool, now, is_stopping, asks_stripe=True)
        if meters.are_due(now) and not pool.is_running(METERS):
            yield Job(METERS, functools.partial(self._send_usage, now, is_stopping))
        for subject in self._due_subjects(now):
            key = _key(subject)
            if not pool.is_running(key) and _lease(subject, now):
                let_go = functools.partial(inbox.let_go, subject, now + LEASE_SECONDS, now)
                yield Job(key, functools.partial(self._apply, subject, now), let_go)
        for customer_id in stale.customers(now, BATCH):
            subject = inbox.Subject(customer_id)
            if not pool.is_running(_key(subject)) and _claim_stale(customer_id, now):
                yield Job(_key(subject), functools.partial(self._apply, subject, now))
        for attempt in self.sales.open_pages(now):
            key = f"page of {attempt.user_id}"
            if not pool.is_running(key):
                yield Job(key, functools.partial(self._close_page, attempt))
        for nonce in self.owed.due(now):
            if not pool.is_running(f"change {nonce}"):
                yield Job(f"change {nonce}", functools.partial(self.owed.carry_on, nonce))

    def _close_page(self, attempt: CheckoutAttempt) -> BillingError | None:
        """Close an open Checkout page of a user who subscribed otherwise. A failure is tried again in minutes."""
        try:
            self.sales.close_page(attempt)
        except DatabaseUnavailable:
            raise
        except BillingError as error:
            log.warning("the open page of %s could not be closed: %s: %s", attempt.user_id, error.code, error)
            return error
        return None

    def _due_subjects(self, now: float) -> Iterator[inbox.Subject]:
        yield from inbox.due_without_customer(now, BATCH)
        yield from map(inbox.Subject, inbox.due_customers(now, BATCH))

    def _recurring(self) -> list[_Recurring]:
        found = [
            _Recurring("prune", DAY_SECONDS, self._prune, asks_stripe=False),
            _Recurring("asks", HOUR_SECONDS, self._shorten_waits, asks_stripe=False),
            _Recurring("prices", HOUR_SECONDS, self._refresh_prices_hourly, asks_stripe=True),
            _Recurring("grants", MIRROR_SECONDS, self.mirror.write_due, asks_stripe=True),
            _Recurring("figures", DAY_SECONDS, self._keep_figures, asks_stripe=False),
            _Recurring("poll", self.polling.every_seconds, self._poll, asks_stripe=True),
            _Recurring("endpoint", HOUR_SECONDS if self._looks else 0, self._look_at_endpoint, asks_stripe=True),
        ]
        return [each for each in found if each.every_seconds]

    def _next_runs(self, now: float) -> dict[str, float]:
        return jobs.next_runs(now, {each.name: each.every_seconds for each in self._recurring()})

    def _renew(self, now: float, is_stopping: Callable[[], bool]) -> None:
        """Make timelines anew, batch by batch, until none is older than the present plans."""
        while not is_stopping() and self.timelines.renew_some(now):
            pass

    def _send_usage(self, now: float, is_stopping: Callable[[], bool]) -> BillingError | None:
        """Send what is owed to meters, some at a time, until nothing is due. A failure is retried with backoff."""
        errors: list[BillingError] = []
        while meters.are_due(now) and not is_stopping():
            errors += meters.send_some(self.gateway, now)
        return errors[0] if errors else None

    def _prune(self, now: float, _is_stopping: Callable[[], bool]) -> None:
        prune(now, self.keep_events_days)

    def _keep_figures(self, now: float, _is_stopping: Callable[[], bool]) -> None:
        revenue.keep(now)

    def _shorten_waits(self, now: float, _is_stopping: Callable[[], bool]) -> None:
        stale.shorten_waits(now)

    def _refresh_prices(self, now: float) -> None:
        waiting = [event.id for event in inbox.pending_of(inbox.CATALOGUE)]
        self.catalogue.refresh(self.gateway)
        with storage.writing():
            inbox.mark_applied(waiting, "refreshed", now)

    def _refresh_prices_hourly(self, now: float, _is_stopping: Callable[[], bool]) -> BillingError | None:
        try:
            self._refresh_prices(now)
        except DatabaseUnavailable:
            raise
        except BillingError as error:
            log.warning("the prices could not be refreshed, will retry: %s: %s", error.code, error)
            jobs.make_due("prices", now + PRICES_AGAIN_SECONDS)
            return error
        return None

    def _poll(self, now: float, is_stopping: Callable[[], bool]) -> BillingError | None:
        try:
            poll(self.converger, now, self.polling.livemode, self.polling.debounce_seconds, is_stopping)
        except InterruptedError:
            jobs.make_due("poll", now)
        except DatabaseUnavailable:
            raise
        except BillingError as error:
            log.warning("Stripe's events could not be polled, will retry: %s: %s", error.code, error)
            return error
        return None

    def _look_at_endpoint(self, now: float, _is_stopping: Callable[[], bool]) -> None:
        """Look whether Stripe's webhook endpoint is as it should be; if not, look again soon, as it may be mended."""
        try:
            if self._looks and not self._looks(now):
                jobs.make_due("endpoint", now + ENDPOINT_AGAIN_SECONDS)
        except StripeError as error:
            log.debug("Stripe's webhook endpoint could not be looked at: %s: %s", error.code, error)

    def _try_to_check_account(self) -> None:
        try:
            self.check_account()
        except StripeError as error:
            log.warning("Stripe did not say which account the key belongs to: %s: %s", error.code, error)

    def next_due_at(self, now: float) -> float:
        """Return when the next work is due, in Unix seconds."""
        next_runs = self._next_runs(now)
        own = [next_runs[each.name] for each in self._recurring() if not each.asks_stripe]
        asking = [next_runs[each.name] for each in self._recurring() if each.asks_stripe]
        others = (inbox.next_due_at(now), stale.next_ask_at(), meters.next_due_at(), self.owed.next_due_at(now))
        asks_at = min(asking + [each for each in others if each is not None])
        if self.gateway.outage.is_down:
            asks_at = max(asks_at, self.gateway.outage.next_try_at)
        moment = timelines.next_due_at(now)
        return min([*own, asks_at] if moment is None else [*own, asks_at, moment])


def _make_due_after_outage(now: float) -> None:
    log.info("Stripe answers again: all that failed meanwhile is due")
    with storage.writing():
        inbox.make_due_after_outage(now)
        meters.make_due_after_outage(now)
        changes.make_due_after_outage(now)
    jobs.make_due("poll", now)


def _lease(subject: inbox.Subject, now: float) -> bool:
    with storage.writing():
        return inbox.lease(subject, now, now + LEASE_SECONDS)


def _claim_stale(customer_id: str, now: float) -> bool:
    with storage.writing():
        return stale.claim(customer_id, now)


def _key(subject: inbox.Subject) -> str:
    if subject.customer_id is not None:
        return f"{CUSTOMER}{subject.customer_id}"
    return "catalogue" if subject == inbox.CATALOGUE else f"object {subject.object_id}"
