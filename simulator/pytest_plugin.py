"""The fixture `stripe_simulator`, for tests of products that use Corkage. pytest loads it automatically."""

import time
from collections.abc import Iterator

import pytest

from . import Simulator


@pytest.fixture
def stripe_simulator() -> Iterator[Simulator]:
    """An offline Stripe for one test, in memory, on a free port. Ids repeat from run to run; time starts now and stands
    still until the test advances it."""
    with Simulator(seed=1, now=int(time.time())) as simulator:
        yield simulator
