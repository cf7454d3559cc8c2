"""How what waits or fails is listed on a terminal."""

from collections.abc import Sequence


def print_state(lines: Sequence[str], what: str, limit: int) -> None:
    """Print what is in one state, cut at the limit; one line more than that tells that there is more."""
    for line in lines[:limit]:
        print(line)
    if not lines:
        print(f"no {what}")
    elif len(lines) > limit:
        print(f"and more {what}; --limit shows more than {limit}")
