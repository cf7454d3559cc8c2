"""Secrets that others can guess: published ones, and those with too little variety to be random."""

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
LEAST_VARIETY = 8  # one in 30 million strings of 32 random hexadecimal digits, the weakest good secrets, has less
SHORTEST_KEY = 24


def is_guessable(secret: str) -> bool:
    """Return whether others can guess this secret. A random one is practically never reported."""
    text = secret.removeprefix("whsec_")
    return text in PUBLISHED or _is_monotonous([*map(ord, text)]) or _is_monotonous([*_key(text)])


def _key(text: str) -> bytes:
    """Return the key that a text encodes in base64; empty when it encodes none."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return key if len(key) >= SHORTEST_KEY else b""


def _is_monotonous(codes: list[int]) -> bool:
    """Return whether there are few characters, a repeated pattern, or regular steps such as the alphabet's."""
    if not codes:
        return False
    steps = {after - before for before, after in pairwise(codes)}
    repeats = any(codes[length:] == codes[:-length] for length in range(1, len(codes) // 2 + 1))
    return len(set(codes)) < LEAST_VARIETY or len(steps) < LEAST_VARIETY or repeats
