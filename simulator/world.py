"""The simulated account: every object in it, and the events that tell of their changes."""

import copy
import random
import string
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .clock import Clock
from .errors import missing

API_VERSION = "2026-10-28.endive"
ACCOUNT_ID = "acct_1CorkageSimulator"

Object = dict[str, Any]
"""An object of Stripe's, in its JSON shape; related objects stand in it as ids."""

PREFIXES = {
    "billing_portal.configuration": "bpc_",
    "billing_portal.session": "bps_",
    "checkout.session": "cs_test_",
    "customer": "cus_",
    "event": "evt_",
    "invoice": "in_",
    "invoice_payment": "inpay_",
    "line_item": "il_",
    "payment_intent": "pi_",
    "payment_method": "pm_",
    "price": "price_",
    "product": "prod_",
    "request": "req_",
    "subscription": "sub_",
    "subscription_item": "si_",
    "webhook_endpoint": "we_",
}


def _ignore(_event: Object) -> None:
    pass


class World:
    """All state, under one lock. With a seed, the ids are the same in every run."""

    def __init__(self, clock: Clock, seed: int | None = None) -> None:
        self.clock = clock
        self.lock = threading.RLock()
        self.on_event: Callable[[Object], None] = _ignore
        self.base_url = ""
        self.cards: dict[str, str] = {}
        self.wishes: dict[str, Object] = {}
        self._random = random.Random(seed)
        self._objects: dict[str, dict[str, Object]] = {kind: {} for kind in PREFIXES}
        self._request: Object = {"id": None, "idempotency_key": None}

    @property
    def now(self) -> int:
        return self.clock.now()

    def new_id(self, kind: str, length: int = 24) -> str:
        return PREFIXES[kind] + self.new_token(length)

    def new_token(self, length: int) -> str:
        return "".join(self._random.choices(string.ascii_letters + string.digits, k=length))

    def add(self, kind: str, created: Object) -> Object:
        """Keep a new object; it must have its id."""
        self._objects[kind][created["id"]] = created
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
        return list(reversed(self._objects[kind].values()))

    def where(self, kind: str, **fields: Any) -> list[Object]:
        """List the objects of a kind whose fields have these values, newest first."""
        return [each for each in self.all(kind) if all(each[name] == value for name, value in fields.items())]

    def emit(self, kind: str, subject: Object, previous: Object | None = None) -> None:
        """Record an event with the object as it is now, and hand it to the deliveries."""
        data = {"object": copy.deepcopy(subject)} | ({"previous_attributes": previous} if previous else {})
        event = {
            "id": self.new_id("event"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now,
            "data": data,
            "livemode": False,
            "pending_webhooks": 0,
            "request": dict(self._request),
            "type": kind,
        }
        self.add("event", event)
        self.on_event(event)

    @contextmanager
    def changing(self, subject: Object, kind: str) -> Iterator[None]:
        """Emit the event when the block changed the object, with what was there before."""
        before = copy.deepcopy(subject)
        yield
        previous = {name: value for name, value in before.items() if subject.get(name) != value}
        if previous:
            self.emit(kind, subject, previous)

    @contextmanager
    def requested(self, request_id: str, idempotency_key: str | None) -> Iterator[None]:
        """Have the events of this block say which request made them."""
        self._request = {"id": request_id, "idempotency_key": idempotency_key}
        try:
            yield
        finally:
            self._request = {"id": None, "idempotency_key": None}
