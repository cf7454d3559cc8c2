"""Waitress's server and its connections, with limits: nobody keeps others out by opening many, or by being slow.

Where a limit is reached, a newcomer is served and whoever waits the longest without having sent a whole request is cut
off. A connection whose request is being answered is never closed for others.
"""

import contextlib
import errno
import logging
import os
import resource
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

from ..addresses import Address, Network, address_of, is_among, subscriber_of
from ..logs.facts import logger
from ..logs.repeats import Repeats
from .request_limits import LARGEST_HEADERS, Parser

MOST_CONNECTIONS = 1000  # waitress's loop looks at each of them at each turn: 2,000 idle ones make an answer take 40 ms
FILES_FOR_OTHERS = 128  # the database has three for each thread; Stripe, notices, the log
ACCEPTED_AT_ONCE = 16  # by so many the limit is exceeded, until the next turn of the loop
LARGE_BODY = 64 * 1024  # from here on each piece that comes is counted against most_bytes_held
SENT_BY_THREAD = 64 * 1024  # a smaller answer is sent by the loop: a thread that sends loses its turn with Python
LINGER_SECONDS = 5.0
END_SECONDS = 1  # for threads to end that answer nothing
NO_HANDLES = frozenset({errno.EMFILE, errno.ENFILE})
NO_RESOURCES = NO_HANDLES | {errno.ENOBUFS, errno.ENOMEM}
TURNED_AWAY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

log = logger("corkage.connections")


def limit_of_open_files() -> int:
    """Raise the soft limit of open files to the hard one, as far as is of use, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + FILES_FOR_OTHERS
    soft, hard = (wanted if each == resource.RLIM_INFINITY else each for each in (soft, hard))
    if soft < wanted and soft < hard:
        with suppress(OSError, ValueError):  # a system may allow less than it says
            resource.setrlimit(
                resource.RLIMIT_NOFILE, (min(wanted, hard), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
            )
            soft = min(wanted, hard)
    return soft


def connections_within(files: int) -> int:
    """Return how many connections a limit of open files leaves room for."""
    return min(MOST_CONNECTIONS, max(files - FILES_FOR_OTHERS, files // 2))


def is_near(address: Address, proxies: Iterable[Network] = ()) -> bool:
    """Return whether a proxy may stand at this address, with many visitors behind it."""
    return not address.is_global or is_among(address, proxies)


class Channel(HTTPChannel):
    """A connection that knows since when it waits for a whole request."""

    server: Any
    socket: Any
    is_lingering = False

    def __init__(self, server: Any, *rest: Any, **options: Any) -> None:
        super().__init__(server, *rest, **options)
        self.waits_since = self.began_at = time.monotonic()  # for a whole request; the one that is being received
        self.peer: str | None = None  # None where it may be a proxy
        self._is_refused = False
        self._receiving: Any = None

    def parser_class(self, adj: Any) -> Parser:  # type: ignore[override]  # a class in waitress, which only calls it: a method does as well
        return Parser(adj, self.server.largest_body, self.server.repeats)

    @property
    def is_being_answered(self) -> bool:
        """Whether a whole request is at hand."""
        return bool(self.requests)

    @property
    def bytes_held(self) -> int:
        """How much of the process's memory the client has filled: bodies received, answers not taken."""
        bodies = sum(each.body_bytes_received for each in tuple(self.requests))
        return bodies + self.total_outbufs_len + (self.request.body_bytes_received if self.request else 0)

    def is_overdue(self, now: float) -> bool:
        """Return whether the client has let a deadline pass."""
        limits = self.server
        waited = now - self.waits_since
        if self.is_being_answered:
            return False
        if self.is_lingering:
            return waited > LINGER_SECONDS
        if self.total_outbufs_len:
            return bool(waited > limits.answer_seconds)
        if self.request is None:
            return bool(waited > limits.idle_seconds)
        allowed = limits.request_seconds if self.request.headers_finished else limits.header_seconds
        # Empty lines are no request, and would begin one anew for ever.
        return bool(now - self.began_at > allowed or waited > limits.idle_seconds + limits.request_seconds)

    def can_be_closed(self, now: float) -> bool:
        """Return whether it may be closed to make room: not while a request is answered, or may be on its way."""
        limits = self.server
        grace = limits.slow_reader_seconds if self.total_outbufs_len else limits.newcomer_seconds
        return bool(not self.is_being_answered and now - self.waits_since > grace)

    def received(self, data: bytes) -> bool:
        """Take what came, and note when a request began."""
        is_taken = super().received(data)
        if self.request is not self._receiving:
            self._receiving, self.began_at = self.request, time.monotonic()
        if self.request is not None and self.request.body_bytes_received > LARGE_BODY:
            self.server.close_hoarders()
        return is_taken

    def service(self) -> None:
        """Answer one request."""
        self._is_refused = self.requests[0].error is not None
        if self.server.is_stopping:
            headers: dict[str, str] = self.requests[0].headers  # type: ignore[assignment]  # a dict, whatever the stubs say
            headers["CONNECTION"] = "close"  # as if the client had asked for it
        self.waits_since = time.monotonic()  # now, too: the loop may see the answer sent before this thread goes on
        super().service()
        self.waits_since = self.began_at = time.monotonic()

    def readable(self) -> bool:
        return self.connected and (self.is_lingering or super().readable())

    def writable(self) -> bool:
        """Return whether the loop has something to send. A small answer waits until its thread is done: meanwhile the
        loop would spin, since the socket is writable, and take Python's lock from the very thread it waits for.
        """
        if not self.connected or self.is_lingering:
            return False
        is_being_written = self.is_being_answered and self.total_outbufs_len < SENT_BY_THREAD
        return bool(super().writable() and (not is_being_written or self.will_close))

    def handle_read(self) -> None:
        if self.is_lingering:
            with suppress(OSError):
                self.recv(self.adj.recv_bytes)
        else:
            super().handle_read()

    def handle_error(self) -> None:
        """Close the connection after what was just raised in it."""
        if isinstance(error := sys.exc_info()[1], MemoryError):
            self.server.log_raised("a connection was closed after %s", error)
            self.handle_close()
        else:
            super().handle_error()

    def handle_close(self) -> None:
        """Close the connection. After a refusal go on reading for a while: what is still being sent would make the
        client's system throw the answer away."""
        is_answered = self._is_refused and self.will_close and not self.total_outbufs_len
        if is_answered and self.connected and not self.is_lingering and self._end_answer():
            self.is_lingering = True
        else:
            super().handle_close()

    def _end_answer(self) -> bool:
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:  # the client has gone
            return False
        return True


