"""Each of them let in and shut out by Stripe's webhooks, and what a renewal costs it in calls to Stripe.

`python bench/peers/check.py FOLDER [NAME ...]` installs them under the folder and tells.
"""

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import stripe

from corkage.simulator import Simulator

if __package__ in (None, ""):  # run by itself: what it stands beside is a package of this name
    sys.path.insert(0, str(Path(__file__).parent.parent))

from peers import (
    ALL_EVENTS,
    AUTH_SECRET,
    EVERYBODY,
    WEBHOOK_SECRET,
    WITH_ALL_OF_INVOICES,
    Peer,
    metadata_of,
    start_environ,
)

PRICE_KEY = "pro_monthly"
HOUR = 3600
NONE: tuple[str, ...] = ()
RETRY_DAYS = 3  # when the simulator first tries a failed payment again
PATIENCE_SECONDS = 60
QUIET_SECONDS = 4.0  # longer than Corkage lets events settle


@dataclass
class Running:
    """A peer that serves, with Stripe beside it."""

    peer: Peer
    simulator: Simulator
    client: stripe.StripeClient
    environ: dict[str, str]
    url: str
    pid: int = 0
    startup_seconds: float = 0.0
    told: set[str] = field(default_factory=set)

    def subscribe(self, user: str) -> tuple[str, str]:
        """Make a customer and a subscription of this user's at Stripe; return their ids."""
        paying: Any = {"payment_method": "pm_card_visa", "invoice_settings": {"default_payment_method": "pm_card_visa"}}
        customer = self.client.v1.customers.create(params=paying | {"metadata": metadata_of(user)})
        (price,) = self.client.v1.prices.list(params={"lookup_keys": [PRICE_KEY]}).data
        subscribed = self.client.v1.subscriptions.create(
            params={"customer": customer.id, "items": [{"price": price.id}], "metadata": metadata_of(user)}
        )
        return customer.id, subscribed.id

    def buy(self, user: str) -> tuple[str, str]:
        """Have the user buy through Checkout; return the ids of the customer and the subscription."""
        metadata: Any = {"metadata": metadata_of(user)}
        customer = self.client.v1.customers.create(params=metadata)
        (price,) = self.client.v1.prices.list(params={"lookup_keys": [PRICE_KEY]}).data
        offer: Any = {"mode": "subscription", "line_items": [{"price": price.id, "quantity": 1}]}
        buyer: Any = {"customer": customer.id, "client_reference_id": user, "subscription_data": metadata}
        session = self.client.v1.checkout.sessions.create(
            params=offer | buyer | metadata | {"success_url": "https://app.example.com/"}
        )
        bought = self.simulator.buy(session.url or "")
        return bought["customer"], bought["subscription"]

    def access(self, user: str) -> Any:
        claims = {"sub": user, "aud": "corkage", "exp": int(time.time()) + 600}
        token = jwt.encode(claims, AUTH_SECRET, algorithm="HS256")
        return json.loads(_get(f"{self.url}/access", {"Authorization": f"Bearer {token}"}))

    def comes_to(self, user: str, allowed: bool) -> Any:
        """Wait until the user is let in, or is not; return the answer."""
        _wait(lambda: self.access(user)["allowed"] is allowed, f"{self.peer.name}: {user} allowed is not {allowed}")
        return self.access(user)

    def is_quiet(self) -> None:
        """Wait until every webhook was attempted and Stripe was asked nothing for a while."""
        self.simulator.settle(PATIENCE_SECONDS)
        asked, since = len(self.simulator.requests), time.monotonic()
        while time.monotonic() - since < QUIET_SECONDS:
            time.sleep(0.1)
            if len(self.simulator.requests) != asked:
                asked, since = len(self.simulator.requests), time.monotonic()

    def tell(self) -> None:
        """Send what happened at Stripe since, oldest first, each after the answer to the one before it.

        The simulator sends at once what happens at once; of two that cross, Express and naive keep the later written.
        """
        for event in reversed(self.simulator.world.all("event")):
            is_wanted = event["type"] in self.peer.events or self.peer.events == ALL_EVENTS
            if event["id"] not in self.told and is_wanted:
                self.send(json.dumps(event), WEBHOOK_SECRET)
                self.told.add(event["id"])

    def send(self, event: str, secret: str) -> None:
        signed = stripe.WebhookSignature.generate_signature_header(event, secret, int(time.time()))
        headers = {"Stripe-Signature": signed, "Content-Type": "application/json"}
        _get(f"{self.url}/webhook", headers, event.encode())

    def undelivered(self) -> list[str]:
        return [event["type"] for event in self.simulator.world.all("event") if event["pending_webhooks"]]


@contextlib.contextmanager
def running(
    peer: Peer, into: Path, users: tuple[str, ...] = (), events: tuple[str, ...] | None = None
) -> Iterator[Running]:
    """Install and prepare a peer, serve it on a free port with a simulator that sends it webhooks, and end both.

    Shape   events: what it is sent, unless that which it asks for; with none, `tell` sends them
    """
    peer.install(into)
    with Simulator(now=int(time.time())) as simulator, tempfile.TemporaryDirectory() as folder:
        simulator.add_price(PRICE_KEY, 900)
        port = _free_port()
        environ = start_environ(port, Path(folder) / "billing.db", simulator.url)
        peer.prepare(into, environ, users)
        client = stripe.StripeClient(simulator.api_key, base_addresses={"api": simulator.url})
        served = Running(peer, simulator, client, environ, f"http://127.0.0.1:{port}")
        if events != NONE:
            simulator.add_webhook_endpoint(f"{served.url}/webhook", events or peer.events, WEBHOOK_SECRET)
        with _serving(peer, into, served):
            pass  # the first start makes the file, and what else is made once; those that follow are measured
        with _serving(peer, into, served):
            yield served


