"""PostgreSQL beside SQLite: the same program on both in alternating rounds, each commit on disk before its 200."""

import functools
import itertools
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import burst
import file
import servers
from databases import Postgresql, Sqlite, durable_postgres
from events import ask_access, distinct, repeated
from load import beside, percentile, post_all
from results import Bars, Line, Result, alternating, at_least, ratio

from access import microseconds
from corkage.access import read_access
from replica import billing_of, fill, user_id

USERS = (1_000, 100_000)
CONNECTIONS = (1, 8, 64)
BOUND = 0.6

Pairs = list[tuple[float, float]]


def measure(quick: bool) -> Result:
    result = Result("PostgreSQL beside SQLite: the same machine, each commit on disk")
    with tempfile.TemporaryDirectory() as name, durable_postgres() as server:
        folder = Path(name)
        engines = (Sqlite(folder), Postgresql(server))
        with servers.stripe(folder) as stripe:
            for users in USERS[:1] if quick else USERS:
                result.lines.extend(_reading(engines, users, folder, stripe.url, 500 if quick else 1_000))
            result.lines.extend(_webhooks(engines, folder, stripe.url, 200 if quick else 500, result.charts))
        result.lines.extend(_bursts(engines, folder, 20 if quick else 50))
        result.lines.append(_bytes_for_event(engines, 1_000 if quick else 20_000))
    return result


def _reading(engines: tuple, users: int, folder: Path, stripe_url: str, count: int) -> Iterator[Line]:
    name = f"users_{users}"
    databases = [engine.new(name) for engine in engines]
    sizes = []
    for engine, database in zip(engines, databases, strict=True):
        billing_of(database).close()
        empty = engine.size(name)
        fill(database, users)
        sizes.append((engine.size(name) - empty) / users)
    yield _beside(f"bytes for each of {users:,} users", [tuple(sizes)])
    asked = [user_id(random.randrange(users)) for _ in range(count)]
    pairs = _rounds(functools.partial(_in_process, asked=asked), databases)
    yield _beside(f"read_access() at {users:,} users, in us", pairs)
    with _serving(databases, 1, folder, stripe_url) as served:
        requests = repeated([ask_access(user) for user in asked[:100]], count // 100)
        for connections in CONNECTIONS:
            pairs = _rounds(functools.partial(_rate, requests=requests, connections=connections), served)
            yield _beside(f"GET /access a second at {users:,} users, {_at(1, connections)}", pairs)


def _in_process(database: str, asked: list[str]) -> float:
    billing = billing_of(database)
    try:
        microseconds(read_access, asked[:200])
        return microseconds(read_access, asked)
    finally:
        billing.close()


def _webhooks(engines: tuple, folder: Path, stripe_url: str, count: int, charts: list[Bars]) -> Iterator[Line]:
    medians: dict[str, tuple[float, float]] = {}
    numbers = itertools.count()

    def post(to: list[servers.Server], connections: int) -> float:
        return _rate(to, distinct(f"w{next(numbers)}x", count), connections)

    databases = [engine.new("webhooks") for engine in engines]
    for processes in (1, 2):
        with _serving(databases, processes, folder, stripe_url) as served:
            for connections in CONNECTIONS:
                pairs = _rounds(functools.partial(post, connections=connections), served)
                yield _beside(f"webhooks a second, {_at(processes, connections)}", pairs, BOUND)
                medians[_at(processes, connections)] = tuple(map(statistics.median, zip(*pairs, strict=True)))
    series = dict(zip(("SQLite", "PostgreSQL"), zip(*medians.values(), strict=True), strict=True))
    charts.append(Bars("engines", "Webhooks taken a second", "a second", tuple(medians), series))


def _bursts(engines: tuple, folder: Path, customers: int) -> Iterator[Line]:
    numbers = itertools.count()

    def play(engine: Sqlite | Postgresql) -> burst.Burst:
        played = burst.play(folder, customers, engine.new(f"burst_{next(numbers)}"))
        assert played.backlog == played.taken.refused == 0
        return played

    pairs = _rounds(play, engines)
    for what, figure in BURST.items():
        yield _beside(
            f"{customers * burst.EVENTS_EACH:,} events at once: {what}", [tuple(map(figure, pair)) for pair in pairs]
        )


def _slowest_access_ms(played: burst.Burst) -> float:
    return percentile(played.asked["GET /access"].meanwhile, 99) * 1e3


BURST: dict[str, Callable[[burst.Burst], float]] = {
    "taken a second": lambda played: played.taken.per_second,
    "all applied, in seconds": lambda played: played.seconds,
    "GET /access until then, 99th percentile in ms": _slowest_access_ms,
}


def _bytes_for_event(engines: tuple, count: int) -> Line:
    sizes = []
    for engine in engines:
        billing = billing_of(engine.new("events"))
        empty = engine.size("events")
        engine.without_fsync()
        file.record_events(count)
        billing.close()
        sizes.append((engine.size("events") - empty) / count)
    return _beside("bytes for each event kept", [tuple(sizes)])


@contextmanager
def _serving(
    databases: list[str], processes: int, folder: Path, stripe_url: str
) -> Iterator[list[list[servers.Server]]]:
    """Serve each database by so many processes."""
    with ExitStack() as stack:
        yield [
            [
                stack.enter_context(
                    servers.corkage(folder, stripe_url, BILLING_DATABASE=database, BILLING_WORKER="off")
                )
                for _ in range(processes)
            ]
            for database in databases
        ]


def _rate(to: list[servers.Server], requests: list[bytes], connections: int) -> float:
    """Share requests and connections among the processes; return how many are answered a second."""
    each = max(1, connections // len(to))
    posting = [beside(post_all, to[n].port, requests[n :: len(to)], each) for n in range(len(to))]
    outcomes = [posted.result() for posted in posting]
    assert not any(outcome.refused for outcome in outcomes)
    return len(requests) / (max(each.ended for each in outcomes) - min(each.began for each in outcomes))


def _rounds(act: Callable[[Any], float], both: Sequence[Any]) -> list[tuple[Any, Any]]:
    sqlite, postgresql = (functools.partial(act, each) for each in both)
    return alternating(sqlite, postgresql)


def _at(processes: int, connections: int) -> str:
    each = max(1, connections // processes)
    return (
        f"{processes} process{'es' * (processes > 1)}, {each} connection{'s' * (each > 1)}{' each' * (processes > 1)}"
    )


def _beside(what: str, pairs: Pairs, bound: float | None = None) -> Line:
    """Make the line of rounds, each SQLite's figure and PostgreSQL's."""
    ours, sqlites = (statistics.median(pair[at] for pair in pairs) for at in (1, 0))
    digits = 0 if min(ours, sqlites) >= 100 else 1
    figure = f"{ours:,.{digits}f}, SQLite {sqlites:,.{digits}f}: {ratio(pairs):.2f} x"
    return Line(what, figure) if bound is None else at_least(what, figure, ratio(pairs), bound)
