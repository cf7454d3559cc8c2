"""Billing, which a host holds. `python billing_app.py` runs the command line.

What answers requests, and what asks Stripe, is imported when it is first needed: a process that only reads access does
without Bottle, PyJWT and Stripe's library, in half the time and memory.
"""

if __name__ == "__main__":  # run directly, this file is no module of the package: hand over to the one that is
    from corkage.cli import main

    raise SystemExit(main())

import functools
import os
import shlex
import time
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from . import models, schema, storage
from .access import Access
from .config import Config
from .errors import ConfigError
from .health.files import warn_of_exposed
from .identity import Authenticate, Identity, authenticator
from .logs.facts import logger
from .notices.delivery import Receivers
from .notices.notice import NoticeCallback
from .plans import Requirement
from .replica.prices import Catalogue
from .selling.usage import Usage, Use
from .service import Service
from .settings import masked
from .texts import check_texts
from .users.receipt import Receipt
from .users.wishes import Charge, When, cancel_wish, change_wish, trial_wish

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    import bottle

    from .handlers.plugin import Callback
    from .notices.webhook import Endpoint
    from .selling.changes import Preview
    from .sync.worker import Work

STRIPE_SLOTS = 4  # for a host's server with 8 threads: half of them stay free

log = logger("corkage")

AnyCallback = TypeVar("AnyCallback", bound=NoticeCallback)


