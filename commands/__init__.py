"""The commands, a file for each, and what they share: set-up, exit statuses, how times and lists are printed."""

import datetime
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace

from ..access import Access
from ..billing_app import Billing
from ..config import Config
from ..logs.clean import one_line
from ..logs.lines import set_up
from ..service import Service

OK, FAILED, MISCONFIGURED = 0, 1, 2


def configured() -> Config:
    """Return the configuration, and set up logging by it."""
    config = Config.from_env()
    set_up(config.log, config.log_format)
    return config


@contextmanager
def opened() -> Iterator[Service]:
    """Open the database beside a running server, without a worker of one's own."""
    with closing(Billing(replace(configured(), worker="off"), claims=False)) as billing:
        yield billing.service


def written(amount: int | None, currency: str) -> str:
    """Return an amount for people; "?" for one that is not known, as of a price with tiers."""
    from ..pages.words import choose, money  # loads Babel

    return "?" if amount is None else money(choose("en", ""), amount, currency)


def moment(at: float | None) -> str:
    """Return a time in UTC, for people."""
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC") if at else "never"


def answer(access: Access) -> str:
    """Return access in short: yes, active, pro, until 2026-12-01 10:00 UTC."""
    facts = ["yes" if access.allowed else "no", access.reason, *([access.plan] if access.plan else [])]
    return ", ".join([*facts, *([f"until {moment(access.until)}"] if access.until else [])])


def print_state(lines: Sequence[str], what: str, limit: int) -> None:
    """Print the lines, up to the limit. One line more than the limit means that there are more."""
    for line in lines[:limit]:
        print(one_line(line))
    if not lines:
        print(f"no {what}")
    elif len(lines) > limit:
        print(f"and more {what}; --limit shows more than {limit}")
