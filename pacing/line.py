"""The line before Stripe: so many requests may wait for its answer, some more for their turn; others get a 503."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import Busy

THREADS = 16  # of `corkage serve`; half of them may wait for Stripe
WAIT_SECONDS = 5.0
PLACES_OF_ONE = 2  # for one user, or whoever has a script and one account takes the places of all others


class Line:
    """Places for requests that wait for Stripe. The fast routes keep the other threads of the server.

    Shape   places: how many may wait for Stripe at a time; half as many may wait for a place
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self._in_line = threading.BoundedSemaphore(places + places // 2)
        self._at_stripe = threading.BoundedSemaphore(places)
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()

    @contextmanager
    def place(self, user_id: str | None = None) -> Iterator[None]:
        """Hold a place; wait for one, WAIT_SECONDS at most, where none is free.

        Shape   user_id: who asks; None for what no single user can ask for over and over
        Errors  Busy when the line is full, this user has PLACES_OF_ONE in it, or no place becomes free in time
        """
        with self._one_of(user_id):
            if not self._in_line.acquire(blocking=False):
                raise Busy(f"{self.places} requests wait for Stripe, and the line behind them is full")
            try:
                if not self._at_stripe.acquire(timeout=WAIT_SECONDS):
                    raise Busy(f"none of the {self.places} places was free for {WAIT_SECONDS:.0f} s")
                try:
                    yield
                finally:
                    self._at_stripe.release()
            finally:
                self._in_line.release()

    @contextmanager
    def _one_of(self, user_id: str | None) -> Iterator[None]:
        if user_id is None:
            yield
            return
        with self._lock:
            if self._held[user_id] >= PLACES_OF_ONE:
                raise Busy(f"user {user_id} has {PLACES_OF_ONE} requests that wait for Stripe")
            self._held[user_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._held[user_id] -= 1
                self._held += Counter()  # drops those who hold nothing any more
