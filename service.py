"""What handlers and commands are given: Stripe, the worker, the threads of this process, and who may wait for Stripe.

Hosts use Billing, which has one Service at a time. What asks Stripe is made when it is first needed: Stripe's library
costs 20 MB and 180 ms that a process which only reads access does without.
"""

import functools
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

from . import access, storage
from .access import Access
from .config import Config
from .errors import (
    BillingError,
    CheckoutInProgress,
    DatabaseUnavailable,
    InvalidToken,
    MayNotBuy,
    NotConfigured,
    NotSignedIn,
    PaymentRequired,
    StripeError,
    StripeUnavailable,
)
from .gateway.account import Account
from .gateway.watched import Watched
from .health.kept import Kept
from .health.programs import Presence
from .health.refusals import Refusals
from .health.requests import Requests
from .health.tokens import Tokens
from .health.writable import Writable
from .identity import Authenticate, Identity, identity_from_server
from .logs.facts import USER, about, logger
from .logs.repeats import Repeats
from .models import CheckoutAttempt
from .notices.delivery import Receivers
from .pacing.line import Line
from .pacing.rate_limit import RateLimit
from .plans import Requirement
from .replica.prices import Catalogue
from .selling import counting, usage
from .selling.buyer import Buyer, Lead, Selling
from .sync.threads import WorkerThread
from .texts import check_user_id
from .users.export import export_user
from .users.grants import grant_plan, revoke_plan
from .users.receipt import Receipt

if TYPE_CHECKING:
    from .gateway.events import EventRef
    from .gateway.gateway import Gateway
    from .gateway.states import InvoiceState
    from .pages.page import Pages
    from .selling.changes import Changes, Preview
    from .selling.checkout import Bought, Checkout
    from .sync.converge import Converger
    from .sync.worker import Work, Worker

INLINE_NOTICES_SECONDS = 5.0  # Checkout waits up to 10 s for the answer to its webhook
HURRIED_SECONDS = (1.0, 1.5)  # for the calls of a returning visitor, who is waiting
LEARN_PRICES_SECONDS = 60
MANY_USERS, COUNTS_LAST_SECONDS = 10_000, 60.0  # to count so many takes a moment, and each page of users shows it
STOP_SECONDS = 5.0  # of `corkage work`, for Stripe's answers

log = logger("corkage")

Found = TypeVar("Found", bound=Identity | None)


