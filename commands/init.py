"""corkage init: the first settings, plans.toml and the webhook endpoint, by a few questions or by options."""

import secrets
import sys
from pathlib import Path
from typing import NamedTuple

import click

from ..config import SETTINGS, Config, is_set_outside, stored_settings
from ..errors import StripeError
from ..health.checks.permissions import needed
from ..settings import InvalidValue
from ..setup import push as pushing
from ..setup.difference import endpoint_steps
from ..setup.env_file import store_settings
from ..sync.endpoint import endpoint_url
from ..sync.gateway import Gateway
from . import FAILED, OK
from .output import is_wanted
from .push import ENV_FILE, keep_secret, why_not_kept

PLANS_FILE = Path("plans.toml")
PARSERS = {each.name: each.parse for each in SETTINGS.values()}
SECRET_NAMES = ("BILLING_AUTH_SECRET", "BILLING_ADMIN_TOKEN")
OF_PUSH = ("Products: Write", "Prices: Write", "Webhook Endpoints: Write", "Billing Meters: Write")
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
        "STRIPE_API_BASE": api_base,
    }
    _write_settings({name: value for name, value in given.items() if value is not None})
    _write_plans(amount, currency)
    config = Config.from_env()
    gateway = Gateway(config.stripe_secret_key, config.stripe_api_base)
    try:
        account = gateway.account_id()
        mode = "live" if config.livemode else "sandbox"
        click.echo(f"The key is of {account or 'an account that it may not name'}, {mode}.")
        is_done = _make_endpoint(gateway, config, yes=yes)
    except StripeError as error:
        click.echo(f"{error.sentence}\n({error.code}: {error})", err=True)
        return FAILED
    finally:
        gateway.close()
    _print_permissions(config)
    click.echo("\nNext: corkage push, corkage serve, corkage doctor.")
    return OK if is_done else FAILED


def _write_settings(given: dict[str, str]) -> None:
    """Ask for what is missing, make the secrets, and store what is new."""
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
    for step in steps:
        if step.refused:
            click.echo(f"The endpoint {url}: {step.refused}.", err=True)
        elif not is_wanted(f"The endpoint {url}: {step.what}?", yes=yes):
            click.echo("The endpoint was left as it is.", err=True)
            return False
        elif step.has_secret and (why := why_not_kept()):
            click.echo(why, err=True)
            return False
        else:
            config = pushing.make_step(gateway, config, step, keep_secret)
            click.echo(f"The endpoint {url}: done.")
    if not steps:
        click.echo(f"The endpoint {url} is as it should be.")
    return not any(step.refused for step in steps)


def _print_permissions(config: Config) -> None:
    click.echo("\nA restricted key needs these permissions to serve:")
    for permission in needed(config):
        click.echo(f"  {permission}")
    click.echo("and for init and push also:")
    for name in OF_PUSH:
        click.echo(f"  {name}")
