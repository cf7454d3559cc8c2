"""An API that misbehaves, on demand."""

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
    """What is wrong with the API. As it is made, nothing is.

    Shape   failure: what becomes of a request. "rate_limit" answers 429 and "error" 500, both without carrying it out;
            "error_after" answers 500 and has carried it out; "cut" closes the connection without carrying it out,
            "cut_after" when it was carried out, and "cut_within" then, in the middle of the answer; "hang" never
            answers, nor carries out, until the client goes away. With an idempotency key the 500 is what is
            replayed, as Stripe does.
            path: where an address must begin to be hit; requests: how many more are, None for all that come;
            share: how many of those, from 0 to 1, by the simulator's seed.
            restricted_key_may: what keys that begin with rk_test_ may: names of Stripe's such as "customer_read" or
            "subscription_write", which implies reading; None for everything
    Units   latency_seconds: how much later each request that is hit is answered; other requests go on.
            list_lag_seconds: on the simulator's clock; what is newer is found by its id and missing from lists
            requests_per_second: of those to the path; more are answered 429; 0 for no limit. Stripe's: 25 in a sandbox
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
            raise ValueError("share is from 0 to 1")


class Misbehaviour:
    """Decides which requests the faults hit. Random of its own, so that ids are the same with faults and without."""

    def __init__(self, seed: int | None) -> None:
        self.faults = ApiFaults()
        self.has_ended = threading.Event()
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._recent: deque[float] = deque()

    def strike(self, path: str, now: float) -> Failure:
        """Tell what becomes of a request to this path, and wait as long as its answer is to be late."""
        faults = self.faults
        if not path.startswith(faults.path):
            return "none"
        with self._lock:
            if faults.requests_per_second and self._is_too_many(now, faults.requests_per_second):
                return "rate_limit"
            if not self._is_hit(faults):
                return "none"
        self.has_ended.wait(faults.latency_seconds)
        return faults.failure

    def hold(self, is_gone: Callable[[], bool]) -> None:
        """Keep a request waiting until its client is gone, the simulator ends or nothing hangs any more."""
        while not is_gone() and self.faults.failure == "hang" and not self.has_ended.wait(HOLD_SECONDS):
            pass

    def lag_for(self, path: str) -> int:
        """Return how many seconds a list at this path lags behind."""
        return self.faults.list_lag_seconds if path.startswith(self.faults.path) else 0

    def _is_too_many(self, now: float, limit: int) -> bool:
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


def too_many() -> ApiError:
    return ApiError(429, "Request rate limit exceeded. (The simulator was asked to.)", code="rate_limit", is_kept=False)


def broken() -> ApiError:
    """Stripe keeps a 500 under the idempotency key, and replays it."""
    return ApiError(500, "Something went wrong on Stripe's end. (The simulator was asked to.)", kind="api_error")


def cut_within(body: str) -> Iterator[bytes]:
    """Send the first half and close the connection."""
    whole = body.encode()
    yield whole[: len(whole) // 2]
    raise ClientDisconnected  # which makes waitress close without a word
