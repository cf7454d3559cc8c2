"""Converge a customer: fetch the present state from Stripe, and store it in the replica."""

import copy
import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from .. import storage
from ..access import ENDED, LIVE
from ..errors import Overtaken, UnknownCustomer
from ..gateway import events
from ..gateway.account import Account
from ..gateway.gateway import Gateway, Subscriptions
from ..gateway.states import CustomerState, PaymentState, PriceState, PurchaseState, SubscriptionState
from ..logs.facts import about, logger
from ..models import MADE_AT, Customer, Price, Subscription, User, number
from ..notices import changes
from ..replica import granted, purchases, replaced, replica, returns, revenue, stale
from ..replica.doubles import warn_of_doubles
from ..replica.prices import Catalogue
from ..replica.replica import Replica
from ..texts import email_key, is_user_id
from . import inbox

MOST_OVERTAKINGS = 20
CLOCKS_DIFFER_SECONDS = 300

log = logger("corkage.converge")


@dataclass(frozen=True, slots=True)
class Fetched:
    """One customer as fetched from Stripe.

    Shape   customer: None where only the subscriptions were fetched;
            is_missing: Stripe does not know the customer, though it was not deleted;
            gone: ids of subscriptions that have not ended in the replica and that Stripe does not know any more;
            prices: those of the items that were fetched by their id, because they are new here;
            purchases: what was bought once, None where that was not fetched; payments: those that events name of which
            money was asked back;
            as_of: everything that happened at Stripe before this time is included; None if nothing was fetched
    """

    customer: CustomerState | None
    subscriptions: tuple[SubscriptionState, ...]
    as_of: int | None
    gone: tuple[str, ...] = ()
    is_missing: bool = False
    prices: tuple[PriceState, ...] = ()
    purchases: tuple[PurchaseState, ...] | None = None
    payments: tuple[PaymentState, ...] = ()


class Wanted(NamedTuple):
    """What to fetch of a customer.

    Shape   customer: the customer itself in any case, to see whether it was deleted;
            subscriptions and sessions: ids to fetch even if the list lacks them, because it lags behind;
            purchases: what it bought once; payments: PaymentIntents of which money was asked back;
            for_visitor: somebody waits, so what may be needed is fetched side by side, and whether there is a card
    """

    customer: bool = False
    subscriptions: frozenset[str] = frozenset()
    sessions: frozenset[str] = frozenset()
    purchases: bool = False
    payments: frozenset[str] = frozenset()
    for_visitor: bool = False


class Converged(NamedTuple):
    """What converge() found.

    Shape   outcome: "converged"; "unowned" for a customer that belongs to no user of ours; "missing" for one that
            Stripe does not know
    """

    outcome: str
    subscriptions: tuple[SubscriptionState, ...]


