"""Webhooks: each event to each endpoint that wants it, signed, and again until it is answered with 2xx."""

import hashlib
import heapq
import hmac
import http.client
import itertools
import json
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .world import Object, World

RETRY_SECONDS = (1.0, 5.0, 30.0, 120.0, 600.0)
ANSWER_SECONDS = 10.0
SENDERS = 4


@dataclass
class Delivery:
    """One event on its way to one endpoint. `answers` holds the status of each attempt, 0 where nobody answered."""

    event: Object
    endpoint: Object
    answers: list[int] = field(default_factory=list)

    @property
    def is_delivered(self) -> bool:
        return bool(self.answers) and 200 <= self.answers[-1] < 300


class Deliveries:
    """Sends in threads of its own, so that no request waits for a receiver."""

    def __init__(self, world: World, retry_seconds: tuple[float, ...] = RETRY_SECONDS) -> None:
        self.made: list[Delivery] = []
        self._world = world
        self._retry_seconds = retry_seconds
        self._due: list[tuple[float, int, Delivery]] = []
        self._count = itertools.count()
        self._changed = threading.Condition()
        self._sending = 0
        self._stopping = False
        self._threads = [threading.Thread(target=self._send_due, daemon=True) for _ in range(SENDERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads; what was not delivered is not any more."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def take(self, event: Object) -> None:
        """Put the event on its way to every endpoint that wants it."""
        wanting = [each for each in self._world.all("webhook_endpoint") if _wants(each, event["type"])]
        event["pending_webhooks"] = len(wanting)
        with self._changed:
            for endpoint in wanting:
                delivery = Delivery(event, endpoint)
                self.made.append(delivery)
                self._push(delivery, time.monotonic())

    def settle(self, timeout_seconds: float) -> None:
        """Wait until everything that is due has been attempted; TimeoutError when that takes longer."""
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            while self._sending or (self._due and self._due[0][0] <= time.monotonic()):
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"{len(self._due)} webhooks were not attempted in {timeout_seconds} s")
                self._changed.wait(0.2)

    def _push(self, delivery: Delivery, due_at: float) -> None:
        heapq.heappush(self._due, (due_at, next(self._count), delivery))
        self._changed.notify_all()

    def _send_due(self) -> None:
        while (delivery := self._next()) is not None:
            answer = post(delivery.endpoint["url"], signed(delivery.event, delivery.endpoint["secret"]))
            self._note(delivery, answer)

    def _next(self) -> Delivery | None:
        """Wait for a delivery to become due; None when all is to stop."""
        with self._changed:
            while not self._stopping:
                pause = self._due[0][0] - time.monotonic() if self._due else None
                if pause is not None and pause <= 0:
                    self._sending += 1
                    return heapq.heappop(self._due)[2]
                self._changed.wait(pause)
        return None

    def _note(self, delivery: Delivery, answer: int) -> None:
        with self._changed:
            self._sending -= 1
            delivery.answers.append(answer)
            tries = len(delivery.answers)
            if delivery.is_delivered:
                delivery.event["pending_webhooks"] -= 1
            elif tries <= len(self._retry_seconds):
                self._push(delivery, time.monotonic() + self._retry_seconds[tries - 1])
            self._changed.notify_all()


def _wants(endpoint: Object, kind: str) -> bool:
    wanted = endpoint["enabled_events"]
    return endpoint["status"] == "enabled" and ("*" in wanted or kind in wanted)


def signed(event: Object, secret: str) -> tuple[bytes, dict[str, str]]:
    """Render an event as Stripe does, and sign it, on the wall clock: receivers compare it with theirs.

    Source  docs.stripe.com/webhooks#verify-manually
    """
    body = json.dumps(event, indent=2).encode()
    timestamp = int(time.time())
    signature = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return body, {
        "Content-Type": "application/json; charset=utf-8",
        "Stripe-Signature": f"t={timestamp},v1={signature}",
        "User-Agent": "Stripe/1.0 (simulation)",
    }


def post(url: str, message: tuple[bytes, dict[str, str]]) -> int:
    """Send a webhook and return the status of the answer; 0 when there was none."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("POST", parts.path or "/", *message)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
