"""A shop at the simulated Stripe, and a running Corkage."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import contract
import requests
import stripe
from waitress.server import create_server

from corkage.billing_app import Billing
from corkage.config import Config
from corkage.identity import mint_token
from corkage.plans import Plan
from corkage.server.serve import make_server
from corkage.simulator import Simulator
from corkage.simulator.api.prices import create_price
from corkage.simulator.api.products import create_product

WEBHOOK_SECRET = "whsec_test_of_the_tests"
AUTH_SECRET = "a-secret-of-at-least-thirty-two-bytes"
ADMIN_TOKEN = "an-operators-token-of-at-least-32-characters"
APP = "app.example.com"
DAY = 86_400
PRO = Plan("pro", "Pro", ("pro_monthly",), features=("exports", "api"), grace_days=7)


class HoldingToContract(stripe.RequestsClient):
    """Fail the test when a response does not fit the SDK's own classes."""

    def request(self, method: str, url: str, headers: Any, post_data: Any = None) -> tuple[bytes, int, Any]:
        body, status, answered = super().request(method, url, headers, post_data)
        is_stub = method == "delete" and "/v2/" in url
        broken = contract.problems(json.loads(body), stripe.v2.DeletedObject if is_stub else None)
        assert not broken, "\n".join([f"{method} {url} was answered as Stripe would not:", *broken])
        return body, status, answered


def sdk(simulator: Simulator) -> stripe.StripeClient:
    stripe.enable_telemetry = False
    addresses: Any = {"api": simulator.url}
    return stripe.StripeClient(simulator.api_key, base_addresses=addresses, http_client=HoldingToContract())


@dataclass
class Shop:
    """What the product sells in the tests: a plan at a monthly price, and the SDK to buy it with."""

    simulator: Simulator
    client: stripe.StripeClient
    price: str
    other_price: str

    def customer(self, user: str | None = "ann", app: str = APP, card: str = "pm_card_visa", **params: Any) -> str:
        metadata = {"corkage_app": app, "corkage_user": user} if user else {}
        created = self.client.v1.customers.create(
            params={"payment_method": card, "invoice_settings": {"default_payment_method": card}}
            | {"metadata": metadata}
            | params
        )
        return created.id

    def subscribe(self, customer: str, price: str | None = None, user: str | None = "ann", **params: Any) -> str:
        metadata = {"corkage_app": APP, "corkage_user": user} if user else {}
        created = self.client.v1.subscriptions.create(
            params={"customer": customer, "items": [{"price": price or self.price}], "metadata": metadata} | params
        )
        return created.id

    def use_card(self, customer: str, card: str) -> None:
        self.client.v1.customers.update(customer, params={"invoice_settings": {"default_payment_method": card}})

    def event(self, kind: str) -> stripe.Event:
        """The newest event of this kind."""
        return self.client.v1.events.list(params={"type": kind}).data[0]

    def calls(self, path: str = "/v1/subscriptions") -> int:
        """How often the API was asked for this path."""
        return sum(1 for request in self.simulator.requests if request.path == path and request.method == "GET")


def open_shop(simulator: Simulator, client: stripe.StripeClient) -> Shop:
    """Open a shop with two prices, made where the simulator makes them: requests would cost every test 20 ms."""

    def price(product: str, key: str | None, amount: int) -> str:
        params: dict[str, Any] = {"product": product, "currency": "usd", "unit_amount": amount}
        params |= {"recurring": {"interval": "month"}} | ({"lookup_key": key} if key else {})
        return str(create_price(world, params)["id"])

    world = simulator.world
    with world.lock:
        pro = create_product(world, {"name": "Pro"})["id"]
        foreign = create_product(world, {"name": "Of another product"})["id"]
        return Shop(simulator, client, price(pro, "pro_monthly", 900), price(foreign, None, 500))


