"""billing.use() on an SQLite file: alone beside a bare UPDATE in a transaction of its own, and from eight threads."""

import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from results import PAIRS, Line, Result, alternating, at_least, ratio

from corkage import Billing, Config, Plan
from replica import fill, user_id

USERS, THREADS = 1_000, 8
ALONE_BOUND, TOGETHER_BOUND = 0.5, 10_000.0
LIMIT = 10**9
_BARE = "UPDATE bare SET used = used + ? WHERE user_id = ? AND used + ? <= ?"


def measure(quick: bool) -> Result:
    result = Result("billing.use(): counted, and on disk when it returns, of 1,000 subscribers")
    count = 500 if quick else 4_000
    with tempfile.TemporaryDirectory() as folder:
        billing = _billing(Path(folder) / "corkage.db")
        with closing(_bare_table(Path(folder) / "bare.db")) as bare:
            few = count // 10  # what else the machine does to its disk, it does to both
            pairs = alternating(lambda: _alone(lambda user: _update(bare, user), few), lambda: _ours(billing, few), 31)
            floor, ours = (statistics.median(each) for each in zip(*pairs, strict=True))
            factor = ratio(pairs)
        figure = f"{ours:,.0f}, bare {floor:,.0f}: {factor:.2f} x"
        result.lines.append(at_least("uses a second, one thread, beside a bare UPDATE", figure, factor, ALONE_BOUND))
        for what, key in (("without a key", ""), ("each with a key", "key")):
            rates = [_together(billing, count, f"{key}{number}" if key else "") for number in range(PAIRS)]
            rate = statistics.median(rates)
            line = f"uses a second from {THREADS} threads, {what}"
            fastest = f"{rate:,.0f}, the fastest round {max(rates):,.0f}: {rate / floor:.1f} x the bare UPDATE alone"
            asked = not key
            result.lines.append(at_least(line, fastest, rate, TOGETHER_BOUND, "") if asked else Line(line, fastest))
        billing.close()
    return result


def _billing(path: Path) -> Billing:
    plan = Plan("pro", "Pro", ("pro_monthly",), limits={"exports": LIMIT}, every={"exports": "month"})
    config = Config(
        stripe_secret_key="sk_test_of_the_bench",
        frontend_urls=("https://app.example.com",),
        plans=(plan,),
        database=str(path),
        worker="off",
    )
    Billing(config).close()
    fill(path, USERS, mark=0)
    billing = Billing(config)  # its start makes the answers, with the limit
    for number in range(USERS):
        assert billing.use(user_id(number), "exports")
    return billing


def _bare_table(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("PRAGMA synchronous = full")
    connection.execute("CREATE TABLE bare (user_id TEXT PRIMARY KEY, used INTEGER) WITHOUT ROWID")
    connection.executemany("INSERT INTO bare VALUES (?, 0)", [(user_id(number),) for number in range(USERS)])
    return connection


def _update(connection: sqlite3.Connection, user: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(_BARE, (1, user, 1, LIMIT))
    connection.execute("COMMIT")


def _ours(billing: Billing, count: int) -> float:
    return _alone(lambda user: billing.use(user, "exports"), count)


def _alone(use: Callable[[str], object], count: int) -> float:
    """Return how many uses a second."""
    began = time.perf_counter()
    for number in range(count):
        use(user_id(number % USERS))
    return count / (time.perf_counter() - began)


def _together(billing: Billing, count: int, key: str) -> float:
    def work(first: int) -> None:
        for number in range(first, count * 2, THREADS):
            billing.use(user_id(number % USERS), "exports", 1, f"{key}-{number}" if key else None)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(THREADS)]
    began = time.perf_counter()
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return count * 2 / (time.perf_counter() - began)
