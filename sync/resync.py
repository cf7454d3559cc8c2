"""Resync: fetch every subscription from Stripe and store it, for instance to rebuild a lost database."""

import itertools
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from .. import storage
from ..access import ENDED, Access, read_access
from ..errors import BillingError, DatabaseUnavailable, StripeFailed, StripeNotSetUp, StripeUnavailable
from ..gateway.gateway import Gateway
from ..gateway.states import CustomerState, PurchaseState, SubscriptionState
from ..logs.facts import logger
from ..models import SYNCED, Customer, Subscription, SubscriptionItem, User, remember_once, setting
from ..notices import changes
from ..replica import replica
from ..replica.marks import Marked, of_another_app
from ..replica.replica import Replica
from . import jobs
from .converge import Converger, Fetched

CALLS_PER_SECOND = 20  # Stripe allows 25 (in a sandbox, for all endpoints together): the rest is for the servers
RESUME_SECONDS = 3600

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, how much is done, and of how much, or None where that is unknown."""

log = logger("corkage.resync")


def no_progress(_doing: str, _done: int, _of: int | None) -> None:
    pass


@dataclass
class Report:
    """What a resync found.

    Shape   subscriptions, customers: all that Stripe lists; done_before: customers that an interrupted run had done;
            singly: customers fetched one by one; unowned: customers of no user; new, changed: subscriptions;
            missing: customers that Stripe does not know; marked: customers of no user that are marked for another app;
            access: before and after, by user; failed: the reasons, by customer, which were left as they are
    """

    subscriptions: int = 0
    customers: int = 0
    done_before: int = 0
    singly: int = 0
    unowned: int = 0
    new: int = 0
    changed: int = 0
    missing: list[str] = field(default_factory=list)
    marked: list[Marked] = field(default_factory=list)
    access: dict[str, tuple[Access, Access]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Listing:
    """All that Stripe lists.

    Shape   rows: the customers' rows, as they were before the first page; held: the subscriptions in the replica that
            have not ended, with their customers; fetched: what was listed, by customer
    Units   as_of in Unix seconds by Stripe's clock: the time of the first page
    """

    rows: dict[str, Customer]
    held: dict[str, str]
    fetched: dict[str, Fetched]
    as_of: int


def resync(converger: Converger, now: float, *, writes: bool = True, progress: Progress | None = None) -> Report:
    """Fetch everything from Stripe and store it, while other processes write; return what was different.

    Revisions are read before the first page, and nothing is stored before the last, because a customer's subscriptions
    may be on several pages. Then each customer is stored as a whole. Two kinds are fetched one by one: customers that
    another worker stored meanwhile, and customers with a subscription that the list lacks, since absence means nothing.

    An interrupted run has stored some customers whole. A run within the next hour continues it: it lists again, and
    skips the customers that were fetched since the first run began.

    The first complete run finds subscribers from before this database: it was lost, or billing moves to Corkage. Their
    access is no news, so users that were unknown get no notice. Users who bought through us are known. This run lists
    customers, too: who was given a plan and never subscribed has no subscription to come with.

    What was bought once, refunds and disputes are listed for the whole account, too: of a customer with a refund or
    dispute that is new, the payments are fetched.

    Prices of plans.toml come first: a price that lost its lookup key to another has the plan of its product's others.

    Shape   writes: False rolls every change back
    Errors  StripeError when the list fails, or Stripe does not answer any more; DatabaseUnavailable
    """
    reporting, progress = ReportingConverger(converger, writes=writes), progress or no_progress
    listing = list_everything(reporting, progress)
    return store_everything(reporting, listing, now, progress)


def list_everything(
    reporting: "ReportingConverger", progress: Progress, wanted: Collection[str] = frozenset()
) -> Listing:
    """Fetch all lists, after the prices of plans.toml. Nothing else is stored.

    Shape   wanted: customers to look for in Stripe's list of customers, where they have no subscription to come with.
            No more pages are read for them than there would be calls for them one by one
    """
    if reporting.writes and reporting.catalogue.lacks_prices():
        reporting.catalogue.refresh(reporting.gateway)
    rows = {row.id: row for row in Customer.select()}
    held = _not_ended()
    fetched, as_of = _list(reporting.gateway, progress, sells_once=reporting.catalogue.sells_once())
    lacking = set(wanted) - fetched.keys()
    most_pages = None if setting(SYNCED) is None else len(lacking)
    if most_pages != 0:
        fetched |= _list_customers(reporting.gateway, fetched, as_of, lacking, most_pages)
    return Listing(rows, held, fetched, as_of)


def store_everything(
    reporting: "ReportingConverger", listing: Listing, now: float, progress: Progress, singly: Collection[str] = ()
) -> Report:
    """Store what was listed, and fetch one by one what the lists do not say; return what was different.

    Shape   singly: more customers to fetch one by one
    Errors  as resync()
    """
    report, rows, listed = reporting.report, listing.rows, listing.fetched
    began = _began(listing.as_of) if reporting.writes else listing.as_of
    ids = {state.id for fetched in listed.values() for state in fetched.subscriptions}
    done = {row.id for row in rows.values() if began < listing.as_of and reporting.is_done(row, began)}
    lacking = {customer_id for subscription_id, customer_id in listing.held.items() if subscription_id not in ids}
    lacking |= set(singly)
    report.subscriptions, report.customers = len(ids), len(listed.keys() | lacking)
    report.done_before = len(done & (listed.keys() | lacking))
    report.marked += [marked for id_ in done if (marked := of_another_app(rows[id_]))]
    whole = {id_: fetched for id_, fetched in listed.items() if id_ not in done | lacking}
    overtaken = reporting.set_all(whole, rows, now, progress)
    reporting.converge_all([*sorted(lacking - done), *overtaken], now, progress)
    reporting.look_at_returns(now)
    if reporting.writes:
        jobs.save_position("sync", 0)
        remember_once(SYNCED, str(int(now)))
    return report


class ReportingConverger(Converger):
    """A Converger that reports what each write changed. With writes=False it rolls each write back."""

    def __init__(self, converger: Converger, *, writes: bool) -> None:
        gateway = converger.gateway.paced(CALLS_PER_SECOND)
        super().__init__(gateway, converger.catalogue, converger.app, converger.account)
        self.report = Report()
        self.writes = writes
        self.level = self.level if writes else logging.DEBUG  # nothing has happened
        self._is_first = setting(SYNCED) is None
        self._newcomers: set[str | None] = set()

    def set_all(
        self, listed: dict[str, Fetched], rows: dict[str, Customer], now: float, progress: Progress = no_progress
    ) -> list[str]:
        """Store the listed state of each customer, by the revision read before; return those that were overtaken."""
        overtaken = []
        for count, (customer_id, fetched) in enumerate(listed.items(), 1):
            with self._one(customer_id):
                held = replica.read(customer_id)._replace(customer=rows.get(customer_id) or Customer(id=customer_id))
                if self._store(held, fetched, (), now) is None:
                    overtaken.append(customer_id)
            progress("compared", count, len(listed))
        return overtaken

    def converge_all(self, customer_ids: Sequence[str], now: float, progress: Progress = no_progress) -> None:
        """Fetch and store these customers one by one.

        Errors  StripeUnavailable when Stripe does not answer any more; another error goes into the report
        """
        for count, customer_id in enumerate(customer_ids, 1):
            with self._one(customer_id):
                self.converge(customer_id, now, reads_customer=True)
            self.report.singly += 1
            progress("fetched singly", count, len(customer_ids))

    def look_at_returns(self, now: float) -> None:
        """Fetch the payments of which money was asked back, where that is not stored as it is now.

        Errors  as converge_all()
        """
        known = set(storage.rows("SELECT customer_id, payment_intent, id, status FROM corkage_refund"))
        owned = set(storage.column(Customer.select(Customer.id).where(Customer.user.is_null(False))))
        payments: dict[str, set[str]] = {}
        try:
            for each in self.gateway.every_return():
                if each not in known and each[0] in owned:
                    payments.setdefault(each[0], set()).add(each[1])
        except StripeNotSetUp as error:
            log.error("refunds and disputes are not known: %s. Then run corkage sync", error)
        for customer_id, named in payments.items():
            with self._one(customer_id):
                self.converge(customer_id, now, payments=tuple(named))

    @contextmanager
    def _one(self, customer_id: str) -> Iterator[None]:
        """Put the error of one customer into the report, and go on with the others."""
        try:
            yield
        except DatabaseUnavailable:
            raise
        except BillingError as error:
            if isinstance(error, StripeUnavailable) and not isinstance(error, StripeFailed):
                raise
            self.report.failed[customer_id] = f"{error.code}: {error}"
        except Exception as error:  # a bug that one customer reveals must not stop the others
            log.exception("%s could not be compared", customer_id)
            self.report.failed[customer_id] = f"bug: {type(error).__name__}"

    def _store(self, held: Replica, fetched: Fetched, event_ids: Sequence[str], now: float) -> str | None:
        row = held.customer
        user_id = self.owner_of(row, fetched.customer) if fetched.customer else row.user_id
        with storage.writing() if self.writes else storage.trying():
            before = _held(row.id)
            access = read_access(user_id) if user_id else None
            self.kinds = self.kinds_for(row.id, user_id)
            outcome = self.compare_and_set(held, fetched, event_ids, now)
            if outcome:
                self._note(before, _held(row.id))
                self.report.unowned += user_id is None
                self.report.missing += [row.id] if fetched.is_missing else []
                self.report.marked += filter(None, [of_another_app(Customer.get_by_id(row.id))])
            if outcome and access:
                self._note_access(access, read_access(access.user_id))
        return outcome if self.writes or outcome is None else f"{outcome} for a moment: this is a dry run"

    def is_done(self, row: Customer, began: int) -> bool:
        """Return whether a run that was interrupted has stored the customer already."""
        return (row.fetched_at or 0) >= began

    def kinds_for(self, _customer_id: str, user_id: str | None) -> frozenset[str]:
        """Return the kinds of notices to store, inside the transaction that stores the customer."""
        return changes.NONE if self._is_newcomer(user_id) else changes.ALL

    def _is_newcomer(self, user_id: str | None) -> bool:
        if self._is_first and not User.select().where(User.id == user_id).exists():
            self._newcomers.add(user_id)
        return user_id in self._newcomers

    def _note(self, held: dict[str, Any], holds: dict[str, Any]) -> None:
        self.report.new += len(holds.keys() - held.keys())
        self.report.changed += sum(holds[id_] != was for id_, was in held.items())

    def _note_access(self, before: Access, after: Access) -> None:
        first, _ = self.report.access.get(before.user_id, (before, after))
        if first._replace(stale=after.stale) == after:
            self.report.access.pop(before.user_id, None)
        else:
            self.report.access[before.user_id] = (first, after)


def _began(as_of: int) -> int:
    """Return when this run began, by Stripe's clock. One that continues an interrupted run began with that one."""
    unfinished = jobs.position("sync")
    if not 0 <= as_of - unfinished <= RESUME_SECONDS:
        jobs.save_position("sync", as_of)
        return as_of
    log.info("continuing the interrupted run")
    return unfinished


