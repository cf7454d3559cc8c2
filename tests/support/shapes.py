"""Values of another shape than wanted: with their types changed, their keys missing, twice, or nested without end."""

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from torture import SEED

DEEP, HUGE = "<deep>", "<huge>"
RAW = {json.dumps(DEEP): "[" * 3000 + "]" * 3000, json.dumps(HUGE): "9" * 5000}
"""What json.dumps() would not write, by what stands for it."""
TEXTS = (
    "", " ", "\0", "\ud800", "\ufeff", "\u202e", "é", "a\nb", "a\r\nA: a=b", "../x", ".", "..", "/", "%00", "?x",
    "#", "<b>", "{{1}}", "%(a)s", "{0}", "';--", "x" * 255, "x" * 256, "x" * 20_000, "null", "true", "1", "0x1", "²",
    "evt_1", "cus_", "cus_1", "sub_1", "sub_../x", "cs_1", "pi_1", "ch_1", "org_1", "v1.", "customer.updated",
    "2026-01-01T00:00:00Z", "0001-01-01T00:00:00", "9999-12-31T23:59:59-23:59",
)  # fmt: skip
ODD: tuple[Any, ...] = (
    *TEXTS, None, True, False, 0, -1, 1, 1.5, -0.0, 2**31, 2**53, 2**63, 10**30, 1e308, float("inf"), float("nan"),
    [], {}, [None], [[]], ["a", 1], {"id": None}, {"id": "cus_1"}, {"object": "event"}, {"": ""}, DEEP, HUGE,
)  # fmt: skip
DEEDS = ("odd", "odd", "odd", "gone", "listed", "wrapped", "renamed")


def playing(cases: int) -> Callable[[Any], Any]:
    """Return a decorator for a test by Hypothesis of so many cases, which are the same for the same seed."""
    chosen = settings(max_examples=cases, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    return lambda test: seed(SEED)(chosen(test))


def reshaped(values: Sequence[Any], most: int = 3) -> st.SearchStrategy[Any]:
    """Return a strategy for one of the values, with up to so many of its places changed."""

    @st.composite
    def drawn(draw: st.DrawFn) -> Any:
        value = copy.deepcopy(values[draw(st.integers(0, len(values) - 1))])
        for _ in range(draw(st.integers(0, most))):
            if found := list(places(value)):
                _change(draw, *found[draw(st.integers(0, len(found) - 1))])
        return value

    return drawn()


def as_json(draw: st.DrawFn, value: Any) -> str:
    """Return the value as JSON, now and then with a key twice; `draw` draws from a strategy."""
    text = in_full(json.dumps(value))
    if isinstance(value, dict) and value and not draw(st.integers(0, 9)):
        key, odd = draw(st.sampled_from(sorted(value))), draw(st.sampled_from(TEXTS))
        text = text.replace("{", f"{{{json.dumps(key)}: {json.dumps(odd)}, ", 1)
    return text


def in_full(text: str) -> str:
    """Return JSON with what json.dumps() would not write."""
    for marked, raw in RAW.items():
        text = text.replace(marked, raw)
    return text


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Return each place in a value, as what holds it, and its key or index there."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


def _change(draw: st.DrawFn, holder: Any, key: Any) -> None:
    deed = draw(st.sampled_from(DEEDS))
    if deed == "odd":
        holder[key] = copy.deepcopy(ODD[draw(st.integers(0, len(ODD) - 1))])
    elif deed == "gone":
        del holder[key]
    elif deed == "listed":
        holder[key] = [holder[key]]
    elif deed == "wrapped":
        holder[key] = {"id": holder[key]}
    elif isinstance(holder, dict):
        holder[draw(st.sampled_from(TEXTS))] = holder.pop(key)
