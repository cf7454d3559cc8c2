"""How waitress takes webhooks: those that wait are answered together, once one fsync has put them all on disk.

A webhook costs little but its fsync. Threads that each wait for one of their own, and then for the interpreter, are
what a burst drowns in. So one thread at a time takes all webhooks that wait, and the others are free for everything
else. Nobody is told 200 before the event is on disk: answers are held back until then.
"""

import json
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from waitress.channel import HTTPChannel
from waitress.task import ThreadedTaskDispatcher

from . import database
from .errors import BillingError, DatabaseUnavailable

MOST_TOGETHER = 32  # some milliseconds of work: whoever asks for access meanwhile is not to notice

log = logging.getLogger("corkage.intake")


class _Channel(HTTPChannel):
    """A connection whose answer can be held back."""

    is_held = False

    def writable(self) -> bool:
        """Tell waitress's loop whether there is something to send. Nothing is while a thread makes an answer, unless it
        is a long one: the loop would spin, and keep that thread from the interpreter."""
        if self.is_held or (self.requests and not self.will_close):
            return bool(self.total_outbufs_len > self.adj.outbuf_high_watermark)
        return bool(super().writable())

    def _flush_some(self, do_close: bool = True) -> bool:
        """Send what there is, as waitress does it, unless it is held back. Its loop and we may be at it at once."""
        with self.outbuf_lock:
            return not self.is_held and bool(super()._flush_some(do_close))  # type: ignore[misc]  # not in its stubs

    def let_go(self) -> None:
        """Send what was held back; what the socket does not take, waitress's loop sends later."""
        self.is_held = False
        self._flush_exception(self._flush_some, do_close=False)  # type: ignore[attr-defined]  # nor is this

    def refuse(self, error: BillingError) -> None:
        """Answer with the error in place of what is held back, and close the connection."""
        body = json.dumps(error.to_dict()).encode()
        head = f"HTTP/1.1 {error.http_status} Refused\r\nConnection: close\r\nRetry-After: {error.retry_after_seconds}"
        head += f"\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        answer = head.encode() + body
        with self.outbuf_lock:
            self.outbufs[-1].skip(self.total_outbufs_len, True)
            self.outbufs[-1].append(answer)
            self.total_outbufs_len = len(answer)
            self.close_when_flushed = True


def take_together(server: Any, is_webhook: Callable[[Any], bool], taken: Callable[[], object]) -> None:
    """Have a server of waitress's take webhooks so.

    Shape   is_webhook is asked of each of waitress's requests; taken is called when events are on disk
    """
    threads = len(server.task_dispatcher.threads)
    server.task_dispatcher.set_thread_count(0)
    dispatcher = _Dispatcher(is_webhook, taken)
    dispatcher.set_thread_count(threads)
    server.task_dispatcher = dispatcher
    server.channel_class = _Channel
    server.pull_trigger = dispatcher.quieted(server.pull_trigger)


class _Dispatcher(ThreadedTaskDispatcher):
    """Waitress's threads, one of which at a time takes the webhooks that wait."""

    def __init__(self, is_webhook: Callable[[Any], bool], taken: Callable[[], object]) -> None:
        super().__init__()
        self._is_webhook = is_webhook
        self._taken = taken
        self._taker = 0
        self._waiting: deque[_Channel] = deque()
        self._is_taking = False

    def quieted(self, wake_loop: Callable[[], None]) -> Callable[[], None]:
        """Leave waitress's loop asleep while there is nothing to send: each answer would wake it three times."""
        return lambda: None if self._taker == threading.get_ident() else wake_loop()

    def add_task(self, task: Any) -> None:
        if isinstance(task, _Channel) and self._is_webhook(task.requests[0]):
            with self.lock:
                self._waiting.append(task)
                if self._is_taking:
                    return
                self._is_taking = True
            self._queue_up()
        else:
            super().add_task(task)

    def service(self) -> None:
        """Take webhooks that wait. This is a task like others: it queues up again while there are more."""
        try:
            self._take([self._waiting.popleft() for _ in range(min(MOST_TOGETHER, len(self._waiting)))])
        finally:
            with self.lock:
                self._is_taking = bool(self._waiting)
            if self._is_taking:
                self._queue_up()

    def _queue_up(self) -> None:
        own_turn: Any = self  # waitress asks of a task no more than service() and cancel()
        super().add_task(own_turn)

    def cancel(self) -> None:
        """Give up what waits, as waitress asks of its tasks when it stops."""
        while self._waiting:
            self._waiting.popleft().cancel()

    def _take(self, channels: list[_Channel]) -> None:
        self._taker = threading.get_ident()
        for channel in channels:
            channel.is_held = True
        try:
            with database.together():
                for channel in channels:
                    channel.service()
            self._taken()
        except DatabaseUnavailable as error:
            log.error("%d webhooks could not be put on disk, and are answered so: %s", len(channels), error)
            for channel in channels:
                channel.refuse(error)
        for channel in channels:
            channel.let_go()
        self._taker = 0
        channels[0].server.pull_trigger()
