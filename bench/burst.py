"""5,000 events at once over 100 connections, and a Stripe that takes 150 ms an answer and allows 25 calls a second.

Meanwhile somebody reads and somebody buys. In each round there are two bursts, one for GET /access alone: where pages
are made beside it, idle is slower as well, and what a burst adds looks smaller.
"""

import functools
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
import servers
import subscribers
from events import ask_access, click, look, of_changes
from load import Outcome, ask_until, beside, percentile, post_all
from results import PAIRS, Line, Result, at_least, at_most, ratio

from corkage.simulator import Simulator

EVENTS_EACH, CONNECTIONS = 5, 100
IDLE_SECONDS = 5.0
CLICKS = 300  # more than are made during one burst: each is the first of its user
_numbers = itertools.count()


@dataclass(frozen=True)
class Asked:
    """Latencies of what was asked besides: before a burst, while its events came, and while they were worked off."""

    idle: list[float]
    while_taking: list[float]
    while_applying: list[float]

    @property
    def meanwhile(self) -> list[float]:
        return self.while_taking + self.while_applying


@dataclass(frozen=True)
class Burst:
    """What a burst came to.

    Shape   taken: the posts; calls, refused: what Stripe answered and refused; backlog: what was left unapplied;
            asked: by the name of what was asked
    """

    taken: Outcome
    seconds: float
    calls: int
    refused: int
    backlog: int
    asked: dict[str, Asked]


@dataclass(frozen=True)
class Question:
    """What is asked besides a burst. pause: in seconds, after each answer."""

    pause: float
    requests: Callable[[], list[bytes]]


ACCESS = {"GET /access": Question(0.004, lambda: [ask_access(subscribers.user_of(1))])}
PAGES = {
    "GET /pricing": Question(0.1, lambda: [look("/pricing")]),
    "POST /checkout": Question(0.6, lambda: [click(f"buyer{next(_numbers)}") for _ in range(CLICKS)]),
}


def measure(quick: bool) -> Result:
    customers = 20 if quick else 1_000
    events = customers * EVENTS_EACH
    result = Result(f"{events:,} events at once over {CONNECTIONS} connections; Stripe takes 150 ms, 25 calls a second")
    with tempfile.TemporaryDirectory() as name, _shop(Path(name), customers) as play_with:
        rounds = [(play_with(ACCESS), play_with(PAGES)) for _ in range(1 if quick else PAIRS)]
    reading = [read for read, _ in rounds]
    both = [burst for each in rounds for burst in each]
    refused, backlog = sum(each.taken.refused for each in both), sum(each.backlog for each in both)
    rate, slow = (_median_of(reading, each) for each in (lambda it: it.taken.per_second, _slowest_ms))
    seconds, calls = (_median_of(reading, each) for each in (lambda it: it.seconds, lambda it: it.calls))
    limited = sum(each.refused for each in reading)
    in_pace = _median_of(reading, lambda it: it.calls / subscribers.LIMIT / it.seconds)
    result.lines.extend(
        [
            Line("bursts", str(len(both))),
            Line("not answered 200", str(refused), "0", refused == 0),
            Line("left unapplied", str(backlog), "0", backlog == 0),
            Line("taken", f"{rate:,.0f} a second, 99th percentile {slow:.0f} ms"),
            *_beside_idle("GET /access", reading, 3),
            *(line for what in PAGES for line in _beside_idle(what, [pages for _, pages in rounds])),
            at_least(
                "backlog gone, beside Stripe's limit",
                f"{seconds:.0f} s for {calls:,.0f} calls, {calls / seconds:.1f} a second",
                in_pace,
                0.8,
            ),
            at_most("calls for each event", f"{calls / events:.2f}", calls / events, 0.2, ""),
            at_most("calls for each customer", f"{calls / customers:.2f}", calls / customers, 1.3, ""),
            Line("answers 429", str(limited), "0", not limited),
        ]
    )
    return result


def play(folder: Path, customers: int, database: str | None = None) -> Burst:
    """Post the events of so many customers at once, ask for access meanwhile, and wait until all is applied."""
    with _shop(folder, customers, database) as play_with:
        return play_with(ACCESS)


