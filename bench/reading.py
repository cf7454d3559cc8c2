"""GET /access over HTTP, with a token, beside an empty handler."""

import statistics
import tempfile
from pathlib import Path

import servers
from events import ask_access, repeated
from load import beside, post_all
from results import PAIRS, Bars, Result, at_least

from replica import billing_of, fill, user_id

BOUND = 0.6


def measure(quick: bool) -> Result:
    result = Result("GET /access over HTTP, token verified, beside an empty handler")
    rates: dict[str, list[float]] = {"empty handler": [], "GET /access": []}
    count = 1_000 if quick else 4_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        billing_of(folder / "corkage.db").close()
        fill(folder / "corkage.db", 1_000)
        with (
            servers.stripe(folder) as stripe,
            servers.empty(folder) as empty,
            servers.corkage(folder, stripe.url, BILLING_WORKER="off") as ours,
        ):
            requests = repeated([ask_access(user_id(number)) for number in range(100)], count // 100)
            for connections in (1, 8, 64):
                pairs = []
                for _ in range(PAIRS):
                    outcomes = [beside(post_all, at.port, requests, connections).result() for at in (empty, ours)]
                    assert not any(each.refused for each in outcomes)
                    pairs.append(tuple(each.per_second for each in outcomes))
                floor, answered = (statistics.median(each) for each in zip(*pairs, strict=True))
                factor = statistics.median(ours_rate / empty_rate for empty_rate, ours_rate in pairs)
                figure = f"{answered:,.0f}, empty {floor:,.0f}: {factor:.2f} x"
                at = f"at {connections} connection{'s' * (connections > 1)}"
                result.lines.append(at_least(f"answers a second {at}", figure, factor, BOUND))
                rates["empty handler"].append(floor)
                rates["GET /access"].append(answered)
    groups = ("1 connection", "8 connections", "64 connections")
    series = {name: tuple(values) for name, values in rates.items()}
    result.charts.append(Bars("reading", "GET /access a second", "a second", groups, series))
    return result
