"""What a renewal costs the worker: the CPU of its thread, and the statements, from the claim to the last commit."""

import statistics
import tempfile
import time
from pathlib import Path

from load import beside
from results import Line, Result, at_most
from subscribers import subscribe

from corkage import storage
from corkage.gateway.events import EventRef
from corkage.simulator import Simulator
from corkage.sync import inbox, worker
from replica import billing_of

DAY_SECONDS = 86_400
MONTH_SECONDS = 32 * DAY_SECONDS
CPU_BOUND_MS, STATEMENTS_BOUND = 3.0, 10


def measure(quick: bool) -> Result:
    customers = 50 if quick else 300
    result = Result(f"A renewal, converged: the worker's thread, {customers} times")
    with tempfile.TemporaryDirectory() as name, Simulator() as stripe:
        world = stripe.world
        held = [(world.get("subscription", each)["customer"], each) for each in subscribe(stripe, customers)]
        at = (str(Path(name) / "corkage.db"), stripe.url, held)
        beside(_converged, *at, time.time(), "bought").result()
        stripe.advance(MONTH_SECONDS)
        costs, seen = beside(_converged, *at, time.time() + MONTH_SECONDS, "renewed").result()
    statements = [sql for sql in seen if not sql.startswith(("BEGIN", "COMMIT"))]
    cost = statistics.median(costs) * 1e3
    result.lines.extend(
        [
            at_most("CPU, median", f"{cost:.2f} ms", cost, CPU_BOUND_MS, "ms"),
            Line("CPU, 10th and 90th percentile", "{:.2f} and {:.2f} ms".format(*_tenths(costs))),
            at_most("statements, in two transactions", str(len(statements)), len(statements), STATEMENTS_BOUND, ""),
        ]
    )
    return result


def _tenths(costs: list[float]) -> tuple[float, float]:
    ordered = sorted(costs)
    return ordered[len(ordered) // 10] * 1e3, ordered[len(ordered) * 9 // 10] * 1e3


def _converged(
    database: str, api_base: str, held: list[tuple[str, str]], now: float, name: str
) -> tuple[list[float], list[str]]:
    """Converge each customer after an event; return the CPU seconds of each, and the last one's statements."""
    worker.CALLS_PER_SECOND = 1_000_000  # a thread that slept between its calls finds its memory cold
    billing = billing_of(database, api_base)
    costs, seen = [], []
    for number, (customer, subscription) in enumerate(held):
        event_id, moment = f"evt_{name}{number}", int(now)
        event = EventRef(event_id, "customer.subscription.updated", moment, False, None, customer, subscription)
        inbox.record(event, "webhook", now, now)
        if number == len(held) - 1:
            storage.current().of_thread().set_trace_callback(seen.append)
        began = time.thread_time()
        failure = billing.service.worker._apply_at_once(inbox.Subject(customer), now)
        costs.append(time.thread_time() - began)
        assert failure is None
    billing.close()
    return costs, seen
