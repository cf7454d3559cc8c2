"""Lanes: how waitress answers what comes often and is quick.

Waitress gives each request to one of its threads. Where all of them do the same few things, that is slower than one
thread which does them one after the other: they wait for each other's turn with the interpreter and, at a webhook, each
for an fsync of its own. So webhooks have a lane, a thread which puts those that wait on disk by one commit; nobody is
told 200 before it, since answers are held back until then. GET /access, a look at one row, waitress's loop answers
itself: the change of threads would take longer than the answer. All else goes waitress's way.
"""

import json
import logging
import queue
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

from waitress.task import ThreadedTaskDispatcher

from ..errors import BillingError, DatabaseUnavailable
from .connections import Channel

MOST_TOGETHER = 32  # some milliseconds of work: whoever else asks meanwhile is not to notice

log = logging.getLogger("corkage.lanes")


class _Channel(Channel):
    """A connection whose answer can be held back, and can be made where the request is read: in waitress's loop."""

    is_held = False
    is_for_loop = False

    def __init__(self, server: Any, *rest: Any, **options: Any) -> None:
        super().__init__(server, *rest, **options)
        server.task_dispatcher.loop_thread = threading.get_ident()  # it is the loop which accepts connections

    @property
    def is_being_answered(self) -> bool:
        """Whether a whole request is at hand, or its answer is held back."""
        return self.is_held or super().is_being_answered

    def received(self, data: bytes) -> bool:
        """Take what came, and answer the first of it here, if it need not wait for a thread."""
        is_taken = bool(super().received(data))
        if self.is_for_loop:
            dispatcher: Any = self.server.task_dispatcher
            self.is_for_loop = False
            self.is_held = dispatcher.is_answering = True
            self.service()
            self.let_go()
            dispatcher.is_answering = False
            if dispatcher.is_to_end:
                raise KeyboardInterrupt
        return is_taken

    def writable(self) -> bool:
        """Tell waitress's loop whether there is something to send. Nothing is while a thread makes an answer, unless it
        is a long one: the loop would spin, and keep that thread from the interpreter."""
        if self.is_held or (self.requests and not self.will_close):
            return bool(self.total_outbufs_len > self.adj.outbuf_high_watermark)
        return bool(super().writable())

    def _flush_some(self, do_close: bool = True) -> bool:
        """Send what there is, as waitress does it, unless it is held back. Its loop and we may be at it at once."""
        with self.outbuf_lock:
            return not self.is_held and bool(super()._flush_some(do_close))  # type: ignore[misc]  # waitress's stubs lack it

    def let_go(self) -> None:
        """Send what was held back; what the socket does not take, waitress's loop sends later."""
        self.is_held = False
        self._flush_exception(self._flush_some, do_close=False)  # type: ignore[attr-defined]  # waitress's stubs lack it

    def refuse(self, error: BillingError) -> None:
        """Answer with the error in place of all that is held back, and close the connection."""
        body = json.dumps(error.to_dict()).encode()
        again = f"Retry-After: {error.retry_after_seconds}\r\n" if error.retry_after_seconds is not None else ""
        head = f"HTTP/1.1 {error.http_status} Refused\r\nConnection: close\r\n{again}"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        answer = head.encode() + body
        with self.outbuf_lock:
            for each in self.outbufs:  # one for each answer, where a client has asked more before it was answered
                each.skip(len(each), True)
            self.outbufs[-1].append(answer)
            self.total_outbufs_len = len(answer)
            self.close_when_flushed = True


