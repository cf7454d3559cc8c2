"""Billing, which a host holds. `python billing_app.py` runs the command line.

What answers requests, and what asks Stripe, is imported when it is first needed: a process that only reads access does
without Bottle, PyJWT and Stripe's library, in half the time and memory.
"""

if __name__ == "__main__":  # run directly, this file is no module of the package: hand over to the one that is
    from corkage.cli import main

    raise SystemExit(main())

import functools
import logging
import os
import signal
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload
from urllib.parse import quote

from . import access, models, storage
from .access import Access
from .config import Config
from .errors import (
    BillingError,
    Busy,
    ConfigError,
    DatabaseUnavailable,
    NotConfigured,
    NotSignedIn,
    PaymentRequired,
    StripeError,
    StripeUnavailable,
)
from .handlers import mounting
from .health.refusals import Refusals
from .health.writable import Writable
from .identity import Authenticate, Identity, authenticator
from .notices.delivery import Telling
from .notices.notice import Notice
from .plans import Requirement
from .sync.account import Account
from .sync.prices import Catalogue

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    import bottle

    from .admin.session import Guesses
    from .handlers.plugin import Callback
    from .notices.webhook import Endpoint
    from .pages.page import Pages
    from .selling.checkout import Checkout
    from .sync.converge import Converger
    from .sync.events import EventRef
    from .sync.gateway import Gateway
    from .sync.states import InvoiceState
    from .sync.threads import WorkerThread
    from .sync.worker import Work, Worker

INLINE_TELLING_SECONDS = 5.0  # Checkout waits up to 10 s for the answer to its webhook
HURRIED_SECONDS = (1.0, 1.5)  # for each of the two calls of a returning visitor, who is waiting
SLOT_SECONDS = 0.25
LEARN_PRICES_SECONDS = 60
PAGES = ("pricing", "account")

log = logging.getLogger("corkage")

Hook = TypeVar("Hook", bound=Callable[[Notice], object])


