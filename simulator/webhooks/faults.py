"""Faults of webhook deliveries, on demand."""

import time
from dataclasses import dataclass
from typing import Any

LARGEST = 1_000_000


@dataclass
class DeliveryFaults:
    """The deliveries' faults. Set a field at any time, for what is sent from then on. By default there are none.

    Shape   duplicates: the number of extra copies of each delivery; disorder: events of one request, and those still
            delayed, arrive shuffled, one at a time; loss: the share, 0 to 1, that is never sent;
            twin_events: each change is recorded and sent twice, under two event ids; wrong_secret: signed with another
            secret; down_attempts: the number of next attempts without a response, which are retried
    Units   delay_seconds before the first attempt; down_seconds without a response, from when it is set
    Errors  ValueError for a share above 1, a negative number, or more than a million
    """

    duplicates: int = 0
    disorder: bool = False
    delay_seconds: float = 0.0
    loss: float = 0.0
    twin_events: bool = False
    wrong_secret: bool = False
    down_seconds: float = 0.0
    down_attempts: int = 0
    _up_at = 0.0  # no annotation, so it is not a field and not in the JSON

    def __setattr__(self, name: str, value: Any) -> None:
        if not 0 <= value <= (1 if name == "loss" else LARGEST):
            raise ValueError(f"{name} cannot be {value}")
        object.__setattr__(self, name, value)
        if name == "down_seconds":
            object.__setattr__(self, "_up_at", time.monotonic() + value)

    def drops_attempt(self) -> bool:
        """Return whether the next attempt gets no response, and count it."""
        if self.down_attempts:
            self.down_attempts -= 1
            return True
        return time.monotonic() < self._up_at
