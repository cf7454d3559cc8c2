"""A steady load on a server, from a process of its own: webhooks and reads, so many of each a second."""

import hashlib
import hmac
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from harness import AUTH_SECRET, WEBHOOK_SECRET
from racing import LONGEST_SECONDS, PROCESSES

from corkage.identity import mint_token

PARTS = 10


class Wish(NamedTuple):
    """What to ask of a server.

    Shape   events: what is delivered in turn, each time under an id of its own; users: whose access is read in turn;
            webhooks, reads: how many of each a second; connections: of each kind
    """

    url: str
    seconds: float
    events: Sequence[dict[str, Any]]
    users: Sequence[str]
    webhooks: float
    reads: float
    connections: int = 4


class Part(NamedTuple):
    """What a tenth of the time came to: how many answers, and how long half and 99 % of them took at most."""

    answers: int
    half_seconds: float
    p99_seconds: float


@dataclass(frozen=True)
class Outcome:
    """What became of the load. failed: what was answered with anything but 200."""

    webhooks: list[Part]
    reads: list[Part]
    failed: list[str]


@contextmanager
def soaked(wish: Wish) -> Iterator[Callable[[], Outcome]]:
    """Begin the load. Yield what waits for its end and returns the outcome."""
    receives, says = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=_soak, args=(says, wish), daemon=True)
    process.start()
    says.close()

    def outcome() -> Outcome:
        assert receives.poll(wish.seconds + LONGEST_SECONDS)
        return receives.recv()

    try:
        yield outcome
    finally:
        process.kill()
        process.join()
        receives.close()


def name(connection: int, number: int) -> str:
    """Return the id of a delivered event."""
    return f"evt_soak_{connection}_{number}"


def _soak(says: Any, wish: Wish) -> None:
    began = time.monotonic()
    kinds = {"webhooks": (_webhook, wish.webhooks), "reads": (_read, wish.reads)}
    taken: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    failed: list[str] = []
    threads = [
        threading.Thread(target=_ask, args=(wish, began, make, rate / wish.connections, number, taken[kind], failed))
        for kind, (make, rate) in kinds.items()
        for number in range(wish.connections)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    says.send(Outcome(_parts(taken["webhooks"], wish), _parts(taken["reads"], wish), failed[:10]))


Request = tuple[str, str, bytes, dict[str, str]]


def _ask(
    wish: Wish,
    began: float,
    make: Callable[[Wish, int, int], Request],
    rate: float,
    connection: int,
    taken: list[tuple[float, float]],
    failed: list[str],
) -> None:
    """Send so many requests a second, the next one at once where the last took too long for that."""
    to = http.client.HTTPConnection(urlsplit(wish.url).netloc, timeout=30)
    due = began + connection / rate / wish.connections
    number = 0
    while (now := time.monotonic()) < began + wish.seconds:
        if now < due:
            time.sleep(due - now)
        due = max(due + 1 / rate, now)
        request = make(wish, connection, number)
        sent = time.monotonic()
        to.request(*request)
        answer = to.getresponse()
        said = answer.read()
        taken.append((sent - began, time.monotonic() - sent))
        if answer.status != 200:
            failed.append(f"{answer.status}: {said[:200]!r}")
        number += 1
    to.close()


def _webhook(wish: Wish, connection: int, number: int) -> Request:
    at, event = int(time.time()), wish.events[number % len(wish.events)]
    body = json.dumps(event | {"id": name(connection, number), "created": at}).encode()
    signature = hmac.new(WEBHOOK_SECRET.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return "POST", "/webhook", body, {"Stripe-Signature": f"t={at},v1={signature}"}


def _read(wish: Wish, connection: int, number: int) -> Request:
    user = wish.users[number % len(wish.users)]
    token = mint_token(AUTH_SECRET, user, now=time.time(), lifetime_seconds=600)
    return "GET", "/access", b"", {"Authorization": f"Bearer {token}"}


def _parts(taken: list[tuple[float, float]], wish: Wish) -> list[Part]:
    parts: list[list[float]] = [[] for _ in range(PARTS)]
    for at, seconds in taken:
        parts[min(PARTS - 1, int(at / wish.seconds * PARTS))].append(seconds)
    return [_part(sorted(each)) for each in parts]


def _part(ordered: list[float]) -> Part:
    if not ordered:
        return Part(0, 0.0, 0.0)
    return Part(len(ordered), ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)])
