"""What commands print: on a terminal, sentences are folded at blanks, to its width; a pipe or a file gets each in one
line. Neither gets a control character, which a stranger may have put into a name.

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

from .logs.clean import visible

MOST_COLUMNS, LEAST_COLUMNS = 120, 40
_WHOLE = re.compile(  # to be copied, or a line of the log
    r"\s*(?:> |[\w ]+: )?(?:corkage|stripe|chmod|curl|df|fuser|ls|pip|psql|sqlite3|systemctl|timedatectl) |"
    r"\d{4}-\d\d-\d\d |\{"
)
# Colours of click; or all but what is surely harmless, such as the blanks in an amount.
_ODD = re.compile(r"(\x1b\[(?:0|3[1-6])m)|[^\n\t -~\xa0\u202f]")


class Clean:
    """A stream that shows control characters, and what reverses a text, as escapes. whole: the stream itself."""

    def __init__(self, whole: TextIO) -> None:
        self.whole = whole

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)

    def write(self, text: str) -> int:
        """Write the text, cleaned."""
        self.whole.write(cleaned(text))
        return len(text)


class Fitted(Clean):
    """A terminal's stream that also folds each line that is complete."""

    def __init__(self, whole: TextIO, columns: int) -> None:
        super().__init__(whole)
        self.columns = columns
        self._held = ""

    def write(self, text: str) -> int:
        """Write what is complete, and hold the rest until its line ends or the stream is flushed."""
        *lines, self._held = (self._held + cleaned(text)).split("\n")
        for line in lines:
            self.whole.write("".join(f"{each}\n" for each in fold(line, self.columns)))
        return len(text)

    def flush(self) -> None:
        """Write what is held, such as a question: the answer ends its line."""
        self.whole.write(self._held)
        self._held = ""
        self.whole.flush()


def cleaned(text: str) -> str:
    """Return the text with each character that cannot be printed as an escape, but for line ends, tabs and colours."""
    return _ODD.sub(lambda found: found[1] or visible(found[0]), text)


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
    return whole(sys.stdout)


def whole(stream: Any) -> TextIO:
    """Return the stream itself, to which anything can be written."""
    out: TextIO = stream.whole if isinstance(stream, Clean) else stream
    return out


@contextmanager
def fitted() -> Iterator[None]:
    """Clean what is printed, and fold it on a terminal."""
    before = sys.stdout, sys.stderr
    streams: Any = sys  # or the checker wants every attribute of a stream
    width = min(max(shutil.get_terminal_size().columns, LEAST_COLUMNS), MOST_COLUMNS)
    streams.stdout, streams.stderr = (Fitted(each, width) if each.isatty() else Clean(each) for each in before)
    try:
        yield
    finally:
        for each in (sys.stdout, sys.stderr):
            each.flush()
        sys.stdout, sys.stderr = before
