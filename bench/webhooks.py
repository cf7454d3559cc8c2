"""POST /webhook over HTTP without the worker: signed events of 4 kB, on disk before the 200, beside an empty handler.

They are of customers that nobody knows; at_work.py has those of customers that exist.
"""

import statistics
import tempfile
from pathlib import Path

import servers
from events import distinct
from load import Outcome, beside, post_all
from results import PAIRS, Bars, Line, Result, at_least, at_most

CONNECTIONS = {1: 0.35, 8: 0.5, 64: 0.5}
P99_BOUND = 3.0


def measure(quick: bool) -> Result:
    result = Result("Webhooks of unknown customers, worker off: 4 kB, durable before the 200, beside an empty handler")
    rates: dict[str, list[float]] = {"empty handler": [], "corkage serve": [], "one commit for each event": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            servers.stripe(folder) as stripe,
            servers.empty(folder) as empty,
            servers.corkage(folder, stripe.url, BILLING_WORKER="off") as ours,
            servers.one_by_one(folder, stripe.url) as one_by_one,
        ):
            for connections, bound in CONNECTIONS.items():
                rounds = [
                    _round((empty, ours, one_by_one), f"{connections}x{number}x", connections, 500 if quick else 2000)
                    for number in range(PAIRS)
                ]
                result.lines.extend(_lines(rounds, connections, bound))
                for series, position in zip(rates, (0, 1, 3), strict=True):
                    rates[series].append(statistics.median(each[position].per_second for each in rounds))
    groups = tuple(f"{connections} connection{'s' * (connections > 1)}" for connections in CONNECTIONS)
    series = {name: tuple(values) for name, values in rates.items()}
    result.charts.append(Bars("webhooks", "Webhooks taken a second", "a second", groups, series))
    return result


def _round(at: tuple[servers.Server, ...], prefix: str, connections: int, count: int) -> tuple[Outcome, ...]:
    """Post to the empty handler, to Corkage, the same to Corkage again, and to the one without group commit."""
    requests = distinct(prefix, count)
    empty, ours, one_by_one = at
    outcomes = tuple(
        beside(post_all, server.port, requests, connections).result() for server in (empty, ours, ours, one_by_one)
    )
    assert not any(each.refused for each in outcomes)
    return outcomes


def _lines(rounds: list[tuple[Outcome, ...]], connections: int, bound: float) -> list[Line]:
    def median_of(figure: object) -> float:
        return statistics.median(figure(each) for each in rounds)

    at = f"at {connections} connection{'s' * (connections > 1)}"
    rate = median_of(lambda each: each[1].per_second / each[0].per_second)
    tail = median_of(lambda each: each[1].percentile(99) / each[0].percentile(99))
    again = median_of(lambda each: each[2].per_second / each[1].per_second)
    grouped = median_of(lambda each: each[1].per_second / each[3].per_second)
    ours, floor = median_of(lambda each: each[1].per_second), median_of(lambda each: each[0].per_second)
    slowest, slowest_floor = (median_of(lambda each, at=at: each[at].percentile(99) * 1e3) for at in (1, 0))
    return [
        at_least(f"events a second {at}", f"{ours:,.0f}, empty {floor:,.0f}: {rate:.2f} x", rate, bound),
        at_most(
            f"99th percentile {at}", f"{slowest:.1f} ms, empty {slowest_floor:.1f} ms: {tail:.2f} x", tail, P99_BOUND
        ),
        at_least(f"duplicates {at}, beside first deliveries", f"{again:.2f} x", again, 1.0),
        Line(f"one commit for all that wait, beside one for each, {at}", f"{grouped:.2f} x"),
    ]
