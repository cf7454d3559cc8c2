"""What the command line declares: help, completion, colours, and that it fits what commands/ does."""

import inspect
import os
import subprocess
import sys

import pytest

from corkage import access, identity
from corkage.admin import figures
from corkage.cli import CORKAGE, main
from corkage.command_line import command, values
from corkage.notices import outbox
from corkage.pacing.line import THREADS
from corkage.sync import inbox
from corkage.users import grants, wishes


def commands_of(group, path=()):
    """Each command that runs something, with its name."""
    for name, each in group.commands.items():
        if hasattr(each, "commands"):
            yield from commands_of(each, (*path, name))
        else:
            yield " ".join([*path, name]), each


COMMANDS = dict(commands_of(CORKAGE))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_runs_a_function_that_takes_what_it_gives(name):
    does = COMMANDS[name].callback.does
    function = command.function_of(does)
    taken = inspect.signature(function).parameters

    assert set(taken) == {each.name for each in COMMANDS[name].params}


def test_bounds_and_choices_of_the_command_line_are_those_of_the_code():
    assert (values.EVENT_STATES, values.NOTICE_STATES) == (inbox.STATES, outbox.STATES)
    assert (values.CHARGES, values.FEEDBACKS) == (wishes.CHARGES, wishes.FEEDBACKS)
    assert (values.FOREVER, values.LONGEST_TEXT) == (access.FOREVER, grants.LONGEST_TEXT)
    assert (values.LONGEST_TOKEN_SECONDS, values.MOST_MONTHS) == (identity.LONGEST_TOKEN_SECONDS, figures.MOST_MONTHS)
    defaults = {each.name: each.default for each in COMMANDS["serve"].params}
    assert defaults["threads"] == THREADS


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_has_an_example_and_fits_into_80_columns(name, capsys):
    assert main([*name.split(), "--help"]) == 0

    said = capsys.readouterr().out
    assert ("Examples:" in said) == bool(name)
    assert max(map(len, said.splitlines())) <= 80 or any(" http" in line for line in said.splitlines())


def test_help_loads_neither_the_web_framework_nor_the_database_nor_stripe():
    program = "import sys, corkage.cli; corkage.cli.main(['user', 'grant', '--help']); print([*sys.modules])"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert "corkage.command_line.users" in said
    assert not [name for name in ("'bottle'", "'peewee'", "'stripe'", "'corkage.service'") if name in said]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell, capsys):
    assert main(["completion", shell]) == 0
    assert "_CORKAGE_COMPLETE" in capsys.readouterr().out


def test_a_shell_completes_commands_and_options():
    asked = os.environ | {"_CORKAGE_COMPLETE": "bash_complete", "COMP_WORDS": "corkage user gr", "COMP_CWORD": "2"}
    said = subprocess.run([sys.executable, "-m", "corkage.cli"], env=asked, capture_output=True, text=True).stdout

    assert said.split() == ["plain,grants", "plain,grant"]


@pytest.mark.parametrize(("value", "is_off"), [("1", True), ("anything", True), ("", False)])
def test_no_color_in_the_environment_switches_colours_off(value, is_off, monkeypatch):
    monkeypatch.setenv("NO_COLOR", value)
    context = CORKAGE.make_context("corkage", ["stats"])

    assert bool(context.params["no_color"]) == is_off


def test_what_is_not_understood_is_a_sentence_on_stderr_and_exit_status_2(capsys):
    assert main(["user", "grant", "ann", "pro", "--days", "0"]) == 2

    said = capsys.readouterr()
    assert said.out == ""
    assert "Error: Invalid value for '--days': wanted a whole number from 1 to 36500, not '0'" in said.err
