"""corkage completion: what a shell needs to complete commands and options."""

import click
from click.shell_completion import get_completion_class

from ..terminal import whole_stdout
from .command import command

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_CORKAGE_COMPLETE"  # where click looks for what the shell asks


def _print_script(shell: str) -> int:
    script = get_completion_class(shell)
    root = click.get_current_context().find_root()
    if script is not None:
        click.echo(script(root.command, {}, "corkage", VARIABLE).source(), whole_stdout())
    return 0


COMPLETION = command(
    "completion",
    _print_script,
    "Print what your shell needs to complete commands and options.",
    click.Argument(["shell"], type=click.Choice(SHELLS)),
    examples=(
        'eval "$(corkage completion bash)"    # in ~/.bashrc',
        'eval "$(corkage completion zsh)"     # in ~/.zshrc',
        "corkage completion fish > ~/.config/fish/completions/corkage.fish",
    ),
)