class Dispatcher(ThreadedTaskDispatcher):
    """Waitress's threads that answer requests. None ends before the server does, whatever is raised in it."""

    def handler_thread(self, thread_no: int) -> None:
        """Answer requests until the server ends."""
        while thread_no in self.threads:
            try:
                super().handler_thread(thread_no)
            except BaseException as error:  # out of memory, even the log of what a request raised may fail
                with suppress(Exception):
                    log.error("a thread that answers requests goes on after %r", error)


class Server(TcpWSGIServer):
    """Waitress's server for one address, with limits.

    Shape   limit: how many connections may be open; is_proxy: returns whether many visitors may come from an address;
            largest_body: returns how many bytes the route at a path takes; repeats: counts what is logged by the
            hundred; adjustments: waitress's own
    """

    channel_class: type[HTTPChannel] = Channel
    _map: Any
    active_channels: dict[int, Channel]  # type: ignore[assignment]  # waitress's stubs are wrong: it is a dict of channels
    header_seconds = 20.0  # from the first byte of a request
    request_seconds = 60.0  # the same, to the end of its body
    answer_seconds = 60.0  # for a client to take its answer
    slow_reader_seconds = 5.0  # the same, where others need the room
    idle_seconds = 120.0
    newcomer_seconds = 0.05
    pause_seconds = 1.0  # after an accept that failed
    patience_seconds = 5.0  # without a file handle, before those who wait are turned away
    is_stopping = False
    quiet_seconds = 60.0  # for which fewer are accepted then
    most_bytes_held = 64 * 1024 * 1024

    def __init__(
        self,
        application: Any,
        limit: int,
        is_proxy: Callable[[Address], bool],
        largest_body: Callable[[str], int],
        repeats: Repeats,
        **adjustments: Any,
    ) -> None:
        self.limit, self.is_proxy, self.largest_body, self.repeats = limit, is_proxy, largest_body, repeats
        self.limit_of_address = max(limit // 8, 1)
        self._crowded: set[str] = set()
        self._accepts_at = self._lowered_until = 0.0
        self._lowered_limit = limit
        own = {
            "asyncore_use_poll": True,  # select() ends the process at file 1,024
            "connection_limit": 10**9,  # ours counts: at waitress's nobody would be let in
            "cleanup_interval": 1,
            "max_request_header_size": LARGEST_HEADERS + 1,  # waitress refuses what reaches it
            "inbuf_overflow": self.most_bytes_held,  # no files for bodies and answers: a connection is one open file
            "outbuf_overflow": self.most_bytes_held,
        }
        super().__init__(application, dispatcher=Dispatcher(), **(own | adjustments))
        self.task_dispatcher.set_thread_count(self.adj.threads)
        self._spare = _spare_handle()
        self._fails_since: float | None = None
        trigger: Any = self.trigger
        trigger.handle_error = self.handle_error  # waitress's closes it, and nothing would wake the loop any more
        self.adj.send_bytes = SENT_BY_THREAD  # waitress warns of it as an argument

    def readable(self) -> bool:
        """Return whether newcomers are to be accepted, after making room for them.

        Connections are closed here, before the loop polls: it could take an event of one that was closed since then
        for one of a newcomer who has got the same file number.
        """
        is_open = super().readable()
        now = time.monotonic()
        self._close_crowds()
        limit = self._lowered_limit if now < self._lowered_until else self.limit
        if (excess := len(self.active_channels) - limit) > 0:
            self._log_rarely("%d connections are open: closing those that wait the longest", len(self.active_channels))
            _close_longest_waiting((each for each in self._channels() if each.can_be_closed(now)), excess)
        return is_open and now >= self._accepts_at and len(self.active_channels) <= limit

    def stop_listening(self) -> None:
        """Have the loop take those who have connected already, and refuse all others. Each connection ends with the
        answer to its next request.
        """
        self.is_stopping = True
        trigger: Any = self.trigger
        trigger.pull_trigger(self._stop_listening)

    def _stop_listening(self) -> None:
        self.handle_accept()
        wasyncore.dispatcher.close(self)  # not its trigger, which wakes the loop for what is answered

    def end(self) -> None:
        """Have run() return."""
        trigger: Any = self.trigger
        trigger.pull_trigger(self._map.clear)  # the loop goes on for as long as there is something in it

    def run(self) -> None:
        """Run until end(), or until an interrupt. The threads that still wait for Stripe then are not waited for."""
        with contextlib.suppress(SystemExit, KeyboardInterrupt):
            while self._map:
                self._loop()
        self._close_spare()
        self.task_dispatcher.shutdown(timeout=END_SECONDS)

    def _loop(self) -> None:
        try:
            self.asyncore.loop(timeout=self.adj.asyncore_loop_timeout, map=self._map, use_poll=True)
        except (MemoryError, OSError):  # it passes; without its loop the process would end, and cut everybody off
            self.handle_error()
            time.sleep(self.pause_seconds)

    def handle_error(self) -> None:
        """Go on after what was just raised: waitress would listen no more, and its process live on."""
        self.log_raised("waiting for connections again after %s", sys.exc_info()[1])
        self._accepts_at = time.monotonic() + self.pause_seconds

    def handle_accept(self) -> None:
        """Accept some of those that wait."""
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                accepted = self.accept()
            except OSError as error:
                self._note_failure(error)
                return
            if accepted is None:
                return
            self._fails_since = None
            self._admit(*accepted)

    def maintenance(self, now: int) -> None:  # noqa: ARG002 -- waitress passes the wall clock, which may step back
        """Close the connections that are overdue; waitress calls it every second."""
        clock = time.monotonic()
        for channel in self._channels():
            if channel.is_overdue(clock):
                channel.handle_close()
        self.close_hoarders()

    def close_hoarders(self) -> None:
        """Close those that fill the most memory, where all together fill too much."""
        channels = self._channels()
        excess = sum(each.bytes_held for each in channels) - self.most_bytes_held
        if excess <= 0:
            return
        self._log_rarely("requests and answers fill %d bytes too many: closing the largest", excess)
        idle = (each for each in channels if not each.is_being_answered)
        for channel in sorted(idle, key=lambda each: -each.bytes_held):
            if excess > 0:
                excess -= channel.bytes_held
                channel.handle_close()

    def _channels(self) -> list[Channel]:
        return list(self.active_channels.values())

    def _admit(self, connection: socket.socket, address: tuple[Any, ...]) -> None:
        try:
            self.set_socket_options(connection)
        except OSError:  # gone already
            connection.close()
            return
        channel: Any = self.channel_class(self, connection, self.fix_addr(address), self.adj, map=self._map)
        channel.peer = self._peer(str(address[0]))
        if channel.peer is not None:
            self._crowded.add(channel.peer)

    def _peer(self, text: str) -> str | None:
        """Return the address to count by, in IPv6 the network that one subscriber has; None for a proxy."""
        address = address_of(text)
        return None if address is None or self.is_proxy(address) else subscriber_of(text)

    def _close_crowds(self) -> None:
        """Close what exceeds the limit of each address from which somebody has come since."""
        if not self._crowded:
            return
        counts = Counter(each.peer for each in self._channels() if each.peer in self._crowded)
        self._crowded.clear()
        for peer, count in counts.items():
            if (excess := count - self.limit_of_address) > 0:
                self._log_rarely("%s has %d connections: closing those that wait the longest", peer, count)
                _close_longest_waiting(
                    (each for each in self._channels() if each.peer == peer and _is_idle(each)), excess
                )

    def _note_failure(self, error: OSError) -> None:
        self._log_rarely("no connection could be accepted: %s", error)
        if error.errno in NO_RESOURCES:
            now = time.monotonic()
            self._accepts_at = now + self.pause_seconds
            self._lowered_until = now + self.quiet_seconds
            self._lowered_limit = max(len(self.active_channels) - ACCEPTED_AT_ONCE, 1)
            if error.errno in NO_HANDLES and self._has_failed_for_long(now):
                self._turn_away(now)

    def _has_failed_for_long(self, now: float) -> bool:
        if self._fails_since is None:
            self._fails_since = now
        return now - self._fails_since >= self.patience_seconds

    def _turn_away(self, now: float) -> None:
        """Refuse some of those who wait, where nobody can be closed to make room: else they would hang."""
        if not any(each.can_be_closed(now) for each in self._channels()):
            for _ in range(ACCEPTED_AT_ONCE):
                if not self._refuse_one():
                    break

    def _refuse_one(self) -> bool:
        """Accept a connection by the file handle that is kept for this, and refuse it; return whether one waited."""
        self._close_spare()
        accepted = None
        with suppress(OSError):
            if (accepted := super().accept()) is not None:
                _refuse(accepted[0])
        self._spare = _spare_handle()
        return accepted is not None

    def _close_spare(self) -> None:
        if self._spare is not None:
            os.close(self._spare)
        self._spare = None

    def log_raised(self, message: str, error: BaseException | None) -> None:
        """Log what was raised, once for many, where there is memory for the log."""
        with suppress(MemoryError):
            self._log_rarely(message, repr(error))

    def _log_rarely(self, message: str, *values: object) -> None:
        self.repeats.log(log, logging.WARNING, message, "", message, *values)


def _spare_handle() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY)
    except OSError:  # somebody else has taken the last one
        return None


def _refuse(connection: socket.socket) -> None:
    with connection:
        connection.setblocking(False)
        with suppress(OSError):
            connection.recv(LARGEST_HEADERS)  # what is unread would make the system throw the answer away
        connection.send(TURNED_AWAY)


def _is_idle(channel: Channel) -> bool:
    return not (channel.is_being_answered or channel.total_outbufs_len)


def _close_longest_waiting(channels: Iterable[Channel], count: int) -> None:
    for channel in sorted(channels, key=lambda each: each.waits_since)[:count]:
        channel.handle_close()
