"""How many requests were answered, by route and status."""

import itertools
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

OTHER = "other"


class Answered(NamedTuple):
    """What a request was and became."""

    method: str
    route: str
    status: str


class Requests:
    """Counts requests without a lock: each counter is one step of the interpreter."""

    def __init__(self) -> None:
        self._counters: dict[Answered, itertools.count[int]] = defaultdict(itertools.count)

    def noting(self, method: str, route: str, start_response: Callable[..., Any]) -> Callable[..., Any]:
        """Return a start_response that counts the request by its status."""

        def start(status: str, *rest: Any) -> Any:
            next(self._counters[Answered(method, route, status[:3])])
            return start_response(status, *rest)

        return start

    def counted(self) -> dict[Answered, int]:
        """Return how many there were."""
        return {key: _value(counter) for key, counter in self._counters.copy().items()}


def _value(counter: "itertools.count[int]") -> int:
    """Return how often a counter was asked, without asking it."""
    return int(repr(counter).removeprefix("count(").rstrip(")"))
