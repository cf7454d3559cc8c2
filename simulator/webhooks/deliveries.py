"""Delivers each event to every destination that wants it, with retries until a response is 2xx."""

import hashlib
import heapq
import hmac
import http.client
import itertools
import json
import random
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ..world import Object, World
from . import destinations
from .faults import DeliveryFaults

RETRY_SECONDS = (1.0, 5.0, 30.0, 120.0, 600.0)
SENDERS = 4
ANSWER_SECONDS = 10.0


@dataclass
class Delivery:
    """One event for one destination. `answers` holds the status of each attempt, 0 without a response."""

    event: Object
    destination: Object
    is_lost: bool = False
    answers: list[int] = field(default_factory=list)

    @property
    def is_delivered(self) -> bool:
        return bool(self.answers) and 200 <= self.answers[-1] < 300


Due = tuple[float, int, Delivery]
"""The time, a counter that keeps equal times in order, and the delivery."""


class Deliveries:
    """Sends in background threads, so that no request waits for a destination. `faults` can be set at any time."""

    def __init__(self, world: World, retry_seconds: tuple[float, ...] = RETRY_SECONDS, seed: int | None = None) -> None:
        self.made: list[Delivery] = []
        self.faults = DeliveryFaults()
        self._world = world
        self._retry_seconds = retry_seconds
        self._random = random.Random(seed)
        self._of_event: dict[str, list[Delivery]] = {}
        self._held: list[Delivery] = []
        self._due: list[Due] = []
        self._count = itertools.count()
        self._changed = threading.Condition()
        self._sending = 0
        self._stopping = False
        self._threads = [threading.Thread(target=self._send_due, daemon=True) for _ in range(SENDERS)]
        world.deliveries = self

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop the threads. Undelivered events stay undelivered."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def enqueue(self, event: Object) -> None:
        """Hold the event for every destination that wants it; it is sent when the world's lock is released."""
        self._enqueue(event)
        if self.faults.twin_events:
            self._enqueue(self._world.add("event", event | {"id": self._world.new_id("event")}))

    def flush(self) -> None:
        """Send what was held while the lock was taken: all at once, so that a seeded shuffle repeats."""
        with self._changed:
            now = time.monotonic()
            out = [
                (now + self.faults.delay_seconds, next(self._count), each) for each in self._held if not each.is_lost
            ]
            self._held = []
            for each in self._shuffled(out, now) if self.faults.disorder else out:
                self._push(each)

    def resend(self, event: Object, destination_id: str | None = None, param: str = "webhook_endpoint") -> int:
        """Send an event again, to one destination or to all that want it. Return the number of destinations.

        Errors  ApiError when the destination is unknown or disabled
        """
        chosen = (
            destinations.for_event(self._world, event)
            if destination_id is None
            else [destinations.get(self._world, destination_id, param)]
        )
        with self._changed:
            for destination in chosen:
                self._push((time.monotonic(), next(self._count), self._create(event, destination)))
            self._count_pending(event)
        return len(chosen)

    def of(self, event_id: str) -> list[Delivery]:
        """Return an event's deliveries, oldest first."""
        return list(self._of_event.get(event_id, ()))

    def settle(self, timeout_seconds: float) -> None:
        """Wait until every due delivery has been attempted, or raise TimeoutError."""
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            while self._sending or (self._due and self._due[0][0] <= time.monotonic()):
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"{len(self._due)} webhooks were not attempted in {timeout_seconds} s")
                self._changed.wait(0.2)

    def _enqueue(self, event: Object) -> None:
        with self._changed:
            for destination in destinations.for_event(self._world, event):
                for _ in range(1 + self.faults.duplicates):
                    is_lost = bool(self.faults.loss) and self._random.random() < self.faults.loss
                    self._held.append(self._create(event, destination, is_lost=is_lost))
            self._count_pending(event)

    def _create(self, event: Object, destination: Object, *, is_lost: bool = False) -> Delivery:
        delivery = Delivery(event, destination, is_lost)
        self.made.append(delivery)
        self._of_event.setdefault(event["id"], []).append(delivery)
        return delivery

    def _count_pending(self, event: Object) -> None:
        """Set `pending_webhooks` to the number of destinations that wait. Deliveries lost on purpose count as done."""
        waiting = (each for each in self.of(event["id"]) if not (each.is_delivered or each.is_lost))
        event["pending_webhooks"] = len({each.destination["id"] for each in waiting})

    def _shuffled(self, out: list[Due], now: float) -> list[Due]:
        """Shuffle which delivery goes out at which time, among these and those still delayed."""
        held = sorted(each for each in self._due if each[0] > now and not each[2].answers)
        self._due = sorted(each for each in self._due if each[0] <= now or each[2].answers)
        shuffled = [each[2] for each in held + out]
        self._random.shuffle(shuffled)
        return [(moment, order, each) for (moment, order, _), each in zip(held + out, shuffled, strict=True)]

    def _push(self, due: Due) -> None:
        heapq.heappush(self._due, due)
        self._changed.notify_all()

    def _send_due(self) -> None:
        while (delivery := self._wait_for_due()) is not None:
            self._record(delivery, self._attempt(delivery))

    def _wait_for_due(self) -> Delivery | None:
        """Return the next delivery when it is due, or None when stopping."""
        with self._changed:
            while not self._stopping:
                pause = self._due[0][0] - time.monotonic() if self._due else None
                if self._sending and self.faults.disorder:
                    pause = None  # one at a time, so that they also arrive in the shuffled order
                elif pause is not None and pause <= 0:
                    self._sending += 1
                    return heapq.heappop(self._due)[2]
                self._changed.wait(pause)
        return None

    def _attempt(self, delivery: Delivery) -> int:
        with self._changed:
            if self.faults.drops_attempt():
                return 0
        secret = destinations.secret_of(delivery.destination) + ("_wrong" if self.faults.wrong_secret else "")
        content = destinations.payload_for(self._world, delivery.destination, delivery.event)
        return post(destinations.url_of(delivery.destination), sign(content, secret))

    def _record(self, delivery: Delivery, status: int) -> None:
        with self._changed:
            self._sending -= 1
            delivery.answers.append(status)
            tries = len(delivery.answers)
            if delivery.is_delivered:
                self._count_pending(delivery.event)
            elif tries <= len(self._retry_seconds):
                self._push((time.monotonic() + self._retry_seconds[tries - 1], next(self._count), delivery))
            self._changed.notify_all()


def sign(content: Object, secret: str) -> tuple[bytes, dict[str, str]]:
    """Return the body and headers, signed with the wall clock's time, which destinations compare with theirs.

    Source  docs.stripe.com/webhooks#verify-manually
    """
    body = json.dumps(content, indent=2).encode()
    timestamp = int(time.time())
    signature = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return body, {
        "Content-Type": "application/json; charset=utf-8",
        "Stripe-Signature": f"t={timestamp},v1={signature}",
        "User-Agent": "Stripe/1.0 (simulation)",
    }


def post(url: str, message: tuple[bytes, dict[str, str]]) -> int:
    """Send a webhook and return the response's status, or 0 without a response."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)
    except ValueError:  # no such port
        return 0
    try:
        connection.request("POST", parts.path or "/", *message)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
