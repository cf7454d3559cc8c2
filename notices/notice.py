"""A notice, and its receivers in this process: the host's callbacks."""

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from .changes import KINDS


class AccessSummary(NamedTuple):
    """A user's access in a notice, before or after: fields of Access, and whether a trial ends soon."""

    allowed: bool
    reason: str
    status: str | None = None
    plan: str | None = None
    price_id: str | None = None
    quantity: int | None = None
    cancel_at: int | None = None
    trial_ending: bool = False


class Notice(NamedTuple):
    """A change of a user's access. One that is delivered twice has the same id both times.

    Shape   kind is one of KINDS
    Units   created_at in Unix seconds, UTC
    """

    id: str
    kind: str
    user_id: str
    created_at: float
    before: AccessSummary
    after: AccessSummary


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


EVERY_KIND = "*"
QUIET_SECONDS = 5.0  # a host registers its callbacks one by one at start: no notice may come in between

Callback = Callable[[Notice], object]


class Callbacks:
    """The receiver that calls the host's functions. A notice of a kind without a function counts as delivered."""

    name = "callbacks"

    def __init__(self) -> None:
        self.ready_at = 0.0
        self._hooks: dict[str, list[Callback]] = {kind: [] for kind in (*KINDS, EVERY_KIND)}

    def add(self, kind: str, hook: Callback) -> None:
        """Register a function for the notices of this kind, or of all kinds for "*".

        Errors  ValueError when there is no such kind
        """
        if kind not in self._hooks:
            raise ValueError(f"no notice is called {kind!r}; there are {', '.join(KINDS)}, and '*' for all of them")
        if not callable(hook):
            raise TypeError(f"a callback for {kind!r} is called with a Notice; {type(hook).__name__} is not callable")
        self._hooks[kind].append(hook)
        self.ready_at = time.time() + QUIET_SECONDS

    def notify(self, notice: Notice) -> str:
        """Call each function that is registered for it. When one raises, all of them are called again later."""
        hooks = (*self._hooks.get(notice.kind, ()), *self._hooks[EVERY_KIND])
        for hook in hooks:
            hook(notice)
        return "called" if hooks else "no callback"
