"""`python bench`: measure all of it, or what is named, and write tables and charts into docs/performance/.

Ratios only mean something side by side, in one run: each figure is the median of alternating pairs. On a machine that
does other things meanwhile, the 99th percentiles mean little.
"""

import argparse
import importlib
import os
import sys
import time
from pathlib import Path

from results import Result

NAMES = (
    "access",
    "webhooks",
    "at_work",
    "reading",
    "usage",
    "burst",
    "converge",
    "clicks",
    "recompute",
    "footprint",
    "file",
    "backups",
    "edge",
    "engines",
    "simulator_story",
    "beside_peers",
)
DOCS = Path(__file__).parent.parent / "docs" / "performance"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python bench", description="Measure Corkage, beside limits and peers.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all of them when none is given"
    )
    parser.add_argument("--quick", action="store_true", help="smaller numbers, to see that it runs")
    parser.add_argument("--keep", action="store_true", help="write what was measured into docs/performance/")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; wanted some of {', '.join(NAMES)}")
    _keep_bytecode()
    results = []
    for name in options.names or NAMES:
        began = time.monotonic()
        result: Result = importlib.import_module(name).measure(options.quick)
        results.append(result)
        print(_table(result), flush=True)
        print(f"({time.monotonic() - began:.0f} s)\n", flush=True)
        if options.keep:
            _keep(name, result)
    return 0 if all(line.ok is not False for result in results for line in result.lines) else 1


def _keep_bytecode() -> None:
    """Have what is started keep its bytecode, as what is installed has it: to compile is no part of a start."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def _table(result: Result) -> str:
    rows = [f"### {result.title}", "", "| | measured | wanted | |", "|---|---|---|---|"]
    marks = {True: "yes", False: "**no**", None: ""}
    rows += [f"| {line.what} | {line.figure} | {line.bound} | {marks[line.ok]} |" for line in result.lines]
    return "\n".join(rows)


def _keep(name: str, result: Result) -> None:
    DOCS.mkdir(exist_ok=True)
    (DOCS / f"{name}.md").write_text(_table(result) + "\n")
    for bars in result.charts:
        from charts import draw

        draw(bars, DOCS / f"{bars.name}.svg")


if __name__ == "__main__":
    sys.exit(main())
