"""An offline Stripe on a local port: API, hosted pages and signed webhooks. A simulation: no money moves."""

import contextlib
import signal
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import waitress.server

from . import scheduler, visitor
from .api.entitlements.active import follow_subscription
from .api.prices import create_price
from .api.products import create_product
from .api.subscriptions import pay_with
from .api.webhook_endpoints import create_endpoint
from .billing import payments
from .http.faults import ApiFaults, FaultInjector
from .pages import format_price
from .pages.control import PATH as CONTROL
from .pages.control import Control
from .scheduled import ACTIONS
from .server import Api, Request
from .state_file import StateFile, UnusableFile
from .versions import check_version
from .webhooks.deliveries import RETRY_SECONDS, Deliveries
from .world import API_VERSION, PREFIXES, Object, Rules, World, copy_json

SERVER = {"threads": 16, "channel_request_lookahead": 1, "ident": "simulator", "asyncore_use_poll": True}
"""Enough threads that hanging requests leave some free. The lookahead detects clients that disconnect. select() would
end the simulator in a test that has a thousand files open."""

__all__ = ["ApiFaults", "Object", "Offer", "Request", "Rules", "Simulator", "UnusableFile", "serve"]


class Offer(NamedTuple):
    """A price for `Simulator.sell`.

    Shape   price: its lookup key, or its id if it begins with "price_"; interval: "day", "week", "month" or "year",
            None for what is bought once; currency: the default is that of the call
    Units   unit_amount in the currency's minor unit
    """

    price: str
    unit_amount: int
    interval: str | None = "month"
    interval_count: int = 1
    currency: str = ""


