"""The simulated account: all its objects, clocks, and events."""

import random
import string
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, Protocol

from . import settings
from .clock import DAY, Clock
from .errors import missing
from .lock import WorldLock

API_VERSION = "2026-10-28.endive"
ACCOUNT_ID = "acct_1CorkageSimulator"
WORLD_CLOCK = "clock_1CorkageSimulator"
SEEDED_START = 1_767_225_600  # 2026-01-01, the start of a seeded world's time

Object = dict[str, Any]
"""One of Stripe's objects in its JSON shape, with the ids of related objects."""

PREFIXES = {
    "billing.meter": "mtr_test_",
    "account": "acct_",
    "balance_transaction": "txn_",
    "billing_portal.configuration": "bpc_",
    "billing_portal.session": "bps_",
    "card": "card_",
    "charge": "ch_",
    "checkout.session": "cs_test_",
    "coupon": "",
    "customer": "cus_",
    "customer_balance_transaction": "cbtxn_",
    "customer_cash_balance_transaction": "ccsbtxn_",
    "credit_note": "cn_",
    "credit_note_line_item": "cnli_",
    "discount": "di_",
    "entitlements.active_entitlement": "ent_",
    "entitlements.feature": "feat_",
    "dispute": "du_",
    "event": "evt_",
    "identity.verification_session": "vs_",
    "invoice": "in_",
    "invoice_payment": "inpay_",
    "invoiceitem": "ii_",
    "line_item": "il_",
    "payment_intent": "pi_",
    "payment_link": "plink_",
    "payment_method": "pm_",
    "payout": "po_",
    "plan": "plan_",
    "price": "price_",
    "product": "prod_",
    "product_feature": "prodft_",
    "promotion_code": "promo_",
    "radar.early_fraud_warning": "issfr_",
    "refund": "re_",
    "reporting.report_run": "frr_",
    "request": "req_",
    "setup_intent": "seti_",
    "subscription": "sub_",
    "subscription_item": "si_",
    "subscription_schedule": "sub_sched_",
    "tax_id": "txi_",
    "tax_rate": "txr_",
    "test_helpers.test_clock": "clock_",
    "topup": "tu_",
    "transfer": "tr_",
    "transfer_reversal": "trr_",
    "v2.core.event_destination": "ed_test_",
    "webhook_endpoint": "we_",
}


@dataclass
class Rules:
    """The account's settings in its Dashboard. Portal pages follow their configuration, not these rules."""

    retry_days: Annotated[tuple[int, ...], "days between a failed payment and each retry"] = (3, 5, 7)
    after_retries: Annotated[
        Literal["canceled", "unpaid", "past_due"],
        "the status of a subscription after the last retry has failed",
    ] = "canceled"
    delayed_payment_days: Annotated[int, "days until a bank answers"] = 4
    portal_is_saved: Annotated[
        bool,
        "somebody has saved the customer portal's settings, without which it opens for nobody",
    ] = True
    portal_pays_open_invoices: Annotated[
        bool,
        "a card saved in the portal pays open invoices at once; it is not known whether Stripe's does",
    ] = False


def copy_json(value: Any) -> Any:
    """Copy a JSON value. copy.deepcopy takes four times as long, and was most of a renewal's time."""
    if isinstance(value, dict):
        return {name: copy_json(each) for name, each in value.items()}
    return [copy_json(each) for each in value] if isinstance(value, list) else value


EMBEDDED = {"invoice": "lines", "subscription": "items"}
EMBEDDED_LIMIT = 10


def copy_shown(subject: Any) -> Any:
    """Copy an object as Stripe shows it: the list inside it has at most ten objects, and says whether it has more."""
    shown = copy_json(subject)
    cut_embedded(shown)
    return shown


