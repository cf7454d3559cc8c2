"""What is to go wrong on the way of the webhooks."""

import time
from dataclasses import dataclass
from typing import Any

LARGEST = 1_000_000


@dataclass
class DeliveryFaults:
    """Set the fields at any time; they hold for what is sent from then on. Everything is well by default.

    Shape   duplicates: how many copies come beside each delivery; disorder: what a request caused, and what `delay`
            still holds back, comes shuffled, one at a time; loss: the share, 0 to 1, that is never sent;
            twin_events: each change is told twice, under two event ids; wrong_secret: signed with another secret;
            down_attempts: the next attempts that nobody answers; they are repeated like all that are not answered
    Units   delay_seconds before the first attempt; down_seconds from the moment they are set, likewise unanswered
    Errors  ValueError for what no fault can be: a share above 1, a negative time, more than a million
    """

    duplicates: int = 0
    disorder: bool = False
    delay_seconds: float = 0.0
    loss: float = 0.0
    twin_events: bool = False
    wrong_secret: bool = False
    down_seconds: float = 0.0
    down_attempts: int = 0
    _up_at = 0.0  # without a type it is no field, and so not in the JSON

    def __setattr__(self, name: str, value: Any) -> None:
        if not 0 <= value <= (1 if name == "loss" else LARGEST):
            raise ValueError(f"{name} cannot be {value}")
        object.__setattr__(self, name, value)
        if name == "down_seconds":
            object.__setattr__(self, "_up_at", time.monotonic() + value)

    def swallow(self) -> bool:
        """Tell of an attempt that is about to be made whether nobody is there to answer it, and count it."""
        if self.down_attempts:
            self.down_attempts -= 1
            return True
        return time.monotonic() < self._up_at