class Converger:
    """Converges customers, one at a time. Any number of workers may do so at once."""

    def __init__(self, gateway: Gateway, catalogue: Catalogue, app: str, account: Account) -> None:
        self.gateway = gateway
        self.catalogue = catalogue
        self.timelines = catalogue.timelines
        self.app = app
        self.account = account
        self.kinds = changes.ALL  # the notices that are stored
        self.level = logging.INFO  # at which is logged what was stored

    def with_gateway(self, gateway: Gateway) -> "Converger":
        """Return a Converger like this one that calls Stripe by another gateway."""
        return Converger(gateway, self.catalogue, self.app, self.account)

    def converge(
        self,
        customer_id: str,
        now: float,
        *,
        reads_customer: bool = False,
        also: tuple[str, ...] = (),
        reads_purchases: bool = False,
        payments: tuple[str, ...] = (),
        for_visitor: bool = False,
    ) -> Converged:
        """Fetch the customer's present state and store it; start over when another worker was faster.

        Shape   what to fetch in any case, as in Wanted: also holds ids of subscriptions and sessions
        Errors  StripeError as the gateway's; Outdated; DatabaseUnavailable; in each case nothing was stored
        """
        for _ in range(MOST_OVERTAKINGS):
            held = replica.read(customer_id)
            pending = inbox.pending_of(inbox.Subject(customer_id))
            wanted = Wanted(
                reads_customer, purchases=reads_purchases, payments=frozenset(payments), for_visitor=for_visitor
            )
            fetched = self._fetch(held, pending, self._wanted(held, pending, wanted, also))
            outcome = self._store(held, fetched, [event.id for event in pending], now)
            if outcome:
                with about(customer=customer_id, user=held.customer.user_id):
                    log.log(self.level, "%s %s (%d events)", customer_id, outcome, len(pending))
                return Converged(outcome, fetched.subscriptions)
            log.info("another worker stored %s during the fetch; fetching again", customer_id)
        raise Overtaken(f"{customer_id} was overtaken {MOST_OVERTAKINGS} times in a row")

    def _wanted(self, held: Replica, pending: Sequence[inbox.Pending], wanted: Wanted, also: Sequence[str]) -> Wanted:
        """Return what to fetch in the light of the events that are pending, and of these ids."""
        named = [*also, *(each.object_id for each in pending if each.object_id)]
        sessions = frozenset(each for each in named if each.startswith(events.ONCE))
        payments = wanted.payments.union(each for each in named if each.startswith(events.PAYMENT))
        is_asked = bool(wanted.purchases or wanted.customer or payments or sessions)
        is_new = held.customer.purchases_at is None
        return wanted._replace(
            subscriptions=wanted.subscriptions.union(each for each in named if each.startswith("sub_")),
            sessions=sessions,
            purchases=(is_asked or is_new) and self.catalogue.sells_once(afresh=is_asked),
            payments=payments,
        )

    def converge_user(
        self, user_id: str, now: float, *, reads_purchases: bool = False
    ) -> tuple[SubscriptionState, ...]:
        """Converge every customer of the user that is not deleted, for a visitor; return all their subscriptions.

        A user without customers costs no call, any other one round trip.

        Shape   reads_purchases: what was bought once, too

        Errors  as converge()
        """
        theirs = Customer.select(Customer.id).where(Customer.user == user_id, Customer.deleted_at.is_null())
        converged = self.gateway.side_by_side(
            *(
                functools.partial(self.converge, id_, now, reads_purchases=reads_purchases, for_visitor=True)
                for id_ in storage.column(theirs)
            )
        )
        return tuple(state for each in converged for state in each.subscriptions)

    def link(self, user_id: str, customer_id: str, now: float) -> str:
        """Link a customer to a user by hand, and converge it.

        Errors  UnknownCustomer when Stripe has none of this id; StripeError as the gateway's
        """
        self.gateway.customer(customer_id)
        self.give(user_id, customer_id, now, changes.OF_USER)
        quiet = copy.copy(self)
        quiet.kinds = self.kinds & changes.OF_USER  # what became of its subscriptions before is no news
        return quiet.converge(customer_id, now, reads_customer=True).outcome

    def give(self, user_id: str, customer_id: str, now: float, kinds: frozenset[str]) -> None:
        """Give a customer to a user, with what is stored of it. Who had it before gets the notices of what they lose.

        Shape   kinds: the notices that its new user gets
        """
        with storage.writing():
            before = replica.read(customer_id).customer.user_id
            _assign(customer_id, user_id, now)
            _overtake(customer_id)
            Customer.update(purchases_at=None).where(Customer.id == customer_id).execute()  # the credit moves, too
            if before not in (None, user_id):
                self.timelines.store([before], now, changes.OF_USER)
            self.timelines.store([user_id], now, kinds)
        log.info("%s linked by hand to user %s (before: %s)", customer_id, user_id, before or "nobody")

    def adopt(self, user_id: str, customer_id: str, now: float) -> None:
        """Store a customer that was just created for this user. There is nothing to fetch yet."""
        with storage.writing():
            _assign(customer_id, user_id, now)
            _overtake(customer_id)
            now_empty = {"fetched_at": 0, "purchases_at": int(now)}
            Customer.update(now_empty).where(Customer.id == customer_id).execute()

    def _fetch(self, held: Replica, pending: Sequence[inbox.Pending], wanted: Wanted) -> Fetched:
        row = held.customer
        is_news = row.fetched_at is None or any(_is_about_customer(event) for event in pending)
        if row.user_id is None and not (is_news or wanted.customer):
            return Fetched(None, (), None)  # an event of a customer that belongs to no user costs no call
        is_gone = row.deleted_at is not None or row.missing_at is not None
        wants_customer = (wanted.customer or is_news) and not is_gone
        try:
            customer = self.gateway.customer(row.id) if is_gone else None
            if customer and customer.deleted:  # what Stripe lists for it is nowhere documented
                return self._fetch_by_id(held, customer, Subscriptions((), customer.as_of), wanted)
            listed, bought, *payments = self._fetch_lists(held, wanted, with_customer=wants_customer)
            customer = customer or listed.customer
            if customer is None and wants_customer:  # it has no subscription to come with
                customer = self.gateway.customer(row.id)
        except UnknownCustomer:
            return self._fetch_without_list(held, wanted)
        if customer and customer.deleted:
            listed = listed._replace(items=())  # as above
        return self._fetch_by_id(held, customer, listed, wanted, bought, payments)

    def _fetch_lists(self, held: Replica, wanted: Wanted, *, with_customer: bool) -> list[Any]:
        """Fetch side by side the subscriptions, the purchases, None where they are not wanted, and each payment."""
        customer_id = held.customer.id
        subscriptions = functools.partial(
            self.gateway.subscriptions_of,
            customer_id,
            {id_ for id_, has_paid in held.going_on.items() if has_paid},
            with_customer=with_customer or wanted.for_visitor,
            with_invoices=wanted.for_visitor and bool(held.going_on),
        )
        bought = functools.partial(self._fetch_purchases, customer_id, wanted) if wanted.purchases else lambda: None
        payments = (functools.partial(self.gateway.payment, id_) for id_ in sorted(wanted.payments))
        listed, purchased, *found = self.gateway.side_by_side(subscriptions, bought, *payments)
        return [listed, purchased, *(each for each in found if each is not None)]

    def _fetch_purchases(self, customer_id: str, wanted: Wanted) -> tuple[PurchaseState, ...]:
        """Fetch what the customer bought once; by its id, what is named and the list lacks."""
        listed = self.gateway.purchases_of(customer_id)
        lacking = sorted(wanted.sessions - {each.id for each in listed})
        by_id = self.gateway.side_by_side(*(functools.partial(self.gateway.purchases_in, id_) for id_ in lacking))
        found = (each for purchases in by_id for each in purchases if each.customer_id == customer_id)
        return (*listed, *found)

    def _fetch_without_list(self, held: Replica, wanted: Wanted) -> Fetched:
        """Fetch a customer of whom Stripe lists nothing: it was deleted in this moment, or is missing."""
        try:
            customer = self.gateway.customer(held.customer.id)
        except UnknownCustomer:
            found = self._fetch_by_id(held, None, Subscriptions((), 0), wanted)
            return replace(found, is_missing=True, as_of=None)
        return self._fetch_by_id(held, customer, Subscriptions((), customer.as_of), wanted)

    def _fetch_by_id(
        self,
        held: Replica,
        customer: CustomerState | None,
        listed: Subscriptions,
        wanted: Wanted,
        bought: tuple[PurchaseState, ...] | None = None,
        payments: Sequence[PaymentState] = (),
    ) -> Fetched:
        """Fetch by id what the list lacks, if an event names it or the replica has it: absence alone means nothing."""
        lacking = sorted((wanted.subscriptions | held.going_on.keys()) - {each.id for each in listed.items})
        by_id = self.gateway.side_by_side(*(functools.partial(self.gateway.subscription, id_) for id_ in lacking))
        found = tuple(each for each in by_id if each and each.customer_id == held.customer.id)
        subscriptions = self._with_last_paid(held, listed.items + found, payments)
        gone = held.going_on.keys() - {each.id for each in subscriptions}
        return Fetched(
            customer,
            subscriptions,
            listed.as_of,
            gone=tuple(sorted(gone)),
            prices=self._new_prices(subscriptions, bought or ()),
            purchases=bought,
            payments=tuple(payments),
        )

    def _with_last_paid(
        self, held: Replica, subscriptions: tuple[SubscriptionState, ...], payments: Sequence[PaymentState]
    ) -> tuple[SubscriptionState, ...]:
        """Fetch which invoice was last paid, where money was ever asked back: that of the last one counts."""
        concerned = {each.subscription_id for each in held.returns} | {each.subscription_id for each in payments}
        unclear = [each for each in subscriptions if each.id in concerned and each.last_paid is None]
        going_on = [each.id for each in unclear if each.status not in ENDED]
        asked = (functools.partial(self.gateway.last_paid_invoice, id_) for id_ in going_on)
        found = dict(zip(going_on, self.gateway.side_by_side(*asked), strict=True))
        return tuple(replace(each, last_paid=found[each.id]) if each.id in found else each for each in subscriptions)

    def _new_prices(
        self, subscriptions: Sequence[SubscriptionState], bought: Sequence[PurchaseState]
    ) -> tuple[PriceState, ...]:
        """Fetch the prices that are new here and of which nobody says the plan: their product may say it. Those, too,
        of which it is not known what they cost in the subscription's currency.
        """
        priced = [(item.price, each.currency) for each in subscriptions for item in each.items]
        priced += [(each.price, each.currency) for each in bought]
        silent = {each.id for each, _ in priced if each.plan is None and not self.catalogue.is_named(each)}
        unpriced = {each.id for each, currency in priced if self.catalogue.lacks_amount(each, currency)}
        unknown = sorted({*self.catalogue.unknown(silent), *unpriced})
        fetched = self.gateway.side_by_side(*(functools.partial(self.gateway.price, price_id) for price_id in unknown))
        return tuple(each for each in fetched if each is not None)

    def _store(self, held: Replica, fetched: Fetched, event_ids: Sequence[str], now: float) -> str | None:
        with storage.writing():
            return self.compare_and_set(held, fetched, event_ids, now)

    def compare_and_set(self, held: Replica, fetched: Fetched, event_ids: Sequence[str], now: float) -> str | None:
        """Store what was fetched; return None if another worker stored something since the revision was read.

        To be called inside a writing transaction.

        Errors  Outdated
        """
        row = held.customer
        if row.revision == 0:
            Customer.insert(id=row.id).on_conflict_ignore().execute()
        if not storage.change(_TAKE_TURN, (_fetched_until(row, fetched), row.id, row.revision)):
            return None
        kinds = self._kinds_of_news(held, fetched)
        user_id = self._store_customer(row, fetched, now)
        for price in fetched.prices:
            self.catalogue.store_price(price)
        if fetched.purchases is not None:
            purchases.store(row.id, fetched.purchases, self.app, user_id, self.catalogue, now)
        asked_back = returns.store(row.id, held.returns, fetched.payments)
        for state in fetched.subscriptions:
            self._store_subscription(held, state, user_id, asked_back, now)
        if asked_back and (fetched.purchases or fetched.payments):
            returns.store_of_purchases(row.id, asked_back)
        if not fetched.is_missing or self.account.is_confirmed():
            for gone in storage.pieces(fetched.gone):
                Subscription.update(status="canceled", ended_at=int(now), ask_at=None).where(
                    Subscription.id.in_(gone)
                ).execute()
        users = [user_id] if user_id is not None else []  # without one, an outdated process is refused all the same
        for user, theirs in self.timelines.store(users, now, kinds).items():
            warn_of_doubles(user, theirs.holdings, self.catalogue, now)
            replaced.mark(user, theirs.holdings, self.catalogue, now)
        outcome = "missing" if fetched.is_missing else "converged" if user_id is not None else "unowned"
        inbox.mark_applied(event_ids, outcome, now)
        return outcome

    def _kinds_of_news(self, held: Replica, fetched: Fetched) -> frozenset[str]:
        """Return the kinds of notices to store.

        What was true before this database was made is no news: that of users whom it does not know, with subscriptions
        that are all older. Nor is what version 1 of the tables did not know of a subscription.
        """
        if held.customer.user_id is None and self._is_old(fetched):
            user_id = self.owner_of(held.customer, fetched.customer) if fetched.customer else None
            if not User.select().where(User.id == user_id).exists():
                return changes.NONE
        is_unread = any(row["currency"] is None for row in held.subscriptions.values())  # version 1 did not know it
        return self.kinds & changes.ACCESS if is_unread else self.kinds

    def _is_old(self, fetched: Fetched) -> bool:
        """Return whether all subscriptions and purchases are older than this file."""
        made_at = number(MADE_AT)
        begun = [each.created for each in fetched.subscriptions] + [each.created for each in fetched.purchases or ()]
        return all(each < made_at - CLOCKS_DIFFER_SECONDS for each in begun)

    def _store_customer(self, row: Customer, fetched: Fetched, now: float) -> str | None:
        customer = fetched.customer
        if fetched.is_missing:
            Customer.update(missing_at=int(now)).where(Customer.id == row.id, Customer.missing_at.is_null()).execute()
            return self._let_go(row)
        if row.missing_at is not None:
            log.info("%s is at Stripe again", row.id)
            Customer.update(missing_at=None).where(Customer.id == row.id).execute()
        if customer is None:
            return row.user_id
        if customer.deleted:
            Customer.update(deleted_at=int(now)).where(Customer.id == row.id).execute()
            return self._let_go(row)
        user_id = self.owner_of(row, customer)
        if user_id is None:
            self._store_unowned(row, customer, fetched.subscriptions)
        else:
            if row.user_id is None:
                _assign(row.id, user_id, now)
            facts = (customer.email, customer.name)
            storage.change(_DESCRIBE_USER, (row.id, *facts, user_id, row.id, *facts))
            if customer.grants and customer.app in (None, self.app):
                granted.restore(user_id, customer.grants, now)
        return user_id

    def _store_unowned(
        self, row: Customer, customer: CustomerState, subscriptions: Sequence[SubscriptionState]
    ) -> None:
        """Store who may own a customer: for whom it is marked, and what stands for the e-mail of one who pays."""
        is_marked = customer.app not in (None, self.app)
        mark = (customer.app, customer.user_id) if is_marked else (None, None)
        is_paying = any(each.status in LIVE for each in subscriptions)
        email = email_key(customer.email or "") or None if is_paying else None
        if (*mark, email) != (row.marked_app, row.marked_user, row.unowned_email):
            facts = {"marked_app": mark[0], "marked_user": mark[1], "unowned_email": email}
            Customer.update(facts).where(Customer.id == row.id).execute()

    def _let_go(self, row: Customer) -> str | None:
        """Have the user buy with another customer: Stripe has this one no more. Return the user."""
        another = {"stripe_customer_id": _another_customer(row)}
        User.update(another).where(User.stripe_customer_id == row.id).execute()
        return row.user_id

    def owner_of(self, row: Customer, customer: CustomerState) -> str | None:
        """Return the customer's user: the row's, else the one in our own metadata. Never by e-mail."""
        if row.user_id is not None:
            return row.user_id
        return customer.user_id if customer.app == self.app and is_user_id(customer.user_id) else None

    def _store_subscription(
        self,
        held: Replica,
        state: SubscriptionState,
        user_id: str | None,
        asked_back: Sequence[returns.Return],
        now: float,
    ) -> None:
        for item in state.items:
            self.catalogue.store_price(item.price, state.sold, held.prices.get(item.price.id))
        ours = state.app == self.app and state.user_id is not None and state.user_id == user_id
        clock_ahead = state.test_clock[1] - int(now) if state.test_clock else 0
        row = {name: getattr(state, name) for name in _AS_FETCHED} | {
            "ours": ours,
            "returned": returns.of_subscription(asked_back, state.last_paid),
            "test_clock": state.test_clock[0] if state.test_clock else None,
            "clock_ahead": clock_ahead,
            "ask_at": stale.ask_at(state, clock_ahead, now) if user_id else None,
        }
        before, quantities = held.subscriptions.get(state.id), {item.price.id: item.quantity for item in state.items}
        if before is not None and state.billed is None:  # its latest invoice is only for the rest of a period
            row |= {"billed": before["billed"], "charged": before["charged"]}
        _warn_of_returned(before, row)
        held.store_subscription(row, quantities)
        revenue.note_move(before, held.items.get(state.id, {}), quantities, now)
        if user_id is not None and state.trial_start and (ours or self._has_plan(state)):
            buyers = [user_id, state.buyer_id] if state.buyer_id else [user_id]
            User.update(trial_used_at=state.trial_start).where(
                User.id.in_(buyers), User.trial_used_at.is_null()
            ).execute()

    def _has_plan(self, state: SubscriptionState) -> bool:
        """Return whether an item is to a plan: then a trial is the user's one trial, whoever made it."""
        ids = [item.price.id for item in state.items]
        return Price.select().where(Price.id.in_(ids), Price.plan.is_null(False)).exists()