class Lane:
    """A thread that answers requests of one kind, those that wait together.

    Shape   together: what holds while they are answered, and ends before the answers leave; done: called after that
    """

    def __init__(
        self,
        together: Callable[[], AbstractContextManager[None]] = nullcontext,
        done: Callable[[], object] = lambda: None,
    ) -> None:
        self._together, self._done = together, done
        self._waiting: queue.SimpleQueue[_Channel | None] = queue.SimpleQueue()
        self._is_answering = False
        self.wake_loop: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._run, name="corkage-lane", daemon=True)
        self._thread.start()

    def put(self, channel: _Channel) -> None:
        self._waiting.put(channel)

    def is_busy(self) -> bool:
        return self._is_answering or not self._waiting.empty()

    def is_in(self) -> bool:
        """Tell whether this is the lane's own thread."""
        return self._thread is threading.current_thread()

    def stop(self) -> None:
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (channels := self._take()) is not None:
            self._is_answering = True
            self._answer(channels)
            self._is_answering = False

    def _take(self) -> list[_Channel] | None:
        """Wait for a request, and take those that wait with it; None to stop."""
        taken: list[_Channel] = []
        while not taken or (len(taken) < MOST_TOGETHER and not self._waiting.empty()):
            channel = self._waiting.get()
            if channel is None and taken:
                self._waiting.put(None)  # these first
                return taken
            if channel is None:
                return None
            taken.append(channel)
        return taken

    def _answer(self, channels: list[_Channel]) -> None:
        for channel in channels:
            channel.is_held = True
        failure: BillingError | None = None
        try:
            with self._together():
                for channel in channels:
                    channel.service()
            self._done()
        except DatabaseUnavailable as error:
            log.debug("%d requests could not be put on disk, and are answered so: %s", len(channels), error)
            failure = error
        except Exception:  # a bug must not end the lane, nor let go of answers that may not be true
            log.exception("a lane stumbled over a bug; %d requests are answered so", len(channels))
            failure = BillingError("unexpected")
        for channel in channels:
            if failure is not None:
                channel.refuse(failure)
            channel.let_go()
        with suppress(OSError):  # a loop that has ended is nobody to wake
            self.wake_loop()


class _Dispatcher(ThreadedTaskDispatcher):
    """Waitress's threads, beside lanes for some paths, and none for others."""

    def __init__(self, lanes: Mapping[str, Lane], at_once: Collection[str]) -> None:
        super().__init__()
        self._lanes, self._at_once = lanes, at_once
        self.loop_thread = 0
        self.is_answering = self.is_to_end = False  # in the loop; after this answer

    def add_task(self, task: Any) -> None:
        path = getattr(task.requests[0], "path", "")
        if task.is_held:  # asked before the answer to another was let go, which only the one who holds it may
            super().add_task(task)
        elif path in self._at_once and self.is_in_loop():
            task.is_for_loop = True
        elif path in self._lanes:
            self._lanes[path].put(task)
        else:
            super().add_task(task)

    def is_in_loop(self) -> bool:
        """Tell whether this is the thread of waitress's loop."""
        return threading.get_ident() == self.loop_thread

    def is_busy(self) -> bool:
        lanes_are = any(lane.is_busy() for lane in self._lanes.values())
        return bool(lanes_are or self.is_answering or self.active_count or self.queue)

    def shutdown(self, cancel_pending: bool = True, timeout: int = 5) -> bool:
        for lane in self._lanes.values():
            lane.stop()
        return super().shutdown(cancel_pending, timeout)


def end_loop(server: Any) -> None:
    """End waitress's loop, from a signal's handler, which runs in the loop's own thread: not within an answer.

    Errors  KeyboardInterrupt, which the loop ends by
    """
    if not server.task_dispatcher.is_answering:
        raise KeyboardInterrupt
    server.task_dispatcher.is_to_end = True


def add_lanes(server: Any, lanes: Mapping[str, Lane], at_once: Collection[str]) -> None:
    """Have a new server of waitress's answer requests of some paths in lanes, and of others at once, in its loop."""
    threads = len(server.task_dispatcher.threads)
    server.task_dispatcher.set_thread_count(0)
    dispatcher = server.task_dispatcher = _Dispatcher(lanes, at_once)
    dispatcher.set_thread_count(threads)
    server.channel_class = _Channel
    # Each answer would wake waitress's loop up to three times, before there is anything to send, or from within it.
    wake_loop, every = server.pull_trigger, tuple(lanes.values())
    for lane in every:
        lane.wake_loop = wake_loop

    def wake_loop_for_threads() -> None:
        if not dispatcher.is_in_loop() and not any(lane.is_in() for lane in every):
            wake_loop()

    server.pull_trigger = wake_loop_for_threads
