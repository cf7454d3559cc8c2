"""What a measurement found, as lines of a table."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

PAIRS = 5


@dataclass(frozen=True)
class Line:
    """One figure. `bound` is what it was to be, `ok` whether it is; None where nothing was asked."""

    what: str
    figure: str
    bound: str = ""
    ok: bool | None = None


@dataclass(frozen=True)
class Bars:
    """A chart: groups of bars, one bar for each series."""

    name: str
    title: str
    unit: str
    groups: tuple[str, ...]
    series: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Result:
    title: str
    lines: list[Line] = field(default_factory=list)
    charts: list[Bars] = field(default_factory=list)


def alternating(a: Callable[[], float], b: Callable[[], float], pairs: int = PAIRS) -> list[tuple[float, float]]:
    """Measure a, b, a, b ...: what drifts on the machine drifts for both."""
    return [(a(), b()) for _ in range(pairs)]


def ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """The median, pair by pair, of the second to the first."""
    return statistics.median(b / a for a, b in pairs)


def at_most(what: str, figure: str, value: float, bound: float, unit: str = "x") -> Line:
    return Line(what, figure, f"at most {bound:g} {unit}", value <= bound)


def at_least(what: str, figure: str, value: float, bound: float, unit: str = "x") -> Line:
    return Line(what, figure, f"at least {bound:g} {unit}", value >= bound)