class Billing:
    """Subscription billing for one product, on one database file. One at a time per process. A Bottle plugin, too.

    It may be made before a server forks, or in the idle parent of a reloader: connections are opened, and the worker's
    thread is started, in the process that uses it, when it does.

    Shape   `authenticate` tells who is asking, from a WSGI environ; without it, tokens do (BILLING_AUTH_SECRET);
            `stripe_slots`: how many requests may wait for Stripe at a time, best half of the server's threads
    Errors  ConfigError, with every problem at once, when it cannot work as configured
    """

    name = "corkage"  # as Bottle knows the plugin
    api = 2

    def __init__(self, config: Config, authenticate: Authenticate | None = None, stripe_slots: int = 4) -> None:
        self.config = config
        self.stripe_slots = stripe_slots
        self._stripe_slots = threading.BoundedSemaphore(stripe_slots)
        self._identify = authenticator(config, authenticate)
        self._account = Account(config.stripe_secret_key)
        self._mounted_at: str | None = None
        self._thread: WorkerThread | None = None
        self._thread_lock = threading.Lock()
        self._is_to_start = True
        self._is_closed = False
        self._learn_prices_at = 0.0
        self._left: Counter[str] = Counter()
        self._left_lock = threading.Lock()
        self.refusals, self.writable = Refusals(time.time()), Writable()
        _refuse_broken_views(config)
        storage.open_file(config.database)
        with ExitStack() as undo:
            undo.callback(storage.close_file)
            models.bring_up_to_date()
            self._refuse_other_mode()
            self.catalogue = Catalogue(config.plans)
            self.catalogue.apply_plans(time.time())
            self._telling = Telling(_endpoint(config), time.time())
            storage.release()
            undo.pop_all()
        for name in config.unknown_settings:
            log.warning("%s is set, and no setting of this name is known to Corkage", name)
        os.register_at_fork(after_in_child=functools.partial(_begin_anew, weakref.ref(self)))

    def start(self) -> None:
        """Start the threads of this process, as BILLING_WORKER says: the worker's, and those that tell notices.

        The first request, question or sale does so by itself. It is for a server that may get none for long, and is to
        poll, and to tell the host, all the same: called where the serving process begins, after any fork.
        """
        if not self._is_to_start:
            return
        with self._thread_lock:
            if self._is_to_start:
                self._is_to_start = False
                self._start_threads()

    def access(self, user_id: str) -> Access:
        """Tell whether this user may in, and why, from the local row; asks nobody.

        Errors  DatabaseUnavailable when the file cannot be read
        """
        if self._is_to_start:
            self.start()
        return access.read_access(user_id)

    def admit(self, user_id: str | None, *plans: str, feature: str | None = None) -> Access:
        """Return the user's access where it is on one of the plans and with the feature, as far as any are named.

        Errors  NotSignedIn for None, PaymentRequired; ConfigError for a name that plans.toml does not have;
                DatabaseUnavailable: nobody is let in by accident
        """
        wanted = Requirement(plans, feature)
        wanted.check(self.config.plans)
        if not user_id:
            raise NotSignedIn("nobody is signed in")
        access = self.access(user_id)
        if not wanted.is_met_by(access):
            raise PaymentRequired(f"{user_id!r} has {access.reason}, plan {access.plan}", self.pricing_url)
        return access

    def requires(self, *plans: str, feature: str | None = None) -> "Callable[[Callback], Callback]":
        """Guard a Bottle handler: 401 for nobody, 402 for whoever is not on one of the plans, or lacks the feature.

        Without a name any access will do. A handler that names an `access` parameter is given it.

        Errors  ConfigError, at once, for a name that plans.toml does not have
        """
        from .handlers.plugin import guard

        wanted = Requirement(plans, feature)
        wanted.check(self.config.plans)
        return functools.partial(guard, self, wanted)

    def setup(self, app: "bottle.Bottle") -> None:
        """Mount the routes, at BILLING_URL's path or at /billing: the first half of Bottle's `app.install(billing)`.

        Errors  ConfigError when it is installed there already, or BILLING_URL has no path
        """
        from .handlers.plugin import mount
        from .routes import create_app

        self._mounted_at = mount(self, app, create_app(self))

    def apply(self, callback: "Callback", _route: "bottle.Route") -> "Callback":
        """Give each handler of the app what it asks for: the second half of `app.install(billing)`."""
        from .handlers.plugin import give_access

        return give_access(self, callback)

    def middleware(self, app: "WSGIApplication", path: str | None = None) -> "WSGIApplication":
        """Put the routes beside any WSGI app: at the path or, without one, BILLING_URL's or /billing.

        Errors  ConfigError when BILLING_URL has no path
        """
        self._mounted_at = path or mounting.mount_path(self.config)
        return mounting.middleware(self, app, self._mounted_at)

    @property
    def base_url(self) -> str | None:
        """Where our routes are, for a page of the host's own: BILLING_URL or the path; None where neither is known."""
        return self.config.billing_url or self._mounted_at

    @property
    def pricing_url(self) -> str:
        """Where somebody is led who has not paid: our page of plans or, while its address is unknown, the product."""
        return f"{self.base_url}/pricing" if self.base_url else self.config.frontend_url

    def checkout_url(
        self, identity: Identity, plan: str, *, billing_url: str | None = None, to_our_pages: bool = False
    ) -> str:
        """Return where to send a user who wants a plan: Stripe's Checkout or, for a subscriber, the portal.

        Shape   plan: a name in plans.toml, or "name:price" for another of its prices;
                billing_url: where these routes are reached from outside, unless BILLING_URL says so;
                to_our_pages: who does not buy comes back to /cancel, from the portal to /account; else to the product
        Errors  UnknownPlan, CheckoutInProgress, Busy, NotConfigured; StripeError as the gateway's
        """
        from .selling.checkout import Buyer

        self.start()
        base = billing_url or self.config.billing_url
        if base is None:
            raise NotConfigured(
                "set BILLING_URL to where Corkage is reached from outside, with the path it is mounted at"
            )
        back = f"{base}/return?session_id={{CHECKOUT_SESSION_ID}}"
        otherwise = f"{base}/cancel" if to_our_pages else self.config.frontend_url
        after_portal = f"{base}/account?from=portal" if to_our_pages else ""
        buyer = Buyer(identity.user_id, identity.email, identity.name, back, otherwise, after_portal)
        with self.stripe_slot():
            return self.checkout.subscribe_url(buyer, plan)

    def portal_url(self, user_id: str, flow: str | None = None, *, return_url: str | None = None) -> str:
        """Return the address of the user's customer portal, or of one of its flows.

        Shape   flow: "payment_method_update", "subscription_update", "subscription_cancel" or None for all of it;
                return_url: where the portal leads back to, unless to the product
        Errors  UnknownFlow, NoBillingAccount, Busy; StripeError as the gateway's
        """
        self.start()
        with self.stripe_slot():
            return self.checkout.portal_url(user_id, return_url or self.config.frontend_url, flow)

    def come_back(self, session_id: str) -> str | None:
        """Converge the user whom Stripe sends back from a session of ours, within 5 s; anything else asks nobody.

        Shape   the user's id, when the session was paid in; None for any other session
        Errors  CheckoutInProgress when the session was looked at a moment ago; Busy; StripeError as the gateway's
        """
        if self.buyer_of(session_id) is None:
            return None
        with self.stripe_slot():
            return self.checkout.come_back(session_id, self._hurried, time.time())

    def buyer_of(self, session_id: str) -> str | None:
        """Tell which user a session that we made, and that is not done with, was made for; asks nobody."""
        attempt = models.CheckoutAttempt.get_or_none(models.CheckoutAttempt.session_id == session_id)
        return None if attempt is None else attempt.user_id

    def look_again(self, user_id: str) -> None:
        """Converge a user who comes back from the portal, within 3 s or so.

        Errors  Busy; StripeError as the gateway's
        """
        with self.stripe_slot():
            self.checkout.look_again(user_id, self._hurried)

    def invoices(self, user_id: str) -> "tuple[InvoiceState, ...]":
        """Fetch the user's latest invoices, newest first: one call, that is not waited for long.

        Errors  Busy; StripeError as the gateway's
        """
        with self.stripe_slot():
            return self.checkout.invoices_of(user_id, self._hurried)

    def learn_prices(self) -> None:
        """Ask Stripe for prices that plans.toml names and that were never met; once a minute at most, not for long."""
        if time.monotonic() < self._learn_prices_at or not self.catalogue.lacks_prices():
            return
        self._learn_prices_at = time.monotonic() + LEARN_PRICES_SECONDS
        try:
            with self.stripe_slot():
                self.catalogue.refresh(self._hurried, time.time())
        except BillingError as error:
            log.warning("the prices could not be asked for a page: %s: %s", error.code, error)

    def fragment(self, view: str, environ: dict[str, Any], base: str | None = None) -> str:
        """Make the inside of a page, "pricing" or "account", for a page of the host's own that links style.css.

        Shape   environ: the WSGI environ of the host's request, which says who asks, in which language, and for which
                interval; base: where our routes are reached, such as "/billing", unless BILLING_URL says so
        Errors  NotFound for another view; NotConfigured; NotSignedIn for the account of nobody; DatabaseUnavailable
        """
        from .handlers.pages import fragment

        return fragment(self, view, environ, base)

    def own_url(self, environ: dict[str, Any]) -> str | None:
        """Tell where these routes are reached: BILLING_URL or, on an origin of the product's own, where they just were.

        Anything else that a Host header says is a stranger's word, and not a place to send visitors to.
        """
        import bottle

        from .handlers.csrf import is_known_origin

        if self.config.billing_url is not None:
            return self.config.billing_url
        parts = bottle.BaseRequest(environ).urlparts
        origin = f"{parts.scheme}://{parts.netloc}"
        return origin + parts.path.rpartition("/")[0] if is_known_origin(origin, self.config) else None

    @contextmanager
    def stripe_slot(self) -> Iterator[None]:
        """Wait for Stripe, as one of the few that may at a time: the fast routes keep the other threads.

        Errors  Busy when all slots are taken
        """
        if not self._stripe_slots.acquire(timeout=SLOT_SECONDS):
            raise Busy(f"all {self.stripe_slots} slots for waiting on Stripe are taken")
        try:
            yield
        finally:
            self._stripe_slots.release()

    @overload
    def on(self, kind: str) -> Callable[[Hook], Hook]: ...
    @overload
    def on(self, kind: str, callback: Hook) -> Hook: ...
    def on(self, kind: str, callback: Any = None) -> Any:
        """Have a function called with the Notice of each change of this kind, or of every one for "*".

        It is called at least once, in order for each user, outside any request and transaction, and again later when it
        raises; from 5 s after the last function was given. Give them where the host starts, in each process that has
        any: only such a process can call them, and does so in a thread of its own, or within the webhook's request
        where BILLING_WORKER is inline. `@billing.on(kind)` does the same.

        Errors  ValueError when there is no such kind; DatabaseUnavailable
        """
        if callback is None:
            return functools.partial(self.on, kind)
        self._telling.add_hook(kind, callback, time.time())
        if self._is_to_start:
            storage.release()  # a process that forks now must not have connections open
        return callback

    def sync(self, user_id: str) -> Access:
        """Fetch what Stripe holds of this user, now, and answer by it. A user who never bought anything asks nobody.

        Errors  Busy; StripeError as the gateway's, and nothing was changed then
        """
        with self.stripe_slot():
            self.converger.converge_user(user_id, time.time())
        return self.access(user_id)

    def update_user(self, user_id: str, *, email: str | None = None, name: str | None = None) -> None:
        """Have the user's changed e-mail or name known to Stripe, for receipts and invoices, and here.

        Shape   None leaves it as it is, "" takes it away; of a user without a customer Stripe hears when they buy
        Errors  ValueError for what is no user id, e-mail or name; Busy; StripeError as the gateway's: call again
        """
        from .users.update import update_user

        Identity(user_id)
        with self.stripe_slot():
            update_user(self.converger, user_id, email, name, time.time())

    def forget(self, user_id: str) -> None:
        """Cancel what the user pays for, at once, delete their customer at Stripe, and forget them here.

        For when the host deletes an account. Stripe keeps invoices and payments, as the law wants; nothing is refunded,
        and no notice is sent. When it raises, call it again: it goes on where it was. Of a user who is forgotten
        already, or was never known, nobody is asked.

        Errors  CheckoutInProgress, Busy; StripeError as the gateway's
        """
        from .users.delete import forget_user

        with self.stripe_slot():
            forget_user(self.converger, user_id, time.time())

    def work(self) -> "Work":
        """Ask Stripe what is new, apply it and tell of it, before returning: for tests and scripts. A running product
        does this by itself, as BILLING_WORKER says.

        Shape   what was done: how many customers were `converged`, how often something `failed`, which the log tells
        Errors  ConfigError when the file mirrors another account; DatabaseUnavailable
        """
        work = self.worker.work_at_once(time.time())
        self._telling.deliver_due()
        return work

    def work_once(self) -> "Work":
        """Do what is due, and tell of it, before returning.

        Errors  as work()
        """
        work = self.worker.work_once(time.time())
        self._telling.deliver_due()
        return work

    def close(self) -> None:
        """Stop the worker after the customer at hand, and close the file. What is pending stays pending."""
        with self._thread_lock:
            self._is_to_start, self._is_closed = False, True
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()
        if "worker" in self.__dict__:
            self.worker.wait()
        self._telling.stop()
        storage.close_file()

    def signed_in(self, environ: dict[str, Any]) -> Identity:
        """Tell who is asking.

        Errors  NotSignedIn when nobody is; InvalidToken; NotConfigured when there is no way to tell
        """
        identity = self._identify(environ)
        if identity is None:
            raise NotSignedIn("the request names no user")
        return identity

    def visitor(self, environ: dict[str, Any]) -> Identity | None:
        """Tell who looks, where that need not be known: of a token that has expired nobody is left."""
        try:
            return self.signed_in(environ)
        except (NotSignedIn, NotConfigured):
            return None

    def sign_in_url(self, environ: dict[str, Any]) -> str:
        """Tell where to sign in, with the way back to the page at hand where BILLING_SIGN_IN_URL has a place for it."""
        own, page = self.own_url(environ), environ.get("PATH_INFO", "").removeprefix("/")
        back = f"{own}/{page if page in PAGES else PAGES[0]}" if own else self.config.frontend_url
        return (self.config.sign_in_url or self.config.frontend_url).replace("{next}", quote(back, safe=""))

    @functools.cached_property
    def wsgi(self) -> "bottle.Bottle":
        """The routes, as a WSGI app."""
        from .routes import create_app

        return create_app(self)

    @functools.cached_property
    def pages(self) -> "Pages":
        """What makes the pages. Made when first needed: Babel costs time and memory that reading access does not."""
        from .pages.page import Pages

        return Pages(self.config)

    @functools.cached_property
    def guesses(self) -> "Guesses":
        """What counts how often somebody tried to sign in as the operator."""
        from .admin.session import Guesses

        return Guesses()

    @functools.cached_property
    def _hurried(self) -> "Gateway":
        """Stripe for a visitor who is waiting."""
        from .sync.gateway import Gateway

        return Gateway(self.config.stripe_secret_key, self.config.stripe_api_base, HURRIED_SECONDS, retries=0)

    @functools.cached_property
    def checkout(self) -> "Checkout":
        """What decides where a click leads."""
        from .selling.checkout import Checkout

        return Checkout(self.gateway, self.catalogue, self.converger, self.config.app)

    @functools.cached_property
    def gateway(self) -> "Gateway":
        """Stripe, for who waits. Made when first needed: Stripe's library costs 20 MB that reading access does not."""
        from .sync.gateway import Gateway

        return Gateway(self.config.stripe_secret_key, self.config.stripe_api_base)

    @functools.cached_property
    def converger(self) -> "Converger":
        """What makes a customer's replica true, for who waits."""
        from .sync.converge import Converger

        return Converger(self.gateway, self.catalogue, self.config.app)

    @functools.cached_property
    def worker(self) -> "Worker":
        """What applies events, at a pace that Stripe allows. Nobody waits for it, and it leaves room for who does."""
        from .sync import worker
        from .sync.converge import Converger

        gateway = self.gateway.paced(worker.CALLS_PER_SECOND)
        converger = Converger(gateway, self.catalogue, self.config.app)
        polling = worker.Polling(self.config.poll_seconds, self.config.settle_seconds, self.config.livemode)
        return worker.Worker(gateway, self.catalogue, converger, polling, self._account, self.config.keep_events_days)

    def verify_signature(self, body: bytes, header: str | None, now: float) -> dict[str, Any]:
        """Check that Stripe signed these bytes, and parse them; see the gateway's."""
        from .sync.signature import verify_signature

        return verify_signature(body, header, self.config.webhook_secrets, now)

    @property
    def settle_seconds(self) -> float:
        """How long an event waits for its companions. Inline work cannot wait."""
        return 0 if self.config.worker == "inline" else self.config.settle_seconds

    def work_soon(self) -> None:
        """Have the thread, where there is one, look at the events that are on disk by now, when they have settled."""
        if self._thread is not None:
            self._thread.wake(self.settle_seconds)

    def apply_soon(self, event: "EventRef", now: float) -> None:
        """Have a recorded event applied, as BILLING_WORKER says: by the thread, at once, or by another process.

        Errors  StripeUnavailable when it was to be applied at once and could not; it stays pending
        """
        self.work_soon()
        if self.config.worker == "inline":
            with self.stripe_slot():
                error = self.worker.apply_now(event.id, now)
            if error:
                raise StripeUnavailable(f"{event.id} is recorded, and not applied yet: {error}") from error
            self._tell_inline()

    def _tell_inline(self) -> None:
        """Tell what is due within the request. What comes of it is no matter of Stripe's, whose webhook it is."""
        try:
            self._telling.deliver_due(INLINE_TELLING_SECONDS)
        except DatabaseUnavailable as error:
            storage.note(error)
            log.debug("notices were not told, and wait for the next webhook: %s", error)

    def count_left(self, reason: str) -> None:
        """Count a webhook that was answered 200 and changes nothing: another account's, mode's or kind's."""
        with self._left_lock:
            self._left[reason] += 1

    @property
    def left(self) -> dict[str, int]:
        """How many webhooks changed nothing since the start, by reason."""
        with self._left_lock:
            return dict(self._left)

    def check_account(self) -> None:
        """Make sure, where Stripe tells, that the key belongs to the account that the file mirrors.

        Errors  ConfigError when it is another
        """
        try:
            self._account.check(lambda: self._hurried)
        except StripeError as error:
            log.warning("Stripe did not tell whose key this is; going on, and asking again later: %s", error)

    def run_worker(self) -> None:
        """Apply what is due in this thread, again and again, until SIGTERM or Ctrl-C.

        Errors  ConfigError when the key belongs to another Stripe account than the file mirrors
        """
        from .sync.threads import WorkerThread

        self.check_account()
        looping = WorkerThread(lambda: self.worker)
        for number in (signal.SIGTERM, signal.SIGINT):  # in a thread: this one may hold the lock that stopping wants
            signal.signal(number, lambda *_: threading.Thread(target=looping.stop, daemon=True).start())
        log.info("applying what is due, database %s", self.config.database)
        self._telling.start("url")
        looping.run()
        log.info("stopped")

    def worker_state(self) -> str:
        """Tell how events are applied here: "thread", "inline", "off", or "stopped" for a thread that died."""
        if self.config.worker != "thread":
            return self.config.worker
        is_well = self._is_to_start or (self._thread is not None and self._thread.is_alive())
        return "thread" if is_well else "stopped"

    def _begin_anew(self) -> None:
        self._is_to_start = not self._is_closed
        self._thread = None
        self._telling.begin_anew()
        self._thread_lock, self._left_lock = threading.Lock(), threading.Lock()
        self._stripe_slots = threading.BoundedSemaphore(self.stripe_slots)
        self.refusals, self.writable = Refusals(time.time()), Writable()
        for name in ("worker", "checkout", "converger", "gateway", "_hurried", "guesses"):
            self.__dict__.pop(name, None)

    def _start_threads(self) -> None:
        if self.config.worker == "thread":
            from .sync.threads import WorkerThread

            self._thread = WorkerThread(lambda: self.worker)
            self._thread.start()
            self._telling.start("url", "callbacks")
        elif self.config.worker == "off":  # another process does the rest, and cannot call functions of this one
            self._telling.start("callbacks")

    def _refuse_other_mode(self) -> None:
        mode = "live" if self.config.livemode else "test"
        if (remembered := models.remember_once("mode", mode)) != mode:
            raise ConfigError(
                [
                    f"STRIPE_SECRET_KEY: is a {mode} key, and the database mirrors Stripe's {remembered} mode: "
                    "use a key of that mode, or another BILLING_DATABASE"
                ]
            )


def _refuse_broken_views(config: Config) -> None:
    if not config.views:
        return
    from .pages.rendering import problems_of

    if problems := list(problems_of(Path(config.views))):
        raise ConfigError(problems)


def _begin_anew(made: "weakref.ref[Billing]") -> None:
    """In a forked child: the parent's threads did not come along, and its sockets to Stripe are not the child's."""
    billing = made()
    if billing is not None:
        billing._begin_anew()


def _endpoint(config: Config) -> "Endpoint | None":
    if config.notify_url and not config.notify_secrets:
        raise ConfigError(["BILLING_NOTIFY_SECRET: wanted a secret to sign notices with; it is not set"])
    if config.notify_url is None:
        return None
    from .notices.webhook import Endpoint

    return Endpoint(config.notify_url, config.notify_secrets)
