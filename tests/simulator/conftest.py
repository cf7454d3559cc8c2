"""Fixtures that several tests of the simulator share."""

from collections.abc import Callable
from typing import Any

import pytest
import stripe

from corkage.simulator import Simulator


@pytest.fixture
def v1(client: stripe.StripeClient) -> Any:
    return client.v1


@pytest.fixture
def new_events(simulator: Simulator) -> Callable[[], list[str]]:
    """Return a function that returns the types of the events since its last call, oldest first, without the clock's."""
    seen = 0

    def since() -> list[str]:
        nonlocal seen
        events = [each["type"] for each in reversed(simulator.world.all("event"))]
        new, seen = events[seen:], len(events)
        return [each for each in new if not each.startswith("test_helpers.")]

    return since


@pytest.fixture
def refused() -> Callable[..., stripe.StripeError]:
    """Return a function that makes a call, and returns the error that it is refused with."""

    def refuse(call: Callable[..., Any], *args: str, **params: Any) -> stripe.StripeError:
        with pytest.raises(stripe.StripeError) as caught:
            call(*args, params=params)
        return caught.value

    return refuse