class App:
    """A running Corkage: over HTTP as the world sees it, and as the Billing that a host holds."""

    def __init__(self, billing: Billing, server: Any, thread: threading.Thread) -> None:
        self.billing = billing
        self.server = server
        self.thread = thread
        self.url = f"http://127.0.0.1:{server.effective_port}"

    def deliver(
        self, event: stripe.Event | bytes, secret: str = WEBHOOK_SECRET, at: float | None = None, **headers: str
    ) -> requests.Response:
        body = event if isinstance(event, bytes) else str(event).encode()
        timestamp = int(time.time() if at is None else at)
        signature = stripe.WebhookSignature.generate_signature_header(
            body.decode("utf-8", "replace"), secret, timestamp
        )
        return requests.post(f"{self.url}/webhook", body, headers={"Stripe-Signature": signature} | headers, timeout=30)

    def ask(self, user: str = "ann", **headers: str) -> requests.Response:
        token = mint_token(AUTH_SECRET, user, now=time.time(), lifetime_seconds=600)
        return requests.get(f"{self.url}/access", headers={"Authorization": f"Bearer {token}"} | headers, timeout=30)

    def converge(self, customer: str) -> Any:
        """Fetch a customer from Stripe now and make the replica equal to it."""
        return self.billing.service.worker.converger.converge(customer, time.time())

    def work(self, now: float | None = None) -> None:
        self.billing.service.worker.work_once(time.time() if now is None else now)


def until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    """Wait until the condition holds, and fail when it never does: a generous limit, not a measurement."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def is_error(response: requests.Response, status: int, code: str) -> bool:
    """Return whether a response is this error."""
    return (response.status_code, response.json()["error"]["code"]) == (status, code)


class Receiver:
    """A webhook endpoint that records requests and answers as configured."""

    url = ""

    def __init__(self) -> None:
        self.got: list[tuple[bytes, str]] = []
        self.ids: list[str] = []
        self.answers: list[str] = []

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        self.got.append((body, environ.get("HTTP_STRIPE_SIGNATURE")))
        self.ids.append(environ.get("HTTP_WEBHOOK_ID", ""))
        start_response(self.answers.pop(0) if self.answers else "200 OK", [("Location", "/elsewhere")])
        return [b""]

    @property
    def events(self) -> list[Any]:
        return [json.loads(body) for body, _ in self.got]

    def has_got(self, count: int) -> None:
        """Wait until so many have come; fail when they do not."""
        until(lambda: len(self.got) >= count)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Serve a receiver of webhooks on a free port."""
    receiver = Receiver()
    server: Any = create_server(receiver, host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.effective_port}/hook"
    yield receiver
    stop(server, thread)


def stop(server: Any, thread: threading.Thread) -> None:
    """End a waitress that runs in a thread; its loop closes itself, and may do so before it is woken for it."""
    with suppress(OSError):
        server.trigger.pull_trigger(lambda: server.asyncore.close_all(server._map))
    thread.join()
    server.task_dispatcher.shutdown()


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve a WSGI app on a free port, and yield its address."""
    server: Any = create_server(app, host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        stop(server, thread)


def configured(simulator: Simulator, database: str) -> Config:
    """Return how a Corkage of the tests is configured: nothing runs that a test does not ask for."""
    return Config(
        stripe_secret_key=simulator.api_key,
        stripe_api_base=simulator.url,
        frontend_urls=(f"https://{APP}",),
        app=APP,
        plans=(PRO,),
        webhook_secrets=(WEBHOOK_SECRET,),
        auth_secrets=(AUTH_SECRET,),
        database=database,
        worker="off",
        settle_seconds=0,
        poll_seconds=0,
    )


@contextmanager
def running(config: Config, port: int = 0, **options: Any) -> Iterator[App]:
    """Serve a Billing over HTTP, on a free port where none is given."""
    billing = Billing(config, **options)
    billing.start()
    server = make_server(billing, "127.0.0.1", port)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield App(billing, server, thread)
    finally:
        stop(server, thread)
        billing.close()


@contextmanager
def started(
    arguments: list[str],
    environ: dict[str, str],
    folder: Path,
    wait_for: str,
    through: tuple[str, ...] = (),
    module: str = "corkage.cli",
) -> Iterator[tuple["subprocess.Popen[str]", list[str]]]:
    """Start a command that goes on, wait until it says so, and stop it as an init system would."""
    process = subprocess.Popen(
        [*through, sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said: list[str] = []
    assert process.stdout
    while not said or wait_for not in said[-1]:
        line = process.stdout.readline()
        assert line, "".join(said)
        said.append(line)
    try:
        yield process, said
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            said.append(process.communicate(timeout=60)[0])
        finally:
            process.kill()
