"""Servers to measure, each a process of its own on a free port, and ended by its id."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from corkage.storage.url import is_url

BENCH = Path(__file__).parent
PLAIN = BENCH.parent / "tests/support/plain"
WEBHOOK_SECRET = "whsec_bench"
AUTH_SECRET = "a-secret-of-at-least-thirty-two-bytes"
PLANS = '[pro]\nname = "Pro"\nprices = ["pro_monthly"]\nfeatures = ["exports", "api"]\ngrace_days = 7\n'
STARTS_WITHIN_SECONDS = 30.0


@dataclass(frozen=True)
class Server:
    """A running server. startup_seconds is from its start to its first answer."""

    pid: int
    port: int
    log: Path
    startup_seconds: float = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def memory_mb(self) -> float:
        """Return how much of the RAM it takes, with the processes that it started, in MB."""
        return memory_mb(self.pid)


def memory_mb(pid: int) -> float:
    """Return how much of the RAM a process and those that it started take, in MB; shared pages are counted once."""
    process = psutil.Process(pid)
    return sum(each.memory_full_info().pss for each in (process, *process.children(recursive=True))) / 2**20


@contextmanager
def started(command: list[str], environ: dict[str, str], folder: Path, name: str) -> Iterator[Server]:
    """Start a command that says "http://127.0.0.1:PORT" in what it prints, and wait until it answers there."""
    log = folder / f"{name}.log"
    began = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=output, stderr=subprocess.STDOUT)
    try:
        port = _wait(process, log, began)
        yield Server(process.pid, port, log, time.monotonic() - began)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait(process: "subprocess.Popen[bytes]", log: Path, began: float) -> int:
    while time.monotonic() < began + STARTS_WITHIN_SECONDS:
        if found := re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text()):
            port = int(found[1])
            try:
                requests.get(f"http://127.0.0.1:{port}/health", timeout=5)
            except requests.ConnectionError:
                pass
            else:
                return port
        if process.poll() is not None:
            break
        time.sleep(0.005)
    raise RuntimeError(f"it did not start: {log.read_text()[-2000:]}")


@contextmanager
def empty(folder: Path) -> Iterator[Server]:
    """Serve a handler that reads the body and answers, on the waitress that Corkage uses, as Corkage sets it."""
    with started([sys.executable, str(BENCH / "empty.py")], dict(os.environ), folder, "empty") as server:
        yield server


@contextmanager
def stripe(folder: Path) -> Iterator[Server]:
    """Serve the simulated Stripe."""
    command = [sys.executable, "-m", "corkage.cli", "simulator", "--port", "0"]
    with started(command, dict(os.environ) | {"PYTHONUNBUFFERED": "1"}, folder, "stripe") as server:
        yield server


@contextmanager
def one_by_one(folder: Path, stripe_url: str) -> Iterator[Server]:
    """Serve Corkage with a commit for each event."""
    environ = environ_of_corkage(stripe_url) | {
        "BILLING_DATABASE": str(folder / "one_by_one.db"),
        "BILLING_PLANS": str(folder / "plans.toml"),
        "BILLING_WORKER": "off",
    }
    with started([sys.executable, str(BENCH / "one_by_one.py")], environ, folder, "one_by_one") as server:
        yield server


@contextmanager
def corkage(folder: Path, stripe_url: str, plans: str = PLANS, **settings: str) -> Iterator[Server]:
    """Serve Corkage as its users do: `corkage serve`."""
    (folder / "plans.toml").write_text(plans)
    environ = environ_of_corkage(stripe_url) | {"BILLING_DATABASE": str(folder / "corkage.db")} | settings
    if not is_url(environ["BILLING_DATABASE"]):
        environ = as_installed_plainly(environ)
    with started([sys.executable, "-m", "corkage.cli", "serve", "--port", "0"], environ, folder, "corkage") as server:
        yield server


def as_installed_plainly(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of an installation without the extra for PostgreSQL, which Peewee loads where it is."""
    return dict(environ) | {"PYTHONPATH": os.pathsep.join(filter(None, (str(PLAIN), environ.get("PYTHONPATH"))))}


def environ_of_corkage(stripe_url: str) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("BILLING_", "STRIPE_"))},
        "STRIPE_SECRET_KEY": "sk_test_simulator",
        "STRIPE_API_BASE": stripe_url,
        "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "FRONTEND_URL": "https://app.example.com",
        "BILLING_AUTH_SECRET": AUTH_SECRET,
        "PYTHONUNBUFFERED": "1",
    }