class Billing:
    """Subscription billing for one product, on one database. One at a time per process. A Bottle plugin, too.

    It may be made before a server forks, or in the idle parent of a reloader: connections are opened and threads are
    started in the process that uses it, at its first use.

    Shape   authenticate: returns the user who makes a request, from its WSGI environ; without it, tokens do
            (BILLING_AUTH_SECRET); stripe_slots: how many requests may wait for Stripe at a time, best half of the
            server's threads, in place of BILLING_STRIPE_SLOTS;
            claims: make the plans of this configuration those of the database. A command beside a
            running server does not
    Errors  ConfigError, with every problem at once, when it cannot work as configured
    """

    name = "corkage"  # as Bottle knows the plugin
    api = 2

    def __init__(
        self,
        config: Config,
        authenticate: Authenticate | None = None,
        stripe_slots: int | None = None,
        *,
        claims: bool = True,
    ) -> None:
        self.config = config
        identify = authenticator(config, authenticate)
        _refuse_broken_views(config)
        storage.open_database(config.database)
        with ExitStack() as undo:
            undo.callback(storage.close_database)
            schema.bring_up_to_date(config.app)
            _refuse_other_mode(config)
            _refuse_other_app(config)
            catalogue = Catalogue(config.plans, config.app)
            catalogue.apply_plans(claims=claims)
            if config.worker != "thread" and not catalogue.timelines.is_outdated():
                catalogue.timelines.renew(time.time())
            receivers = Receivers(_endpoint(config), time.time())
            storage.release()
            undo.pop_all()
        slots = stripe_slots or config.stripe_slots or STRIPE_SLOTS
        self.service = Service(config, identify, catalogue, receivers, slots)
        if claims:  # once, when it begins to serve, and not for each command
            warn_of_exposed(config.database)
        for name in config.unknown_settings:
            log.warning("%s is set, and Corkage has no setting of this name", name)
        os.register_at_fork(after_in_child=functools.partial(_renew_service, weakref.ref(self)))

    def start(self) -> None:
        """Start the threads of this process, as BILLING_WORKER says: the worker's, and those that deliver notices.

        The first request, question or sale does so by itself. Call it where the serving process begins, after any fork,
        in a server that may get no request for long and shall poll and deliver all the same.
        """
        self.service.start()

    def access(self, user_id: str) -> Access:
        """Return whether this user may in, and why, from the local row, without asking Stripe.

        Errors  ValueError for an invalid user id; DatabaseUnavailable when the database cannot be read
        """
        return self.service.access(user_id)

    def admit(self, user_id: str | None, *plans: str, feature: str | None = None) -> Access:
        """Return the user's access where it is on one of the plans and with the feature, as far as any are named.

        Errors  NotSignedIn for None, PaymentRequired; ConfigError for a name that plans.toml does not have;
                ValueError for an invalid user id; DatabaseUnavailable: nobody is let in by accident
        """
        return self.service.admit(user_id, Requirement(plans, feature))

    def requires(self, *plans: str, feature: str | None = None) -> "Callable[[Callback], Callback]":
        """Guard a Bottle handler: 401 when nobody is signed in, 402 for a user without one of the plans or the feature.

        Without a name any access is enough. A handler that names an `access` parameter is given it.

        Errors  ConfigError, at once, for a name that plans.toml does not have
        """
        from .handlers.plugin import guard  # loads Bottle

        wanted = Requirement(plans, feature)
        wanted.check(self.config.plans)
        return functools.partial(guard, self._current_service, wanted)

    def setup(self, app: "bottle.Bottle") -> None:
        """Mount the routes, at BILLING_URL's path or at /billing: the first half of Bottle's `app.install(billing)`.

        Errors  ConfigError when it is installed there already, or BILLING_URL has no path
        """
        from .handlers.plugin import mount  # loads Bottle
        from .routes import create_app

        if self in app.plugins:
            raise ConfigError(["app.install(billing): it is installed in this app already"])
        routes = create_app(self.config, self._current_service)
        self.service.mounted_at = mount(self.config, app, routes, self.wsgi)

    def apply(self, callback: "Callback", _route: "bottle.Route") -> "Callback":
        """Give each handler of the app what it asks for: the second half of `app.install(billing)`."""
        from .handlers.plugin import give_access  # loads Bottle

        return give_access(self._current_service, callback)

    def middleware(self, app: "WSGIApplication", path: str | None = None) -> "WSGIApplication":
        """Put the routes beside any WSGI app: at the path or, without one, BILLING_URL's or /billing.

        Errors  ConfigError when BILLING_URL has no path
        """
        from .handlers.plugin import middleware, mount_path  # loads Bottle

        mounted_at = self.service.mounted_at = path or mount_path(self.config)
        return middleware(self.wsgi, app, mounted_at)

    @functools.cached_property
    def wsgi(self) -> "bottle.Bottle":
        """The routes, as a WSGI app."""
        from .routes import create_app  # loads Bottle

        return create_app(self.config, self._current_service)

    @property
    def base_url(self) -> str | None:
        """Where our routes are, for a page of the host's own: BILLING_URL or the path; None where neither is known."""
        return self.service.base_url

    @property
    def pricing_url(self) -> str:
        """Where a user without a plan is sent: BILLING_PRICING_URL, else our pricing page or, while its address is
        unknown, the product.
        """
        return self.service.pricing_url

    def checkout_url(
        self,
        identity: Identity,
        plan: str,
        *,
        quantity: int | None = None,
        code: str = "",
        locale: str = "",
        return_url: str | None = None,
        billing_url: str | None = None,
        to_our_pages: bool = False,
        again: bool = False,
    ) -> str:
        """Return where to send a user who wants a plan: Stripe's Checkout or, for a subscriber, the portal.

        Shape   plan: a name in plans.toml, or "name:price" for another of its prices; quantity: within its seats;
                code: a promotion code; locale: the language of Stripe's page, as Stripe names it;
                return_url: the page of the product to return to without buying, or from the portal;
                billing_url: where these routes are reached from outside, unless BILLING_URL says so;
                to_our_pages: return to our /cancel, or to /account from the portal, instead;
                again: they were asked whether they pay already, after MaybeSubscribed, and want to buy
        Errors  UnknownPlan, InvalidQuantity, NeedsPlan, AlreadyBought, MaybeSubscribed, MayNotBuy,
                CheckoutInProgress, Busy, NotConfigured;
                ValueError for a payer that BILLING_PAYER_PREFIX does not allow, or a text with NUL; StripeError as
                the gateway's
        """
        check_texts(code=code, locale=locale, return_url=return_url, billing_url=billing_url)
        product_url = self.config.frontend_url
        buyer = self.service.buyer(
            identity, billing_url, product_url, back=return_url, to_our_pages=to_our_pages, locale=locale
        )
        return self.service.subscribe(buyer, plan, quantity, code, again=again).url

    def portal_url(
        self,
        user_id: str,
        flow: str | None = None,
        *,
        return_url: str | None = None,
        subscription: str | None = None,
    ) -> str:
        """Return the address of the user's customer portal, or of one of its flows.

        Shape   flow: "payment_method_update", "subscription_update", "subscription_cancel" or None for all of it;
                return_url: where the portal leads back to, unless to the product;
                subscription: the id of one of the user's own, of whose customer the portal is and which a flow is
                about; without it, the best one
        Errors  UnknownFlow, UnknownSubscription, NoBillingAccount, Busy; ValueError for an invalid user id or a text
                with NUL; StripeError as the gateway's
        """
        check_texts(return_url=return_url)
        return self.service.portal_url(Identity(user_id), flow, return_url, subscription)

    def fragment(self, view: str, environ: dict[str, Any], base: str | None = None) -> str:
        """Render the inside of a page, "pricing" or "account", for a page of the host's own that links style.css.

        Shape   environ: the WSGI environ of the host's request, which says who asks, in which language, and for which
                interval; base: where our routes are reached, such as "/billing", unless BILLING_URL says so
        Errors  NotFound for another view; NotConfigured; NotSignedIn for the account when nobody is signed in;
                DatabaseUnavailable
        """
        from .handlers.pages import fragment  # loads Bottle

        return fragment(self.service, view, environ, base)

    @overload
    def on(self, kind: str) -> Callable[[AnyCallback], AnyCallback]: ...
    @overload
    def on(self, kind: str, callback: AnyCallback) -> AnyCallback: ...
    def on(self, kind: str, callback: Any = None) -> Any:
        """Register a function that is called with the Notice of each change of this kind, or of every kind for "*".

        It is called at least once for each notice, in order for each user, outside any request and transaction, and
        again later when it raises; at the earliest 5 s after the last function was registered. Register them where the
        host starts, in each process: only such a process can call them. It does so in a thread of its own or, where
        BILLING_WORKER is inline, within the webhook's request. `@billing.on(kind)` does the same.

        Errors  ValueError for an unknown kind; DatabaseUnavailable
        """
        if callback is None:
            return functools.partial(self.on, kind)
        self.service.receivers.add_callback(kind, callback, time.time())
        if not self.service.is_started:
            storage.release()  # a process that forks now must not have connections open
        return callback

    def sync(self, user_id: str) -> Access:
        """Fetch from Stripe now what the user has, and return their access. A user who never bought costs no call.

        Errors  ValueError for an invalid user id; Busy; StripeError as the gateway's, and nothing was changed then
        """
        return self.service.sync(user_id)

    def update_user(self, user_id: str, *, email: str | None = None, name: str | None = None) -> None:
        """Store the user's changed e-mail or name at Stripe, for receipts and invoices, and here.

        Shape   None leaves it as it is, "" removes it. Without a customer, Stripe gets it when the user buys.
        Errors  ValueError for an invalid user id, e-mail or name; Busy; StripeError as the gateway's: call again
        """
        self.service.update_user(user_id, email, name)

    def grant(
        self,
        user_id: str,
        plan: str,
        until: int | None = None,
        quantity: int = 1,
        reason: str = "",
        given_by: str = "",
    ) -> Access:
        """Give a user a plan without a payment, in place of a running grant of the same plan; return their access.

        A user whom nobody knows yet is made. Stripe is not asked; the worker copies running grants to the user's
        customer there, where there is one.

        Shape   plan: any of plans.toml but the free one; reason, given_by: texts for the operator
        Units   until in Unix seconds; None for a grant without an end
        Errors  UnknownPlan for a plan that cannot be given; ValueError for anything else that does not fit, such as an
                end that has passed; Outdated; DatabaseUnavailable
        """
        given = {"until": until, "quantity": quantity, "reason": reason, "given_by": given_by}
        return self.service.grant(user_id, plan, **given)

    def revoke(self, user_id: str, plan: str) -> bool:
        """End the grant of a plan now; return whether there was one. What the user pays for goes on.

        Errors  UnknownPlan for a plan that cannot be given; ValueError for an invalid user id; Outdated;
                DatabaseUnavailable
        """
        return self.service.revoke(user_id, plan)

    def limit(self, user_id: str, name: str) -> int | str:
        """Return the user's limit of this name: a number, 0 where no plan of theirs has it, or "unlimited".

        Of a limit that is counted it is what may be used in each day or month: `usage` says what is left.

        Errors  UnknownLimit for a name that plans.toml does not have; ValueError for an invalid user id;
                DatabaseUnavailable
        """
        return self.service.limit(user_id, name)

    def use(self, user_id: str, name: str, amount: int = 1, key: str | None = None) -> Use:
        """Count a use of a limit, if it fits in what is left, and return whether it did: `if billing.use(...):`.

        All of it is counted or nothing, and the moment this returns it is on disk. What the plans give is used first,
        then the credit of packs, the oldest first. Threads and processes together never pass the limit.

        Shape   name: a limit with `limit` or `meter` in plans.toml, or what a pack adds; amount: from 1;
                key: a text of up to 200 printable characters, such as the id of what is made: it counts once in 31
                days, and again it returns the same without counting
        Errors  UnknownLimit for a name that is not counted; KeyReused for a key of another name or amount; ValueError
                for an invalid user id, amount or key; DatabaseUnavailable: it may have been counted, so use a key
        """
        return self.service.use(user_id, name, amount, key)

    @overload
    def usage(self, user_id: str) -> dict[str, Usage]: ...
    @overload
    def usage(self, user_id: str, name: str) -> Usage: ...
    def usage(self, user_id: str, name: str | None = None) -> dict[str, Usage] | Usage:
        """Return what the user has used of a limit and what is left; without a name, of each limit that is counted.

        Errors  UnknownLimit for a name that is not counted; ValueError for an invalid user id; DatabaseUnavailable
        """
        if name is not None:
            self.service.counters.named(name)
        found = self.service.usage(user_id)
        return found if name is None else found[name]

    def preview(
        self,
        user_id: str,
        plan: str | None = None,
        quantity: int | None = None,
        when: When = "now",
        *,
        charge: Charge = "next_invoice",
        subscription: str | None = None,
    ) -> "Preview":
        """Return what change() with the same arguments would cost. Nothing is changed.

        Errors  as change()
        """
        return self.service.preview(user_id, change_wish(plan, quantity, when, charge, None), subscription)

    def change(
        self,
        user_id: str,
        plan: str | None = None,
        quantity: int | None = None,
        when: When = "now",
        *,
        charge: Charge = "next_invoice",
        prorated_at: int | None = None,
        subscription: str | None = None,
    ) -> Access:
        """Change a subscription to another plan or quantity, now or at the end of its period; return the access then.

        Safe to call again: the same change is made once, whatever was cut off before. When it raises
        StripeUnavailable, the change is stored, and the worker makes it as soon as Stripe answers.

        Shape   plan: a name in plans.toml, or "name:price"; None for the present one. Without a price, one of the same
                interval is taken; quantity: how many there shall be, within the plan's seats;
                charge: when the difference for the rest of the period is charged: with the "next_invoice", "now", or
                "nothing" of it; a payment that fails changes nothing; prorated_at: that of a preview, so that its
                amounts hold;
                subscription: the id of one of the user's own; without it, the best one of the plan's group
        Errors  UnknownPlan, UnknownSubscription, InvalidQuantity, CannotChange, ChangeInProgress, Busy; ValueError for
                anything else that does not fit; StripeError as the gateway's, such as CardRefused
        """
        wish = change_wish(plan, quantity, when, charge, prorated_at)
        return self.service.change(user_id, "change", wish, subscription)

    def cancel(
        self,
        user_id: str,
        *,
        when: When = "period_end",
        feedback: str | None = None,
        comment: str | None = None,
        subscription: str | None = None,
    ) -> Access:
        """Cancel a subscription, at the end of its period or now, without a refund; return the access then.

        Safe to call again, as change() is. One that has ended, or ends already, stays as it is.

        Shape   feedback: one of Stripe's reasons, such as "too_expensive"; comment: the user's own words;
                subscription: as for change(). A user of several says which is to end "now"
        Errors  as change()
        """
        return self.service.change(user_id, "cancel", cancel_wish(when, feedback, comment), subscription)

    def resume(self, user_id: str, *, subscription: str | None = None) -> Access:
        """Have a subscription go on that is canceled for later, or paused; return the access then.

        One that Stripe has paused is charged at once. One that has ended is bought anew, in Checkout.

        Errors  as change()
        """
        return self.service.change(user_id, "resume", {}, subscription)

    def extend_trial(self, user_id: str, until: int, *, subscription: str | None = None) -> Access:
        """Have a trial last longer; return the access then. The first payment is then due at its end.

        Units   until in Unix seconds
        Errors  as change(); CannotChange when there is no trial, or it lasts longer already
        """
        return self.service.change(user_id, "extend_trial", trial_wish(until), subscription)

    def export(self, user_id: str) -> dict[str, Any]:
        """Return all that is held here about a user, for json.dumps(), and the ids under which Stripe holds more.

        For a person who asks for their data. A user who is unknown has no rows.

        Shape   "held" has the rows by table, as they are stored
        Errors  ValueError for an invalid user id; DatabaseUnavailable
        """
        return self.service.export(user_id)

    def forget(self, user_id: str) -> Receipt:
        """Cancel the user's subscriptions at once, delete their customer at Stripe, and forget them here.

        For a host that deletes an account. Stripe keeps invoices and payments, as the law requires; nothing is
        refunded, and no notice is sent. When it raises, call it again: it continues where it was. A user who is
        unknown, or forgotten already, costs no call.

        Shape   the Receipt says what was ended and deleted, what is true at Stripe now, and what stays and why
        Errors  ValueError for an invalid user id; CheckoutInProgress, Busy; StripeError as the gateway's
        """
        return self.service.forget(user_id)

    def work(self) -> "Work":
        """Poll Stripe, apply all that is pending and deliver the notices before returning: for tests and scripts.

        A running product does this by itself, as BILLING_WORKER says.

        Shape   how many customers were `converged`, and how often something `failed`; the log has the reasons
        Errors  ConfigError when the database mirrors another account; DatabaseUnavailable
        """
        return self.service.work_at_once()

    def close(self, longest_seconds: float | None = None) -> None:
        """Stop the worker after the customers at hand, and close the database. What is pending stays pending.

        Shape   longest_seconds: for how long to wait for Stripe's answers, about
        """
        self.service.close(longest_seconds)

    def _current_service(self) -> Service:
        return self.service