@contextmanager
def _shop(
    folder: Path, customers: int, database: str | None = None
) -> Iterator[Callable[[Mapping[str, Question]], Burst]]:
    """Serve Corkage with a replica of so many customers; yield what plays one burst of them."""
    settings = {"BILLING_DATABASE": database or str(folder / "corkage.db"), "BILLING_POLL_SECONDS": "0"}
    settings |= {"BILLING_URL": "https://billing.example.com", "BILLING_APP": subscribers.APP}
    with Simulator() as stripe:
        held = subscribers.subscribe(stripe, customers)
        subscribers.sync(folder, stripe.url, settings)
        subscribers.slow(stripe)
        with servers.corkage(folder, stripe.url, **settings) as server:
            for question in (ACCESS | PAGES).values():  # what is loaded for the first one is no part of the others
                assert not beside(post_all, server.port, question.requests()[:1], 1).result().refused
            yield functools.partial(_play, folder, stripe, held, server)


def _play(
    folder: Path, stripe: Simulator, held: Sequence[str], server: servers.Server, questions: Mapping[str, Question]
) -> Burst:
    sent = subscribers.change(stripe, held)
    posts = of_changes(f"{next(_numbers)}x", sent, len(sent) * EVENTS_EACH)
    with ExitStack() as stack:
        asking = {what: stack.enter_context(_asking(server, folder, each)) for what, each in questions.items()}
        time.sleep(IDLE_SECONDS)
        before, idle_until = len(stripe.requests), time.time()
        taken = beside(post_all, server.port, posts, CONNECTIONS).result()
        seconds = _until_applied(server, taken.ended)
        kept = requests.get(f"{server.url}/health", timeout=30).json()
    answers = [each.status for each in stripe.requests[before:]]
    return Burst(
        taken=taken,
        seconds=seconds,
        calls=answers.count(200),
        refused=answers.count(429),
        backlog=kept["backlog"],
        asked={what: _by_phase(samples, idle_until, taken) for what, samples in asking.items()},
    )


def _by_phase(samples: list[tuple[float, float]], idle_until: float, taken: Outcome) -> Asked:
    return Asked(
        idle=[latency for at, latency in samples if at + latency < idle_until],
        while_taking=[latency for at, latency in samples if taken.began <= at <= taken.ended],
        while_applying=[latency for at, latency in samples if taken.ended < at],
    )


def _beside_idle(what: str, bursts: Sequence[Burst], bound: float | None = None) -> Iterator[Line]:
    """Make the lines of what was asked: idle, and the two phases of a burst with their ratios to idle."""
    asked = [each.asked[what] for each in bursts]
    yield Line(f"{what}, idle", _latencies([each.idle for each in asked]))
    for phase, pairs in {
        "while events come": [(each.idle, each.while_taking) for each in asked if each.while_taking],
        "while they are worked off": [(each.idle, each.while_applying) for each in asked if each.while_applying],
    }.items():
        if not pairs:  # quicker than one answer, with --quick
            continue
        half, slow = (ratio([(percentile(idle, at), percentile(busy, at)) for idle, busy in pairs]) for at in (50, 99))
        figure = f"{_latencies([busy for _, busy in pairs])}: {half:.2f} x and {slow:.2f} x idle"
        name = f"{what} {phase}"
        yield Line(name, figure) if bound is None else at_most(name, figure, slow, bound)


def _latencies(rounds: Sequence[Sequence[float]]) -> str:
    half, slow = (statistics.median(percentile(each, at) for each in rounds) * 1e3 for at in (50, 99))
    return f"median {half:.2f} ms, 99th percentile {slow:.2f} ms, of {sum(map(len, rounds)):,}"


def _median_of(bursts: Sequence[Burst], figure: Callable[[Burst], float]) -> float:
    return statistics.median(map(figure, bursts))


def _slowest_ms(burst: Burst) -> float:
    return burst.taken.percentile(99) * 1e3


@contextmanager
def _asking(server: servers.Server, folder: Path, question: Question) -> Iterator[list[tuple[float, float]]]:
    """Ask over a connection of its own for as long as the block lasts; the list is filled at its end."""
    samples: list[tuple[float, float]] = []
    end = folder / f"end{next(_numbers)}"
    asking = beside(ask_until, server.port, question.requests(), question.pause, str(end))
    try:
        yield samples
    finally:
        end.touch()
        samples += asking.result()


def _until_applied(server: servers.Server, began: float) -> float:
    """Wait until nothing is pending; return how many seconds that took."""
    while requests.get(f"{server.url}/health", timeout=30).json()["backlog"]:
        time.sleep(0.25)
    return time.time() - began
