"""Faults of the API, on demand: errors, cut connections, delays, rate limits."""

import random
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from waitress.channel import ClientDisconnected

from ..errors import ApiError

HOLD_SECONDS = 0.05

Failure = Literal["none", "rate_limit", "error", "error_after", "cut", "cut_after", "cut_within", "hang"]


@dataclass
class ApiFaults:
    """The API's faults. By default there are none.

    Shape   failure: how a request fails. "rate_limit" (429) and "error" (500) do not execute the request;
            "error_after" executes it and answers 500; "cut" closes the connection without executing the request,
            "cut_after" after executing it, "cut_within" in the middle of the response; "hang" neither executes nor
            answers until the client disconnects. A 500 is replayed for its idempotency key, as Stripe does.
            path: only requests whose path starts with this are hit; requests: how many more are hit, None for all;
            share: the share of them that is hit, 0 to 1, repeatable by the simulator's seed.
            restricted_key_may: the permissions of rk_test_ keys, by Stripe's names such as "customer_read" or
            "subscription_write", which includes reading; None permits everything
    Units   latency_seconds: the delay of each request that is hit; other requests are not delayed.
            list_lag_seconds: on the simulator's clock; lists omit newer objects, which their id still finds.
            requests_per_second: to the path; more are answered 429; 0 is no limit. Stripe's is 25 in a sandbox
    """

    failure: Failure = "none"
    path: str = "/v1/"
    requests: int | None = None
    share: float = 1.0
    latency_seconds: float = 0.0
    requests_per_second: int = 0
    list_lag_seconds: int = 0
    restricted_key_may: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError("share must be from 0 to 1")


class FaultInjector:
    """Decides which requests the faults hit. It has its own random numbers, so faults do not change ids."""

    def __init__(self, seed: int | None) -> None:
        self.faults = ApiFaults()
        self.stopped = threading.Event()
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._recent: deque[float] = deque()

    def failure_for(self, path: str, now: float) -> Failure:
        """Return how a request to this path fails, after waiting for its latency."""
        faults = self.faults
        if not path.startswith(faults.path):
            return "none"
        with self._lock:
            if faults.requests_per_second and self._is_rate_limited(now, faults.requests_per_second):
                return "rate_limit"
            if not self._is_hit(faults):
                return "none"
        self.stopped.wait(faults.latency_seconds)
        return faults.failure

    def hang(self, is_gone: Callable[[], bool]) -> None:
        """Block until the client disconnects, the simulator stops or the fault is cleared."""
        while not is_gone() and self.faults.failure == "hang" and not self.stopped.wait(HOLD_SECONDS):
            pass

    def lag_for(self, path: str) -> int:
        """Return by how many seconds lists at this path lag."""
        return self.faults.list_lag_seconds if path.startswith(self.faults.path) else 0

    def _is_rate_limited(self, now: float, limit: int) -> bool:
        while self._recent and self._recent[0] <= now - 1:
            self._recent.popleft()
        if len(self._recent) >= limit:
            return True
        self._recent.append(now)
        return False

    def _is_hit(self, faults: ApiFaults) -> bool:
        if faults.failure == "none" and not faults.latency_seconds:
            return False
        if faults.requests == 0 or self._random.random() >= faults.share:
            return False
        if faults.requests is not None:
            faults.requests -= 1
        return True


def rate_limited() -> ApiError:
    return ApiError(
        429,
        "Request rate limit exceeded. (A simulated fault.)",
        code="rate_limit",
        is_replayed=False,
    )


def server_error() -> ApiError:
    """Return a 500, which Stripe replays for its idempotency key."""
    return ApiError(500, "Something went wrong on Stripe's end. (A simulated fault.)", kind="api_error")


def cut_within(body: str) -> Iterator[bytes]:
    """Yield the first half of the body, then close the connection."""
    whole = body.encode()
    yield whole[: len(whole) // 2]
    raise ClientDisconnected  # makes waitress close the connection without a response
