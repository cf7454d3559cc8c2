"""The command line: `corkage serve`, and what an operator does beside it."""

import argparse
import datetime
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace

from . import models
from .billing_app import Billing
from .config import Config, real_test_key
from .errors import BillingError, ConfigError
from .identity import Identity, mint_token
from .models import Access

OK, FAILED, MISCONFIGURED = 0, 1, 2
STANDARD_PORT, DEMO_PORT, SIMULATOR_PORT = 8080, 8000, 12111


class CannotListen(Exception):
    """The port cannot be had."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed, 2 not configured or not understood."""
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except ConfigError as error:
        print(f"Corkage cannot start:\n{error}", file=sys.stderr)
        return MISCONFIGURED
    except CannotListen as error:
        print(f"Cannot listen on {error}", file=sys.stderr)
        return FAILED
    except BillingError as error:
        print(f"{error.sentence}\n({error.code}: {error})", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="corkage", description="Stripe subscription billing for small products.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="answer Stripe's webhooks and your product's questions")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    serve.add_argument("--port", type=int, default=STANDARD_PORT, help="port to listen on (default: %(default)s)")
    serve.set_defaults(run=_serve)

    demo = commands.add_parser("demo", help="try it: a sample product with billing, in your browser")
    demo.add_argument("--port", type=int, default=DEMO_PORT, help="port to listen on (default: %(default)s)")
    demo.add_argument("--keep", metavar="FILE", help="keep the database there; else nothing is left behind")
    demo.set_defaults(run=_demo)

    simulator = commands.add_parser("simulator", help="run an offline Stripe to try things against")
    simulator.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    simulator.add_argument("--port", type=int, default=SIMULATOR_PORT, help="port (default: %(default)s)")
    simulator.add_argument("--webhook", metavar="URL", help="deliver every event there, signed with --webhook-secret")
    simulator.add_argument("--webhook-secret", metavar="WHSEC", default=None, help="default: one is made and printed")
    simulator.add_argument("--file", metavar="FILE", help="keep all of it there, and go on from there; else in memory")
    simulator.set_defaults(run=_simulate)

    work = commands.add_parser("work", help="apply pending events (where BILLING_WORKER is off or inline)")
    work.add_argument("--once", action="store_true", help="do what is due and end, for cron")
    work.set_defaults(run=_work)

    token = commands.add_parser("token", help="mint a token for a user, to try the routes with")
    token.add_argument("user", metavar="USER")
    token.add_argument("--seconds", type=int, default=3600, help="how long it is valid (default: %(default)s)")
    token.set_defaults(run=_token)

    user = commands.add_parser("user", help="look at a user, or link one").add_subparsers(required=True)
    show = user.add_parser("show", help="may this user in, why, and what that rests on")
    show.add_argument("user", metavar="ID")
    show.set_defaults(run=_user_show)
    link = user.add_parser("link", help="give a Stripe customer to a user, by hand")
    link.add_argument("user", metavar="ID")
    link.add_argument("customer", metavar="CUSTOMER")
    link.set_defaults(run=_user_link)
    return parser


def _configured(**changes: str) -> Config:
    config = replace(Config.from_env(), **changes)  # type: ignore[arg-type]  # the names are given right here, below
    logging.basicConfig(level=config.log.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("stripe").setLevel(logging.WARNING)  # it logs every request, with addresses and e-mails
    return config


def _serve(options: argparse.Namespace) -> int:
    from .serve import serve

    config = _configured()
    with closing(Billing(config)) as billing, _listening(options, options.host):
        serve(billing, options.host, options.port)
    return OK


def _demo(options: argparse.Namespace) -> int:
    from .demo import run_demo

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _listening(options, "127.0.0.1"):
        run_demo(options.port, real_test_key(), options.keep)
    return OK


@contextmanager
def _listening(options: argparse.Namespace, host: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CannotListen(f"{host}:{options.port}: {error.strerror or error}") from error


def _simulate(options: argparse.Namespace) -> int:
    from .simulator import UnusableFile, serve

    try:
        with _listening(options, options.host):
            serve(options.host, options.port, options.webhook, options.webhook_secret, options.file)
    except UnusableFile as error:
        print(error, file=sys.stderr)
        return MISCONFIGURED
    return OK


def _work(options: argparse.Namespace) -> int:
    with closing(Billing(_configured(worker="off"))) as billing:
        if options.once:
            work = billing.worker.work_once(time.time())
            print(f"{work.converged} customers converged, {work.failed} failed")
            return FAILED if work.failed else OK
        billing.run_worker()
    return OK


def _token(options: argparse.Namespace) -> int:
    config = _configured()
    if not config.auth_secrets:
        raise ConfigError(["BILLING_AUTH_SECRET: wanted a secret to mint tokens with; it is not set"])
    Identity(options.user)
    print(mint_token(config.auth_secrets[0], options.user, now=time.time(), lifetime_seconds=options.seconds))
    return OK


def _user_show(options: argparse.Namespace) -> int:
    with closing(Billing(_configured(worker="off"))) as billing:
        _print_user(billing.access(options.user))
    return OK


def _user_link(options: argparse.Namespace) -> int:
    with closing(Billing(_configured(worker="off"))) as billing:
        billing.worker.converger.link(Identity(options.user).user_id, options.customer, time.time())
        _print_user(billing.access(options.user))
    return OK


def _print_user(access: Access) -> None:
    print(f"{access.user_id}: {'yes' if access.allowed else 'no'}, {access.reason} ({models.REASONS[access.reason]})")
    _print_fact("plan", access.plan or "none", access.plan or access.price_id)
    _print_fact("features", ", ".join(access.features), access.features)
    _print_fact("until", _moment(access.until), access.until)
    _print_fact("stale", "the period is over, and Stripe has not said what comes next", access.stale)
    for customer in models.Customer.select().where(models.Customer.user == access.user_id):
        note = "deleted at Stripe" if customer.deleted_at else f"fetched {_moment(customer.fetched_at)}"
        print(f"  {customer.id}: {note}")
        held = models.Subscription.select().where(models.Subscription.customer == customer.id)
        for each in held.order_by(models.Subscription.created.desc()):
            print(f"    {each.id}: {each.subscription_status}, {each.stripe_price_id}, {_dates(each)}")


def _print_fact(name: str, text: str, is_told: object) -> None:
    if is_told:
        print(f"  {name}: {text}")


def _dates(subscription: models.Subscription) -> str:
    named = (
        ("trial ends", subscription.trial_end),
        ("period ends", subscription.current_period_end),
        ("unpaid since", subscription.past_due_since),
        ("is cancelled at", subscription.cancel_at),
        ("ended", subscription.ended_at),
    )
    return ", ".join(f"{name} {_moment(at)}" for name, at in named if at) or "no dates"


def _moment(at: int | None) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC") if at else "never"


if __name__ == "__main__":
    sys.exit(main())
