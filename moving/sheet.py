"""Read a file of rows, as spreadsheets, databases and programs write them: CSV, with or without a header."""

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

BLANKS = " \t\r\n\v\f\ufeff\xa0"
NOTHING = ("", "NULL", "null", r"\N", "None")  # as databases and programs write that there is no value
DELIMITERS = ",;\t|"
FORMULAS = ("=", "+", "-", "@")  # with which a cell begins that a spreadsheet computes


class Column(NamedTuple):
    """A column that is wanted. names: what a header may call it, its own name first, in small letters."""

    names: tuple[str, ...]
    is_needed: bool = True

    @property
    def name(self) -> str:
        return self.names[0]


class Problem(NamedTuple):
    """Why a line cannot be taken."""

    line: int
    reason: str


class Row(NamedTuple):
    """A line: its number in the file, and its values by the names of the columns; "" where there is none."""

    line: int
    values: dict[str, str]


class Sheet(NamedTuple):
    """What a file holds, blank lines left out."""

    rows: list[Row]
    problems: list[Problem]


def read_sheet(data: bytes, columns: Sequence[Column]) -> Sheet:
    """Read a file. Without a header, its columns are in the order of these; further ones that nobody wants are left
    out where a header names them.

    A header is a first line that names a column that is needed.
    """
    try:
        text = _decoded(data)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return Sheet([], [Problem(line, "is not UTF-8: export the file in UTF-8")])
    lines, problems = _cells_of(text)
    if not lines:
        return Sheet([], [*problems, *([] if problems else [Problem(1, "the file has no rows")])])
    places = _places_in(lines[0][1], columns)
    if places is not None:
        lines = lines[1:]
        if lacking := [each.name for each in columns if each.is_needed and each.name not in places]:
            return Sheet([], [Problem(1, f"the header names no column {' and '.join(lacking)}{_wanted(columns)}")])
    rows: list[Row] = []
    for line, cells in lines:
        if places is None and not _fits(cells, columns):
            problems.append(Problem(line, f"has {len(cells)} columns{_wanted(columns)}"))
            continue
        found = places or {each.name: place for place, each in enumerate(columns)}
        rows.append(Row(line, {name: _value(cells, place) for name, place in found.items()}))
    return Sheet(rows, problems)


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):  # as spreadsheets write "Unicode text"
        return data.decode("utf-16")
    return data.decode("utf-8-sig")


def _cells_of(text: str) -> tuple[list[tuple[int, list[str]]], list[Problem]]:
    """Return the cells of each line that is not blank, with its number."""
    first = next((each for each in text.splitlines() if each.strip(BLANKS)), "")
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    found: list[tuple[int, list[str]]] = []
    began = 1
    try:
        for cells in reader:
            trimmed = [_without_quote(each.strip(BLANKS)) for each in cells]
            if any(trimmed):
                found.append((began, trimmed))
            began = reader.line_num + 1
    except csv.Error as error:
        return found, [Problem(began, f"cannot be read as CSV: {error}")]
    return found, []


def as_text(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula, whoever has chosen it. It is read back as it was."""
    return f"'{cell}" if cell.startswith((*FORMULAS, "'")) else cell


def _without_quote(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith((*FORMULAS, "'")) else cell


def _places_in(cells: Sequence[str], columns: Sequence[Column]) -> dict[str, int] | None:
    """Return where a header has each column; None for a line that is no header."""
    names = [each.lower().replace(" ", "_") for each in cells]
    places = {}
    for column in columns:
        place = next((names.index(name) for name in column.names if name in names), None)
        if place is not None:
            places[column.name] = place
    return places if any(each.is_needed and each.name in places for each in columns) else None


def _fits(cells: Sequence[str], columns: Sequence[Column]) -> bool:
    needed = sum(each.is_needed for each in columns)
    return needed <= len(cells) <= len(columns)


def _value(cells: Sequence[str], place: int) -> str:
    found = cells[place] if place < len(cells) else ""
    return "" if found in NOTHING else found


def _wanted(columns: Sequence[Column]) -> str:
    named = [each.name if each.is_needed else f"[{each.name}]" for each in columns]
    return f"; wanted {', '.join(named)}"
