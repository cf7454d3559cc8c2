"""Corkage beside what a user would pick instead: the same events, in the same run, each taking them in its own way."""

import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import stripe
from load import beside, post_all
from peers import CORKAGE, EVERYBODY, WEBHOOK_SECRET, Peer
from peers.check import NONE, Running, calls_per_renewal, running
from results import Bars, Line, Result
from servers import memory_mb

CONNECTIONS, USERS, ROUNDS = 8, 50, 3
FOLDER = Path(tempfile.gettempdir()) / "corkage-bench-peers"
UNITS = {
    "webhooks a second, at 8 connections": "{:,.0f}",
    "99th percentile of those": "{:.0f} ms",
    "check of access in process": "{:.1f} us",
    "memory of all processes": "{:.0f} MB",
    "from a start again to the first answer": "{:.2f} s",
    "installed": "{:.0f} MB",
    "calls to Stripe for a renewal, in one burst": "{:.1f}",
    "calls with an hour between draft and payment": "{:.1f}",
}
MORE_IS_BETTER = "webhooks a second, at 8 connections"


def measure(quick: bool) -> Result:
    result = Result("Beside what a user would pick instead (the same events and work, in the same run)")
    count = 100 if quick else 400
    rounds = [{peer.name: _figures(peer, count) for peer in EVERYBODY} for _ in range(1 if quick else ROUNDS)]
    once = {peer.name: _figures_once(peer) for peer in EVERYBODY}
    found = {
        peer.name: {what: statistics.median(each[peer.name][what] for each in rounds) for what in rounds[0][peer.name]}
        | once[peer.name]
        for peer in EVERYBODY
    }
    for what, unit in UNITS.items():
        figures = ", ".join(f"{peer.name} {unit.format(found[peer.name][what])}" for peer in EVERYBODY)
        ours = found[CORKAGE.name][what]
        others = [found[peer.name][what] for peer in EVERYBODY if peer is not CORKAGE]
        is_ahead = ours >= max(others) if what == MORE_IS_BETTER else ours <= min(others)
        result.lines.append(Line(what, figures, "ahead", is_ahead))
    rates = tuple(found[peer.name][MORE_IS_BETTER] for peer in EVERYBODY)
    names = tuple(peer.name for peer in EVERYBODY)
    result.charts.append(Bars("peers", "Webhooks a second, 8 connections", "a second", names, {"webhooks": rates}))
    return result


def _figures(peer: Peer, count: int) -> dict[str, float]:
    into = FOLDER / peer.name
    users = tuple(f"user{number}" for number in range(USERS))
    with running(peer, into, users, events=NONE) as served:
        bodies = _events(served, users, count)
        posts = [_post(body) for body in bodies]
        taken = beside(post_all, urlsplit(served.url).port, posts, CONNECTIONS).result()
        assert not taken.refused, f"{peer.name} refused {taken.refused} of {count}"
        for user in users:
            served.comes_to(user, True)
        command = peer.access_check(into, users[0], 2_000)
        timed = subprocess.run(command, env=served.environ, cwd=into, stdout=subprocess.PIPE, text=True, check=True)
        return {
            "webhooks a second, at 8 connections": taken.per_second,
            "99th percentile of those": taken.percentile(99) * 1e3,
            "check of access in process": float(timed.stdout.split()[-1]),
            "memory of all processes": memory_mb(served.pid),
            "from a start again to the first answer": served.startup_seconds,
        }


def _figures_once(peer: Peer) -> dict[str, float]:
    into = FOLDER / peer.name
    return {
        "installed": peer.installed_bytes(into) / 1e6,
        "calls to Stripe for a renewal, in one burst": calls_per_renewal(peer, into, 10, is_hour_apart=False),
        "calls with an hour between draft and payment": calls_per_renewal(peer, into, 10),
    }


def _events(served: Running, users: tuple[str, ...], count: int) -> list[bytes]:
    """Have users subscribe and change something at Stripe; return what Stripe tells of the change, under many ids."""
    for user in users:
        _, subscription = served.subscribe(user)
        served.client.v1.subscriptions.update(subscription, params={"metadata": {"seen": "yes"}})
    events = [each for each in served.simulator.world.all("event") if each["type"] == "customer.subscription.updated"]
    served.tell()
    time.sleep(3)
    return [
        json.dumps(events[number % len(events)] | {"id": f"evt_again{number}", "created": int(time.time())}).encode()
        for number in range(count)
    ]


def _post(body: bytes) -> bytes:
    signature = stripe.WebhookSignature.generate_signature_header(body.decode(), WEBHOOK_SECRET, int(time.time()))
    head = "POST /webhook HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\nStripe-Signature: {signature}\r\n\r\n"
    return head.encode() + body