_TAKE_TURN = "UPDATE corkage_customer SET revision = revision + 1, fetched_at = ? WHERE id = ? AND revision = ?"
_DESCRIBE_USER = """
UPDATE corkage_user SET stripe_customer_id = ?, email = ?, name = ?
WHERE id = ? AND (
    stripe_customer_id IS NULL
    OR (stripe_customer_id = ? AND (email IS DISTINCT FROM ? OR name IS DISTINCT FROM ?))
)
"""
_AS_FETCHED = (
    "id customer_id status currency created current_period_end cancel_at trial_start trial_end ended_at unpaid_since "
    "has_paid payment_pending pause_behavior resumes_at paid_until billed charged"
).split()


def _fetched_until(row: Customer, fetched: Fetched) -> int | None:
    """Return the time before which everything is in the replica. A test clock may be behind Stripe's clock."""
    clocks = [state.test_clock[1] for state in fetched.subscriptions if state.test_clock]
    if clocks and fetched.as_of is not None:
        return min(fetched.as_of, *clocks)
    return max((each for each in (row.fetched_at, fetched.as_of) if each is not None), default=None)


def _warn_of_returned(before: replica.Row | None, row: replica.Row) -> None:
    """Log for the operator that money went back: only they decide whether the subscription ends at Stripe."""
    if row["returned"] and row["status"] not in ENDED and (before is None or before["returned"] != row["returned"]):
        log.warning(
            "what was last paid for %s is %s; it goes on at Stripe, which will charge for it again: to end it, run "
            "stripe subscriptions cancel %s",
            row["id"],
            row["returned"].replace(" ", " and "),
            row["id"],
        )