def cut_embedded(subject: Any) -> None:
    """Cut the list inside an object, or inside each object of a list, to its first ten."""
    kind = subject.get("object") if isinstance(subject, dict) else None
    if kind == "list":
        for each in subject["data"]:
            cut_embedded(each)
    embedded = subject.get(EMBEDDED[kind]) if kind in EMBEDDED else None  # of a deleted object only its id is shown
    if embedded and len(embedded["data"]) > EMBEDDED_LIMIT:
        embedded |= {"data": embedded["data"][:EMBEDDED_LIMIT], "has_more": True}


class EventOutbox(Protocol):
    """What the world needs of webhooks.Deliveries. A protocol, because Deliveries imports the world."""

    def enqueue(self, event: Object) -> None: ...

    def flush(self) -> None: ...

    def resend(self, event: Object, destination_id: str | None = None) -> int: ...

    def of(self, event_id: str) -> list[Any]: ...


class NoDeliveries:
    """Takes events, and sends none."""

    def enqueue(self, event: Object) -> None: ...

    def flush(self) -> None: ...

    def resend(self, _event: Object, _destination_id: str | None = None) -> int:
        return 0

    def of(self, _event_id: str) -> list[Any]:
        return []


CUSTOMERS_OWN = (
    "charge",
    "checkout.session",
    "coupon",
    "customer",
    "discount",
    "invoice",
    "invoice_payment",
    "invoiceitem",
    "payment_intent",
    "payment_method",
    "promotion_code",
    "setup_intent",
    "subscription",
    "subscription_schedule",
)
"""Kinds of objects that belong to a customer, or count redemptions."""
REHEARSED = ("_objects", "hidden", "_added", "clock", "clocks", "_world_clock", "deliveries")


def _is_of(subject: Object, customer_id: str) -> bool:
    """Return whether an object is the customer's, or is an offer, which counts how often it is redeemed."""
    if subject["object"] in ("coupon", "invoice_payment", "promotion_code"):
        return True
    return customer_id in (subject["id"], subject.get("customer"))


