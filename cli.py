"""The command line: `corkage serve`, and what an operator does beside it."""

import argparse
import errno
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TypeAlias

from .admin.figures import MONTHS, MOST_MONTHS
from .billing_app import Billing
from .commands import (
    FAILED,
    MISCONFIGURED,
    OK,
    change,
    configured,
    doctor,
    events,
    move_database,
    move_price,
    notices,
    opened,
    stats,
    sync,
    user,
)
from .config import real_test_key
from .errors import BillingError, ConfigError
from .identity import AUDIENCE, LONGEST_TOKEN_SECONDS, SERVER_AUDIENCE, mint_token
from .line import THREADS
from .notices import outbox
from .sync import inbox
from .texts import check_user_id
from .users.grants import LONGEST_TEXT
from .users.wishes import CHARGES, FEEDBACKS

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
STANDARD_PORT, DEMO_PORT, SIMULATOR_PORT = 8080, 8000, 12111
LAST_PORT = 65_535
LEAST_THREADS, MOST_THREADS = 2, 1000
MOST_COUNTED = 36_500  # days, seats, lines


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
    _add_serving(commands)
    _add_trying(commands)
    _add_user(commands)
    _add_events(commands)
    _add_notices(commands)
    _add_stats(commands)
    _add_mending(commands)
    return parser


def _add_serving(commands: Commands) -> None:
    serve = commands.add_parser("serve", help="answer Stripe's webhooks and your product's questions")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    serve.add_argument("--port", type=_port, default=STANDARD_PORT, help="port to listen on (default: %(default)s)")
    serve.add_argument("--threads", type=_threads, default=THREADS, help="that answer (default: %(default)s)")
    serve.set_defaults(run=_serve)

    work = commands.add_parser("work", help="apply pending events (where BILLING_WORKER is off or inline)")
    work.add_argument("--once", action="store_true", help="do what is due and end, for cron")
    work.set_defaults(run=_work)


def _add_trying(commands: Commands) -> None:
    demo = commands.add_parser("demo", help="try it: a sample product with billing, in your browser")
    demo.add_argument("--port", type=_port, default=DEMO_PORT, help="port to listen on (default: %(default)s)")
    demo.add_argument("--keep", metavar="FILE", help="keep the database in this file; else nothing is left behind")
    demo.set_defaults(run=_demo)

    simulator = commands.add_parser("simulator", help="run an offline Stripe to try things against")
    simulator.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    simulator.add_argument("--port", type=_port, default=SIMULATOR_PORT, help="port (default: %(default)s)")
    simulator.add_argument("--webhook", metavar="URL", help="deliver every event there, signed with --webhook-secret")
    simulator.add_argument("--webhook-secret", metavar="WHSEC", default=None, help="default: one is made and printed")
    simulator.add_argument("--file", metavar="FILE", help="keep all of it there, and go on from there; else in memory")
    simulator.add_argument("--plans", metavar="FILE", help="make the products and prices that this plans.toml names")
    simulator.add_argument(
        "--api-version", metavar="VERSION", default=None, help="of the account (default: the newest)"
    )
    simulator.set_defaults(run=_simulate)

    token = commands.add_parser("token", help="mint a token for a user, to try the routes with")
    token.add_argument("user", metavar="USER", type=_user_id)
    token.add_argument("--email", metavar="EMAIL", type=_text, help="of the user, for Stripe")
    token.add_argument("--seconds", type=_lifetime, default=3600, help="how long it is valid (default: %(default)s)")
    token.add_argument("--server", action="store_true", help="one of your server, for POST /use")
    token.set_defaults(run=_token)


def _add_user(commands: Commands) -> None:
    users = commands.add_parser("user", help="look at a user, grant, change, link or forget").add_subparsers(
        required=True
    )
    show = users.add_parser("show", help="may this user in, why, and what that rests on")
    show.add_argument("user", metavar="ID", type=_user_id)
    show.set_defaults(run=user.show)
    forget = users.add_parser("forget", help="cancel what a user pays for, and forget them, at Stripe and here")
    forget.add_argument("user", metavar="ID", type=_user_id)
    forget.set_defaults(run=user.forget)
    grants = users.add_parser("grants", help="list what was given and runs: to whom, by whom, why and until when")
    grants.add_argument("--only-here", action="store_true", help="only those of which Stripe has no copy")
    grants.set_defaults(run=user.grants)
    grant = users.add_parser("grant", help="give a user a plan, without a payment")
    grant.add_argument("user", metavar="ID", type=_user_id)
    grant.add_argument("plan", metavar="PLAN")
    end = grant.add_mutually_exclusive_group()
    end.add_argument("--until", metavar="WHEN", type=user.an_end, help="2027-01-31, or with a time; UTC")
    end.add_argument(
        "--days", metavar="N", type=_count, help="from now on; without an end it lasts until it is revoked"
    )
    grant.add_argument("--quantity", metavar="N", type=_count, default=1, help="how many (default: %(default)s)")
    grant.add_argument("--reason", metavar="TEXT", type=_text, default="", help="for you and other operators")
    grant.set_defaults(run=user.grant)
    revoke = users.add_parser("revoke", help="end a grant now")
    revoke.add_argument("user", metavar="ID", type=_user_id)
    revoke.add_argument("plan", metavar="PLAN")
    revoke.set_defaults(run=user.revoke)
    link = users.add_parser("link", help="give a Stripe customer to a user, by hand")
    link.add_argument("user", metavar="ID", type=_user_id)
    link.add_argument("customer", metavar="CUSTOMER", type=_text)
    link.set_defaults(run=user.link)
    _add_changes(users)


