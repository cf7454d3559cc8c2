"""corkage push: make Stripe as plans.toml and the settings want it, after a table of what differs and a question."""

import textwrap
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import click

from ..config import Config, is_set_outside, stored_settings
from ..errors import Outdated
from ..service import Service
from ..setup import push as pushing
from ..setup.difference import STAGES, difference
from ..setup.env_file import store_settings
from ..setup.found import find
from ..setup.step import Step
from . import FAILED, MISCONFIGURED, OK, opened
from .output import is_wanted, print_json, table

ENV_FILE = Path(".env")
WIDTH, FIRST_COLUMN, SHORTEST = 80, 14, 30  # of the table: a terminal's, with the blanks beside it, of the last column
WEBHOOK_SECRET = "STRIPE_WEBHOOK_SECRET"  # noqa: S105 -- the name of a setting, not its value


class Asked(NamedTuple):
    """How the command was called; see --help."""

    dry_run: bool
    as_json: bool
    yes: bool
    live: bool
    overwrite: bool
    archive: bool


def push(dry_run: bool, as_json: bool, yes: bool, live: bool, overwrite: bool, archive: bool) -> int:
    """Print what differs, ask, and make it; with --dry-run return 2 where something differs."""
    asked = Asked(dry_run, as_json, yes, live, overwrite, archive)
    with opened() as service:
        service.check_account()
        return _push(service, asked)


def _push(service: Service, asked: Asked) -> int:
    gateway, config = service.gateway, service.config
    found = find(gateway, config)
    steps = difference(config, found, overwrite=asked.overwrite, archive=asked.archive)
    keeping = {step.subscribed: _subscribers(service, step.subscribed) for step in steps if step.subscribed}
    if asked.as_json:
        print_json(_as_json(config, found.account, steps, keeping))
    else:
        _print_steps(config, found.account, steps, keeping)
    to_do = [step for step in steps if not step.refused]
    if asked.dry_run:
        return MISCONFIGURED if steps else OK
    if to_do and not _may(config, asked, to_do):
        click.echo("Nothing was changed.", err=True)
        return FAILED
    pushing.make(
        gateway,
        config,
        {step.stage for step in to_do},
        keep_secret,
        overwrite=asked.overwrite,
        archive=asked.archive,
    )
    pushing.remember_portal(gateway, config)
    with suppress(Outdated):  # the program that serves has other plans until it is restarted, and looks then
        service.catalogue.refresh(gateway)
    if to_do:
        click.echo(f"Done: {len(to_do)} of {len(steps)}. Restart Corkage where it runs.", err=asked.as_json)
    return FAILED if len(to_do) < len(steps) else OK


def _may(config: Config, asked: Asked, to_do: list[Step]) -> bool:
    if config.livemode and not asked.live:
        click.echo("This is a live key: real customers see the change. Add --live.", err=True)
        return False
    if not is_wanted(f"Make {len(to_do)} changes at Stripe?", yes=asked.yes):
        return False
    if any(step.has_secret for step in to_do) and (why := why_not_kept()):
        click.echo(why, err=True)
        return False
    return True


def why_not_kept() -> str:
    """Return why the endpoint's secret could not be kept in the .env file; empty where it can. The file is written as
    it will be then: its folder, its owner or a mount may forbid that, and Stripe shows the secret once.
    """
    if is_set_outside(WEBHOOK_SECRET):
        return (
            f"{WEBHOOK_SECRET} is set in the environment, which wins over .env: unset it, and a new one is kept there"
        )
    try:
        store_settings(ENV_FILE, {})
    except OSError as error:
        return f"The endpoint's secret cannot be kept in {ENV_FILE}: {error.strerror}"
    return ""


def keep_secret(secret: str) -> None:
    """Put the endpoint's secret into the .env file, before those that are there."""
    present = stored_settings(ENV_FILE).get(WEBHOOK_SECRET, "")
    store_settings(ENV_FILE, {WEBHOOK_SECRET: ",".join(filter(None, [secret, *present.split(",")[:1]]))})
    click.echo(f"The endpoint's secret is in {ENV_FILE}, as {WEBHOOK_SECRET}.", err=True)


def _subscribers(service: Service, price_id: str) -> int:
    return sum(1 for _ in service.gateway.subscriptions_at(price_id))


def _print_steps(config: Config, account: str | None, steps: list[Step], keeping: dict[str, int]) -> None:
    mode = "live" if config.livemode else "sandbox"
    click.echo(f"{config.app} at {account or 'an account that the key may not name'}, {mode}")
    if not steps:
        click.echo("Stripe is as plans.toml and the settings want it.")
        return
    rows = [row for step in steps for row in _rows(step, keeping)]
    click.echo("\n".join(table(("what", "name", "difference"), rows)))
    for step in steps:
        if step.refused:
            why = f"Not done: {step.stage} {step.name}: {step.refused}."
            click.echo("\n" + textwrap.fill(why, WIDTH, break_long_words=False, break_on_hyphens=False))


def _rows(step: Step, keeping: dict[str, int]) -> list[tuple[str, str, str]]:
    """Return a step's rows of the table, which fit a narrow terminal. An address stands with what is said of it."""
    is_address = step.stage == "endpoint"
    name = "" if is_address else step.name
    said = f"{step.what}, at {step.name}" if is_address else step.what
    said += " (not done)" if step.refused else ""
    width = max(SHORTEST, WIDTH - FIRST_COLUMN - max(len(name), len("name")))
    lines = textwrap.wrap(said, width, break_long_words=False, break_on_hyphens=False)
    if step.subscribed:
        lines.append(f"{keeping[step.subscribed]} subscribers keep what they pay")
    return [(step.stage, name, lines[0]), *(("", "", line) for line in lines[1:])]


def _as_json(config: Config, account: str | None, steps: list[Step], keeping: dict[str, int]) -> dict[str, Any]:
    return {
        "app": config.app,
        "account": account,
        "livemode": config.livemode,
        "differences": [
            {
                "stage": step.stage,
                "name": step.name,
                "what": step.what,
                "refused": step.refused or None,
                "subscribers": keeping.get(step.subscribed) if step.subscribed else None,
            }
            for step in sorted(steps, key=lambda each: STAGES.index(each.stage))
        ],
    }
