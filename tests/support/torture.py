"""How hard the tests of reliability try: a short form that runs with all others, and the long form of bin/torture.

A test of this kind is marked with the part of docs/reliability.md that it stands in, and notes its figures there:

    @pytest.mark.torture("crash")
    def test_no_acknowledged_event_is_lost_when_the_server_is_killed(figures):
        kills = size(30, long=300)
        ...
        figures.note(kills=kills, acknowledged=len(acknowledged), lost=0)
"""

import json
import os
import time
from pathlib import Path

RESULTS = os.environ.get("CORKAGE_TORTURE", "")
"""The file to which figures are appended, one JSON object a line. It is set in the long form."""
SEED = int(os.environ.get("CORKAGE_SEED", "1"))
"""What random numbers begin with."""


def size(short: int, *, long: int) -> int:
    """Return how much to do, in this form."""
    return long if RESULTS else short


class Figures:
    """What a test counted and measured, for the table of docs/reliability.md."""

    def __init__(self, part: str, test: str) -> None:
        self._row: dict[str, object] = {"part": part, "test": test, "seed": SEED}
        self._began = time.monotonic()
        self._noted: dict[str, object] = {}

    def note(self, **figures: object) -> None:
        """Add figures, named as the table shall name them, with blanks for underscores."""
        self._noted |= figures

    def write(self, outcome: str) -> None:
        """Append the row, with the test's outcome, where the form is the long one."""
        if RESULTS:
            seconds = round(time.monotonic() - self._began, 1)
            row = self._row | {"figures": self._noted, "seconds": seconds, "outcome": outcome}
            with Path(RESULTS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
