"""A closed loop of requests over kept-open connections: each connection sends its next request when it has its answer.

Of its own process, so that it shares no interpreter with what it measures: `beside(post_all, ...)`.
"""

import itertools
import math
import multiprocessing
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome:
    """What became of the requests. Latencies are seconds, in the order of the answers; began and ended are Unix
    seconds."""

    latencies: tuple[float, ...]
    refused: int
    began: float
    ended: float

    @property
    def per_second(self) -> float:
        return len(self.latencies) / (self.ended - self.began)

    def percentile(self, percent: float) -> float:
        return percentile(self.latencies, percent)


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class _Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_at = 0.0
        self.received = b""

    def send(self, request: bytes) -> None:
        self.received = b""
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def answer(self) -> bytes | None:
        """Read what is there; return the answer when it is whole."""
        more = self.socket.recv(65536)
        if not more:
            raise ConnectionError("the server closed the connection")
        self.received += more
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return None
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        return self.received if len(body) >= length else None


def post_all(port: int, requests: Sequence[bytes], connections: int) -> Outcome:
    """Send every request once, as many at a time as there are connections."""
    waiting: Iterator[bytes] = iter(requests)
    selector = selectors.DefaultSelector()
    opened = [_Connection(port) for _ in range(min(connections, len(requests)))]
    for each in opened:
        selector.register(each.socket, selectors.EVENT_READ, each)
    latencies: list[float] = []
    refused = 0
    began = time.time()
    for each in opened:
        each.send(next(waiting))
    while len(latencies) < len(requests):
        for key, _ in selector.select():
            connection: _Connection = key.data
            answer = connection.answer()
            if answer is None:
                continue
            latencies.append(time.perf_counter() - connection.sent_at)
            refused += b" 200 " not in answer[:16]
            following = next(waiting, None)
            if following is not None:
                connection.send(following)
    ended = time.time()
    for each in opened:
        each.socket.close()
    return Outcome(tuple(latencies), refused, began, ended)


def ask_until(port: int, requests: Sequence[bytes], pause: float, end: str) -> list[tuple[float, float]]:
    """Ask over one connection, with a pause after each answer, until there is a file of this path.

    Shape   requests: sent in turn, from the first again after the last;
            for each answer when it was asked for, in Unix seconds, and how many seconds it took: for ever, where it was
            not a 200
    """
    connection = _Connection(port)
    samples = []
    in_turn = itertools.cycle(requests)
    while not Path(end).exists():
        request, began = next(in_turn), time.time()
        connection.send(request)
        while (answer := connection.answer()) is None:
            pass
        took = time.perf_counter() - connection.sent_at
        samples.append((began, took if b" 200 " in answer[:16] else math.inf))
        time.sleep(pause)
    connection.socket.close()
    return samples


_processes = ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn"))


def beside(function: Callable[..., Result], *values: Any) -> "Future[Result]":
    """Start the function in a process of its own."""
    return _processes.submit(function, *values)
