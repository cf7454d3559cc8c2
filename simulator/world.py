"""The simulated account: every object in it, and the events that tell of their changes."""

import random
import string
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from . import settings
from .clock import DAY, Clock
from .errors import missing
from .lock import Turns

API_VERSION = "2026-10-28.endive"
ACCOUNT_ID = "acct_1CorkageSimulator"
WORLD_CLOCK = "clock_1CorkageSimulator"
SEEDED_START = 1_767_225_600  # 2026-01-01: where the time of a seeded world begins

Object = dict[str, Any]
"""An object of Stripe's, in its JSON shape; related objects stand in it as ids."""

PREFIXES = {
    "billing_portal.configuration": "bpc_",
    "billing_portal.session": "bps_",
    "checkout.session": "cs_test_",
    "coupon": "",
    "customer": "cus_",
    "discount": "di_",
    "event": "evt_",
    "invoice": "in_",
    "invoiceitem": "ii_",
    "line_item": "il_",
    "payment_method": "pm_",
    "price": "price_",
    "product": "prod_",
    "promotion_code": "promo_",
    "request": "req_",
    "subscription": "sub_",
    "subscription_item": "si_",
    "subscription_schedule": "sub_sched_",
    "test_helpers.test_clock": "clock_",
    "v2.core.event_destination": "ed_test_",
    "webhook_endpoint": "we_",
}


@dataclass
class Rules:
    """What an account has set in its Dashboard.

    Shape   after_retries: what becomes of a subscription whose last retry failed; portal pages follow their
            configuration, not this
    Units   days: between a failed payment and each retry; until a bank answers a delayed payment
    """

    retry_days: tuple[int, ...] = (3, 5, 7)
    after_retries: Literal["canceled", "unpaid", "past_due"] = "canceled"
    delayed_payment_days: int = 4


def copied(value: Any) -> Any:
    """Copy what is in JSON's shape: in a fourth of the time that copy.deepcopy takes, which was most of a renewal's."""
    if isinstance(value, dict):
        return {name: copied(each) for name, each in value.items()}
    return [copied(each) for each in value] if isinstance(value, list) else value


class EventOutbox(Protocol):
    """Where the world's events go. A protocol, because the deliveries import the world."""

    def take(self, event: Object) -> None: ...

    def send_again(self, event: Object, destination_id: str | None = None) -> int: ...

    def of(self, event_id: str) -> list[Any]: ...


