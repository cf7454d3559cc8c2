"""Bar charts by month, as SVG that a template draws: bars without text, which stands beside them as HTML.

So a chart may be as wide as its page, and its text stays as large as any other. A table has the numbers.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

SLOT, HEIGHT = 10, 40  # of a month, in units of the drawing
GAP = 1
LEAST = 0.5  # what is not nothing can be seen


class Series(NamedTuple):
    """Values by month, with the name of their colour in style.css, and what they are called."""

    kind: str
    label: str
    values: Sequence[int]


class Bar(NamedTuple):
    """A bar of a chart. title: what it stands for, in words."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    title: str


class Chart(NamedTuple):
    """A chart.

    Shape   label: what it shows; months: short names below its bars; legend: kinds and what they stand for
    Units   width and height, as the places of bars, in units of the drawing
    """

    label: str
    width: int
    height: int
    bars: list[Bar]
    months: list[str]
    legend: list[tuple[str, str]]


def bars(label: str, months: Sequence[tuple[str, str]], series: Sequence[Series], text: Callable[[int], str]) -> Chart:
    """Return a chart with a group of bars for each month. A value below zero is drawn as large as one above.

    Shape   months: long and short names; text: writes a value for people
    """
    most = max((abs(value) for each in series for value in each.values), default=0) or 1
    width = (SLOT - 2 * GAP) / len(series)
    drawn = []
    for number, each in enumerate(series):
        for place, value in enumerate(each.values):
            if value:
                height = max(LEAST, round(HEIGHT * abs(value) / most, 2))
                x = round(SLOT * place + GAP + number * width, 2)
                title = f"{months[place][0]}, {each.label}: {text(value)}"
                drawn.append(Bar(each.kind, x, round(HEIGHT - height, 2), round(width, 2), height, title))
    legend = [(each.kind, each.label) for each in series]
    return Chart(label, SLOT * len(months), HEIGHT, drawn, [short for _, short in months], legend)
