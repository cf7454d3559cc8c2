"""A notice: what a receiver gets, and what a receiver is."""

from typing import NamedTuple, Protocol


class Told(NamedTuple):
    """What a notice says of a user's access, before and after: fields of Access, and whether a trial ends soon."""

    allowed: bool
    reason: str
    status: str | None = None
    plan: str | None = None
    price_id: str | None = None
    quantity: int | None = None
    cancel_at: int | None = None
    trial_ending: bool = False


class Notice(NamedTuple):
    """A change of a user's access. The same id is the same change, should it be told twice.

    Shape   kind is one of KINDS
    Units   created_at in Unix seconds, UTC
    """

    id: str
    kind: str
    user_id: str
    created_at: float
    before: Told
    after: Told


class NotTaken(Exception):
    """The receiver did not take the notice.

    Shape   is_down: no notice would be taken now, so all of them wait;
            retry_after_seconds: for how long at least, as the receiver said
    """

    def __init__(self, reason: str, *, is_down: bool = False, retry_after_seconds: float = 0) -> None:
        super().__init__(reason)
        self.is_down = is_down
        self.retry_after_seconds = retry_after_seconds


class Receiver(Protocol):
    """Who is told. ready_at: when telling may begin, in Unix seconds."""

    name: str
    ready_at: float

    def tell(self, notice: Notice) -> str:
        """Tell of a change, and return what became of it, in a word.

        Errors  NotTaken; any other is logged with its traceback, and counts as the same
        """
