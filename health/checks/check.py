"""What a check is, what it sees, and what it is given to look with."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ...config import Config
from ...errors import BillingError, StripeError
from ...gateway.calls import is_forbidden
from ...gateway.gateway import Gateway
from ...gateway.watched import Watched
from ...sync.worker import Worker

OK, NOTE, WRONG, UNSEEN = "ok", "note", "wrong", "not checked"
AGAIN = "corkage doctor, again"
NAMED = 10  # customers or users that a line names


class Seen(NamedTuple):
    """What a check saw, and the command that mends it where that is wrong."""

    mark: str
    what: str
    repair: str | None = None


def ok(what: str) -> Seen:
    """Return what is as it should be."""
    return Seen(OK, what)


def note(what: str) -> Seen:
    """Return what an operator may want to know, and need not mend."""
    return Seen(NOTE, what)


def wrong(what: str, repair: str) -> Seen:
    """Return what is wrong, and the command that mends it."""
    return Seen(WRONG, what, repair)


def unseen(what: str, repair: str | None = AGAIN) -> Seen:
    """Return why something could not be looked at."""
    return Seen(UNSEEN, what, repair)


class Examination(NamedTuple):
    """What a check looks with.

    Shape   at_stripe: what Stripe holds, fetched before the checks; sample: of how many users is compared with Stripe
    """

    worker: Worker
    config: Config
    watched: Watched
    at_stripe: "AtStripe"
    now: float
    sample: int


class Check(NamedTuple):
    """One question of the doctor's.

    Shape   name: in the output, one word or two; about: what it looks at, for the docs;
            well: what it says where it sees nothing else
    """

    name: str
    about: str
    well: str
    look: Callable[[Examination], Iterator[Seen]]


class AtStripe:
    """What the checks want from Stripe: all of it fetched side by side, each piece with an error of its own.

    Shape   failure: why Stripe is asked nothing more; None where it answers
    """

    def __init__(self, gateway: Gateway, wanted: dict[str, Callable[[], Any]]) -> None:
        """Fetch the first by itself: where Stripe does not answer that, nothing else is asked."""
        self._found: dict[str, Any] = {}
        self.failure: StripeError | None = None
        names = list(wanted)
        first, rest = names[:1], names[1:]
        self._found |= {name: _kept(wanted[name]) for name in first}
        self.failure = next((each for each in self._found.values() if _stops(each)), None)
        if self.failure is not None:
            self._found |= dict.fromkeys(rest, self.failure)
        elif rest:
            found = gateway.side_by_side(*(functools.partial(_kept, wanted[name]) for name in rest))
            self._found |= dict(zip(rest, found, strict=True))

    def __getitem__(self, name: str) -> Any:
        """Return what was fetched under this name.

        Errors  as the call raised
        """
        found = self._found[name]
        if isinstance(found, BillingError):
            raise found
        return found


def _kept(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except BillingError as error:
        return error


def _stops(found: Any) -> bool:
    return isinstance(found, StripeError) and not is_forbidden(found)
