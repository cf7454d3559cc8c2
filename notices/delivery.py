"""Delivery of notices: a thread for each receiver, so that none waits for another."""

import contextlib
import json
import queue
import threading
import time
from collections.abc import Callable

from .. import storage
from ..errors import DatabaseUnavailable
from ..logs.facts import about, logger
from ..pacing.lasting import Lasting
from ..pacing.pauses import LONGEST_PAUSE_SECONDS, backoff, is_due
from . import outbox
from .notice import QUIET_SECONDS, AccessSummary, Callbacks, NotDelivered, Notice, NoticeCallback, Receiver
from .outbox import Held

DOWN_SECONDS, LONGEST_DOWN_SECONDS = 5.0, 60.0
DOWN_AFTER = 3  # failures in a row: one may be the fault of that notice, of which the receiver dies
LONGEST_RETRY_AFTER_SECONDS = 3600.0

PATIENCE_SECONDS = 1.0  # a slower delivery goes on in its own thread
MOST_AT_ONCE = 8
LOOK_EVERY_SECONDS = 1.0  # other processes store notices, too
AFTER_A_BUG_SECONDS = 10.0
STOP_SECONDS = 5.0

log = logger("corkage.notices")


def value_of(held: Held) -> Notice:
    """Return a stored notice as hosts receive it."""
    row = held.notice
    before, after = _summary(row.before), _summary(row.after)
    about = (row.subscription_id, row.purchase_id, json.loads(row.details or "{}"))
    return Notice(row.message_id, row.kind, row.user_id, row.created_at, before, after, *about)


def _summary(text: str) -> AccessSummary:
    stored = json.loads(text)
    known = {name: stored[name] for name in AccessSummary._fields if name in stored}
    return AccessSummary(**known | {"plans": tuple(known.get("plans", ()))})


class Deliverer:
    """Delivers the notices that one receiver is owed. Each notice is claimed, so any number may do so."""

    def __init__(self, receiver: Receiver, clock: Callable[[], float] = time.time) -> None:
        self.receiver = receiver
        self.clock = clock
        self.paused_until = 0.0
        self._times_down = 0

    def deliver_due(self, seconds: float = float("inf")) -> int:
        """Deliver all that is due, one after another, here and now; return how many were delivered.

        Shape   seconds: after that time no other is begun
        Errors  DatabaseUnavailable
        """
        ends, delivered = time.monotonic() + seconds, 0
        while time.monotonic() < ends and (held := self.claim()):
            delivered += self.store_outcome(held, self.deliver(held))
        return delivered

    def claim(self, besides: tuple[int, ...] = ()) -> Held | None:
        """Claim the next notice; None when nothing is due, or the receiver is down."""
        now = self.clock()
        is_up = is_due(self.paused_until, now, LONGEST_RETRY_AFTER_SECONDS)
        return outbox.claim_next(self.receiver.name, now, besides) if is_up else None

    def deliver(self, held: Held) -> str | NotDelivered:
        """Try to deliver a notice; return the outcome, or the error."""
        with about(user=held.notice.user_id):
            return self._tried(held)

    def _tried(self, held: Held) -> str | NotDelivered:
        try:
            return self.receiver.notify(value_of(held))
        except NotDelivered as error:
            return error
        except (Exception, SystemExit) as error:  # a host's callback may raise anything
            log.exception(
                "%s (%s) could not be delivered to %s", held.notice.message_id, held.notice.kind, held.receiver
            )
            return NotDelivered(f"{type(error).__name__}: {error}")

    def store_outcome(self, held: Held, outcome: str | NotDelivered) -> bool:
        """Store the outcome; return whether the notice was delivered."""
        with about(user=held.notice.user_id):
            return self._stored(held, outcome)

    def _stored(self, held: Held, outcome: str | NotDelivered) -> bool:
        now, notice = self.clock(), held.notice
        if isinstance(outcome, str):
            outbox.mark_delivered(held, outcome, now)
            self._times_down = 0
            log.info("%s (%s) to %s: %s", notice.message_id, notice.kind, held.receiver, outcome)
            return True
        self._pause(outcome, now)
        outbox.postpone(held, str(outcome), now, outcome.retry_after_seconds, self._longest_pause)
        log.warning(
            "%s (%s) could not be delivered to %s, try %d: %s",
            notice.message_id,
            notice.kind,
            held.receiver,
            held.attempts + 1,
            outcome,
        )
        return False

    @property
    def _longest_pause(self) -> float:
        """How long a notice may wait: not long while the receiver is down, which is not the fault of the notice."""
        return LONGEST_DOWN_SECONDS if self._times_down >= DOWN_AFTER else LONGEST_PAUSE_SECONDS

    def _pause(self, outcome: NotDelivered, now: float) -> None:
        """Back off while the receiver is down. The failure of one user's notice does not mean that."""
        if not outcome.is_down:
            self._times_down = 0
            return
        pause = backoff(self._times_down, DOWN_SECONDS, LONGEST_DOWN_SECONDS)
        self._times_down += 1
        self.paused_until = now + min(max(pause, outcome.retry_after_seconds), LONGEST_RETRY_AFTER_SECONDS)


