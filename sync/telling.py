"""Who is told of changes in this process, and by which threads: the host's functions, and an address."""

import threading

from ..notices import outbox
from ..notices.callbacks import Hook, Hooks
from ..notices.delivery import Deliverer
from ..notices.notice import Receiver
from .delivery_thread import DeliveryThread


class Telling:
    """The receivers that this process has. Each is told by itself: none waits for another.

    Only a process that has the host's functions can call them. The address may be told by any that has the setting.
    """

    def __init__(self, endpoint: Receiver | None, now: float) -> None:
        self._hooks = Hooks()
        self._deliverers: dict[str, Deliverer] = {}
        self._threads: dict[str, DeliveryThread] = {}
        self._started: tuple[str, ...] = ()
        self._lock = threading.RLock()
        if endpoint is not None:
            self._add(endpoint, now)

    def add_hook(self, kind: str, hook: Hook, now: float) -> None:
        """Call this function with notices of this kind, of what happens from now on.

        Errors  ValueError when there is no such kind
        """
        self._hooks.add(kind, hook)
        with self._lock:
            self._add(self._hooks, now)
            self._start_threads()

    def _add(self, receiver: Receiver, now: float) -> None:
        outbox.register(receiver.name, now)
        self._deliverers.setdefault(receiver.name, Deliverer(receiver))

    def start(self, *receivers: str) -> None:
        """Go on telling these receivers, as soon as there are any, in threads of this process."""
        with self._lock:
            self._started = receivers
            self._start_threads()

    def _start_threads(self) -> None:
        for name in self._started:
            if name in self._deliverers and name not in self._threads:
                self._threads[name] = DeliveryThread(self._deliverers[name])
                self._threads[name].start()

    def begin_anew(self) -> None:
        """In a forked child: the parent's threads did not come along."""
        self._threads, self._started, self._lock = {}, (), threading.RLock()

    def stop(self) -> None:
        """Stop the threads; what is not told yet stays pending."""
        with self._lock:
            threads, self._threads, self._started = self._threads, {}, ()
        for thread in threads.values():
            thread.end()
        for thread in threads.values():
            thread.join()

    def deliver_due(self, seconds: float = float("inf")) -> int:
        """Tell what is due, here and now; return how much was taken.

        Errors  DatabaseUnavailable
        """
        return sum(deliverer.deliver_due(seconds) for deliverer in list(self._deliverers.values()))
