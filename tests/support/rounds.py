"""Round trips: how many calls to Stripe are made one after the other, of all that are made."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from corkage.gateway.client import Transport
from corkage.gateway.side_by_side import Threads


class Rounds:
    """Counts by logic, not by the clock: a call comes after another in the same thread, and after what was waited for.

    Shape   calls: how many were made; count: how many of them one after the other; here: the same in this thread
    """

    def __init__(self) -> None:
        self.calls = 0
        self._depth: dict[int, int] = {}

    @property
    def count(self) -> int:
        return max(self._depth.values(), default=0)

    @property
    def here(self) -> int:
        return self._depth.get(threading.get_ident(), 0)

    @here.setter
    def here(self, depth: int) -> None:
        self._depth[threading.get_ident()] = depth


@contextmanager
def counted() -> Iterator[Rounds]:
    """Count the round trips of this process inside the block."""
    rounds = Rounds()
    send, together = Transport.request, Threads.together

    def requested(self: Any, *args: Any, **options: Any) -> Any:
        rounds.calls += 1
        rounds.here += 1
        return send(self, *args, **options)

    def run_together(self: Threads, *calls: Callable[[], Any]) -> list[Any]:
        began, ends = rounds.here, [rounds.here]

        def run(call: Callable[[], Any]) -> Any:
            rounds.here = began
            try:
                return call()
            finally:
                ends.append(rounds.here)

        try:
            return together(self, *(lambda call=call: run(call) for call in calls))
        finally:
            rounds.here = max(ends)

    Transport.request, Threads.together = requested, run_together  # type: ignore[method-assign] # put back
    try:
        yield rounds
    finally:
        Transport.request, Threads.together = send, together  # type: ignore[method-assign] # as before