def _add_changes(users: Commands) -> None:
    changing = users.add_parser("change", help="another plan or quantity; says first what it costs")
    changing.add_argument("user", metavar="ID", type=_user_id)
    changing.add_argument("plan", nargs="?", metavar="PLAN", type=_text, help="or PLAN:PRICE; default: the present one")
    changing.add_argument("--quantity", metavar="N", type=_count, help="how many there shall be")
    changing.add_argument("--at-period-end", action="store_true", help="default: now")
    changing.add_argument("--charge", choices=CHARGES, default=CHARGES[0], help="the difference (default: %(default)s)")
    canceling = users.add_parser("cancel", help="end a subscription with its period, or now")
    canceling.add_argument("user", metavar="ID", type=_user_id)
    canceling.add_argument("--now", action="store_true", help="default: at the end of the period")
    canceling.add_argument("--feedback", choices=FEEDBACKS, help="why, as Stripe counts it")
    canceling.add_argument("--comment", metavar="TEXT", type=_text, help="why, in the user's words")
    resuming = users.add_parser("resume", help="have a subscription go on that is canceled for later, or paused")
    resuming.add_argument("user", metavar="ID", type=_user_id)
    extending = users.add_parser("extend-trial", help="have a trial last longer")
    extending.add_argument("user", metavar="ID", type=_user_id)
    end = extending.add_mutually_exclusive_group(required=True)
    end.add_argument("--until", metavar="WHEN", type=user.an_end, help="2027-01-31, or with a time; UTC")
    end.add_argument("--days", metavar="N", type=_count, help="from now on")
    runs = {changing: change.change, canceling: change.cancel, resuming: change.resume, extending: change.extend_trial}
    for each, run in runs.items():
        each.add_argument("--subscription", metavar="SUB", type=_text, help="default: the user's best one")
        each.add_argument("--yes", action="store_true", help="do not ask")
        each.set_defaults(run=run)


def _add_events(commands: Commands) -> None:
    listing = commands.add_parser("events", help="list events by state, or replay some")
    listing.add_argument("--state", action="append", choices=inbox.STATES, help="default: failing and pending")
    listing.add_argument("--limit", type=_count, default=100, help="of each state (default: %(default)s)")
    listing.set_defaults(run=events.show)
    replay = listing.add_subparsers(metavar="replay").add_parser("replay", help="apply events now, or again")
    which = replay.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="?", metavar="ID", type=_text, help="this event, read from Stripe")
    which.add_argument("--failed", action="store_true", help="all that failed")
    which.add_argument("--since", type=events.a_time, metavar="WHEN", help="all of Stripe's since: 2h, 3d, 2026-11-01")
    replay.set_defaults(run=events.replay)


def _add_notices(commands: Commands) -> None:
    listing = commands.add_parser("notices", help="list the notices of changes to your product, or resend some")
    listing.add_argument("--state", action="append", choices=outbox.STATES, help="default: failing and pending")
    listing.add_argument("--limit", type=_count, default=100, help="of each state (default: %(default)s)")
    listing.set_defaults(run=notices.show)
    resend = listing.add_subparsers(metavar="resend").add_parser("resend", help="deliver notices now, or again")
    which = resend.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="?", metavar="ID", type=_text, help="this notice")
    which.add_argument("--failing", action="store_true", help="all whose delivery failed")
    which.add_argument("--since", type=events.a_time, metavar="WHEN", help="all since: 2h, 3d, 2026-11-01")
    resend.set_defaults(run=notices.resend)