class DeliveryThread:
    """Delivers to one receiver, for as long as the process lives. A slow notice does not hold up other users'."""

    def __init__(self, deliverer: Deliverer) -> None:
        self._deliverer = deliverer
        self._in_flight: dict[int, tuple[Held, float]] = {}
        self._outcomes: queue.SimpleQueue[tuple[Held, str | NotDelivered]] = queue.SimpleQueue()
        self._registered_at = 0.0
        self._stopped = threading.Event()
        name = f"corkage-notices-{deliverer.receiver.name}"
        self._thread = Lasting(self._run, name, log)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Begin nothing new."""
        self._stopped.set()

    def join(self) -> None:
        """Give deliveries in flight some seconds to finish. The others are repeated after the next start."""
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._pause()):
            pass
        ends = time.monotonic() + STOP_SECONDS
        with contextlib.suppress(DatabaseUnavailable):
            while self._in_flight and (left := ends - time.monotonic()) > 0:
                self._collect(left)

    def _pause(self) -> float:
        """Do what is due, and return how long there is nothing to do."""
        try:
            return self._turn()
        except DatabaseUnavailable as error:
            storage.note(error)
            return LOOK_EVERY_SECONDS
        except Exception:  # a bug must not end the thread; stop() must end the pause after it, so not Lasting's
            log.exception("a bug in the delivery to %s, going on", self._deliverer.receiver.name)
            return AFTER_A_BUG_SECONDS

    def _turn(self) -> float:
        now = self._deliverer.clock()
        self._register(now)
        self._collect(0)
        self._renew(now)
        held = None
        is_ready = is_due(self._deliverer.receiver.ready_at, now, QUIET_SECONDS)
        if is_ready and len(self._in_flight) < MOST_AT_ONCE:
            held = self._deliverer.claim(tuple(self._in_flight))
        if held is not None:
            self._begin(held, now)
        elif self._in_flight:
            self._collect(LOOK_EVERY_SECONDS)
        return 0 if held or self._in_flight else LOOK_EVERY_SECONDS

    def _register(self, now: float) -> None:
        if is_due(self._registered_at + outbox.SEEN_EVERY_SECONDS, now, outbox.SEEN_EVERY_SECONDS):
            outbox.register(self._deliverer.receiver.name, now)
            self._registered_at = now

    def _begin(self, held: Held, now: float) -> None:
        """Deliver a notice in a thread of its own, and wait a little for its end."""
        threading.Thread(target=self._deliver, args=(held,), name="corkage-notice", daemon=True).start()
        self._in_flight[held.notice.id] = held, now
        self._collect(PATIENCE_SECONDS)

    def _deliver(self, held: Held) -> None:
        outcome: str | NotDelivered = NotDelivered("the callback ended its thread")
        try:
            outcome = self._deliverer.deliver(held)
        finally:  # whatever a callback raises: without an outcome it would never be repeated
            self._outcomes.put((held, outcome))

    def _collect(self, seconds: float) -> None:
        """Wait until a delivery ends, and store its outcome and those of all others that have ended."""
        with contextlib.suppress(queue.Empty):
            while self._in_flight:
                held, outcome = self._outcomes.get(timeout=seconds)
                del self._in_flight[held.notice.id]
                self._deliverer.store_outcome(held, outcome)
                seconds = 0

    def _renew(self, now: float) -> None:
        """Renew the claims of slow deliveries."""
        for notice_id, (held, renewed_at) in self._in_flight.items():
            if is_due(renewed_at + outbox.LEASE_SECONDS / 2, now, outbox.LEASE_SECONDS / 2):
                outbox.renew(held, now)
                self._in_flight[notice_id] = held, now


class Receivers:
    """The receivers of this process. None waits for another.

    Only a process with the host's callbacks can call them. Any process that has the address can deliver to it.
    """

    def __init__(self, endpoint: Receiver | None, now: float) -> None:
        self._callbacks = Callbacks()
        self._deliverers: dict[str, Deliverer] = {}
        self._threads: dict[str, DeliveryThread] = {}
        self._started: tuple[str, ...] = ()
        self._lock = threading.RLock()
        if endpoint is not None:
            self._add(endpoint, now)

    def add_callback(self, kind: str, callback: NoticeCallback, now: float) -> None:
        """Call this function with the notices of this kind, from now on.

        Errors  ValueError when there is no such kind
        """
        self._callbacks.add(kind, callback)
        with self._lock:
            self._add(self._callbacks, now)
            self._start_threads()

    def _add(self, receiver: Receiver, now: float) -> None:
        outbox.register(receiver.name, now)
        self._deliverers.setdefault(receiver.name, Deliverer(receiver))

    def start(self, *receivers: str) -> None:
        """Deliver to these receivers, as soon as they exist, in threads of this process."""
        with self._lock:
            self._started = receivers
            self._start_threads()

    def _start_threads(self) -> None:
        for name in self._started:
            if name in self._deliverers and name not in self._threads:
                self._threads[name] = DeliveryThread(self._deliverers[name])
                self._threads[name].start()

    def begin_anew(self) -> None:
        """Forget the parent's threads, in a forked child."""
        self._threads, self._started, self._lock = {}, (), threading.RLock()

    def end(self) -> None:
        """Let the threads begin no more deliveries."""
        with self._lock:
            for thread in self._threads.values():
                thread.end()

    def stop(self) -> None:
        """Stop the threads. Notices that are not delivered stay pending."""
        with self._lock:
            threads, self._threads, self._started = self._threads, {}, ()
        for thread in threads.values():
            thread.end()
        for thread in threads.values():
            thread.join()

    def deliver_due(self, seconds: float = float("inf")) -> int:
        """Deliver what is due, here and now; return how many notices were delivered.

        Errors  DatabaseUnavailable
        """
        return sum(deliverer.deliver_due(seconds) for deliverer in list(self._deliverers.values()))