def _renew_service(made: "weakref.ref[Billing]") -> None:
    """In a forked child: drop the parent's Service."""
    billing = made()
    if billing is not None:
        billing.service = billing.service.of_child()


def _refuse_other_mode(config: Config) -> None:
    mode = "live" if config.livemode else "test"
    if (remembered := models.remember_once("mode", mode)) != mode:
        raise ConfigError(
            [
                f"STRIPE_SECRET_KEY: is a {mode} key, and the database mirrors Stripe's {remembered} mode: "
                "use a key of that mode, or another BILLING_DATABASE"
            ]
        )


def _refuse_other_app(config: Config) -> None:
    if (remembered := models.remember_once(models.APP, config.former_app)) != config.app:
        raise ConfigError(
            [
                f"BILLING_APP: is {masked(config.app)} (by default the address in BILLING_URL or FRONTEND_URL), and "
                f"customers of this database are marked for {remembered!r} at Stripe: set "
                f"BILLING_APP={shlex.quote(remembered)} if the product has moved, or another BILLING_DATABASE if this "
                "is another product"
            ]
        )


def _refuse_broken_views(config: Config) -> None:
    if not config.views:
        return
    from .pages.page import problems_of  # loads Bottle and Babel

    if problems := list(problems_of(Path(config.views))):
        raise ConfigError(problems)


def _endpoint(config: Config) -> "Endpoint | None":
    if config.notify_url and not config.notify_secrets:
        raise ConfigError(["BILLING_NOTIFY_SECRET: wanted a secret to sign notices with; it is not set"])
    if config.notify_url is None:
        return None
    from .notices.webhook import Endpoint  # not needed without an address

    return Endpoint(config.notify_url, config.notify_secrets)
