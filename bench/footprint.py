"""Memory, start-up, and what an import costs a host that only reads access."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import servers
from events import distinct
from load import beside, post_all
from results import PAIRS, Line, Result, at_most

from replica import billing_of, fill

READ = """
import json, sys, time
began = time.perf_counter()
{code}
seconds = time.perf_counter() - began
status = open("/proc/self/status").read()
rss = int(status.split("VmRSS:")[1].split()[0]) / 1024
print(json.dumps([seconds * 1000, rss, "stripe" in sys.modules]))
"""
ACCESS = """
from corkage import Billing, Config, Plan
config = Config(stripe_secret_key="sk_test_1", frontend_urls=("https://app.example.com",), database=sys.argv[1],
                plans=(Plan("pro", "Pro", ("pro_monthly",), features=("exports", "api"), grace_days=7),), worker="off")
billing = Billing(config)
assert billing.access("user_00000001").allowed
"""


def measure(quick: bool) -> Result:
    result = Result("Memory and start-up")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        billing_of(folder / "corkage.db").close()
        fill(folder / "corkage.db", 1_000)
        result.lines.extend(_import(folder))
        with servers.stripe(folder) as stripe:
            result.lines.append(_startup(folder, stripe.url))
            result.lines.extend(_serving(folder, stripe.url, 10_000 if quick else 100_000))
    return result


def _import(folder: Path) -> list[Line]:
    _run(ACCESS, folder)  # for its bytecode
    runs = [(_run("", folder), _run(ACCESS, folder)) for _ in range(PAIRS)]
    milliseconds = statistics.median(ours[0] - bare[0] for bare, ours in runs)
    megabytes = statistics.median(ours[1] - bare[1] for bare, ours in runs)
    has_stripe = any(ours[2] for _, ours in runs)
    return [
        at_most("import and one access read, over bare Python", f"{milliseconds:.0f} ms", milliseconds, 60, "ms"),
        at_most("memory of that, over bare Python", f"{megabytes:.1f} MB", megabytes, 25, "MB"),
        Line("stripe imported by then", "yes" if has_stripe else "no", "no", not has_stripe),
    ]


def _run(code: str, folder: Path) -> list[float]:
    command = [sys.executable, "-c", READ.replace("{code}", code), str(folder / "corkage.db")]
    environ = servers.as_installed_plainly(os.environ)
    ran = subprocess.run(command, env=environ, check=True, capture_output=True, text=True, cwd=folder)
    return json.loads(ran.stdout)


def _startup(folder: Path, stripe_url: str) -> Line:
    seconds = []
    for _ in range(PAIRS):
        with servers.corkage(folder, stripe_url) as server:
            seconds.append(server.startup_seconds)
    median = statistics.median(seconds)
    return at_most("corkage serve, from start to first answer", f"{median:.2f} s", median, 0.8, "s")


def _serving(folder: Path, stripe_url: str, webhooks: int) -> list[Line]:
    """Post webhooks of customers that Stripe does not have; nothing is applied, so that memory is the intake's."""
    os.remove(folder / "corkage.db")
    with servers.corkage(folder, stripe_url, BILLING_WORKER="off") as server:
        beside(post_all, server.port, distinct("warm", 2_000), 8).result()
        first, batch = server.memory_mb(), webhooks // 10
        at = []
        for number in range(10):
            assert not beside(post_all, server.port, distinct(f"m{number}x", batch), 8).result().refused
            at.append(server.memory_mb())
    return [
        at_most("serving, all processes", f"{at[-1]:.0f} MB", at[-1], 75, "MB"),
        at_most(
            f"the same after {webhooks:,} webhooks, beside after 2,000",
            f"{at[-1] / first:.2f} x ({first:.1f}, {at[len(at) // 2]:.1f}, {at[-1]:.1f} MB)",
            at[-1] / first,
            1.1,
        ),
    ]