def _is_about_customer(event: inbox.Pending) -> bool:
    return event.type in events.ABOUT_CUSTOMER


def _assign(customer_id: str, user_id: str, now: float) -> None:
    """Assign the customer to the user. Checkout and portal use it unless the user has another already."""
    User.insert(id=user_id, created_at=int(now)).on_conflict_ignore().execute()
    Customer.insert(id=customer_id, user=user_id).on_conflict(
        conflict_target=[Customer.id], update={"user": user_id, "unowned_email": None}
    ).execute()
    User.update(stripe_customer_id=None).where(User.id != user_id, User.stripe_customer_id == customer_id).execute()
    User.update(stripe_customer_id=customer_id).where(User.id == user_id, User.stripe_customer_id.is_null()).execute()


def _overtake(customer_id: str) -> None:
    """Make fetches in flight start over: they hold the old user of the customer."""
    Customer.update(revision=Customer.revision + 1).where(Customer.id == customer_id).execute()


def _another_customer(row: Customer) -> str | None:
    """Return another customer of the same user, for checkout and portal, when this one was deleted or is missing."""
    others = Customer.select(Customer.id).where(
        Customer.user == row.user_id,
        Customer.id != row.id,
        Customer.deleted_at.is_null(),
        Customer.missing_at.is_null(),
    )
    found: list[str] = storage.column(others.order_by(Customer.fetched_at.desc(nulls="last"), Customer.id).limit(1))
    return found[0] if found else None
