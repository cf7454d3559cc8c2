"""POST /webhook at work: 4 kB events of customers that exist and changed, while the worker fetches them from Stripe.

Beside the same load of customers that nobody knows, an empty handler, the peers, and the same on PostgreSQL. Stripe
takes 150 ms an answer and allows 25 calls a second. Each round of Corkage begins with a copy of the same replica and
with so many events that the worker has work until its end; it runs only then, so that it slows down nobody else.
"""

import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import requests
import servers
import subscribers
from beside_peers import FOLDER
from databases import Postgresql, Sqlite, durable_postgres
from events import distinct, of_changes
from load import Outcome, beside, post_all
from peers import EXPRESS, NAIVE, WEBHOOK_SECRET
from peers.check import NONE, running
from results import PAIRS, Bars, Line, Result, at_least, at_most

from corkage.simulator import Object, Simulator
from replica import connected

CONNECTIONS = {1: 0.3, 8: 0.45, 64: 0.45}
P99_BOUND = 3.0
TIMES_OF_PEERS = {"express": 3.0, "naive": 6.0}
POSTGRESQL_BOUND = 0.6
FIRST_CONNECTIONS, CALLS_AT_WORK = 8, 20  # more calls than a start makes: from here on the worker is at the events
REPLICA = "replica"
WITHOUT_POLL = {"BILLING_POLL_SECONDS": "0", "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET}
SERIES = {
    "empty": "empty handler",
    "known": "corkage, customers that exist",
    "unknown": "corkage, unknown customers",
    "express": "express",
}


@dataclass(frozen=True)
class AtWork:
    """What was posted to Corkage, how many calls to Stripe it made meanwhile, and what it took."""

    taken: Outcome
    calls_a_second: float
    memory_mb: float
    startup_seconds: float


@dataclass(frozen=True)
class Round:
    """What each came to, by its name: "empty" and the peers; "known", "unknown" and "postgresql" are Corkage's."""

    taken: dict[str, Outcome]
    at_work: dict[str, AtWork]

    def rate(self, who: str) -> float:
        return self.taken[who].per_second

    def slowest(self, who: str) -> float:
        return self.taken[who].percentile(99) * 1e3


class _Bench:
    """Stripe with its customers, a replica of them on both engines, and everybody that needs no worker, serving."""

    def __init__(self, stack: ExitStack, customers: int) -> None:
        self._numbers = itertools.count()
        self._customers = customers
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self._engines = {
            "sqlite": Sqlite(self._folder),
            "postgresql": Postgresql(stack.enter_context(durable_postgres())),
        }
        self._stripe = stack.enter_context(Simulator())
        held = subscribers.subscribe(self._stripe, customers)
        for engine in self._engines.values():
            settings = {"BILLING_DATABASE": engine.new(REPLICA)}
            subscribers.sync(self._folder, self._stripe.url, settings)
        self._sent: Sequence[Object] = subscribers.change(self._stripe, held)
        subscribers.slow(self._stripe)
        self._ports = {"empty": stack.enter_context(servers.empty(self._folder)).port}
        for peer in (EXPRESS, NAIVE):
            served = stack.enter_context(running(peer, FOLDER / peer.name, events=NONE))
            self._ports[peer.name] = urlsplit(served.url).port or 0

    def round(self, connections: int, count: int) -> Round:
        """Post so many events to each, one after the other; the same ones of customers that exist to all."""
        prefix = f"{next(self._numbers)}x"
        known = of_changes(prefix, self._sent, count, WEBHOOK_SECRET)
        taken = {who: self._post(port, known, connections) for who, port in self._ports.items()}
        at_work = {
            "known": self._at_work("sqlite", f"{prefix}a", known, connections),
            "unknown": self._at_work(
                "sqlite", f"{prefix}b", distinct(prefix, count, WEBHOOK_SECRET), connections, is_known=False
            ),
            "postgresql": self._at_work("postgresql", f"{prefix}c", known, connections),
        }
        return Round(taken | {who: each.taken for who, each in at_work.items()}, at_work)

    def _at_work(
        self, engine: str, prefix: str, posts: list[bytes], connections: int, *, is_known: bool = True
    ) -> AtWork:
        """Serve Corkage, give its worker an event of each customer to work at, and post the others meanwhile."""
        database = self._engines[engine].copy(f"at_work_{prefix}", REPLICA)
        of_all = partial(of_changes, sent=self._sent) if is_known else distinct
        with servers.corkage(self._folder, self._stripe.url, BILLING_DATABASE=database, **WITHOUT_POLL) as server:
            calls = len(self._stripe.requests)
            self._post(server.port, of_all(prefix, count=self._customers, secret=WEBHOOK_SECRET), FIRST_CONNECTIONS)
            while len(self._stripe.requests) < calls + CALLS_AT_WORK:
                time.sleep(0.05)
            calls = len(self._stripe.requests)
            taken = self._post(server.port, posts, connections)
            calls = len(self._stripe.requests) - calls
            memory = server.memory_mb()
            pending = requests.get(f"{server.url}/health", timeout=30).json()["backlog"]
        assert pending, "the worker was done before the end"
        _check(database, is_known=is_known)
        return AtWork(taken, calls / (taken.ended - taken.began), memory, server.startup_seconds)

    def _post(self, port: int, posts: list[bytes], connections: int) -> Outcome:
        taken = beside(post_all, port, posts, connections).result()
        assert not taken.refused, f"{taken.refused} of {len(posts)} were refused"
        return taken


def _check(database: str, *, is_known: bool) -> None:
    """Make sure that the worker did what it would do elsewhere."""
    with closing(connected(database)) as connection:
        (skipped,) = connection.execute("SELECT count(*) FROM corkage_stripe_event WHERE outcome = 'known'").fetchone()
        (changed,) = connection.execute(
            "SELECT count(*) FROM corkage_subscription WHERE cancel_at IS NOT NULL"
        ).fetchone()
    assert not skipped, f"{skipped} events were skipped as old news"
    assert bool(changed) is is_known, "what changed at Stripe was not stored"


def measure(quick: bool) -> Result:
    customers, count = (50, 50) if quick else (500, 1_500)
    result = Result(
        f"Webhooks at work: 4 kB events of {customers} customers that exist and changed, the worker on; Stripe takes "
        "150 ms, 25 calls a second"
    )
    with ExitStack() as stack:
        bench = _Bench(stack, customers)
        rounds = {
            connections: [bench.round(connections, count) for _ in range(1 if quick else PAIRS)]
            for connections in CONNECTIONS
        }
    for connections, played in rounds.items():
        result.lines.extend(_lines(played, connections))
    at_work = [each.at_work["known"] for played in rounds.values() for each in played]
    memory = max(each.memory_mb for each in at_work)
    startup = statistics.median(each.startup_seconds for each in at_work)
    result.lines.append(at_most("memory of all processes, at work", f"{memory:.0f} MB", memory, 80, "MB"))
    result.lines.append(at_most("from start to first answer", f"{startup:.2f} s", startup, 0.3, "s"))
    series = {
        name: tuple(statistics.median(each.rate(who) for each in played) for played in rounds.values())
        for who, name in SERIES.items()
    }
    groups = tuple(f"{connections} connection{'s' * (connections > 1)}" for connections in CONNECTIONS)
    result.charts.append(Bars("at_work", "Webhooks taken a second, at work", "a second", groups, series))
    return result


def _lines(played: Sequence[Round], connections: int) -> Iterator[Line]:
    at = f"at {connections} connection{'s' * (connections > 1)}"
    rates = {who: statistics.median(each.rate(who) for each in played) for who in played[0].taken}
    slowest = {who: statistics.median(each.slowest(who) for each in played) for who in played[0].taken}

    def times(who: str, other: str) -> float:
        return statistics.median(each.rate(who) / each.rate(other) for each in played)

    def beside_other(who: str, other: str) -> str:
        return f"{rates[who]:,.0f}, {other} {rates[other]:,.0f}: {times(who, other):.2f} x"

    what = f"events a second {at}"
    yield at_least(what, beside_other("known", "empty"), times("known", "empty"), CONNECTIONS[connections])
    for peer, bound in TIMES_OF_PEERS.items():
        name, figure = f"{what}, beside {peer}", beside_other("known", peer)
        yield Line(name, figure) if connections == 1 else at_least(name, figure, times("known", peer), bound)
    yield Line(f"{what}, of unknown customers", beside_other("unknown", "empty"))
    on_postgresql = times("postgresql", "known")
    yield at_least(
        f"{what}, on PostgreSQL",
        f"{rates['postgresql']:,.0f}, SQLite {rates['known']:,.0f}: {on_postgresql:.2f} x",
        on_postgresql,
        POSTGRESQL_BOUND,
    )
    tail = statistics.median(each.slowest("known") / each.slowest("empty") for each in played)
    figure = f"{slowest['known']:.1f} ms, empty {slowest['empty']:.1f} ms: {tail:.2f} x"
    name = f"99th percentile {at}"
    yield Line(name, figure) if connections == 1 else at_most(name, figure, tail, P99_BOUND)
    others = ("unknown", "postgresql", *TIMES_OF_PEERS)
    yield Line(f"99th percentile {at}, of others", ", ".join(f"{who} {slowest[who]:.1f} ms" for who in others))
    calls = {
        who: statistics.median(each.at_work[who].calls_a_second for each in played)
        for who in ("known", "unknown", "postgresql")
    }
    yield Line(
        f"calls to Stripe a second meanwhile {at}", ", ".join(f"{who} {each:.1f}" for who, each in calls.items())
    )