def _not_ended() -> dict[str, str]:
    """Return the subscriptions in the replica that have not ended, with their customers."""
    query: Any = Subscription.select(Subscription.id, Subscription.customer).where(Subscription.status.not_in(ENDED))
    with storage.reading():
        return dict(query.tuples())


def _known_to_pay() -> set[str]:
    return set(storage.column(Subscription.select(Subscription.id).where(Subscription.has_paid)))


def _list(gateway: Gateway, progress: Progress, *, sells_once: bool) -> tuple[dict[str, Fetched], int]:
    """Fetch every page; return what was fetched by customer, and the time of the first page.

    Shape   sells_once: list what was bought once, too
    """
    customers: dict[str, CustomerState] = {}
    subscriptions: dict[str, dict[str, SubscriptionState]] = {}
    count, as_of = 0, None
    for page in gateway.every_subscription(_known_to_pay()):
        as_of = page.as_of if as_of is None else as_of
        for customer, state in page.items:
            customers[customer.id] = customer
            subscriptions.setdefault(customer.id, {})[state.id] = state
        count += len(page.items)
        progress("listed", count, None)
    bought: dict[str, list[PurchaseState]] = {}
    for purchases in gateway.every_purchase() if sells_once else ():
        for customer, purchase in purchases.items:
            customers.setdefault(customer.id, customer)
            bought.setdefault(customer.id, []).append(purchase)
    return {
        id_: Fetched(
            customer,
            tuple(subscriptions.get(id_, {}).values()),
            as_of,
            purchases=tuple(bought.get(id_, ())) if sells_once else None,
        )
        for id_, customer in customers.items()
    }, as_of or 0


