"""A follower at the edge, as docs/operations/ has it: how far it is behind, what it answers when it is cut off."""

import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import servers
from events import distinct
from load import beside, percentile, post_all
from results import Line, Result, at_most

from corkage import Billing
from replica import billing_of, fill, user_id

OPERATIONS = Path(__file__).parent.parent / "docs/operations"
ASK = "SELECT allowed, reason, plan, plans, features, limits, until FROM corkage_access WHERE user_id = ?"
CUT_SECONDS = 10.0
PATH = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))  # pip puts Litestream beside Python


def measure(quick: bool) -> Result:
    users, changes = (1_000, 10) if quick else (10_000, 60)
    result = Result(
        f"A follower at the edge: {users:,} users, a replica in a folder, the intervals of docs/operations/"
    )
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        primary, copy = folder / "corkage.db", folder / "edge/corkage.db"
        billing = stack.enter_context(closing(billing_of(primary)))
        fill(primary, users)
        way = _started(folder, stack)
        _until(copy.exists)
        stripe = stack.enter_context(servers.stripe(folder))
        ours = stack.enter_context(servers.corkage(folder, stripe.url, BILLING_WORKER="off"))
        quiet = [_lag(billing, copy, f"quiet_{number}") for number in range(changes)]
        load = beside(post_all, ours.port, distinct("load", changes * 800), 8)
        loaded = []
        while not load.done():
            loaded.append(_lag(billing, copy, f"load_{len(loaded)}"))
        failed, back = _cut(billing, copy, way, users)
        seconds = _answer_seconds(copy, users)
    result.lines.extend([*_behind("one change at a time", quiet), *_behind("while webhooks come, 8 at a time", loaded)])
    result.lines.extend(
        [
            at_most(f"questions that fail while it is cut off for {CUT_SECONDS:.0f} s", f"{failed}", failed, 0, ""),
            Line("it has what came meanwhile, after it is reached again", f"{back:.2f} s"),
            Line("an answer there, with the file opened for it", f"{seconds * 1e6:.0f} us"),
        ]
    )
    return result


def _behind(when: str, lags: list[float]) -> Iterator[Line]:
    yield Line(f"a change is there after, {when}: half of them", f"{statistics.median(lags):.2f} s")
    worst = percentile(lags, 99)
    yield at_most(f"a change is there after, {when}: 99 %", f"{worst:.2f} s", worst, 2, "s")


def _started(folder: Path, stack: ExitStack) -> Path:
    """Start Litestream and a follower; return the link by which the follower reaches the replica."""
    way = folder / "way"
    way.symlink_to(folder / "replica")
    (folder / "edge").mkdir()
    text = (OPERATIONS / "litestream.yml").read_text().replace("/var/lib/corkage/corkage.db", f"{folder}/corkage.db")
    (folder / "litestream.yml").write_text(text.replace("s3://backups/corkage", f"file://{folder}/replica"))
    stack.enter_context(_running("litestream", "replicate", "-config", f"{folder}/litestream.yml"))
    _until(lambda: list(folder.glob("replica/ltx/9/*")))
    stack.enter_context(_running(f"{OPERATIONS}/follow.sh", f"file://{way}", f"{folder}/edge"))
    return way


@contextmanager
def _running(*command: str) -> Iterator[None]:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=os.environ | {"PATH": PATH}, **quiet)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def _lag(billing: Billing, copy: Path, user: str) -> float:
    """Grant a plan; return how many seconds later the copy lets the user in."""
    time.sleep(0.13 + os.getpid() % 7 / 100 + len(user) / 1000)  # not in step with the intervals
    billing.grant(user, "pro")
    began = time.monotonic()
    _until(lambda: _asked(copy, user))
    return time.monotonic() - began


def _cut(billing: Billing, copy: Path, way: Path, users: int) -> tuple[int, float]:
    """Cut the follower off; return how many questions failed meanwhile, and how long it then took to catch up."""
    replica = way.readlink()
    way.unlink()
    billing.grant("after_the_cut", "pro")
    failed, ends = 0, time.monotonic() + CUT_SECONDS
    while time.monotonic() < ends:
        failed += not _asked(copy, user_id(users // 2))
        time.sleep(0.01)
    assert not _asked(copy, "after_the_cut")
    way.symlink_to(replica)
    began = time.monotonic()
    _until(lambda: _asked(copy, "after_the_cut"))
    return failed, time.monotonic() - began


def _answer_seconds(copy: Path, users: int, count: int = 2_000) -> float:
    began = time.perf_counter()
    for number in range(count):
        _asked(copy, user_id(number % users))
    return (time.perf_counter() - began) / count


def _asked(copy: Path, user: str) -> bool:
    with closing(sqlite3.connect(f"file:{copy}?mode=ro", uri=True, timeout=5)) as file:
        row = file.execute(ASK, [user]).fetchone()
    return row is not None and bool(row[0])


def _until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            raise RuntimeError("it did not happen in time")
        time.sleep(0.01)
