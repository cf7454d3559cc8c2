"""How often somebody at one address may show a wrong token."""

import threading
from collections import deque

from ..addresses import subscriber_of
from ..errors import TooManyGuesses

TRIES, WITHIN_SECONDS = 5, 60
MOST_ADDRESSES = 10_000


class RateLimit:
    """Counts wrong tokens by address, in IPv6 by /64, until the right one is shown.

    The right one is never refused: behind a proxy that is not trusted all come from one address, and a stranger could
    lock the operator out. So the limit does not make a token safe that can be guessed, and config.py refuses those.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tried: dict[str, deque[float]] = {}

    def note(self, address: str, now: float) -> None:
        """Count a wrong token.

        Units   now: seconds of a clock that nobody sets back, or nobody could sign in until it catches up
        Errors  TooManyGuesses for the sixth within a minute
        """
        with self._lock:
            if len(self._tried) > MOST_ADDRESSES:
                self._tried = {who: times for who, times in self._tried.items() if times[-1] > now - WITHIN_SECONDS}
            times = self._tried.setdefault(subscriber_of(address), deque(maxlen=TRIES))
            if len(times) == TRIES and times[0] > now - WITHIN_SECONDS:
                raise TooManyGuesses(f"{TRIES} wrong tokens from {address} within {WITHIN_SECONDS} s")
            times.append(now)

    def forget(self, address: str) -> None:
        """Forget the tries of an address that has shown the right token."""
        with self._lock:
            self._tried.pop(subscriber_of(address), None)
