"""Of very many alike, some: with CI=true each is played once in so many days. ALL_ORDERS=true plays all.

On whoever's machine CI is not set all are played, too.
"""

import os
import time
import zlib

IS_SAMPLED = os.environ.get("CI") == "true" and os.environ.get("ALL_ORDERS") != "true"
TODAY = int(time.time() // 86_400)


def is_todays(name: str, days: int) -> bool:
    """Return whether the one of this name is played today, as each is once in so many days."""
    return not IS_SAMPLED or zlib.crc32(name.encode()) % days == TODAY % days


def todays(many: range, days: int = 3) -> range:
    """Return those that are played today, in their order."""
    return many[TODAY % days :: days] if IS_SAMPLED else many
