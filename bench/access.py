"""billing.access(user) beside a raw SELECT of the answer's row by its key, at a thousand to a million users."""

import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from results import Bars, Result, alternating, at_most, ratio

from replica import billing_of, fill, user_id

LOOKUPS = 5_000


def measure(quick: bool) -> Result:
    sizes = (1_000, 100_000) if quick else (1_000, 100_000, 1_000_000)
    result = Result("May this user in? In process, beside `SELECT *` of the answer's row through sqlite3")
    ours_at, raw_at = [], []
    for users in sizes:
        raw, ours, factor = _at(users)
        ours_at.append(ours)
        raw_at.append(raw)
        figure = f"{ours:.1f} us, raw {raw:.1f} us: {factor:.2f} x"
        result.lines.append(at_most(f"access() at {users:,} users", figure, factor, 1.25))
    growth, raws = ours_at[-1] / ours_at[0], raw_at[-1] / raw_at[0]
    grown = f"{growth:.2f} x, raw {raws:.2f} x: {growth / raws:.2f} x"
    result.lines.append(at_most(f"access() at {sizes[-1]:,} to {sizes[0]:,} users", grown, growth / raws, 1.05))
    groups = tuple(f"{users:,} users" for users in sizes)
    series = {"raw SELECT": tuple(raw_at), "billing.access()": tuple(ours_at)}
    result.charts.append(Bars("access", "May this user in?", "us", groups, series))
    return result


def _at(users: int) -> tuple[float, float, float]:
    """Return microseconds for the raw look-up and for ours, and the median ratio pair by pair."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corkage.db"
        billing = billing_of(path)
        fill(path, users)
        raw = sqlite3.connect(path)
        asked = [user_id(random.randrange(users)) for _ in range(LOOKUPS)]
        select = "SELECT * FROM corkage_answer WHERE user_id = ? AND starts_at = 0"

        def ask_raw() -> float:
            return microseconds(lambda user: raw.execute(select, (user,)).fetchone(), asked)

        def ask_ours() -> float:
            return microseconds(billing.access, asked)

        assert billing.access(asked[0]).allowed
        ask_raw(), ask_ours()
        pairs = alternating(ask_raw, ask_ours, 9)
        raw.close()
        billing.close()
    return (*(statistics.median(each) for each in zip(*pairs, strict=True)), ratio(pairs))


def microseconds(ask: Callable[[str], object], users: list[str]) -> float:
    began = time.perf_counter()
    for user in users:
        ask(user)
    return (time.perf_counter() - began) / len(users) * 1e6
