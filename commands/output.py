"""What commands print with, and ask with: JSON, tables, colour on a terminal only, progress, questions."""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

import click

from ..terminal import columns as columns_of_terminal
from ..terminal import whole, whole_stdout

UNPLAIN = re.compile(r"[^\n -~]")


def print_json(value: Any) -> None:
    """Print JSON, indented, in UTF-8. What cannot be printed is escaped, as a terminal could obey it."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    click.echo(UNPLAIN.sub(lambda found: _escaped(found[0]), text), whole_stdout())


def _escaped(character: str) -> str:
    return character if character.isprintable() else json.dumps(character)[1:-1]


def colored(text: str, color: str) -> str:
    """Return a text in a colour, to be printed with click.echo, which leaves the colour out where there is no terminal.

    Shape   color: a name of click's, such as "green" or "red"
    """
    return click.style(text, fg=color)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], indent: str = "  ") -> list[str]:
    """Return the lines of a table: texts to the left, numbers and amounts to the right; "none" without rows.

    On a terminal that is too narrow for it, each row is a list of its cells, each with its column's name.
    """
    lines = [tuple(map(str, row)) for row in rows]
    if not lines:
        return [f"{indent}none"]
    widths = [max(len(line[column]) for line in [tuple(columns), *lines]) for column in range(len(columns))]
    is_right = [_is_number(cell) for cell in lines[0]]
    if len(indent) + sum(widths) + 2 * len(widths[1:]) > (columns_of_terminal() or sys.maxsize):
        return [text for line in lines for text in _listed(columns, line, indent)]
    return [(indent + "  ".join(map(_aligned, line, widths, is_right))).rstrip() for line in [tuple(columns), *lines]]


def _listed(columns: Sequence[str], line: Sequence[str], indent: str) -> list[str]:
    first, *others = (f"{column}: {cell}" for column, cell in zip(columns, line, strict=True))
    return [indent + first, *(f"{indent}  {each}" for each in others)]


def _aligned(text: str, width: int, is_right: bool) -> str:
    return text.rjust(width) if is_right else text.ljust(width)


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "").removeprefix("-").isdecimal()


class Progress:
    """A progress bar on a terminal's stderr; nothing where stderr is no terminal.

    Called with what is being done, how much of it is done, and of how much, where that is known.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        file = file or whole(sys.stderr)
        self._bar: Any = click.progressbar(length=0, file=file, show_pos=True, hidden=not file.isatty())

    def __enter__(self) -> "Progress":
        self._bar.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.__exit__(None, None, None)

    def __call__(self, doing: str, done: int, of: int | None) -> None:
        self._bar.label, self._bar.length, self._bar.pos = doing, of, done
        self._bar.render_progress()


def warn_of_arguments(what: str, instead: str) -> None:
    """Say that a secret was seen in the list of processes.

    Shape   what: the secret, such as "The password"; instead: a clause about the other way
    """
    click.echo(
        f"{what} stands on the command line, where every user of this machine may read it while this runs, and in the "
        f"shell's history: {instead}.",
        err=True,
    )


def is_wanted(question: str, *, yes: bool) -> bool:
    """Return whether the operator wants it: by --yes, or by an answer on a terminal. Without either, nothing is done.

    Shape   question: one that yes or no answers, such as "Cancel it at Stripe?"
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        click.echo("Ask for it with --yes, where nobody can answer a question.", err=True)
        return False
    return click.confirm(question, err=True)