class World:
    """All state, under one lock. With a seed, ids and times are the same in every run.

    `clock` is the current clock: the world's own, or a test clock inside `on_clock`; `now` is its time. `hidden` holds
    data of an object that the API does not show: the card of a payment method, the items of a Checkout Session.
    `deliveries` receives the events. `api_version` is the account's default; objects are stored in API_VERSION's shape.
    """

    def __init__(self, seed: int | None = None, now: int | None = None) -> None:
        if seed is not None and now is None:
            now = SEEDED_START
        self.clock = Clock(WORLD_CLOCK, now)
        self.clocks = {WORLD_CLOCK: self.clock}
        self.rules = Rules()
        self.deliveries: EventOutbox = NoDeliveries()
        self.lock = WorldLock(self._begin_moment, self._end_moment)
        self.actions: Mapping[str, Callable[[World, str, int], None]] = {}
        self.api_version = API_VERSION
        self.observers: tuple[Callable[[World, str, Object], None], ...] = ()
        self.base_url = ""
        self.hidden: dict[str, Object] = {}
        self._world_clock = self.clock
        self._random = random.Random(seed)
        self._objects: dict[str, dict[str, Object]] = {kind: {} for kind in PREFIXES}
        self._added: dict[tuple[str, str], int] = {}
        self._listed_until: int | None = None
        self._request: Object = {"id": None, "idempotency_key": None}
        self.add("test_helpers.test_clock", self.new_clock(self.clock, "The simulator's own time"))

    def to_state(self) -> Object:
        """Return the state for JSON. It is not a copy, so serialize it while you hold the lock."""
        return {
            "objects": self._objects,
            "behind": self.hidden,
            "clocks": {each.id: each.to_state() for each in self.clocks.values()},
            "random": self._random.getstate(),
            "rules": asdict(self.rules),
        }

    def restore(self, state: Object) -> None:
        """Load a state from to_state()."""
        if not state["objects"].keys() <= PREFIXES.keys():
            raise ValueError("objects of an unknown kind")
        version, numbers, gauss = state["random"]
        self._random.setstate((version, tuple(numbers), gauss))
        self._objects = {kind: dict(state["objects"].get(kind, {})) for kind in PREFIXES}
        self._share_prices()
        self._added = {(kind, each): 0 for kind, found in self._objects.items() for each in found}
        self.hidden = dict(state["behind"])
        self.clocks = {each: Clock.from_state(each, clock) for each, clock in state["clocks"].items()}
        self._world_clock = self.clock = self.clocks[WORLD_CLOCK]
        settings.change(self.rules, state["rules"])

    def _share_prices(self) -> None:
        """Let subscription items hold the account's own prices again: JSON has made copies of them."""
        for subscription in self._objects["subscription"].values():
            for item in subscription["items"]["data"]:
                item["price"] = self._objects["price"].get(item["price"]["id"], item["price"])
                item["plan"] = self._objects["plan"].setdefault(item["plan"]["id"], item["plan"])
                self._objects["subscription_item"][item["id"]] = item

    def _begin_moment(self) -> None:
        self._world_clock.hold()

    def _end_moment(self) -> None:
        self.deliveries.flush()
        self._world_clock.release()

    @property
    def now(self) -> int:
        return self.clock.now()

    @property
    def world_time(self) -> int:
        """The time of the world's own clock, even inside `on_clock`."""
        return self._world_clock.now()

    def new_clock(self, clock: Clock, name: str | None) -> Object:
        """Add a clock, and return its API object."""
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
        """Make this the current clock inside the block."""
        before, self.clock = self.clock, clock
        try:
            yield
        finally:
            self.clock = before

    def clock_of(self, *object_ids: str | None) -> Clock:
        """Return the clock of the first of these objects that exists, or its customer's; else the world's own."""
        for object_id in filter(None, object_ids):
            found = next((each[object_id] for each in self._objects.values() if object_id in each), None)
            if found is None:
                continue
            if object_id in self.clocks:
                return self.clocks[object_id]
            if found.get("test_clock"):
                return self.clocks[found["test_clock"]]
            return self.clock_of(*map(found.get, ("customer", "subscription", "charge", "invoice")))
        return self._world_clock

    def unquoted_id(self, quoted: str) -> str:
        """Return the id that a path names. Stripe's SDKs write a blank, which old plans' ids may have, as "+"."""
        if "+" not in quoted or any(quoted in each for each in self._objects.values()):
            return quoted
        return quoted.replace("+", " ")

    def new_id(self, kind: str, length: int = 24) -> str:
        return PREFIXES[kind] + self.new_token(length)

    def new_token(self, length: int) -> str:
        return "".join(self._random.choices(string.ascii_letters + string.digits, k=length))

    def add(self, kind: str, created: Object) -> Object:
        """Store a new object, which must have its id."""
        self._objects[kind][created["id"]] = created
        self._added.setdefault((kind, created["id"]), self.world_time)
        return created

    def remove(self, kind: str, object_id: str) -> None:
        del self._objects[kind][object_id]

    def get(self, kind: str, object_id: str, param: str = "id") -> Object:
        """Return an object, or raise ApiError resource_missing."""
        found = self._objects[kind].get(object_id)
        if found is None:
            raise missing(kind, object_id, param)
        return found

    def all(self, kind: str) -> list[Object]:
        """Return the objects of a kind, newest first."""
        found = list(reversed(self._objects[kind].values()))
        if self._listed_until is None:
            return found
        return [each for each in found if self._added[kind, each["id"]] <= self._listed_until]

    def has_any(self, kind: str) -> bool:
        return bool(self._objects[kind])

    def find(self, kind: str, object_id: str | None) -> Object | None:
        """Return an object, or None."""
        return self._objects[kind].get(object_id or "")

    def where(self, kind: str, **fields: Any) -> list[Object]:
        """Return the objects of a kind with these field values, newest first."""
        return [each for each in self.all(kind) if all(each[name] == value for name, value in fields.items())]

    def emit(self, kind: str, subject: Object, previous: Object | None = None) -> None:
        """Store an event with a copy of the object, and enqueue it for delivery."""
        data = {"object": copy_shown(subject)} | ({"previous_attributes": previous} if previous else {})
        event = {
            "id": self.new_id("event"),
            "object": "event",
            "api_version": self.api_version,
            "created": self.world_time,
            "data": data,
            "livemode": False,
            "pending_webhooks": 0,
            "request": dict(self._request),
            "type": kind,
        }
        with self.lock:
            self.add("event", event)
            self.deliveries.enqueue(event)
        for observe in self.observers:
            observe(self, kind, subject)

    def emit_thin(self, kind: str, subject: Object | None, data: Object) -> None:
        """Store and enqueue an event that exists in the v2 API alone, about an object or none."""
        event = {
            "id": self.new_id("event"),
            "object": "event",
            "created": self.world_time,
            "data": {"object": copy_json(subject or {}), "thin": data},
            "pending_webhooks": 0,
            "request": {"id": None, "idempotency_key": None},
            "type": kind,
        }
        with self.lock:
            self.add("event", event)
            self.deliveries.enqueue(event)

    def listed_until(self, now: int) -> int:
        """Return the time after which objects are not listed yet: now, unless lists lag."""
        return now if self._listed_until is None else self._listed_until

    @contextmanager
    def changing(self, subject: Object, kind: str) -> Iterator[None]:
        """Emit the event if the block changes the object, with the previous values."""
        before = copy_json(subject)
        yield
        previous = {name: value for name, value in before.items() if subject.get(name) != value}
        if previous:
            cut_embedded({"object": subject["object"]} | before)
            self.emit(kind, subject, previous)

    @contextmanager
    def lagging_lists(self, seconds: int) -> Iterator[None]:
        """Inside the block, lists omit objects added in the last seconds; their ids still find them."""
        self._listed_until = self.world_time - seconds if seconds else None
        try:
            yield
        finally:
            self._listed_until = None

    @contextmanager
    def rehearsal(self, customer_id: str, *, repeats_ids: bool = True) -> Iterator[None]:
        """Inside the block, changes happen to copies of the customer's objects: nothing stays, no event is sent.

        Shape   repeats_ids: ids made inside are made again afterwards; not if the caller stores an object of the block
        """
        kept = {name: getattr(self, name) for name in REHEARSED}
        random_state, clock_id = self._random.getstate(), self.clock.id
        self._objects = {kind: dict(found) for kind, found in self._objects.items()}
        copied = set()
        for kind in CUSTOMERS_OWN:
            for each in [each for each in self._objects[kind].values() if _is_of(each, customer_id)]:
                self._objects[kind][each["id"]] = copy_json(each)
                copied.add(each["id"])
        self.hidden = {key: copy_json(each) if key in copied else each for key, each in self.hidden.items()}
        self._added = dict(self._added)
        self.clock = self.clock.copy()
        self.clocks = self.clocks | {clock_id: self.clock}
        self._world_clock = self.clocks[WORLD_CLOCK]
        self.deliveries = NoDeliveries()
        self._share_prices()
        try:
            yield
        finally:
            for name, value in kept.items():
                setattr(self, name, value)
            if repeats_ids:
                self._random.setstate(random_state)

    def is_of_customer(self, object_id: str, customer_id: str) -> bool:
        """Return whether an object belongs to the customer."""
        return any(
            _is_of(found, customer_id)
            for found in (self._objects[kind].get(object_id) for kind in CUSTOMERS_OWN)
            if found is not None
        )

    @contextmanager
    def caused_by_request(self, request_id: str, idempotency_key: str | None) -> Iterator[None]:
        """Inside the block, events name this request as their cause."""
        self._request = {"id": request_id, "idempotency_key": idempotency_key}
        try:
            yield
        finally:
            self._request = {"id": None, "idempotency_key": None}