def _add_stats(commands: Commands) -> None:
    figures = commands.add_parser("stats", help="users, recurring revenue, who came and went, from the database alone")
    figures.add_argument("--months", metavar="N", type=_months, default=MONTHS, help="so many (default: %(default)s)")
    figures.add_argument("--json", action="store_true", help="as JSON; amounts in minor units, as Stripe has them")
    figures.set_defaults(run=stats.show)


def _add_mending(commands: Commands) -> None:
    syncing = commands.add_parser("sync", help="make the replica equal to all that Stripe holds; safe while serving")
    syncing.add_argument("--dry-run", action="store_true", help="only print what is different")
    syncing.set_defaults(run=sync.sync)

    raising = commands.add_parser("move-price", help="give all who pay one price another one, after a notice")
    raising.add_argument("old", metavar="OLD", type=_text, help="the lookup key or id of the price they have")
    raising.add_argument("new", metavar="NEW", type=_text, help="of the price they get with their next invoice")
    raising.add_argument("--days", metavar="N", type=_days, default=30, help="after the notice (default: %(default)s)")
    raising.add_argument("--yes", action="store_true", help="do it; without it, only say who pays what")
    raising.add_argument("--undo", action="store_true", help="withdraw what is to come, and move back who was moved")
    raising.add_argument("--json", action="store_true", help="print the table as JSON")
    raising.set_defaults(run=move_price.move_price)

    examining = commands.add_parser("doctor", help="find what is wrong, and print what mends it")
    examining.set_defaults(run=doctor.examine)

    moving = commands.add_parser("move-database", help="move all of it to PostgreSQL, or back to a file; while serving")
    moving.add_argument(
        "target", metavar="URL", type=move_database.a_database, help="postgresql://user:password@host/name, or a path"
    )
    moving.set_defaults(run=move_database.move)


def _serve(options: argparse.Namespace) -> int:
    from .server.serve import serve

    config = configured()
    slots = config.stripe_slots or options.threads // 2
    with closing(Billing(config, stripe_slots=slots)) as billing, _listening(options, options.host):
        serve(billing, options.host, options.port, options.threads)
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
        socket.getaddrinfo(host, options.port)  # waitress reports an unknown host as a ValueError
        yield
    except OSError as error:
        advice = "; choose another with --port" if error.errno == errno.EADDRINUSE else ""
        raise CannotListen(f"{host}:{options.port}: {error.strerror or error}{advice}") from error


def _simulate(options: argparse.Namespace) -> int:
    from .commands import simulator  # slow to load: the simulator, which a server does without

    with _listening(options, options.host):
        return simulator.run(options)


def _work(options: argparse.Namespace) -> int:
    with opened() as service:
        if options.once:
            work = service.work_once()
            print(f"{work.converged} customers converged, {work.failed} failed")
            return FAILED if work.failed else OK
        service.run_worker()
    return OK


def _token(options: argparse.Namespace) -> int:
    config = configured()
    if not config.auth_secrets:
        raise ConfigError(["BILLING_AUTH_SECRET: wanted a secret to mint tokens with; it is not set"])
    secret, now = config.auth_secrets[0], time.time()
    given = {"email": options.email, "audience": SERVER_AUDIENCE if options.server else AUDIENCE}
    print(mint_token(secret, options.user, **given, now=now, lifetime_seconds=options.seconds))
    return OK


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > LAST_PORT:
        raise argparse.ArgumentTypeError(f"wanted a port from 0 to {LAST_PORT}, not {text!r}")
    return int(text)


def _threads(text: str) -> int:
    if not text.isdecimal() or not LEAST_THREADS <= int(text) <= MOST_THREADS:
        raise argparse.ArgumentTypeError(f"wanted a whole number from {LEAST_THREADS} to {MOST_THREADS}, not {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= MOST_COUNTED:
        raise argparse.ArgumentTypeError(f"wanted a whole number from 1 to {MOST_COUNTED}, not {text!r}")
    return int(text)


def _months(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= MOST_MONTHS:
        raise argparse.ArgumentTypeError(f"wanted a whole number from 1 to {MOST_MONTHS}, not {text!r}")
    return int(text)


def _days(text: str) -> int:
    return 0 if text == "0" else _count(text)


def _text(text: str) -> str:
    if not text.isprintable() or len(text) > LONGEST_TEXT:
        raise argparse.ArgumentTypeError(f"wanted at most {LONGEST_TEXT} printable characters")
    return text


def _user_id(text: str) -> str:
    try:
        check_user_id(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _lifetime(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= LONGEST_TOKEN_SECONDS:
        raise argparse.ArgumentTypeError(f"wanted a whole number of seconds, from 1 to {LONGEST_TOKEN_SECONDS}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
