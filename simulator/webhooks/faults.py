"""Faults of webhook deliveries, on demand."""

import time
from dataclasses import dataclass
from typing import Annotated, Any

LARGEST = 1_000_000


@dataclass
class DeliveryFaults:
    """The deliveries' faults. Set a field at any time, for what is sent from then on. By default there are none.

    Errors  ValueError for a share above 1, a negative number, or more than a million
    """

    duplicates: Annotated[int, "the number of extra copies of each delivery"] = 0
    disorder: Annotated[
        bool,
        "events of one request, and those still delayed by `delay_seconds`, arrive shuffled, one at a time",
    ] = False
    delay_seconds: Annotated[float, "the delay before the first attempt"] = 0.0
    loss: Annotated[float, "this share, 0 to 1, is never sent, and counts as delivered"] = 0.0
    twin_events: Annotated[bool, "each change is recorded and sent twice, under two event ids"] = False
    wrong_secret: Annotated[bool, "signed with another secret"] = False
    down_seconds: Annotated[float, "attempts get no response, from when it is set, and are retried"] = 0.0
    down_attempts: Annotated[int, "the number of next attempts without a response"] = 0
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
