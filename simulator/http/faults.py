"""Faults of the API, on demand: errors, cut connections, delays, rate limits."""

import random
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from waitress.channel import ClientDisconnected

from ..errors import ApiError

HOLD_SECONDS = 0.05

Failure = Literal["none", "rate_limit", "error", "error_after", "cut", "cut_after", "cut_within", "hang"]


@dataclass
class ApiFaults:
    """The API's faults. By default there are none.

    Shape   restricted_key_may: permissions by Stripe's names such as "customer_read" or "subscription_write", which
            includes reading; None permits everything. share: repeatable by the simulator's seed
    Units   list_lag_seconds: on the simulator's clock
    """

    failure: Annotated[
        Failure,
        "`rate_limit` and `error` answer 429 and 500 without executing the request, `error_after` executes it"
        " and answers 500; `cut` closes the connection before executing it, `cut_after` after that, "
        "`cut_within` in the middle of the response; `hang` never answers",
    ] = "none"
    path: Annotated[str, "hits only requests to paths that start with this"] = "/v1/"
    requests: Annotated[int | None, "how many more requests are hit; unset means all"] = None
    share: Annotated[float, "the share of them that is hit, 0 to 1"] = 1.0
    latency_seconds: Annotated[float, "the delay of each request that is hit; others are not delayed"] = 0.0
    requests_per_second: Annotated[
        int,
        "requests above this rate are answered 429; Stripe's limit is 25 in a sandbox",
    ] = 0
    list_lag_seconds: Annotated[int, "lists omit objects newer than this, which their id still finds"] = 0
    restricted_key_may: Annotated[
        tuple[str, ...] | None,
        "the permissions of `rk_test_` keys, such as `customer_read`; other requests are refused with 403",
    ] = None
    revoked_keys: Annotated[tuple[str, ...] | None, "keys that are refused with 401, as those that were rolled"] = None
    date_ahead_seconds: Annotated[
        int, "the `Date` of each response is ahead by so much, as seen by a program whose own clock is behind"
    ] = 0

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
