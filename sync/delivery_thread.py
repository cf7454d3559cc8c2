"""The thread that goes on telling one receiver. A slow notice is left running, and other users' go on beside it."""

import contextlib
import logging
import queue
import threading
import time

from .. import storage
from ..errors import DatabaseUnavailable
from ..notices import outbox
from ..notices.callbacks import QUIET_SECONDS
from ..notices.delivery import Deliverer
from ..notices.notice import NotTaken
from ..notices.outbox import Held
from .pauses import is_due

PATIENCE_SECONDS = 1.0  # what takes longer is left running
MOST_AT_ONCE = 8
LOOK_EVERY_SECONDS = 1.0  # other processes write notices, too
AFTER_A_BUG_SECONDS = 10.0
STOP_SECONDS = 5.0

log = logging.getLogger("corkage.notices")


class DeliveryThread:
    """Tells one receiver, for as long as the process lives."""

    def __init__(self, deliverer: Deliverer) -> None:
        self._deliverer = deliverer
        self._in_hand: dict[int, tuple[Held, float]] = {}
        self._became: queue.SimpleQueue[tuple[Held, str | NotTaken]] = queue.SimpleQueue()
        self._registered_at = 0.0
        self._stopped = threading.Event()
        name = f"corkage-notices-{deliverer.receiver.name}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Begin nothing new."""
        self._stopped.set()

    def join(self) -> None:
        """Give what is being told a moment to finish. What does not is told again after the next start."""
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._pause()):
            pass
        ends = time.monotonic() + STOP_SECONDS
        with contextlib.suppress(DatabaseUnavailable):
            while self._in_hand and (left := ends - time.monotonic()) > 0:
                self._collect(left)

    def _pause(self) -> float:
        """Do what is due, and return how long there is nothing to do."""
        try:
            return self._turn()
        except DatabaseUnavailable as error:
            storage.note(error)
            return LOOK_EVERY_SECONDS
        except Exception:  # a dead thread would tell nothing any more, and nobody of it
            log.exception("telling %s stumbled over a bug, going on", self._deliverer.receiver.name)
            return AFTER_A_BUG_SECONDS

    def _turn(self) -> float:
        now = self._deliverer.clock()
        self._register(now)
        self._collect(0)
        self._renew(now)
        held = None
        is_ready = is_due(self._deliverer.receiver.ready_at, now, QUIET_SECONDS)
        if is_ready and len(self._in_hand) < MOST_AT_ONCE:
            held = self._deliverer.claim(tuple(self._in_hand))
        if held is not None:
            self._begin(held, now)
        elif self._in_hand:
            self._collect(LOOK_EVERY_SECONDS)
        return 0 if held or self._in_hand else LOOK_EVERY_SECONDS

    def _register(self, now: float) -> None:
        if is_due(self._registered_at + outbox.SEEN_EVERY_SECONDS, now, outbox.SEEN_EVERY_SECONDS):
            outbox.register(self._deliverer.receiver.name, now)
            self._registered_at = now

    def _begin(self, held: Held, now: float) -> None:
        """Tell it in a thread of its own, and wait for that a little."""
        threading.Thread(target=self._tell, args=(held,), name="corkage-notice", daemon=True).start()
        self._in_hand[held.notice.id] = held, now
        self._collect(PATIENCE_SECONDS)

    def _tell(self, held: Held) -> None:
        became: str | NotTaken = NotTaken("it ended the thread that it was told in")
        try:
            became = self._deliverer.tell(held)
        finally:  # whatever a hook raises: what is in hand must be settled, or nobody tells it again
            self._became.put((held, became))

    def _collect(self, seconds: float) -> None:
        """Wait until one that is being told is done, and write down what became of it and of all others that are."""
        with contextlib.suppress(queue.Empty):
            while self._in_hand:
                held, became = self._became.get(timeout=seconds)
                del self._in_hand[held.notice.id]
                self._deliverer.settle(held, became)
                seconds = 0

    def _renew(self, now: float) -> None:
        """Keep the claim on what takes long."""
        for notice_id, (held, renewed_at) in self._in_hand.items():
            if is_due(renewed_at + outbox.LEASE_SECONDS / 2, now, outbox.LEASE_SECONDS / 2):
                outbox.renew(held, now)
                self._in_hand[notice_id] = held, now
