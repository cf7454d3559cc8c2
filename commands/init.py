"""corkage init: the first settings, plans.toml and the webhook endpoint, by a few questions or by options."""

import secrets
import sys
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import click

from ..config import SETTINGS, Config, is_live_key, is_set_outside, stored_settings
from ..gateway.gateway import Gateway
from ..health.checks.permissions import TO_SET_UP, link_to_key, needed
from ..settings import InvalidValue
from ..setup import push as pushing
from ..setup.endpoint import endpoint_steps
from ..setup.env_file import store_settings
from ..sync.endpoint import endpoint_url
from . import FAILED, OK
from .output import is_wanted, table, warn_of_arguments
from .push import ENV_FILE, keep_secret, why_not_kept

PLANS_FILE = Path("plans.toml")
PARSERS = {each.name: each.parse for each in SETTINGS.values()}
BASE = "STRIPE_API_BASE"
SECRET_NAMES = ("BILLING_AUTH_SECRET", "BILLING_ADMIN_TOKEN")
PLANS = """\
# What you sell, cheapest first. `corkage push` makes Stripe match it. docs/plans.md has the other keys.

[pro]
name = "Pro"
prices = [
  {{ lookup_key = "pro_monthly", unit_amount = {monthly}, currency = "{currency}", interval = "month" }},
  {{ lookup_key = "pro_yearly", unit_amount = {yearly}, currency = "{currency}", interval = "year" }},
]
features = ["exports"]     # names that your product asks for
grace_days = 7             # access after a failed renewal
"""
MONTHS_OF_A_YEAR = 10  # two are free


class _Question(NamedTuple):
    """A setting that is asked for."""

    name: str
    text: str
    is_needed: bool = True
    is_hidden: bool = False


KEY = _Question("STRIPE_SECRET_KEY", "Stripe's secret key (sk_test_...) or a restricted one", is_hidden=True)
PRODUCT = _Question("FRONTEND_URL", "Your product's address")
ADDRESS = _Question("BILLING_URL", "Corkage's own address, with its path; empty where Stripe cannot reach it", False)


class _Missing(click.UsageError):
    """A setting is needed, and nobody can be asked."""


def init(
    key: str | None,
    frontend_url: str | None,
    billing_url: str | None,
    api_base: str | None,
    amount: int,
    currency: str,
    yes: bool,
) -> int:
    """Write .env and plans.toml where they are missing or lack something, make the endpoint, and print what is next."""
    given = {
        "STRIPE_SECRET_KEY": key,
        "FRONTEND_URL": frontend_url,
        "BILLING_URL": billing_url,
        BASE: api_base,
    }
    if key and is_live_key(key):
        warn_of_arguments("The key", "without --key you are asked for it, and STRIPE_SECRET_KEY may hold it")
    new = _new_settings({name: value for name, value in given.items() if value is not None})
    _check_key(new)
    try:
        _write_settings(new)
        _write_plans(amount, currency)
    except OSError as error:
        click.echo(f"{error.filename} cannot be written: {error.strerror}", err=True)
        return FAILED
    config = Config.from_env()
    with closing(Gateway(config.stripe_secret_key, config.stripe_api_base)) as gateway:
        account = gateway.account_id()
        mode = "live" if config.livemode else "sandbox"
        click.echo(f"The key is of {account or 'an account that it may not name'}, {mode}.")
        is_done = _make_endpoint(gateway, config, yes=yes)
    _print_permissions(config)
    click.echo("\nNext: corkage push, corkage serve, corkage doctor.")
    return OK if is_done else FAILED


def _new_settings(given: dict[str, str]) -> dict[str, str]:
    """Return the settings that .env lacks or that are given anew: ask for what is missing, and make the secrets."""
    present = stored_settings(ENV_FILE)
    new = {name: _checked(name, value) for name, value in given.items() if present.get(name) != value}
    known = present | new
    for question in (KEY, PRODUCT, ADDRESS):
        if question.name not in known and not is_set_outside(question.name):
            answer = _ask(question, is_first=not present)
            new |= {question.name: answer} if answer else {}
    for name in SECRET_NAMES:
        if name not in known and not is_set_outside(name):
            new[name] = secrets.token_urlsafe(32)
    return new


