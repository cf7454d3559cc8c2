"""The command line: `corkage serve`, and what an operator does beside it."""

import sys
from collections.abc import Sequence

import click

from .command_line import mending, serving, setup, users
from .command_line.command import group
from .command_line.completion import COMPLETION
from .errors import BillingError, ConfigError
from .terminal import fitted

OK, FAILED, MISCONFIGURED = 0, 1, 2


@click.pass_context
def _set_color(context: click.Context, no_color: str) -> None:
    context.color = False if no_color else None


NO_COLOR = click.Option(["--no-color"], envvar="NO_COLOR", default="", hidden=True)  # any text; see no-color.org
CORKAGE = group(
    "corkage",
    "Stripe billing for small products.",
    *setup.COMMANDS,
    *serving.COMMANDS,
    *users.COMMANDS,
    *mending.COMMANDS,
    COMPLETION,
    params=[NO_COLOR],
    callback=_set_color,
    context_settings={"help_option_names": ["-h", "--help"]},
)
click.version_option(package_name="corkage", message="corkage %(version)s")(CORKAGE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed, 2 not configured or not understood."""
    with fitted():
        return _run(arguments)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        return CORKAGE.main(arguments, "corkage", standalone_mode=False) or OK
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:  # by Ctrl-C, which ends well only what runs until then; at a question also by the input's end
        return FAILED
    except ConfigError as error:
        print(f"Corkage cannot start:\n{error}", file=sys.stderr)
        return MISCONFIGURED
    except BillingError as error:
        print(f"{error.sentence}\n({error.code}: {error})", file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
