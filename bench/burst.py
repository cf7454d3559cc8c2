"""5,000 events at once over 100 connections, and a Stripe that takes 150 ms an answer and allows 25 calls a second."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
import servers
from events import ask_access, event, webhook
from load import Outcome, ask_until, beside, percentile, post_all
from results import Line, Result, at_least, at_most

from corkage.simulator import Simulator
from corkage.simulator.api.customers import create_customer
from corkage.simulator.api.subscriptions import create_subscription

EVENTS_EACH, CONNECTIONS = 5, 100
LATENCY_SECONDS, LIMIT = 0.15, 25
IDLE_SECONDS, PAUSE_SECONDS = 5.0, 0.004


@dataclass(frozen=True)
class Burst:
    """What a burst came to.

    Shape   taken: the posts; calls, refused: what Stripe answered and refused; backlog: what was left unapplied;
            idle, while_taking, until_done: latencies of GET /access
    """

    taken: Outcome
    seconds: float
    calls: int
    refused: int
    backlog: int
    idle: list[float]
    while_taking: list[float]
    until_done: list[float]


def measure(quick: bool) -> Result:
    customers = 100 if quick else 1_000
    events = customers * EVENTS_EACH
    result = Result(f"{events:,} events at once over {CONNECTIONS} connections; Stripe takes 150 ms, 25 calls a second")
    with tempfile.TemporaryDirectory() as name:
        burst = play(Path(name), customers)
    p99 = percentile(burst.idle, 99)
    taken, wanted_seconds = burst.taken, burst.calls / LIMIT
    result.lines.extend(
        [
            Line("answered 200", f"{events - taken.refused:,} of {events:,}", f"{events:,}", not taken.refused),
            Line("left unapplied", str(burst.backlog), "0", burst.backlog == 0),
            Line("taken", f"{taken.per_second:,.0f} a second, 99th percentile {taken.percentile(99) * 1e3:.0f} ms"),
            Line("GET /access, idle", f"99th percentile {p99 * 1e3:.2f} ms, of {len(burst.idle):,}"),
            _beside_idle("GET /access while they come", burst.while_taking, p99),
            _beside_idle("GET /access until all is applied", burst.until_done, p99),
            at_least(
                "backlog gone, beside Stripe's limit",
                f"{burst.seconds:.0f} s for {burst.calls:,} calls, {burst.calls / burst.seconds:.1f} a second",
                wanted_seconds / burst.seconds,
                0.8,
            ),
            at_most("calls for each customer", f"{burst.calls / customers:.2f}", burst.calls / customers, 1.3, ""),
            Line("answers 429", str(burst.refused), "0", not burst.refused),
        ]
    )
    return result


def play(folder: Path, customers: int, database: str | None = None) -> Burst:
    """Post the events of so many customers at once, and wait until all is applied."""
    settings = {"BILLING_DATABASE": database or str(folder / "corkage.db"), "BILLING_POLL_SECONDS": "0"}
    with Simulator() as stripe:
        held = subscribers(stripe, customers)
        _sync(folder, stripe.url, settings)
        time.sleep(3)  # what happens within two seconds of a fetch may be in it: those events would cost nothing
        with servers.corkage(folder, stripe.url, **settings) as server:
            stripe.api_faults.latency_seconds, stripe.api_faults.requests_per_second = LATENCY_SECONDS, LIMIT
            idle = _asked_for(server, folder, IDLE_SECONDS)
            before = len(stripe.requests)
            with _asking(server, folder) as asked:
                posts = [
                    webhook(event(f"evt_{number}x{customer}", customer, subscription))
                    for number in range(EVENTS_EACH)
                    for customer, subscription in held
                ]
                taken = beside(post_all, server.port, posts, CONNECTIONS).result()
                seconds = _until_applied(server, taken.ended)
            kept = requests.get(f"{server.url}/health", timeout=30).json()
        return Burst(
            taken=taken,
            seconds=seconds,
            calls=sum(each.status == 200 for each in stripe.requests[before:]),
            refused=sum(each.status == 429 for each in stripe.requests[before:]),
            backlog=kept["backlog"],
            idle=[latency for _, latency in idle],
            while_taking=[latency for at, latency in asked if taken.began <= at <= taken.ended],
            until_done=[latency for at, latency in asked if taken.began <= at],
        )


def _beside_idle(what: str, latencies: list[float], idle: float) -> Line:
    slow = percentile(latencies, 99)
    figure = f"99th percentile {slow * 1e3:.2f} ms, of {len(latencies):,}: {slow / idle:.2f} x"
    return at_most(what, figure, slow / idle, 3)


def subscribers(stripe: Simulator, count: int) -> list[tuple[str, str]]:
    """Make customers that belong to users of ours, each with a subscription; return the ids of both."""
    price = stripe.add_price("pro_monthly", 900)["id"]
    held = []
    with stripe.world.lock:
        for number in range(count):
            ours = {"corkage_app": "app.example.com", "corkage_user": f"user{number}"}
            card = {"default_payment_method": "pm_card_visa"}
            customer = create_customer(stripe.world, {"metadata": ours, "invoice_settings": card})["id"]
            bought = {"customer": customer, "items": [{"price": price}], "metadata": ours}
            held.append((customer, create_subscription(stripe.world, bought)["id"]))
    return held


def _sync(folder: Path, stripe_url: str, settings: dict[str, str]) -> None:
    (folder / "plans.toml").write_text(servers.PLANS)
    environ = servers.environ_of_corkage(stripe_url) | settings
    command = [sys.executable, "-m", "corkage.cli", "sync"]
    subprocess.run(command, cwd=folder, env=environ, check=True, capture_output=True)


@contextmanager
def _asking(server: servers.Server, folder: Path) -> Iterator[list[tuple[float, float]]]:
    """Ask for access, over a connection of its own, for as long as the block lasts; the list is filled at its end."""
    samples: list[tuple[float, float]] = []
    end = folder / "end"
    asking = beside(ask_until, server.port, ask_access("user1"), PAUSE_SECONDS, str(end))
    try:
        yield samples
    finally:
        end.touch()
        samples += asking.result()
        end.unlink()


def _asked_for(server: servers.Server, folder: Path, seconds: float) -> list[tuple[float, float]]:
    with _asking(server, folder) as samples:
        time.sleep(seconds)
    return samples


def _until_applied(server: servers.Server, began: float) -> float:
    """Wait until nothing is pending; return how many seconds that took."""
    while requests.get(f"{server.url}/health", timeout=30).json()["backlog"]:
        time.sleep(0.25)
    return time.time() - began