def _list_customers(
    gateway: Gateway, listed: dict[str, Fetched], as_of: int, wanted: set[str], most_pages: int | None
) -> dict[str, Fetched]:
    """Return customers without a subscription: those whose metadata mirrors grants, and those that are wanted."""
    found: dict[str, Fetched] = {}
    for page in itertools.islice(gateway.every_customer(), most_pages):
        found |= {
            each.id: Fetched(each, (), as_of or each.as_of)
            for each in page.items
            if each.id not in listed and (each.grants or each.id in wanted)
        }
        if most_pages is not None and wanted <= found.keys():
            break
    return found


def _held(customer_id: str) -> dict[str, dict[str, Any]]:
    """Return the customer's subscriptions for a comparison, without the columns that change every second, and without
    whether an ended one was ever paid: that is fetched only while it matters.
    """
    query: Any = Subscription.select().where(Subscription.customer == customer_id)
    unequal = {"clock_ahead": 0, "ask_at": None, "noted": None}
    held: dict[str, dict[str, Any]] = {row["id"]: row | unequal | {"items": {}} for row in query.dicts()}
    for row in held.values():
        row["has_paid"] = row["has_paid"] and row["status"] not in ENDED
    for item in SubscriptionItem.select().join(Subscription).where(Subscription.customer == customer_id):
        held[item.subscription_id]["items"][item.price_id] = item.quantity
    return held