def _check_key(new: dict[str, str]) -> None:
    """Have Stripe look at a new key before anything is written.

    Errors  StripeError
    """
    if KEY.name in new:
        base = new.get(BASE) or stored_settings(ENV_FILE).get(BASE)
        with closing(Gateway(new[KEY.name], base)) as gateway:
            gateway.account_id()


def _write_settings(new: dict[str, str]) -> None:
    if new:
        store_settings(ENV_FILE, new)
        click.echo(f"{ENV_FILE} has {', '.join(sorted(new))}.")
    else:
        click.echo(f"{ENV_FILE} is as it was.")


def _checked(name: str, value: str) -> str:
    try:
        PARSERS[name](value)
    except InvalidValue as error:
        raise click.UsageError(f"{name}: wanted {error}") from None
    return value


def _ask(question: _Question, *, is_first: bool) -> str:
    """Return the answer, or nothing for what may be left out, which is asked for once."""
    if not question.is_needed and not is_first:
        return ""
    if not sys.stdin.isatty():
        if question.is_needed:
            option = {"STRIPE_SECRET_KEY": "--key", "FRONTEND_URL": "--frontend-url"}[question.name]
            raise _Missing(f"{question.name} is not set, and nobody can be asked: give {option}.")
        return ""
    while True:
        default = None if question.is_needed else ""
        answer = click.prompt(question.text, default=default, hide_input=question.is_hidden, show_default=False)
        try:
            return _checked(question.name, answer.strip()) if answer.strip() else ""
        except click.UsageError as error:
            click.echo(error.message, err=True)


def _write_plans(amount: int, currency: str) -> None:
    path = Path(stored_settings(ENV_FILE).get("BILLING_PLANS", PLANS_FILE))
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(PLANS.format(monthly=amount, yearly=MONTHS_OF_A_YEAR * amount, currency=currency))
    except FileExistsError:
        click.echo(f"{path} is as it was.")
    else:
        click.echo(f"{path} has a plan to begin with: change it as you like.")


def _make_endpoint(gateway: Gateway, config: Config, *, yes: bool) -> bool:
    """Make the webhook endpoint, or bring it to what it should be; return whether nothing is left to do."""
    url = endpoint_url(config)
    if url is None:
        click.echo("Stripe cannot reach this address, so there is no webhook endpoint: Corkage asks Stripe every 10 s.")
        return True
    endpoints = tuple(gateway.first("/v1/webhook_endpoints"))
    steps = list(endpoint_steps(config, endpoints, overwrite=False))
    for why in [step.refused for step in steps if step.refused]:
        click.echo(f"The endpoint {url}: {why}.", err=True)
        if sys.stdin.isatty() and click.confirm(
            "Do as --overwrite of corkage push does?", err=True
        ):  # --yes is no answer
            steps = list(endpoint_steps(config, endpoints, overwrite=True))
            break
    for step in steps:
        if step.refused:
            continue
        if not is_wanted(f"The endpoint {url}: {step.what}?", yes=yes):
            click.echo("The endpoint was left as it is.", err=True)
            return False
        if step.has_secret and (why := why_not_kept()):
            click.echo(why, err=True)
            return False
        config = pushing.make_step(gateway, config, step, keep_secret)
        click.echo(f"The endpoint {url}: done.")
    if not steps:
        click.echo(f"The endpoint {url} is as it should be.")
    return not any(step.refused for step in steps)


def _print_permissions(config: Config) -> None:
    """Print what a restricted key needs, and where one is made that has it all."""
    serving = [(permission.name, permission.level) for permission in needed(config)]
    has_meters = any(plan.meters for plan in config.plans)
    both = serving + [each for each in TO_SET_UP if each[0] != "Billing Meters" or has_meters]
    rows = [(name, level, "serve" if (name, level) in serving else "init, push") for name, level in both]
    click.echo("\nPermissions that a restricted key (rk_...) needs, and a link that ticks them:")
    click.echo("\n".join(table(("permission", "level", "for"), rows)))
    click.echo(f"  {link_to_key(config.livemode, both)}")