@contextlib.contextmanager
def _serving(peer: Peer, into: Path, served: Running) -> Iterator[None]:
    began = time.monotonic()
    with _started(peer.command(into, urlsplit(served.url).port), served.environ, into) as served.pid:
        _wait(lambda: _answers(f"{served.url}/health"), f"{peer.name} does not start", 0.005)
        served.startup_seconds = time.monotonic() - began
        yield


def check(peer: Peer, into: Path) -> str:
    """Have a user buy, a renewal declined and then paid, and the subscription canceled; tell what each did to access.

    Neither a stranger nor a forged webhook is let in. Every webhook is answered with 200.
    """
    with running(peer, into, ("ann",), events=NONE) as served:
        assert served.access("ann")["allowed"] is False, "let in before paying"
        customer, subscription = served.buy("ann")
        said = [_told(served, True)]
        assert served.access("bob")["allowed"] is False, "a stranger is let in"
        assert _refuses_forged(served), "a forged webhook is taken"
        timed = _output(peer.access_check(into, "ann", 2000), served.environ, into)
        served.simulator.use_card(customer, "pm_card_chargeCustomerFail")
        served.simulator.advance_to("renewal")
        said.append(_told(served, False))
        served.simulator.use_card(customer, "pm_card_visa")
        served.simulator.advance(RETRY_DAYS * 24 * HOUR)
        said.append(_told(served, True))
        served.client.v1.subscriptions.cancel(subscription)
        said.append(_told(served, False))
    return f"{', '.join(answer['status'] for answer in said)}; a check takes {timed.strip()} us"


def _told(served: Running, allowed: bool) -> Any:
    served.tell()
    return served.comes_to("ann", allowed)


def calls_per_renewal(
    peer: Peer, into: Path, users: int = 20, *, is_hour_apart: bool = True, events: tuple[str, ...] | None = None
) -> float:
    """Count what a peer asks Stripe for the renewal of one subscription, on average.

    Shape   is_hour_apart: the invoice is a draft for an hour, as at Stripe, and its events come after it;
            without, all of a renewal's events come in one burst;
            events: what it is sent, unless that which it asks for
    """
    return sum(calls_of_renewals(peer, into, users, is_hour_apart, events).values()) / users


def calls_of_renewals(
    peer: Peer, into: Path, users: int, is_hour_apart: bool, events: tuple[str, ...] | None = None
) -> Counter[str]:
    """Count what is asked when that many users renew, by method and kind of object.

    Without what is asked of test clocks: the simulator's time is one, and customers who pay are on none.
    """
    names = tuple(f"user{number}" for number in range(users))
    with running(peer, into, names, events) as served:
        for name in names:
            served.subscribe(name)
        for name in names:
            served.comes_to(name, True)
        served.is_quiet()
        before = len(served.simulator.requests)
        for seconds in _to_the_renewal(served, is_hour_apart):
            served.simulator.advance(seconds)
            served.is_quiet()
        assert not served.undelivered(), served.undelivered()
        asked = [f"{each.method} {_kind(each.path)}" for each in served.simulator.requests[before:]]
        return Counter(each for each in asked if "test_helpers" not in each)


def _to_the_renewal(served: Running, is_hour_apart: bool) -> list[int]:
    ends = [each["items"]["data"][0]["current_period_end"] for each in served.simulator.world.all("subscription")]
    until = max(ends) - served.simulator.world.now + 1
    return [until, HOUR] if is_hour_apart else [until + HOUR]


def _kind(path: str) -> str:
    return "/".join(path.split("/")[:3])


def _refuses_forged(served: Running) -> bool:
    try:
        served.send(json.dumps(served.simulator.world.all("event")[0]), "whsec_of_somebody_else")
    except urllib.error.HTTPError as error:
        return error.code == 400
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _started(command: list[str], environ: dict[str, str], into: Path) -> Iterator[int]:
    process = subprocess.Popen(command, env=environ, cwd=into)
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()


def _output(command: list[str], environ: dict[str, str], into: Path) -> str:
    return subprocess.run(command, env=environ, cwd=into, stdout=subprocess.PIPE, text=True, check=True).stdout


def _get(url: str, headers: dict[str, str], body: bytes | None = None) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as answer:
        return bytes(answer.read())


def _answers(url: str) -> bool:
    try:
        return bool(_get(url, {}))
    except OSError:
        return False


def _wait(is_so: Callable[[], bool], otherwise: str, pause: float = 0.05) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(pause)


def main(folder: str, *names: str) -> None:
    for peer in EVERYBODY:
        if not names or peer.name in names:
            tell(peer, Path(folder).resolve() / peer.name)


def tell(peer: Peer, into: Path) -> None:
    print(f"{peer.name}: {check(peer, into)}")
    print(f"  {peer.installed_bytes(into) / 1e6:.1f} MB installed")
    count(peer, into, "an hour's draft between", True)
    count(peer, into, "in one burst", False)
    count(peer, into, "told all of invoices", True, WITH_ALL_OF_INVOICES)


def count(peer: Peer, into: Path, how: str, is_hour_apart: bool, events: tuple[str, ...] | None = None) -> None:
    calls = calls_of_renewals(peer, into, 10, is_hour_apart, events)
    print(f"  {sum(calls.values()) / 10} calls a renewal, {how}: {dict(calls)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
