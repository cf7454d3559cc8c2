"""What a terminal is printed: folded at blanks, and what is to be copied left as it is."""

import io
import sys

import click
import pytest

from corkage.commands.output import print_json, table
from corkage.terminal import Fitted, columns, fitted, fold

LONG = "a sentence of some words that is longer than a narrow terminal has columns"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Print on a terminal of 40 columns. Called in the test: pytest changes the streams after the fixtures."""
    monkeypatch.setenv("COLUMNS", "40")

    def begun(made=None):
        made = Terminal() if made is None else made
        monkeypatch.setattr(sys, "stdout", made)
        return made

    return begun


def test_a_sentence_is_folded_at_blanks_and_hangs_below_its_beginning():
    assert fold(f"  {LONG}", 40) == [
        "  a sentence of some words that is",
        "    longer than a narrow terminal has",
        "    columns",
    ]
    assert fold("x" * 40, 40) == ["x" * 40]
    assert fold("x" * 41, 40) == ["x" * 41]


@pytest.mark.parametrize(
    "line",
    [
        f"corkage user link {LONG}",
        f"  > stripe subscriptions update {LONG}",
        f"mend: chmod 600 {LONG}",
        f"2026-11-27 02:35:41,248 INFO corkage.http: {LONG}",
        f'{{"level": "{LONG}"}}',
        f"\r  [####----]  1/4 {LONG}",
    ],
)
def test_commands_lines_of_the_log_and_progress_bars_are_not_folded(line):
    assert fold(line, 40) == [line]


def test_a_line_is_folded_when_it_is_complete_and_a_question_shown_at_once():
    whole = io.StringIO()
    stream = Fitted(whole, 40)

    stream.write(LONG[:30])
    assert whole.getvalue() == ""
    stream.write(f"{LONG[30:]}\nSure? ")
    assert whole.getvalue() == "\n".join(fold(LONG, 40)) + "\n"
    stream.flush()
    assert whole.getvalue().endswith("\nSure? ")


def test_only_a_terminal_is_fitted_and_only_for_a_while(terminal):
    out = terminal()
    with fitted():
        click.echo(LONG)
        assert columns() == 40
    assert out.getvalue().splitlines() == fold(LONG, 40)
    assert sys.stdout is out

    pipe = terminal(io.StringIO())
    with fitted():
        click.echo(LONG)
        assert columns() is None
    assert pipe.getvalue() == f"{LONG}\n"


def test_json_is_never_folded(terminal):
    out = terminal()
    with fitted():
        print_json([LONG])

    assert out.getvalue() == f'[\n  "{LONG}"\n]\n'


def test_a_table_that_does_not_fit_is_a_list(terminal):
    terminal()
    rows = [("ann", "sub_1", "$9.00"), ("x" * 36, "sub_2", "$12.00")]
    assert table(("user", "subscription", "pays"), rows)[0].split() == ["user", "subscription", "pays"]
    with fitted():
        assert table(("user", "subscription", "pays"), rows)[:3] == [
            "  user: ann",
            "    subscription: sub_1",
            "    pays: $9.00",
        ]
        assert table(("user", "pays"), [("ann", "9.00")]) == ["  user  pays", "  ann   9.00"]
