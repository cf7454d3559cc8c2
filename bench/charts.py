"""Bar charts, as SVG, by matplotlib: `pip install -e '.[bench]'`."""

from pathlib import Path

import matplotlib as mpl
from results import Bars

mpl.use("svg")
from matplotlib import pyplot as plt

mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "corkage", "font.family": "sans-serif", "font.size": 9}
COLOURS = ("#b8c4be", "#1d6b52", "#d9a441", "#6b6f9c")


def draw(bars: Bars, path: Path) -> None:
    """Draw horizontal bars in groups, with their figures at their ends."""
    count = len(bars.series)
    figure, axes = plt.subplots(figsize=(6.4, 0.6 + 0.26 * count * len(bars.groups) + 0.2 * len(bars.groups)))
    for number, (name, values) in enumerate(bars.series.items()):
        places = [group + number * 0.8 / count for group in range(len(bars.groups))]
        drawn = axes.barh(places, values, 0.8 / count, label=name, color=COLOURS[number if count > 1 else 1])
        axes.bar_label(drawn, fmt=lambda value: f"{value:,.0f}" if value >= 100 else f"{value:.1f}", padding=3)
    axes.set_yticks([group + 0.4 * (count - 1) / count for group in range(len(bars.groups))], bars.groups)
    axes.invert_yaxis()
    axes.set_title(f"{bars.title} ({bars.unit})" if bars.unit not in bars.title else bars.title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    if count > 1:
        axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=count)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None}, facecolor="white")
    plt.close(figure)
