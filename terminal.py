"""On a terminal, sentences are folded at blanks, to its width. A pipe or a file gets each in one line.

One place for all commands: their output, their errors and what is not understood go through here.
"""

import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import click

MOST_COLUMNS, LEAST_COLUMNS = 120, 40
_WHOLE = re.compile(  # to be copied, or a line of the log
    r"\s*(?:> |[\w ]+: )?(?:corkage|stripe|chmod|curl|df|fuser|ls|pip|psql|sqlite3|systemctl|timedatectl) |"
    r"\d{4}-\d\d-\d\d |\{"
)


class Fitted:
    """A terminal's stream that folds each line that is complete. whole: the stream itself."""

    def __init__(self, whole: TextIO, columns: int) -> None:
        self.whole, self.columns = whole, columns
        self._held = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)

    def write(self, text: str) -> int:
        """Write what is complete, and hold the rest until its line ends or the stream is flushed."""
        *lines, self._held = (self._held + text).split("\n")
        for line in lines:
            self.whole.write("".join(f"{each}\n" for each in fold(line, self.columns)))
        return len(text)

    def flush(self) -> None:
        """Write what is held, such as a question: the answer ends its line."""
        self.whole.write(self._held)
        self._held = ""
        self.whole.flush()


def fold(line: str, columns: int) -> list[str]:
    """Return the lines that a line is folded into. A word is never broken, nor is a command."""
    if len(click.unstyle(line)) <= columns or "\r" in line or _WHOLE.match(line):
        return [line]
    hanging = " " * (len(line) - len(line.lstrip(" ")) + 2)
    folding = textwrap.TextWrapper(
        columns, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    )
    return folding.wrap(line)


def columns() -> int | None:
    """Return how many columns the terminal has that is printed on; None where nothing is folded."""
    out: Any = sys.stdout
    return out.columns if isinstance(out, Fitted) else None


def whole_stdout() -> TextIO:
    """Return where to print what must not be folded, such as JSON and scripts."""
    out: Any = sys.stdout
    return out.whole if isinstance(out, Fitted) else out


@contextmanager
def fitted() -> Iterator[None]:
    """Fold what is printed on a terminal."""
    before = sys.stdout, sys.stderr
    streams: Any = sys  # or the checker wants every attribute of a stream
    width = min(max(shutil.get_terminal_size().columns, LEAST_COLUMNS), MOST_COLUMNS)
    streams.stdout, streams.stderr = (Fitted(each, width) if each.isatty() else each for each in before)
    try:
        yield
    finally:
        for each in (sys.stdout, sys.stderr):
            each.flush()
        sys.stdout, sys.stderr = before