class Service:
    """Everything of one process that answers requests and does the work behind them.

    A forked child drops its parent's Service and makes one of its own: threads do not survive a fork, and sockets to
    Stripe must not be shared.

    Shape   mounted_at: the path of our routes in the host's app, where one is known
    """

    def __init__(
        self, config: Config, identify: Authenticate, catalogue: Catalogue, receivers: Receivers, stripe_slots: int
    ) -> None:
        self.config, self.catalogue, self.receivers = config, catalogue, receivers
        self.mounted_at: str | None = None
        self.line = Line(stripe_slots)
        self.refusals, self.writable = Refusals(time.time()), Writable()
        self.kept_health, self.kept_counts = Kept(), Kept(_seconds_of_counts)
        self.requests = Requests()
        self.tokens, self.repeats = Tokens(), Repeats()
        self.sign_in_limit = RateLimit()  # of the operator
        self.is_closed = False
        self.watched = Watched()
        self.presence = Presence(config)
        self._identify = identify
        self._account = Account(config.stripe_secret_key)
        self._is_to_start = True
        self._start_lock = threading.Lock()
        self._thread: WorkerThread | None = None
        self._learn_prices_at = 0.0
        self.counters = usage.Counters(config.plans)
        self._ignored: Counter[str] = Counter()
        self._ignored_lock = threading.Lock()

    def of_child(self) -> "Service":
        """Return the Service of a forked child. One that was closed stays closed."""
        self.receivers.begin_anew()
        child = Service(self.config, self._identify, self.catalogue, self.receivers, self.line.places)
        child.mounted_at, child.is_closed = self.mounted_at, self.is_closed
        child._is_to_start = not self.is_closed
        return child

    # Threads

    @property
    def is_started(self) -> bool:
        """Whether the threads of this process were started, or are not to be."""
        return not self._is_to_start

    def start(self) -> None:
        """Start the threads of this process, once, as BILLING_WORKER says."""
        if not self._is_to_start:
            return
        with self._start_lock:
            if self._is_to_start:
                self._is_to_start = False
                self.presence.say()
                self._start_threads()

    def _start_threads(self) -> None:
        if self.config.worker == "thread":
            self._thread = WorkerThread(lambda: self.worker, self.presence.say)
            self._thread.start()
            self.receivers.start("url", "callbacks")
        elif self.config.worker == "off":  # another process does the rest, and cannot call functions of this one
            self.receivers.start("callbacks")

    def begin_to_stop(self) -> None:
        """Let the threads begin nothing new. What is pending stays pending."""
        with self._start_lock:
            self._is_to_start = False
            if self._thread is not None:
                self._thread.end()
        self.receivers.end()

    def close(self, longest_seconds: float | None = None) -> None:
        """Stop the threads after the customers at hand, and close the database. What is pending stays pending.

        Shape   longest_seconds: for how long to wait for Stripe's answers, about; the threads that wait for them go on
        """
        with self._start_lock:
            self._is_to_start, self.is_closed = False, True
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop(longest_seconds)
        if "worker" in self.__dict__:
            self.worker.close(0 if thread is not None and thread.is_alive() else longest_seconds)
        for name in ("gateway", "_hurried"):
            if name in self.__dict__:
                self.__dict__[name].close(longest_seconds if longest_seconds is None else 0)
        self.receivers.stop()
        self.presence.take_back()
        self.repeats.close()
        storage.close_database()

    def worker_state(self) -> str:
        """Return how events are applied here: "thread", "inline", "off", or "stopped" for a thread that died."""
        if self.config.worker != "thread":
            return self.config.worker
        is_well = self._is_to_start or (self._thread is not None and self._thread.is_alive())
        return "thread" if is_well else "stopped"

    def worker_problem(self) -> str:
        """Return a sentence about what the worker's thread lacks to go on; "" for nothing."""
        return "" if self._thread is None else self._thread.problem()

    def worker_idle_seconds(self) -> float | None:
        """Return for how long the worker's thread has not looked for work; None without one."""
        return None if self._thread is None else self._thread.idle_seconds()

    def run_worker(self) -> None:
        """Apply what is due in this thread, again and again, until SIGTERM or Ctrl-C.

        Errors  ConfigError when the key belongs to another Stripe account than the database mirrors
        """
        self.check_account()
        looping = WorkerThread(lambda: self.worker, self.presence.say)
        for number in (signal.SIGTERM, signal.SIGINT):  # in a thread: this one may hold the lock that stopping needs
            signal.signal(number, lambda *_: threading.Thread(target=looping.stop, daemon=True).start())
        log.info("applying what is due, database %s", storage.current().label)
        self.receivers.start("url")
        looping.run(STOP_SECONDS)
        self.close(STOP_SECONDS)
        log.info("stopped")

    # Users

    def signed_in(self, environ: dict[str, Any]) -> Identity:
        """Return the user who makes the request.

        Errors  NotSignedIn when nobody is signed in; InvalidToken; NotConfigured when users cannot be identified
        """
        identity = self._counted(environ, lambda: self._identify(environ))
        if identity is None:
            raise NotSignedIn("the request names no user")
        return identity

    def named_by_server(self, environ: dict[str, Any]) -> Identity:
        """Return for whom the product's server makes the request.

        Errors  as identity_from_server()
        """
        return self._counted(environ, lambda: identity_from_server(environ, self.config, time.time()))

    def _counted(self, environ: dict[str, Any], identify: Callable[[], Found]) -> Found:
        """Identify the user of a request, for its log lines, too, and count refused tokens."""
        try:
            found = identify()
        except InvalidToken as error:
            self.tokens.refuse(error)
            raise
        if found is not None:
            self.tokens.accept()
            environ[USER] = found.user_id
        return found

    def visitor(self, environ: dict[str, Any]) -> Identity | None:
        """Return the signed-in user, or None. An expired token counts as signed out."""
        try:
            return self.signed_in(environ)
        except (NotSignedIn, NotConfigured):
            return None

    def access(self, user_id: str) -> Access:
        """Return the user's access from the local row, without asking Stripe.

        Errors  ValueError for an invalid user id; DatabaseUnavailable
        """
        check_user_id(user_id)
        if self._is_to_start:
            self.start()
        return access.read_access(user_id)

    def admit(self, user_id: str | None, wanted: Requirement, *, is_buyer: bool = True) -> Access:
        """Return the user's access where it meets the requirement.

        Shape   is_buyer: whether who asks may buy for the user
        Errors  NotSignedIn for None; PaymentRequired; ConfigError for an unknown plan or feature; ValueError for an
                invalid user id; DatabaseUnavailable
        """
        wanted.check(self.config.plans)
        if not user_id:
            raise NotSignedIn("nobody is signed in")
        found = self.access(user_id)
        if not wanted.is_met_by(found):
            shown = found if is_buyer else access.for_member(found)
            raise PaymentRequired(
                f"{user_id!r} has {found.reason}, plan {found.plan}", self.pricing_url, shown, is_buyer
            )
        return found

    def sync(self, user_id: str) -> Access:
        """Converge all customers of the user, and return their access.

        Errors  ValueError for an invalid user id; Busy; StripeError as the gateway's
        """
        check_user_id(user_id)
        with about(user=user_id), self.line.place(user_id):
            self.converger.converge_user(user_id, time.time())
        return self.access(user_id)

    def update_user(self, user_id: str, email: str | None, name: str | None) -> None:
        """Store a changed e-mail or name at Stripe and here.

        Errors  ValueError for an invalid user id, e-mail or name; Busy; StripeError as the gateway's
        """
        from .users.update import update_user  # loads Stripe's library

        check_user_id(user_id)
        with about(user=user_id), self.line.place(user_id):
            update_user(self.converger, user_id, email, name, time.time())

    def forget(self, user_id: str, receipt: Receipt | None = None) -> Receipt:
        """Cancel the user's subscriptions, delete their customer at Stripe, and delete their rows here.

        Shape   receipt: where to note what is done, for who wants to know it also where this raises
        Errors  ValueError for an invalid user id; CheckoutInProgress, Busy; StripeError as the gateway's
        """
        from .users.delete import forget_user  # loads Stripe's library

        check_user_id(user_id)
        receipt = receipt or Receipt(user_id, int(time.time()))
        with about(user=user_id), self.line.place(user_id):
            forget_user(self.converger, user_id, time.time(), receipt)
        return receipt

    def export(self, user_id: str) -> dict[str, Any]:
        """Return all that is held here about a user; see Billing.export.

        Errors  ValueError for an invalid user id; DatabaseUnavailable
        """
        check_user_id(user_id)
        return export_user(user_id, time.time())

    def grant(self, user_id: str, plan: str, **given: Any) -> Access:
        """Give a user a plan without a payment, and return their access; see Billing.grant.

        Errors  ValueError; UnknownPlan; Outdated; DatabaseUnavailable
        """
        check_user_id(user_id)
        with about(user=user_id):
            grant_plan(self.catalogue, user_id, plan, time.time(), **given)
        return self.access(user_id)

    def revoke(self, user_id: str, plan: str) -> bool:
        """End a grant now; see Billing.revoke.

        Errors  ValueError for an invalid user id; UnknownPlan; Outdated; DatabaseUnavailable
        """
        check_user_id(user_id)
        with about(user=user_id):
            return revoke_plan(self.catalogue, user_id, plan, time.time())

    def preview(self, user_id: str, wish: dict[str, Any], subscription: str | None = None) -> "Preview":
        """Return what a change would cost; see Billing.preview.

        Errors  as change()
        """
        check_user_id(user_id)
        with self.line.place(user_id):
            return self.changes.preview(user_id, wish, subscription)

    def change(self, user_id: str, kind: str, wish: dict[str, Any], subscription: str | None = None) -> Access:
        """Make a change of a subscription at Stripe, and return the user's access; see Billing.change.

        Shape   kind, wish: as users/wishes.py makes them
        Errors  ValueError for an invalid user id; UnknownSubscription, CannotChange, ChangeInProgress, Busy and
                others of Changes.make(); StripeError as the gateway's
        """
        check_user_id(user_id)
        self.start()
        with about(user=user_id), self.line.place(user_id):
            self.changes.make(user_id, kind, wish, subscription)
        return self.access(user_id)

    # Usage

    def limit(self, user_id: str, name: str) -> int | str:
        """Return the number of a limit, or "unlimited"; see Billing.limit.

        Errors  UnknownLimit; ValueError for an invalid user id; DatabaseUnavailable
        """
        self.counters.check(name)
        return self.access(user_id).limits.get(name, 0)

    def use(self, user_id: str, name: str, amount: int = 1, key: str | None = None) -> usage.Use:
        """Count a use, if it fits; see Billing.use.

        Errors  UnknownLimit, KeyReused; ValueError for an invalid user id, amount or key; DatabaseUnavailable
        """
        check_user_id(user_id)
        self.start()
        return counting.use(user_id, self.counters, name, amount, key, time.time())

    def usage(self, user_id: str) -> dict[str, usage.Usage]:
        """Return what a user has used of each limit that is counted.

        Errors  ValueError for an invalid user id; DatabaseUnavailable
        """
        check_user_id(user_id)
        self.start()
        return usage.usages(user_id, self.counters, time.time())

    # Clicks

    @property
    def base_url(self) -> str | None:
        """Where our routes are, for a page of the host's own; None where that is not known."""
        return self.config.billing_url or self.mounted_at

    @property
    def pricing_url(self) -> str:
        """The host's own pricing page, else ours or, while its address is unknown, the product."""
        ours = f"{self.base_url}/pricing" if self.base_url else self.config.frontend_url
        return self.config.pricing_url or ours

    def buyer(
        self,
        identity: Identity,
        billing_url: str | None,
        product_url: str,
        *,
        back: str | None = None,
        to_our_pages: bool = False,
        locale: str = "",
        kept: dict[str, str] | None = None,
    ) -> Buyer:
        """Return the user as a buyer, with the addresses to which Stripe leads them back.

        Shape   product_url: which of FRONTEND_URL they came from; back: the page of the product that they came from;
                kept: the query to repeat in the address of our page that they return to
        Errors  MayNotBuy; NotConfigured when the address of our routes is unknown
        """
        identity.check_payer(self.config.payer_prefix)
        _refuse_members(identity)
        base = billing_url or self.config.billing_url
        if base is None:
            raise NotConfigured(
                "set BILLING_URL to where Corkage is reached from outside, with the path it is mounted at"
            )
        to = "" if product_url == self.config.frontend_url else f"&to={quote(product_url, safe='')}"
        return Buyer(
            identity.payer_id,
            identity.email,
            identity.name,
            success_url=f"{base}/return?session_id={{CHECKOUT_SESSION_ID}}{to}",
            cancel_url=_address(f"{base}/cancel", kept or {}) if to_our_pages else back or product_url,
            portal_return_url=_address(f"{base}/account", {"from": "portal"} | (kept or {})) if to_our_pages else "",
            buyer_id=identity.user_id if identity.payer_id != identity.user_id else "",
            locale=locale,
            has_verified_email=identity.email_verified,
        )

    def subscribe(
        self, buyer: Buyer, plan: str, quantity: int | None = None, code: str = "", *, again: bool = False
    ) -> Lead:
        """Return where to lead a user who wants a plan; see Billing.checkout_url.

        Errors  UnknownPlan, InvalidQuantity, NeedsPlan, AlreadyBought, MaybeSubscribed, CheckoutInProgress, Busy;
                StripeError as the gateway's
        """
        self.start()
        with self.line.place(buyer.buyer_id or buyer.user_id):
            return self.checkout.subscribe(buyer, plan, quantity, code, again=again)

    def portal_url(
        self,
        identity: Identity,
        flow: str | None = None,
        return_url: str | None = None,
        subscription: str | None = None,
    ) -> str:
        """Return the address of the user's customer portal, or of one of its flows; see Billing.portal_url.

        Errors  UnknownFlow, UnknownSubscription, MayNotBuy, NoBillingAccount, Busy; StripeError as the gateway's
        """
        from .selling import portal  # loads Stripe's library

        _refuse_members(identity)
        self.start()
        with self.line.place(identity.user_id):
            back = return_url or self.config.frontend_url
            return portal.portal_url(self.gateway, self.catalogue.plans, identity.payer_id, back, flow, subscription)

    def come_back(self, session_id: str) -> "Bought | None":
        """Converge the user who returns from a Checkout Session of ours, within 5 s.

        Shape   None unless the session is complete, for one that is not ours without asking Stripe
        Errors  CheckoutInProgress when the session was fetched a moment ago; Busy; StripeError as the gateway's
        """
        user_id = self.user_of(session_id)
        if user_id is None:
            return None
        with self.line.place(user_id):
            return self.checkout.come_back(session_id, self._hurried, time.time())

    def look_at_attempts(self, identity: Identity | None) -> None:
        """Converge a user who left Checkout, and may have paid there in another tab.

        Errors  Busy; StripeError as the gateway's
        """
        if identity is None:
            return
        for attempt in (
            CheckoutAttempt.select().where(CheckoutAttempt.user == identity.payer_id).order_by(CheckoutAttempt.group)
        ):
            if attempt.session_id is not None:
                with suppress(CheckoutInProgress):
                    self.come_back(attempt.session_id)

    def user_of(self, session_id: str) -> str | None:
        """Return the user for whom we made this session, while the attempt stands, without asking Stripe."""
        attempt = CheckoutAttempt.get_or_none(CheckoutAttempt.session_id == session_id)
        return None if attempt is None else attempt.user_id

    def invoices(self, user_id: str, *, after_portal: bool = False) -> "tuple[InvoiceState, ...]":
        """Fetch the user's latest invoices, newest first: a call for each customer, side by side, with short timeouts.

        Shape   after_portal: converge a user who returns from the portal, in the same moment
        Errors  Busy; StripeError as the gateway's
        """
        from .selling import portal  # loads Stripe's library

        if not portal.customers_of(user_id):
            return ()
        fetch = functools.partial(portal.invoices_of, self._hurried, user_id)
        look = functools.partial(self.checkout.look_again, user_id, self._hurried)
        with self.line.place(user_id):
            found: tuple[InvoiceState, ...] = self._hurried.side_by_side(fetch, *([look] if after_portal else []))[0]
            return found

    def learn_prices(self) -> None:
        """Fetch prices that plans.toml names and that are unknown: once a minute at most, with a short timeout."""
        if time.monotonic() < self._learn_prices_at or not self.catalogue.lacks_prices():
            return
        self._learn_prices_at = time.monotonic() + LEARN_PRICES_SECONDS
        try:
            with self.line.place():
                self.catalogue.refresh(self._hurried)
        except BillingError as error:
            log.warning("the prices could not be fetched for a page: %s: %s", error.code, error)

    # Events

    @property
    def debounce_seconds(self) -> float:
        """How long an event waits for others of its customer. Inline work cannot wait."""
        return 0 if self.config.worker == "inline" else self.config.settle_seconds

    def work_soon(self) -> None:
        """Wake the worker's thread, where there is one, for when the events that are stored now are due."""
        if self._thread is not None:
            self._thread.wake(self.debounce_seconds)

    def apply_soon(self, event: "EventRef", now: float) -> None:
        """Have a stored event applied as BILLING_WORKER says: by the thread, here and now, or by another process.

        Errors  StripeUnavailable when it should be applied now and could not; it stays pending
        """
        self.work_soon()
        if self.config.worker != "inline":
            return
        with self.line.place():
            error = self.worker.apply_now(event.id, now)
        if error:
            raise StripeUnavailable(f"{event.id} is stored, and not applied yet: {error}") from error
        self._deliver_inline()

    def _deliver_inline(self) -> None:
        """Deliver what is due within the request. A failure does not concern Stripe, which sent the webhook."""
        try:
            self.receivers.deliver_due(INLINE_NOTICES_SECONDS)
        except DatabaseUnavailable as error:
            storage.note(error)
            log.debug("notices were not delivered, and wait for the next webhook: %s", error)

    def count_ignored(self, reason: str) -> None:
        """Count a webhook that was answered 200 and changes nothing: of another account, mode or kind."""
        with self._ignored_lock:
            self._ignored[reason] += 1

    @property
    def ignored(self) -> dict[str, int]:
        """How many webhooks changed nothing since the start, by reason."""
        with self._ignored_lock:
            return dict(self._ignored)

    def work_at_once(self) -> "Work":
        """Poll, apply all that is pending and deliver the notices; see Billing.work."""
        work = self.worker.work_at_once(time.time())
        self.receivers.deliver_due()
        return work

    def work_once(self) -> "Work":
        """Apply what is due and deliver the notices.

        Errors  ConfigError when the database mirrors another account; DatabaseUnavailable
        """
        work = self.worker.work_once(time.time())
        self.receivers.deliver_due()
        return work

    # Stripe

    def check_account(self) -> None:
        """Check, where Stripe says, that the key belongs to the account that the database mirrors.

        Errors  ConfigError when it is another account
        """
        try:
            self._account.check(lambda: self._hurried)
        except StripeError as error:
            log.warning("Stripe did not say which account the key belongs to; will ask again: %s", error)

    @functools.cached_property
    def pages(self) -> "Pages":
        """What renders the pages."""
        from .pages.page import Pages  # loads Babel, 20 ms

        return Pages(self.config)

    @functools.cached_property
    def gateway(self) -> "Gateway":
        """Stripe, with the usual timeouts and retries."""
        from .gateway.gateway import Gateway  # loads Stripe's library

        return Gateway(self.config.stripe_secret_key, self.config.stripe_api_base, watched=self.watched)

    @functools.cached_property
    def _hurried(self) -> "Gateway":
        """Stripe for a visitor who is waiting: short timeouts, no retries."""
        from .gateway.gateway import Gateway  # loads Stripe's library

        key, base = self.config.stripe_secret_key, self.config.stripe_api_base
        return Gateway(key, base, HURRIED_SECONDS, retries=0, watched=self.watched)

    @functools.cached_property
    def converger(self) -> "Converger":
        """What makes a customer's replica true, for requests."""
        from .sync.converge import Converger  # loads Stripe's library

        return Converger(self.gateway, self.catalogue, self.config.app, self._account)

    @functools.cached_property
    def checkout(self) -> "Checkout":
        """What decides where a click leads."""
        from .selling.checkout import Checkout  # loads Stripe's library

        return Checkout(self.gateway, self.catalogue, self.converger, self._selling)

    @functools.cached_property
    def changes(self) -> "Changes":
        """What makes changes of subscriptions that the host or the operator asks for."""
        from .selling.changes import Changes  # loads Stripe's library

        return Changes(self.gateway, self.catalogue, self.converger)

    @functools.cached_property
    def _selling(self) -> Selling:
        config = self.config
        return Selling(config.app, takes_codes=config.promotion_codes, tax=config.tax, tax_ids=config.tax_ids)

    @functools.cached_property
    def worker(self) -> "Worker":
        """What applies events, with its own pace of calls, so that requests find room below Stripe's limit."""
        from .health.checks import endpoint  # loads Stripe's library
        from .selling import changes, checkout  # loads Stripe's library
        from .sync import worker  # loads Stripe's library

        gateway = self.gateway.paced(worker.CALLS_PER_SECOND)
        converger = self.converger.with_gateway(gateway)
        polling = worker.Polling(self.config.poll_seconds, self.config.settle_seconds, self.config.livemode)
        sales = checkout.Checkout(gateway, self.catalogue, converger, self._selling)
        owed = changes.Changes(gateway, self.catalogue, converger)
        keep_days = self.config.keep_events_days
        look = functools.partial(endpoint.look, gateway, self.config) if endpoint.is_ours_known(self.config) else None
        return worker.Worker(gateway, self.catalogue, converger, polling, self._account, sales, owed, keep_days, look)


def _address(url: str, query: dict[str, str]) -> str:
    return f"{url}?{urlencode(query)}" if query else url


def _refuse_members(identity: Identity) -> None:
    if not identity.is_buyer:
        raise MayNotBuy(f"user {identity.user_id} may not buy for {identity.payer_id}")


def _seconds_of_counts(counts: dict[str, int]) -> float:
    return COUNTS_LAST_SECONDS if sum(counts.values()) > MANY_USERS else 0.0
