"""How a command is made: its options, its examples, and the function in commands/ that it runs."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import click

JSON = click.Option(["--json", "as_json"], is_flag=True, help="Print JSON.")
YES = click.Option(["--yes"], is_flag=True, help="Do not ask.")


def command(
    name: str,
    does: str | Callable[..., int],
    what: str,
    *params: click.Parameter,
    examples: Sequence[str] = (),
    at_most_one: Sequence[str] = (),
    exactly_one: Sequence[str] = (),
) -> click.Command:
    """Return a command.

    Shape   does: "file.function" in commands/, or a function, which takes the parameters by name and returns an exit
            status;
            what: one sentence, for --help and for the list of commands;
            examples: command lines, each as it can be typed;
            at_most_one, exactly_one: names of parameters that exclude each other
    """
    choices = [*at_most_one, *exactly_one]
    labels = {each.name: _label(each) for each in params}

    def run(**given: Any) -> int:
        chosen = [labels[each] for each in choices if given[each]]
        if len(chosen) > 1:
            raise click.UsageError(f"Give only one of {' and '.join(chosen)}.")
        if exactly_one and not chosen:
            raise click.UsageError(f"Give one of {', '.join(labels[each] for each in exactly_one)}.")
        return function_of(does)(**given)

    run.does = does  # type: ignore[attr-defined]  # no type of a function has it; a test reads it
    return click.Command(
        name, params=list(params), callback=run, help=what, short_help=what.rstrip("."), epilog=_epilog(examples)
    )


class _InOrder(click.Group):
    """Lists its commands in the order in which they were given, and not by the alphabet."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(self.commands)


def group(name: str, what: str, *commands: click.Command, **settings: Any) -> click.Group:
    """Return a group of commands.

    Shape   settings: more of click.Group's parameters
    """
    return _InOrder(name, commands=list(commands), help=what, short_help=what.rstrip("."), **settings)


def listing(listed: click.Command, *commands: click.Command) -> click.Group:
    """Return a command that lists, and has commands of its own for what is listed.

    Shape   listed: the command that runs where none of those is named
    """

    def run(**given: Any) -> int | None:
        is_alone = click.get_current_context().invoked_subcommand is None
        return listed.callback(**given) if is_alone and listed.callback else None

    return _InOrder(
        listed.name,
        commands=list(commands),
        invoke_without_command=True,
        params=listed.params,
        callback=run,
        help=listed.help,
        short_help=listed.short_help,
        epilog=listed.epilog,
    )


def _label(param: click.Parameter) -> str:
    return param.opts[0] if isinstance(param, click.Option) else param.human_readable_name


def function_of(does: str | Callable[..., int]) -> Callable[..., int]:
    """Return the function that a command runs; load its file."""
    if not isinstance(does, str):
        return does
    file, _, name = does.rpartition(".")
    function: Callable[..., int] = getattr(importlib.import_module(f"..commands.{file}", __package__), name)
    return function


def _epilog(examples: Sequence[str]) -> str | None:
    if not examples:
        return None
    return "\n".join(["\b", "Examples:", *(f"  {each}" for each in examples)])
