"""`corkage backup` while webhooks come: what it takes, and what it costs those who write; and `corkage restore`."""

import bisect
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import servers
from events import distinct
from load import Outcome, beside, percentile, post_all
from results import Line, Result, at_least, at_most

from replica import billing_of, fill

ROUNDS = 3
CONNECTIONS = 8
LATER_SECONDS = 0.5  # the backup begins in the midst of the webhooks


def measure(quick: bool) -> Result:
    users, count = (10_000, 1_000) if quick else (100_000, 6_000)
    result = Result(f"A backup of {users:,} users while webhooks come, 8 at a time")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = folder / "corkage.db"
        billing_of(database).close()
        fill(database, users)
        with (
            servers.stripe(folder) as stripe,
            servers.corkage(folder, stripe.url, BILLING_WORKER="off") as ours,
        ):
            rounds = [_round(folder, stripe.url, ours.port, number, count) for number in range(ROUNDS)]
        restored = _run(folder, stripe.url, "restore", "made.db", "--yes")
        size = database.stat().st_size / 1e6
    alone = [each for without, _, _ in rounds for each in without.latencies]
    during = [each for _, beside_it, _ in rounds for each in beside_it]
    rate = statistics.median((len(beside_it) / seconds) / without.per_second for without, beside_it, seconds in rounds)
    result.lines.extend(
        [
            Line(f"a backup of {size:.0f} MB", f"{statistics.median(each[2] for each in rounds):.1f} s"),
            at_least("webhooks a second meanwhile, beside without it", f"{rate:.2f} x", rate, 0.3),
            Line("half of the webhooks are answered within, without it", f"{percentile(alone, 50) * 1000:.1f} ms"),
            Line("half of the webhooks are answered within, meanwhile", f"{percentile(during, 50) * 1000:.1f} ms"),
            at_most("the slowest webhook meanwhile", f"{max(during):.2f} s", max(during), 2, "s"),
            Line("the slowest webhook without it", f"{max(alone):.2f} s"),
            Line("to restore it, with a copy of what was there", f"{restored:.1f} s"),
        ]
    )
    return result


def _round(folder: Path, stripe_url: str, port: int, number: int, count: int) -> tuple[Outcome, list[float], float]:
    """Post without a backup; then while one is made. Return both, and how long the backup took."""
    without = beside(post_all, port, distinct(f"{number}a", count), CONNECTIONS).result()
    future = beside(post_all, port, distinct(f"{number}b", 4 * count), CONNECTIONS)
    time.sleep(LATER_SECONDS)
    seconds = _run(folder, stripe_url, "backup", "made.db")
    share = future.result()
    assert without.refused == share.refused == 0
    ends = [spent / CONNECTIONS for spent in itertools.accumulate(share.latencies)]  # each sends when it has its answer
    first, last = bisect.bisect(ends, LATER_SECONDS), bisect.bisect(ends, LATER_SECONDS + seconds)
    return without, list(share.latencies[first:last]), seconds


def _run(folder: Path, stripe_url: str, *arguments: str) -> float:
    environ = servers.environ_of_corkage(stripe_url) | {"BILLING_DATABASE": str(folder / "corkage.db")}
    began = time.monotonic()
    command = [sys.executable, "-m", "corkage.cli", *arguments]
    subprocess.run(command, cwd=folder, env=servers.as_installed_plainly(environ), check=True, capture_output=True)
    return time.monotonic() - began
