"""Webhooks: each event to each receiver that wants it, and again until it is answered with 2xx."""

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
    """One event on its way to one receiver. `answers` holds the status of each attempt, 0 where nobody answered."""

    event: Object
    receiver: Object
    is_lost: bool = False
    answers: list[int] = field(default_factory=list)

    @property
    def is_delivered(self) -> bool:
        return bool(self.answers) and 200 <= self.answers[-1] < 300


Due = tuple[float, int, Delivery]
"""When, in which order among equals, what."""


class Deliveries:
    """Sends in threads of its own, so that no request waits for a receiver. `faults` is what is to go wrong."""

    def __init__(self, world: World, retry_seconds: tuple[float, ...] = RETRY_SECONDS, seed: int | None = None) -> None:
        self.made: list[Delivery] = []
        self.faults = DeliveryFaults()
        self._world = world
        self._retry_seconds = retry_seconds
        self._chance = random.Random(seed)
        self._of_event: dict[str, list[Delivery]] = {}
        self._taken: list[Delivery] = []
        self._due: list[Due] = []
        self._count = itertools.count()
        self._changed = threading.Condition()
        self._sending = 0
        self._stopping = False
        self._threads = [threading.Thread(target=self._send_due, daemon=True) for _ in range(SENDERS)]
        world.deliveries = self
        world.lock.at_end = self._release

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
        """Put the event on its way to everybody who wants it, once the world's turn is over."""
        self._take(event)
        if self.faults.twin_events:
            self._take(self._world.add("event", event | {"id": self._world.new_id("event")}))

    def send_again(self, event: Object, destination_id: str | None = None, param: str = "webhook_endpoint") -> int:
        """Send an event once more, to one receiver or to all that want it; return to how many.

        Errors  ApiError when the receiver is unknown or disabled
        """
        chosen = (
            destinations.wanting(self._world, event)
            if destination_id is None
            else [destinations.named(self._world, destination_id, param)]
        )
        with self._changed:
            for receiver in chosen:
                self._push((time.monotonic(), next(self._count), self._make(event, receiver)))
            self._count_pending(event)
        return len(chosen)

    def of(self, event_id: str) -> list[Delivery]:
        """List an event's deliveries, oldest first."""
        return list(self._of_event.get(event_id, ()))

    def settle(self, timeout_seconds: float) -> None:
        """Wait until everything that is due has been attempted; TimeoutError when that takes longer."""
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            while self._sending or (self._due and self._due[0][0] <= time.monotonic()):
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"{len(self._due)} webhooks were not attempted in {timeout_seconds} s")
                self._changed.wait(0.2)

    def _take(self, event: Object) -> None:
        with self._changed:
            for receiver in destinations.wanting(self._world, event):
                for _ in range(1 + self.faults.duplicates):
                    is_lost = bool(self.faults.loss) and self._chance.random() < self.faults.loss
                    self._taken.append(self._make(event, receiver, is_lost=is_lost))
            self._count_pending(event)

    def _make(self, event: Object, receiver: Object, *, is_lost: bool = False) -> Delivery:
        delivery = Delivery(event, receiver, is_lost)
        self.made.append(delivery)
        self._of_event.setdefault(event["id"], []).append(delivery)
        return delivery

    def _count_pending(self, event: Object) -> None:
        """Stripe counts receivers; of what is lost on purpose it knows nothing."""
        waiting = (each for each in self.of(event["id"]) if not (each.is_delivered or each.is_lost))
        event["pending_webhooks"] = len({each.receiver["id"] for each in waiting})

    def _release(self) -> None:
        """Let out what was taken in the turn that ends: all of it at once, so that a shuffle is the same every time."""
        with self._changed:
            now = time.monotonic()
            out = [
                (now + self.faults.delay_seconds, next(self._count), each) for each in self._taken if not each.is_lost
            ]
            self._taken = []
            for each in self._shuffled(out, now) if self.faults.disorder else out:
                self._push(each)

    def _shuffled(self, out: list[Due], now: float) -> list[Due]:
        """Deal the moments at which something is to be sent out anew, those that are still ahead too."""
        held = sorted(each for each in self._due if each[0] > now and not each[2].answers)
        self._due = sorted(each for each in self._due if each[0] <= now or each[2].answers)
        dealt = [each[2] for each in held + out]
        self._chance.shuffle(dealt)
        return [(moment, order, each) for (moment, order, _), each in zip(held + out, dealt, strict=True)]

    def _push(self, due: Due) -> None:
        heapq.heappush(self._due, due)
        self._changed.notify_all()

    def _send_due(self) -> None:
        while (delivery := self._next()) is not None:
            self._note(delivery, self._attempt(delivery))

    def _next(self) -> Delivery | None:
        """Wait for a delivery to become due; None when all is to stop."""
        with self._changed:
            while not self._stopping:
                pause = self._due[0][0] - time.monotonic() if self._due else None
                if self._sending and self.faults.disorder:
                    pause = None  # in the order that was dealt, also on the wire: one at a time
                elif pause is not None and pause <= 0:
                    self._sending += 1
                    return heapq.heappop(self._due)[2]
                self._changed.wait(pause)
        return None

    def _attempt(self, delivery: Delivery) -> int:
        with self._changed:
            if self.faults.swallow():
                return 0
        secret = destinations.secret_of(delivery.receiver) + ("_wrong" if self.faults.wrong_secret else "")
        content = destinations.content_for(self._world, delivery.receiver, delivery.event)
        return post(destinations.url_of(delivery.receiver), signed(content, secret))

    def _note(self, delivery: Delivery, answer: int) -> None:
        with self._changed:
            self._sending -= 1
            delivery.answers.append(answer)
            tries = len(delivery.answers)
            if delivery.is_delivered:
                self._count_pending(delivery.event)
            elif tries <= len(self._retry_seconds):
                self._push((time.monotonic() + self._retry_seconds[tries - 1], next(self._count), delivery))
            self._changed.notify_all()


def signed(content: Object, secret: str) -> tuple[bytes, dict[str, str]]:
    """Write the content as Stripe does, and sign it, on the wall clock: receivers compare it with theirs.

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
