"""corkage doctor: what was looked at and seen, and the command that mends what is wrong."""

import shutil
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from .. import storage
from ..errors import ConfigError, DatabaseUnavailable
from . import MISCONFIGURED, configured, opened
from .output import colored, print_json

if TYPE_CHECKING:
    from ..health.doctor import Line

SHOWN = 10  # of what one check finds
COLORS = {"ok": "green", "note": "cyan", "wrong": "red", "not checked": "yellow"}
LEAST_WIDTH, MOST_WIDTH = 60, 120
INDENT = " " * 13
MEND = "> "
UNLIMITED = 1_000_000
COMMANDS = ("corkage ", "stripe ", "chmod ", "sqlite3 ", "df ", "fuser ", "ls ", "psql ", "timedatectl ")


def examine(as_json: bool, shows_all: bool) -> int:
    """Print what every check saw; return 1 when something is wrong, 2 when something could not be looked at."""
    from ..health import doctor  # loads Stripe's library

    try:
        lines = _examined()
    except ConfigError as error:
        if not as_json:
            raise
        print_json(as_facts(doctor.misconfigured(error)))
        return MISCONFIGURED
    _print(lines, as_json=as_json, shows_all=shows_all)
    return doctor.exit_code(lines)


def _examined() -> "list[Line]":
    from ..health import doctor  # loads Stripe's library

    database = configured().database
    label = storage.label(database)
    try:
        storage.refuse_if_gone(database)
        with opened() as service:
            return doctor.examine(service.worker, service.config, service.watched, time.time())
    except DatabaseUnavailable as error:  # opening it writes
        return [doctor.unavailable(error, label)]


def _print(lines: "Sequence[Line]", *, as_json: bool, shows_all: bool) -> None:
    if as_json:
        print_json(as_facts(lines))
        return
    for text in _texts(lines if shows_all else list(_folded(lines))):
        click.echo(text)
    click.echo(summary(lines))


def as_facts(lines: "Sequence[Line]") -> dict[str, Any]:
    """Return what `--json` prints."""
    marks = Counter(each.mark for each in lines)
    is_wrong, is_unseen = bool(marks["wrong"]), bool(marks["not checked"])
    status = "wrong" if is_wrong else "unknown" if is_unseen else "well"
    return {"status": status, "wrong": marks["wrong"], "checks": [each._asdict() for each in lines]}


def summary(lines: "Sequence[Line]") -> str:
    """Return the last line: whether all is well."""
    marks = Counter(each.mark for each in lines)
    if marks["wrong"]:
        return f"problems: {marks['wrong']}"
    if marks["not checked"]:
        return f"nothing is known to be wrong; not checked: {marks['not checked']}"
    return "all is well"


def _folded(lines: "Sequence[Line]") -> "Iterator[Line]":
    """Return the lines, of each check the first ten and how many more there are."""
    from ..health.doctor import Line  # loads Stripe's library

    counts = Counter((each.check, each.mark) for each in lines)
    shown: Counter[tuple[str, str]] = Counter()
    for each in lines:
        kind = (each.check, each.mark)
        shown[kind] += 1
        if shown[kind] <= SHOWN:
            yield each
        elif shown[kind] == counts[kind]:
            yield Line(each.check, each.mark, f"and {counts[kind] - SHOWN} more like these; --all shows them")


def _texts(lines: "Sequence[Line]") -> Iterator[str]:
    """Return the lines of text, wrapped on a terminal only: what is searched or stored keeps a line for each."""
    width = min(max(shutil.get_terminal_size().columns, LEAST_WIDTH), MOST_WIDTH) - len(INDENT)
    width = width if sys.stdout.isatty() else UNLIMITED
    for each in lines:
        first, *rest = _wrapped(f"{each.check}: {each.what}", width)
        mark = colored(each.mark.ljust(len(INDENT)), COLORS[each.mark])
        yield mark + first
        yield from (INDENT + text for text in rest)
        if each.repair:
            is_command = each.repair.startswith(COMMANDS)  # which must stay in one line, to be copied
            first, *rest = [each.repair] if is_command else _wrapped(each.repair, width - len(MEND))
            yield INDENT + MEND + first
            yield from (INDENT + " " * len(MEND) + text for text in rest)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False)
