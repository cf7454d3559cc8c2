"""A notice: what a receiver gets, and what a receiver is."""

from typing import NamedTuple, Protocol


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
