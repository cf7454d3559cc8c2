"""Billing, which a host holds, and create_app(), the route table. `python billing_app.py` runs the command line."""

if __name__ == "__main__":  # run directly, this file is no module of the package: hand over to the one that is
    from corkage.cli import main

    raise SystemExit(main())

import functools
import logging
import os
import signal
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import bottle

from . import database, models
from .config import Config
from .errors import BillingError, ConfigError, MethodNotAllowed, NotFound, NotSignedIn, StripeUnavailable
from .handlers.access import show_access
from .handlers.edge import ErrorsToResponses
from .handlers.health import show_health
from .handlers.webhook import receive_webhook
from .identity import Authenticate, Identity, authenticator
from .models import Access
from .sync import inbox
from .sync.prices import Catalogue

if TYPE_CHECKING:
    from .sync.worker import Worker, WorkerThread

log = logging.getLogger("corkage")

Handler = Callable[["Billing"], bottle.HTTPResponse]


class Billing:
    """Subscription billing for one product, on one database file. One at a time per process.

    Shape   `authenticate` tells who is asking, from a WSGI environ; without it, tokens do (BILLING_AUTH_SECRET)
    Errors  ConfigError, with every problem at once, when it cannot work as configured
    """

    def __init__(self, config: Config, authenticate: Authenticate | None = None) -> None:
        self.config = config
        self._identify = authenticator(config, authenticate)
        self._thread: WorkerThread | None = None
        database.open_file(config.database)
        try:
            models.bring_up_to_date()
            self._refuse_other_mode()
            self.catalogue = Catalogue(config.plans)
            self.catalogue.apply_plans()
        except BaseException:
            database.close_file()
            raise
        self.wsgi = create_app(self)
        for name in config.unknown_settings:
            log.warning("%s is set, and no setting of this name is known to Corkage", name)
        if config.worker == "thread":
            self._start_thread()
            os.register_at_fork(after_in_child=functools.partial(_start_again, weakref.ref(self)))

    def access(self, user_id: str) -> Access:
        """Tell whether this user may in, and why, from the local row; asks nobody.

        Errors  DatabaseUnavailable when the file cannot be read
        """
        return models.read_access(user_id)

    def close(self) -> None:
        """Stop the worker after the customer at hand, and close the file. What is pending stays pending."""
        if self._thread is not None:
            self._thread.stop()
            self._thread = None
        database.close_file()

    def signed_in(self, environ: dict[str, Any]) -> Identity:
        """Tell who is asking.

        Errors  NotSignedIn when nobody is; InvalidToken; NotConfigured when there is no way to tell
        """
        identity = self._identify(environ)
        if identity is None:
            raise NotSignedIn("the request names no user")
        return identity

    @functools.cached_property
    def worker(self) -> "Worker":
        """What applies events. Made when first needed: Stripe's library costs 20 MB that reading access does not."""
        from .sync.converge import Converger
        from .sync.gateway import Gateway
        from .sync.worker import Worker

        gateway = Gateway(self.config.stripe_secret_key, self.config.stripe_api_base)
        return Worker(gateway, self.catalogue, Converger(gateway, self.catalogue, self.config.app))

    def verify_signature(self, body: bytes, header: str | None, now: float) -> dict[str, Any]:
        """Check that Stripe signed these bytes, and parse them; see the gateway's."""
        from .sync.gateway import verify_signature

        return verify_signature(body, header, self.config.webhook_secrets, now)

    @property
    def settle_seconds(self) -> float:
        """How long an event waits for its companions. Inline work cannot wait."""
        return 0 if self.config.worker == "inline" else self.config.settle_seconds

    def apply_soon(self, event: inbox.EventRef, now: float) -> None:
        """Have a recorded event applied, as BILLING_WORKER says: by the thread, at once, or by another process.

        Errors  StripeUnavailable when it was to be applied at once and could not; it stays pending
        """
        if self._thread is not None:
            self._thread.wake()
        elif self.config.worker == "inline" and (error := self.worker.apply_now(event, now)):
            raise StripeUnavailable(f"{event.id} is recorded, and not applied yet: {error}") from error

    def run_worker(self) -> None:
        """Apply what is due in this thread, again and again, until SIGTERM or Ctrl-C."""
        from .sync.worker import WorkerThread

        looping = WorkerThread(lambda: self.worker)
        signal.signal(signal.SIGTERM, lambda *_: looping.stop())
        signal.signal(signal.SIGINT, lambda *_: looping.stop())
        looping.run()

    def worker_state(self) -> str:
        """Tell how events are applied here: "thread", "inline", "off", or "stopped" for a thread that died."""
        if self.config.worker != "thread":
            return self.config.worker
        return "thread" if self._thread is not None and self._thread.is_alive() else "stopped"

    def _start_thread(self) -> None:
        from .sync.worker import WorkerThread

        self._thread = WorkerThread(lambda: self.worker)
        self._thread.start()

    def _refuse_other_mode(self) -> None:
        mode = "live" if self.config.livemode else "test"
        if (remembered := models.remember_once("mode", mode)) != mode:
            raise ConfigError(
                [
                    f"STRIPE_SECRET_KEY: is a {mode} key, and the database mirrors Stripe's {remembered} mode: "
                    "use a key of that mode, or another BILLING_DATABASE"
                ]
            )


def _start_again(made: "weakref.ref[Billing]") -> None:
    """Give a forked child a worker thread of its own: the parent's did not come along."""
    billing = made()
    if billing is not None and billing._thread is not None:
        billing._start_thread()


ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "/webhook", receive_webhook),
    ("GET", "/access", show_access),
    ("GET", "/health", show_health),
)


def create_app(billing: Billing) -> bottle.Bottle:
    """Make the WSGI app: every route, and an answer in our own shape for what is no route."""
    app = bottle.Bottle()
    app.install(ErrorsToResponses())
    for method, rule, handler in ROUTES:
        app.route(rule, method, functools.partial(handler, billing), name=f"{method} {rule}")
    for rule in {rule for _, rule, _ in ROUTES}:
        app.route(rule, "ANY", _refuse_method)
    app.route("/<path:path>", "ANY", _refuse_path)
    return app


def _refuse_method() -> BillingError:
    raise MethodNotAllowed(f"{bottle.request.method!r} {bottle.request.path!r}")


def _refuse_path(path: str) -> BillingError:
    raise NotFound(f"no route for {path!r}")
