"""An edit of plans.toml: every stored answer is made anew, while GET /access goes on."""

import sqlite3
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import servers
from events import ask_access
from load import ask_until, beside, percentile
from results import Line, Result, at_most

from replica import billing_of, fill, user_id

IDLE_SECONDS = 10.0
PAUSE_SECONDS = 0.002
EDITED = servers.PLANS.replace('"api"]', '"api", "teams"]')


def measure(quick: bool) -> Result:
    users = 10_000 if quick else 100_000
    result = Result("An edit of plans.toml: every answer is made anew, beside serving")
    with tempfile.TemporaryDirectory() as name, servers.stripe(Path(name)) as stripe:
        folder = Path(name)
        database = folder / "corkage.db"
        billing_of(database).close()
        fill(database, users)
        quiet = {"BILLING_POLL_SECONDS": "0"}  # this Stripe knows none of these users
        with servers.corkage(folder, stripe.url, **quiet) as server, _asking(server, folder / "idle") as asked:
            time.sleep(IDLE_SECONDS)
        idle = _latencies(asked)
        assert _waiting(database) == 0
        edited = servers.corkage(folder, stripe.url, plans=EDITED, **quiet)
        with edited as server, _asking(server, folder / "made") as asked:
            began = time.monotonic() - server.startup_seconds
            while _waiting(database):
                time.sleep(0.05)
            took = time.monotonic() - began
        beside_it = _latencies(asked)
    bound = 30.0 * users / 100_000
    result.lines.append(at_most(f"{users:,} users, since the start", f"{took:.1f} s", took, bound, "s"))
    for percent in (50, 99):
        before, after = (percentile(each, percent) for each in (idle, beside_it))
        figure = f"{before * 1000:.2f} ms, beside it {after * 1000:.2f} ms: {after / before:.2f} x"
        what = f"GET /access, percentile {percent}"
        result.lines.append(at_most(what, figure, after / before, 3) if percent == 99 else Line(what, figure))
    return result


@contextmanager
def _asking(server: servers.Server, end: Path) -> Iterator["Future[list[tuple[float, float]]]"]:
    """Ask for access on one connection meanwhile."""
    asked = beside(ask_until, server.port, [ask_access(user_id(7))], PAUSE_SECONDS, str(end))
    try:
        yield asked
    finally:
        end.touch()
        asked.exception()  # waits for its end


def _latencies(asked: "Future[list[tuple[float, float]]]") -> list[float]:
    return [seconds for _, seconds in asked.result()]


def _waiting(database: Path) -> int:
    with sqlite3.connect(database) as connection:
        mark = "(SELECT json_extract(value, '$[0]') FROM corkage_setting WHERE name = 'rule')"
        (found,) = connection.execute(f"SELECT count(*) FROM corkage_user WHERE rule < {mark}").fetchone()
    connection.close()
    return int(found)
