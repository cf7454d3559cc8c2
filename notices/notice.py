"""Notices as receivers get them. The host's callbacks are one receiver."""

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

KINDS = (
    "payment_failed",
    "payment_recovered",
    "refunded",
    "disputed",
    "subscription_replaced",
    "access_granted",
    "access_revoked",
    "plan_changed",
    "cancellation_scheduled",
    "cancellation_undone",
    "trial_ending",
    "addon_without_plan",
    "price_will_change",
    "price_change_withdrawn",
)

EVERY_KIND = "*"
QUIET_SECONDS = 5.0  # a host registers its callbacks one by one at start: no notice may come in between


class AccessSummary(NamedTuple):
    """A user's access in a notice, before or after: fields of Access, and whether a trial ends soon.

    Shape   plans: without the free plan, which everybody has; where the notice names a subscription or a purchase,
            status, plan, price_id, quantity, cancel_at and trial_ending are those of that
    """

    allowed: bool = False
    reason: str = ""
    status: str | None = None
    plan: str | None = None
    price_id: str | None = None
    quantity: int | None = None
    cancel_at: int | None = None
    trial_ending: bool = False
    plans: tuple[str, ...] = ()

    @property
    def bought(self) -> tuple[tuple[str, ...], int | None]:
        """What `plan_changed` compares."""
        return tuple(sorted(self.plans)), self.quantity


class Notice(NamedTuple):
    """A change of a user's access, or of one subscription. One that is delivered twice has the same id both times.

    Shape   kind is one of KINDS; subscription_id: the subscription that a notice about a payment, a cancellation or a
            trial is about; purchase_id: what was bought once, where money was given back for that; both None where it
            is about the user's access as a whole; details: what only this kind says
    Units   created_at in Unix seconds, UTC
    """

    id: str
    kind: str
    user_id: str
    created_at: float
    before: AccessSummary
    after: AccessSummary
    subscription_id: str | None = None
    purchase_id: str | None = None
    details: Mapping[str, Any] = MappingProxyType({})


class NotDelivered(Exception):
    """The receiver did not accept the notice.

    Shape   is_down: it would accept no notice now, so all of them wait;
            retry_after_seconds: for how long at least, as the receiver said
    """

    def __init__(self, reason: str, *, is_down: bool = False, retry_after_seconds: float = 0) -> None:
        super().__init__(reason)
        self.is_down = is_down
        self.retry_after_seconds = retry_after_seconds


class Receiver(Protocol):
    """Something that receives notices. ready_at: when deliveries may begin, in Unix seconds."""

    name: str
    ready_at: float

    def notify(self, notice: Notice) -> str:
        """Deliver a notice, and return the outcome in a word.

        Errors  NotDelivered; any other is logged with its traceback, and counts as the same
        """


NoticeCallback = Callable[[Notice], object]


class Callbacks:
    """The receiver that calls the host's functions. A notice of a kind without a function counts as delivered."""

    name = "callbacks"

    def __init__(self) -> None:
        self.ready_at = 0.0
        self._callbacks: dict[str, list[NoticeCallback]] = {kind: [] for kind in (*KINDS, EVERY_KIND)}

    def add(self, kind: str, callback: NoticeCallback) -> None:
        """Register a function for the notices of this kind, or of all kinds for "*".

        Errors  ValueError when there is no such kind
        """
        if kind not in self._callbacks:
            raise ValueError(f"no notice is called {kind!r}; there are {', '.join(KINDS)}, and '*' for all of them")
        if not callable(callback):
            raise TypeError(f"the callback for {kind!r} must be callable; {type(callback).__name__} is not callable")
        self._callbacks[kind].append(callback)
        self.ready_at = time.time() + QUIET_SECONDS

    def notify(self, notice: Notice) -> str:
        """Call each function that is registered for it. When one raises, all of them are called again later."""
        callbacks = (*self._callbacks.get(notice.kind, ()), *self._callbacks[EVERY_KIND])
        for callback in callbacks:
            callback(notice)
        return "called" if callbacks else "no callback"
