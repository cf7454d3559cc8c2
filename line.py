"""The line before Stripe: so many requests may wait for its answer, some more for their turn; others get a 503."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import Busy

THREADS = 16  # of `corkage serve`; half of them may wait for Stripe
WAIT_SECONDS = 5.0


class Line:
    """Places for requests that wait for Stripe. The fast routes keep the other threads of the server.

    Shape   places: how many may wait for Stripe at a time; half as many may wait for a place
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self._in_line = threading.BoundedSemaphore(places + places // 2)
        self._at_stripe = threading.BoundedSemaphore(places)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place; wait for one, WAIT_SECONDS at most, where none is free.

        Errors  Busy when the line is full, or no place becomes free in time
        """
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
