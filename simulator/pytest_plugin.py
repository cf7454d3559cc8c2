"""The fixture `stripe_simulator`, for tests of products that use Corkage. pytest finds it by itself."""

import time
from collections.abc import Iterator

import pytest

from . import Simulator


@pytest.fixture
def stripe_simulator() -> Iterator[Simulator]:
    """An offline Stripe of this test's own, in memory and on a free port. Ids repeat from run to run; its time begins
    now, and moves only when it is moved."""
    with Simulator(seed=1, now=int(time.time())) as simulator:
        yield simulator