class Simulator:
    """An offline Stripe that stripe-python and the official Stripe CLI talk to over HTTP. Also a context manager.

    Shape   `seed` makes ids repeatable; `now` is its start time; port 0 picks a free port.
            `file` stores the state: written after changes, at most once a second, and at the end. An existing file is
            loaded, and `seed` and `now` are ignored. Use the same port again, because URLs of pages are in the state.
            Faults and delivery attempts are not stored; undelivered events are sent again after a restart.
            `api_version` is the account's: of requests and webhook endpoints that name none
    Units   now in Unix seconds
    Errors  UnusableFile for a file that is damaged, too new, or not writable; ApiError for an unknown API version
    """

    api_key = "sk_test_simulator"

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int | None = None,
        now: int | None = None,
        retry_seconds: tuple[float, ...] = RETRY_SECONDS,
        file: str | Path | None = None,
        api_version: str = API_VERSION,
    ) -> None:
        check_version(api_version)
        self.world = World(seed, now)
        self.world.api_version = api_version
        self.world.actions = ACTIONS
        self.world.observers = (follow_subscription,)
        self.deliveries = Deliveries(self.world, retry_seconds, seed)
        self._fault_injector = FaultInjector(seed)
        self._api = Api(self.world, self._fault_injector)
        control = {
            "rules": lambda: self.rules,
            "faults/api": lambda: self.api_faults,
            "faults/deliveries": lambda: self.deliveries.faults,
        }
        Control(self.world, control).add_to(self._api.app)
        serve: Any = waitress.server.create_server
        self._server = serve(self._api.app, host=host, port=port, **SERVER)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self.url = self.world.base_url = f"http://{host}:{self._server.effective_port}"
        self._file = self._load_file(Path(file)) if file else None

    @property
    def control_url(self) -> str:
        """The URL of the control page and API, which move the clock and set rules and faults."""
        return f"{self.url}{CONTROL}"

    @property
    def rules(self) -> Rules:
        """The account's settings: retries of failed payments, and what happens after the last one."""
        return self.world.rules

    @property
    def api_faults(self) -> ApiFaults:
        """The API's faults. Set a field or assign an ApiFaults at any time."""
        return self._fault_injector.faults

    @api_faults.setter
    def api_faults(self, faults: ApiFaults) -> None:
        self._fault_injector.faults = faults

    @property
    def requests(self) -> list[Request]:
        """All requests to the API so far."""
        return self._api.requests

    def start(self) -> Self:
        """Start serving in background threads."""
        self.deliveries.start()
        self._thread.start()
        if self._file:
            self._file.start()
        return self

    def stop(self) -> None:
        """Stop serving. A second call does nothing."""
        if not self._thread.is_alive():
            return
        self._fault_injector.stopped.set()
        self.deliveries.stop()
        with contextlib.suppress(OSError):  # if the loop is awake, it may have closed the trigger
            self._server.trigger.pull_trigger(self._close)
        self._thread.join()
        self._server.task_dispatcher.shutdown()
        if self._file:
            self._file.stop()

    def run(self) -> None:
        """Serve in this thread until Ctrl-C or SIGTERM."""
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, self._interrupt)
        self.deliveries.start()
        if self._file:
            self._file.start()
        self._server.run()
        self.deliveries.stop()
        if self._file:
            self._file.stop()

    def add_webhook_endpoint(
        self,
        url: str,
        enabled_events: tuple[str, ...] = ("*",),
        secret: str | None = None,
        api_version: str | None = None,
    ) -> Object:
        """Create a webhook endpoint and return it, with its secret. The default is the account's API version."""
        params = {"url": url, "enabled_events": list(enabled_events), "secret": secret, "api_version": api_version}
        with self.world.lock:
            return create_endpoint(self.world, params)

    def settle(self, timeout_seconds: float = 10.0) -> None:
        """Wait until every webhook that is due has been attempted."""
        self.deliveries.settle(timeout_seconds)

    def advance(self, seconds: int) -> None:
        """Move time forward. Everything due until then happens in order, each at its own time."""
        with self.world.lock:
            clock = self.world.clock
            scheduler.advance(self.world, clock, clock.now() + seconds)

    def advance_to(self, move: str) -> None:
        """Move time to the next "day", "month", "renewal" or "trial_end"; the last two include the hour until the
        invoice is charged."""
        with self.world.lock:
            scheduler.advance(self.world, self.world.clock, scheduler.target_time(self.world, self.world.clock, move))

    def give_up(self, subscription_id: str, status: str) -> None:
        """Stop collecting from a past_due subscription, which becomes "canceled" or "unpaid"."""
        with self.world.lock:
            payments.give_up(self.world, self.world.get("subscription", subscription_id), status)

    def _load_file(self, path: Path) -> StateFile:
        """Load the file, and check at once that it is writable."""
        file = StateFile(path, self.world.lock, self._state, self._restore)
        try:
            file.load()
            file.save()
        except UnusableFile:
            self._server.close()
            raise
        return file

    def _state(self) -> Object:
        return {"world": self.world.to_state(), "kept": self._api.to_state()}

    def _restore(self, state: Object) -> None:
        self.world.restore(state["world"])
        self._api.restore(state["kept"])
        for event in reversed(self.world.all("event")):
            if event["pending_webhooks"]:
                self.deliveries.enqueue(event)

    def _interrupt(self, *_: object) -> None:
        self._fault_injector.stopped.set()
        raise KeyboardInterrupt

    def add_price(
        self, lookup_key: str, unit_amount: int, *, currency: str = "usd", interval: str = "month", product: str = ""
    ) -> Object:
        """Create a recurring price with this lookup key, for a product of its own, and return it.

        Units   unit_amount in the currency's minor unit; interval: "day", "week", "month" or "year"
        """
        with self.world.lock:
            params = {"currency": currency, "unit_amount": unit_amount, "lookup_key": lookup_key}
            params |= {"recurring": {"interval": interval}, "product_data": {"name": product or lookup_key}}
            price: Object = copy_json(create_price(self.world, params))
        return price

    def sell(self, name: str, offers: Sequence[Offer], currency: str = "usd") -> list[Object]:
        """Create a product with these prices, and return them. Prices that exist already stay as they are."""
        with self.world.lock:
            there = {offer.price: self._price_named(offer.price) for offer in offers}
            kept = next(filter(None, there.values()), None)
            product = kept["product"] if kept else create_product(self.world, {"name": name})["id"]
            return [there[offer.price] or self._create_price(offer, product, currency) for offer in offers]

    def _price_named(self, name: str) -> Object | None:
        return self.world.find("price", name) or next(iter(self.world.where("price", lookup_key=name)), None)

    def _create_price(self, offer: Offer, product: str, currency: str) -> Object:
        name = {"id": offer.price} if offer.price.startswith(PREFIXES["price"]) else {"lookup_key": offer.price}
        params: Object = {"currency": offer.currency or currency, "unit_amount": offer.unit_amount, "product": product}
        if offer.interval:
            params["recurring"] = {"interval": offer.interval, "interval_count": offer.interval_count}
        return create_price(self.world, params | name)

    def buy(self, url: str, card: str = "pm_card_visa", details: Mapping[str, str] | None = None) -> Object:
        """Pay on a hosted Checkout page over HTTP, as a visitor would, and return the Checkout Session, with its
        `customer` and `subscription`. The redirect back to the product is not followed.

        Shape   card: a test card or account, by its number or its `pm_...` name; details: what the page asks beside
                the card, such as {"country": "DE", "quantity_0": "2", "optional_0": "1", "tax_id": "DE123456789"}
        Errors  visitor.Refused with the page's message; ApiError if the URL belongs to no Checkout Session
        """
        session_id = urlsplit(url).path.rpartition("/")[2]
        with self.world.lock:
            session = self.world.get("checkout.session", session_id)
        visitor.pay(url, card, details)
        with self.world.lock:
            bought: Object = copy_json(session)
        return bought

    def use_card(self, customer_id: str, card: str) -> None:
        """Make this test card the payment method of a customer and of its running subscriptions.

        Shape   card: a `pm_...` name
        Errors  ApiError for an unknown name, or a card that declines when attached
        """
        with self.world.lock:
            pay_with(self.world, customer_id, card)

    def _close(self) -> None:
        self._server.asyncore.close_all(self._server._map)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def serve(
    host: str,
    port: int,
    webhook: str | None = None,
    webhook_secret: str | None = None,
    file: str | None = None,
    *,
    products: Iterable[tuple[str, Sequence[Offer]]] = (),
    api_version: str = API_VERSION,
) -> None:
    """Run a simulator in this thread until Ctrl-C, and print the settings for using it.

    Shape   products: each product's name and prices, which are created if they do not exist
    """
    simulator = Simulator(host=host, port=port, file=file, api_version=api_version)
    print("An offline Stripe. A simulation: no money moves.", flush=True)
    print(f"  STRIPE_API_BASE={simulator.url}", flush=True)
    print(f"  STRIPE_SECRET_KEY={simulator.api_key} (any test key will do)", flush=True)
    print(f"  {simulator.control_url} moves its clock and sets faults", flush=True)
    for name, offers in products:
        prices = simulator.sell(name, offers)
        print(f"  sells {name}: {', '.join(map(format_price, prices))}", flush=True)
    if webhook:
        endpoint = _endpoint(simulator, webhook, webhook_secret)
        print(f"  STRIPE_WEBHOOK_SECRET={endpoint['secret']}, webhooks to {webhook}", flush=True)
    simulator.run()


def _endpoint(simulator: Simulator, url: str, secret: str | None) -> Object:
    """Create the endpoint, unless the state file already has it."""
    for endpoint in simulator.world.where("webhook_endpoint", url=url):
        endpoint["secret"] = secret or endpoint["secret"]
        return endpoint
    return simulator.add_webhook_endpoint(url, secret=secret)
