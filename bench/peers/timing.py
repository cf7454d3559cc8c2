"""What a check of access costs, as each peer written in Python has it timed."""

import statistics
import time
from collections.abc import Callable

BLOCKS = 20


def microseconds(check: Callable[[], bool], checks: int) -> float:
    """Return the median of blocks; the check says whether the user is let in, and must, or it is not the one meant."""
    per_block, blocks = max(1, checks // BLOCKS), []
    for _ in range(BLOCKS):
        began = time.perf_counter()
        for _ in range(per_block):
            check()
        blocks.append((time.perf_counter() - began) / per_block * 1e6)
    if not check():
        raise SystemExit("the user is not let in: the check that was timed is another one")
    return statistics.median(blocks)