class World:
    """All state, under one lock. With a seed, ids and times are the same in every run.

    `now` is the time of the clock in force: the world's own or, `on_clock`, that of a test clock. `behind` holds what
    stands behind an object and is not told: the card of a payment method, what a Checkout Session is to sell.
    `deliveries` are what its events are handed to.
    """

    deliveries: EventOutbox

    def __init__(self, seed: int | None = None, now: int | None = None) -> None:
        if seed is not None and now is None:
            now = SEEDED_START
        self.clock = Clock(WORLD_CLOCK, now)
        self.clocks = {WORLD_CLOCK: self.clock}
        self.rules = Rules()
        self.lock = Turns()
        self.actions: Mapping[str, Callable[[World, str, int], None]] = {}
        self.base_url = ""
        self.behind: dict[str, Object] = {}
        self._main = self.clock
        self._random = random.Random(seed)
        self._objects: dict[str, dict[str, Object]] = {kind: {} for kind in PREFIXES}
        self._added: dict[tuple[str, str], int] = {}
        self._listed_until: int | None = None
        self._request: Object = {"id": None, "idempotency_key": None}
        self.add("test_helpers.test_clock", self.new_clock(self.clock, "The simulator's own time"))

    def to_state(self) -> Object:
        """Return all of it as JSON can hold it; not a copy, so write it down while you hold the lock."""
        return {
            "objects": self._objects,
            "behind": self.behind,
            "clocks": {each.id: each.to_state() for each in self.clocks.values()},
            "random": self._random.getstate(),
            "rules": asdict(self.rules),
        }

    def restore(self, state: Object) -> None:
        """Become what to_state() returned."""
        if not state["objects"].keys() <= PREFIXES.keys():
            raise ValueError("objects of an unknown kind")
        version, numbers, gauss = state["random"]
        self._random.setstate((version, tuple(numbers), gauss))
        self._objects = {kind: dict(state["objects"].get(kind, {})) for kind in PREFIXES}
        self._added = {(kind, each): 0 for kind, found in self._objects.items() for each in found}
        self.behind = dict(state["behind"])
        self.clocks = {each: Clock.from_state(each, clock) for each, clock in state["clocks"].items()}
        self._main = self.clock = self.clocks[WORLD_CLOCK]
        settings.change(self.rules, state["rules"])

    @property
    def now(self) -> int:
        return self.clock.now()

    @property
    def world_time(self) -> int:
        """The time of the world's own clock, whichever is in force."""
        return self._main.now()

    def new_clock(self, clock: Clock, name: str | None) -> Object:
        """Make the object that stands for a clock."""
        self.clocks[clock.id] = clock
        return {
            "id": clock.id,
            "object": "test_helpers.test_clock",
            "created": self.world_time,
            "deletes_after": self.world_time + 30 * DAY,
            "frozen_time": clock.now(),
            "livemode": False,
            "name": name,
            "status": "ready",
            "status_details": {},
        }

    @contextmanager
    def on_clock(self, clock: Clock) -> Iterator[None]:
        """Have this clock in force."""
        before, self.clock = self.clock, clock
        try:
            yield
        finally:
            self.clock = before

    def clock_of(self, *object_ids: str | None) -> Clock:
        """Return the clock that the first of these objects that there is lives by: its customer's, else the world's."""
        for object_id in filter(None, object_ids):
            found = next((each[object_id] for each in self._objects.values() if object_id in each), None)
            if found is None:
                continue
            if object_id in self.clocks:
                return self.clocks[object_id]
            if found.get("test_clock"):
                return self.clocks[found["test_clock"]]
            return self.clock_of(found.get("customer"))
        return self._main

    def new_id(self, kind: str, length: int = 24) -> str:
        return PREFIXES[kind] + self.new_token(length)

    def new_token(self, length: int) -> str:
        return "".join(self._random.choices(string.ascii_letters + string.digits, k=length))

    def add(self, kind: str, created: Object) -> Object:
        """Keep a new object; it must have its id."""
        self._objects[kind][created["id"]] = created
        self._added.setdefault((kind, created["id"]), self.world_time)
        return created

    def remove(self, kind: str, object_id: str) -> None:
        del self._objects[kind][object_id]

    def get(self, kind: str, object_id: str, param: str = "id") -> Object:
        """Find an object; ApiError resource_missing when there is none of this id."""
        found = self._objects[kind].get(object_id)
        if found is None:
            raise missing(kind, object_id, param)
        return found

    def all(self, kind: str) -> list[Object]:
        """List the objects of a kind, newest first."""
        found = list(reversed(self._objects[kind].values()))
        if self._listed_until is None:
            return found
        return [each for each in found if self._added[kind, each["id"]] <= self._listed_until]

    def find(self, kind: str, object_id: str | None) -> Object | None:
        """Find an object; None when there is none."""
        return self._objects[kind].get(object_id or "")

    def where(self, kind: str, **fields: Any) -> list[Object]:
        """List the objects of a kind whose fields have these values, newest first."""
        return [each for each in self.all(kind) if all(each[name] == value for name, value in fields.items())]

    def emit(self, kind: str, subject: Object, previous: Object | None = None) -> None:
        """Record an event with the object as it is now, and hand it to the deliveries."""
        data = {"object": copied(subject)} | ({"previous_attributes": previous} if previous else {})
        event = {
            "id": self.new_id("event"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.world_time,
            "data": data,
            "livemode": False,
            "pending_webhooks": 0,
            "request": dict(self._request),
            "type": kind,
        }
        with self.lock:
            self.add("event", event)
            self.deliveries.take(event)

    @contextmanager
    def changing(self, subject: Object, kind: str) -> Iterator[None]:
        """Emit the event when the block changed the object, with what was there before."""
        before = copied(subject)
        yield
        previous = {name: value for name, value in before.items() if subject.get(name) != value}
        if previous:
            self.emit(kind, subject, previous)

    @contextmanager
    def lagging(self, seconds: int) -> Iterator[None]:
        """Have lists lack what was added in the last so many seconds; by its id it is found."""
        self._listed_until = self.world_time - seconds if seconds else None
        try:
            yield
        finally:
            self._listed_until = None

    @contextmanager
    def requested(self, request_id: str, idempotency_key: str | None) -> Iterator[None]:
        """Have the events of this block say which request made them."""
        self._request = {"id": request_id, "idempotency_key": idempotency_key}
        try:
            yield
        finally:
            self._request = {"id": None, "idempotency_key": None}
