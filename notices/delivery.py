"""Delivery: receivers are told what they are owed, at least once, outside any transaction; what fails is repeated."""

import json
import logging
import time
from collections.abc import Callable

from ..sync.pauses import backoff, is_due
from . import outbox
from .notice import Notice, NotTaken, Receiver, Told
from .outbox import Held

DOWN_SECONDS, LONGEST_DOWN_SECONDS = 5.0, 60.0
LONGEST_RETRY_AFTER_SECONDS = 3600.0

log = logging.getLogger("corkage.notices")


def value_of(held: Held) -> Notice:
    """Read a notice as the host gets it."""
    row = held.notice
    return Notice(row.message_id, row.kind, row.user_id, row.created_at, _told(row.before), _told(row.after))


def _told(text: str) -> Told:
    said = json.loads(text)
    return Told(**{name: said[name] for name in Told._fields if name in said})


class Deliverer:
    """Tells one receiver what it is owed. Any number may do so, in threads and processes: what is told is claimed."""

    def __init__(self, receiver: Receiver, clock: Callable[[], float] = time.time) -> None:
        self.receiver = receiver
        self.clock = clock
        self.paused_until = 0.0
        self._times_down = 0

    def deliver_due(self, seconds: float = float("inf")) -> int:
        """Tell all that is due, one after another, here and now; return how many were taken.

        Shape   seconds: after so many no other is begun
        Errors  DatabaseUnavailable
        """
        ends, taken = time.monotonic() + seconds, 0
        while time.monotonic() < ends and (held := self.claim()):
            taken += self.settle(held, self.tell(held))
        return taken

    def claim(self, besides: tuple[int, ...] = ()) -> Held | None:
        """Claim what is to be told next; None when nothing is due, or the receiver is down."""
        now = self.clock()
        is_up = is_due(self.paused_until, now, LONGEST_RETRY_AFTER_SECONDS)
        return outbox.claim_next(self.receiver.name, now, besides) if is_up else None

    def tell(self, held: Held) -> str | NotTaken:
        """Tell it; return what became of it, whatever that is."""
        try:
            return self.receiver.tell(value_of(held))
        except NotTaken as error:
            return error
        except (Exception, SystemExit) as error:  # a host's hook may raise whatever it likes
            log.exception("%s (%s) was told to %s in vain", held.notice.message_id, held.notice.kind, held.receiver)
            return NotTaken(f"{type(error).__name__}: {error}")

    def settle(self, held: Held, became: str | NotTaken) -> bool:
        """Write down what became of it; return whether it was taken."""
        now, notice = self.clock(), held.notice
        if isinstance(became, str):
            outbox.mark_delivered(held, became, now)
            self._times_down = 0
            log.info("%s (%s) to %s: %s", notice.message_id, notice.kind, held.receiver, became)
            return True
        outbox.postpone(held, str(became), now, became.retry_after_seconds)
        self._pause(became, now)
        log.warning(
            "%s (%s) was not taken by %s, try %d: %s",
            notice.message_id,
            notice.kind,
            held.receiver,
            held.attempts + 1,
            became,
        )
        return False

    def _pause(self, became: NotTaken, now: float) -> None:
        """Leave a receiver that is down in peace, for growing pauses; what one user's notice does is no sign of it."""
        if not became.is_down:
            self._times_down = 0
            return
        pause = backoff(self._times_down, DOWN_SECONDS, LONGEST_DOWN_SECONDS)
        self._times_down += 1
        self.paused_until = now + min(max(pause, became.retry_after_seconds), LONGEST_RETRY_AFTER_SECONDS)
