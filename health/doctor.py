"""The doctor: runs every check, and names what is wrong with the command that mends it."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..config import Config
from ..errors import BillingError, ConfigError, StripeError
from ..gateway.calls import is_forbidden
from ..gateway.watched import Watched
from ..logs.facts import logger
from ..sync.worker import Worker
from .checks import (
    at_stripe,
    database,
    endpoint,
    key,
    permissions,
    plans,
    portal,
    programs,
    replica,
    users,
    waiting,
)
from .checks.check import NOTE, OK, UNSEEN, WRONG, Check, Examination, Seen

SAMPLE = 20
CHECKS: tuple[Check, ...] = (
    *database.CHECKS,
    *programs.CHECKS,
    *key.CHECKS,
    *permissions.CHECKS,
    *endpoint.CHECKS,
    *portal.CHECKS,
    *plans.CHECKS,
    *replica.CHECKS,
    *users.CHECKS,
    *waiting.CHECKS,
)
FIRST = key.CHECKS[0]  # which says whether Stripe answers at all
WELL, ILL, UNKNOWN = 0, 1, 2

log = logger("corkage.doctor")


class Line(NamedTuple):
    """What one check says.

    Shape   mark: "ok", "note", "wrong" or "not checked"; what: a sentence; repair: the command that mends it, None
            where there is nothing to mend
    """

    check: str
    mark: str
    what: str
    repair: str | None = None


def examine(worker: Worker, config: Config, watched: Watched, now: float, sample: int = SAMPLE) -> list[Line]:
    """Run every check; one compares a sample of users with Stripe. No row is changed.

    A check that fails itself is a line, and the others go on.
    """
    found = at_stripe.fetch(worker.gateway, worker.catalogue, config, now)
    examination = Examination(worker, config, watched, found, now, sample)
    return [line for check in CHECKS for line in _lines(check, examination)]


def _lines(check: Check, examination: Examination) -> Iterator[Line]:
    """Return what a check says, at least one line."""
    is_silent = True
    try:
        for seen in check.look(examination):
            is_silent = False
            yield Line(check.name, seen.mark, seen.what, _in_mode(seen.repair, livemode=examination.config.livemode))
    except StripeError as error:
        is_silent = False
        yield Line(check.name, *_unanswered(error, is_first=check == FIRST, failure=examination.at_stripe.failure))
    except (BillingError, OSError) as error:
        is_silent = False
        yield Line(check.name, UNSEEN, f"could not be looked at: {_reason(error)}", "corkage doctor, again")
    except Exception as error:  # a bug in one check must not hide what the others see
        log.exception("the check %s failed", check.name)
        is_silent = False
        yield Line(check.name, UNSEEN, f"could not be looked at: bug: {type(error).__name__}", "corkage doctor, again")
    if is_silent and check.well:
        yield Line(check.name, OK, check.well)


def _in_mode(repair: str | None, *, livemode: bool) -> str | None:
    """Return a command; one of Stripe's own command line says that it is for live mode, which it is not otherwise."""
    return re.sub(r"^(stripe \S+ \S+)", r"\1 --live", repair) if repair and livemode else repair


def _unanswered(error: StripeError, *, is_first: bool, failure: StripeError | None) -> Seen:
    """Return what is said where Stripe did not answer. The first check says why, and the others do not repeat it."""
    if is_forbidden(error):
        return Seen(NOTE, "not looked at: the restricted key has no permission to read it")
    if error is failure and not is_first:
        return Seen(UNSEEN, f"could not be looked at: {error.code}, see {FIRST.name}")
    return Seen(UNSEEN, f"could not be looked at: {_reason(error)}", "corkage doctor, again")


def _reason(error: BaseException) -> str:
    return f"{error.code}: {error}" if isinstance(error, BillingError) else str(error)


def unavailable(error: BillingError, label: str) -> Line:
    """Return the line for a database that cannot be opened."""
    return Line("write", *database.unwritable(str(error), label))


def misconfigured(error: ConfigError) -> list[Line]:
    """Return the lines for settings with which nothing can be looked at."""
    return [Line("settings", WRONG, problem, "put it right in .env or the environment") for problem in error.problems]


def exit_code(lines: Iterable[Line]) -> int:
    """Return 1 where something is wrong, else 2 where something could not be looked at, else 0."""
    marks = {each.mark for each in lines}
    return ILL if WRONG in marks else UNKNOWN if UNSEEN in marks else WELL
