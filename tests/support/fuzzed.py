"""Play a target with what atheris makes of its examples, guided by the branches of the code that each case reaches.

    python tests/support/fuzzed.py TARGET CASES SEED FOLDER

It takes the process over, and ends at a case that is a fault: the case is a file in the folder, whose name begins with
"crash-", and the status is 77. Otherwise the figures are in figures.json there, and the status is 0.

Needs atheris, which is no part of what the tests need: its wheels are 35 MB each, and for some versions of Python only.
"""

import json
import logging
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

SUPPORT = Path(__file__).resolve().parent
LARGEST_WORD = 64  # bytes; libFuzzer's limit
LARGEST_CASE = 4_096  # bytes; what is too large has tests of its own
MOST_GROWN = 200_000_000  # bytes
MOST_SECONDS = 5.0  # of a core, for a case
HANGS_AFTER = 300  # seconds of the clock, on however busy a machine
INSTRUMENTED = ("bottle", "corkage", "dotenv", "jwt", "tomllib", "waitress")


class Tally:
    """Plays cases, counts how they are answered, and ends the process after as many as were asked for."""

    def __init__(self, play: Any, cases: int, folder: Path) -> None:
        self._play, self._cases, self._folder = play, cases, folder
        self._process, self._held = psutil.Process(), 0
        self._counts: Counter[str] = Counter()
        self._played = 0

    def __call__(self, data: bytes) -> None:
        """Play a case.

        Errors  AssertionError, or whatever a fault raises
        """
        began = time.process_time()
        self._counts[self._play(data)] += 1
        assert time.process_time() - began < MOST_SECONDS, "it took too long"
        self._played += 1
        if self._played == self._cases // 10:  # all that is loaded once is loaded
            self._held = self._process.memory_info().rss
        if self._played == self._cases:
            self._end()

    def _end(self) -> None:
        grown = max(self._process.memory_info().rss - self._held, 0)
        assert grown < MOST_GROWN, f"{grown} bytes more than after a tenth of the cases"
        figures = {"cases": self._cases, "memory_grown_MB": grown // 1_000_000} | dict(sorted(self._counts.items()))
        (self._folder / "figures.json").write_text(json.dumps(figures))
        sys.stderr.flush()
        os._exit(0)  # as libFuzzer ends, too


def main(name: str, cases: str, seed: str, folder: str) -> None:
    """Open the target with its code instrumented, and hand the process over."""
    import atheris

    own = Path(folder)
    logging.getLogger().addHandler(logging.NullHandler())  # or all warnings were printed
    with atheris.instrument_imports(include=INSTRUMENTED, exclude=_simulator()):
        from fuzz_files import FILES
        from fuzz_requests import REQUESTS
        from restructured import restructured

        opened = (FILES | REQUESTS)[name](own)
        target = opened.__enter__()  # it is closed by the end of the process
        for each in target.examples:  # what is imported at its first use is instrumented, too
            target.play(each)
    _unpaced()
    options = [f"-dict={_dictionary(own, target.words)}", f"-seed={seed}", f"-artifact_prefix={own}/"]
    options += [f"-timeout={HANGS_AFTER}", "-rss_limit_mb=0", f"-max_len={LARGEST_CASE}", "-len_control=0"]
    options += ["-use_value_profile=1", str(_corpus(own, target.examples))]

    def change(data: bytes, most: int, number: int) -> bytes:
        """Change bytes or, as often, what the data or an example says: few of the others are readable still."""
        chance = random.Random(number)
        if chance.randrange(2):
            return atheris.Mutate(data, most)
        changed = restructured(chance, chance.choice((data, chance.choice(target.examples))))
        return changed if 0 < len(changed) <= most else atheris.Mutate(data, most)

    atheris.Setup([sys.argv[0], *options], Tally(target.play, int(cases), own), custom_mutator=change)
    atheris.Fuzz()


def _simulator() -> list[str]:
    """Return the modules of the simulated Stripe: what it does is no business of the fuzzer's."""
    top = SUPPORT.parent.parent
    paths = (path.relative_to(top).with_suffix("") for path in (top / "simulator").rglob("*.py"))
    return [".".join(("corkage", *(each for each in path.parts if each != "__init__"))) for path in paths]


def _unpaced() -> None:
    """The Stripe at the other end is ours, and allows any number of calls."""
    from corkage.sync import worker

    worker.CALLS_PER_SECOND = 10_000


def _dictionary(folder: Path, words: tuple[bytes, ...]) -> Path:
    path = folder / "words.txt"
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in words if 0 < len(word) <= LARGEST_WORD)
    path.write_text("".join(f'"{each}"\n' for each in escaped))
    return path


def _corpus(folder: Path, examples: tuple[bytes, ...]) -> Path:
    path = folder / "corpus"
    path.mkdir()
    for number, example in enumerate(examples):
        (path / f"{number:03}").write_bytes(example)
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
