"""Secrets that protect nothing: printed in this repository or elsewhere, or of too little variety to be random."""

import base64
import binascii
from itertools import pairwise

PUBLISHED = frozenset(
    """
    simulated bench of_the_comparison of_somebody_else test_of_the_tests
    only-for-trying-things-out-beside-the-simulator
    a-secret-of-at-least-thirty-two-bytes
    an-operators-token-of-at-least-32-characters
    a-string-secret-at-least-256-bits-long
    """.split()  # without whsec_; the last is the example of jwt.io
)
LEAST_VARIETY = 8  # of 32 random hexadecimal digits, the poorest of good secrets, one in 30 million has less
SHORTEST_KEY = 24


def is_guessable(secret: str) -> bool:
    """Return whether others can know this secret. One that is made at random never is."""
    text = secret.removeprefix("whsec_")
    return text in PUBLISHED or _is_monotonous([*map(ord, text)]) or _is_monotonous([*_key(text)])


def _key(text: str) -> bytes:
    """Return the key that a text is in base64; nothing when it is none."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return key if len(key) >= SHORTEST_KEY else b""


def _is_monotonous(signs: list[int]) -> bool:
    """Return whether there are few signs, a pattern that repeats, or steps such as those of the alphabet."""
    if not signs:
        return False
    steps = {after - before for before, after in pairwise(signs)}
    repeats = any(signs[length:] == signs[:-length] for length in range(1, len(signs) // 2 + 1))
    return len(set(signs)) < LEAST_VARIETY or len(steps) < LEAST_VARIETY or repeats
