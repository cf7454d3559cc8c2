"""Access that another provider gives, until it ends: grants, as a file says, again and again."""

import datetime
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .. import storage
from ..access import FOREVER
from ..models import Grant, User, new_uid
from ..notices import changes
from ..replica import granted
from ..replica.prices import Catalogue
from ..sync.resync import Progress, no_progress
from ..texts import is_user_id
from ..users.grants import LONGEST_TEXT, MOST_QUANTITY
from .customers import COLUMNS as MAP_COLUMNS
from .sheet import Column, Problem, Row, read_sheet

COLUMNS = (
    MAP_COLUMNS[0],
    Column(("plan", "plan_key")),
    Column(("until", "ends_at", "current_period_end", "next_bill_date", "end")),
    Column(("reason", "subscription", "subscription_id", "note"), is_needed=False),
    Column(("quantity", "seats"), is_needed=False),
)
BATCH = 100

Key = tuple[str, str]
"""The user and the plan of a grant: a provider gives each user a plan once."""


class Given(NamedTuple):
    """A line: what another provider gives a user. until: None for a grant without an end."""

    line: int
    user_id: str
    plan: str
    until: int | None
    reason: str = ""
    quantity: int = 1

    @property
    def key(self) -> Key:
        return self.user_id, self.plan


@dataclass
class Outcome:
    """What a file changed.

    Shape   new, changed, same: grants; ended: those of which the file says so; over: lines about what has ended before
            it was ever here; revoked: grants that the file has no more; missing: those, where they stay
    """

    new: int = 0
    changed: int = 0
    same: int = 0
    ended: int = 0
    over: int = 0
    revoked: int = 0
    missing: list[Key] = field(default_factory=list)


def read_grants(data: bytes, catalogue: Catalogue) -> tuple[list[Given], list[Problem]]:
    """Read a file of users, plans and ends."""
    rows, problems = read_sheet(data, COLUMNS)
    plans = [each.key for each in catalogue.plans.values() if not each.free]
    found: dict[Key, Given] = {}
    for row in rows:
        try:
            given = _given(row, plans)
        except ValueError as error:
            problems.append(Problem(row.line, str(error)))
            continue
        first = found.setdefault(given.key, given)
        if first._replace(line=0) != given._replace(line=0):
            reason = f"user {given.user_id} has {given.plan} on line {first.line} already, with another end"
            problems.append(Problem(row.line, reason))
    return list(found.values()), problems


def _given(row: Row, plans: Sequence[str]) -> Given:
    """Return what a line says.

    Errors  ValueError for what does not fit
    """
    values = row.values
    quantity = values.get("quantity", "") or "1"
    if not is_user_id(values["user"]):
        raise ValueError(f"{values['user']!r} is no user id")
    if values["plan"] not in plans:
        raise ValueError(f"{values['plan']!r} cannot be given; plans.toml has {', '.join(plans) or 'nothing to give'}")
    if not (quantity.isascii() and quantity.isdecimal() and 1 <= int(quantity) <= MOST_QUANTITY):
        raise ValueError(f"quantity is a whole number from 1 to {MOST_QUANTITY}, not {quantity!r}")
    reason = values.get("reason", "")
    if len(reason) > LONGEST_TEXT or not reason.isprintable():
        raise ValueError(f"reason is a text of at most {LONGEST_TEXT} printable characters")
    return Given(row.line, values["user"], values["plan"], _until(values["until"]), reason, int(quantity))


def _until(text: str) -> int | None:
    """Return a time in Unix seconds: a date, at which that day begins, a date and time (UTC unless it says otherwise),
    or Unix seconds; None for nothing.

    Errors  ValueError
    """
    if not text:
        return None
    try:
        if text.isascii() and text.isdecimal() and len(text) > len("20270131"):
            seconds = int(text)
        else:
            at = datetime.datetime.fromisoformat(text.replace(" UTC", "+00:00"))
            seconds = int((at if at.tzinfo else at.replace(tzinfo=datetime.UTC)).timestamp())
    except (ValueError, OverflowError):
        raise ValueError(f"until is a time such as 2027-01-31 or 2027-01-31T12:00, not {text!r}") from None
    if not 0 < seconds < FOREVER:
        raise ValueError(f"until is a time in this age, not {text!r}")
    return seconds


def missing_from(given: Collection[Given], provider: str, now: float) -> list[Key]:
    """Return the running grants of this provider that the file does not have."""
    named = {each.key for each in given}
    with storage.reading():
        running: Any = Grant.select(Grant.user, Grant.plan).where(Grant.given_by == provider, _runs(now))
        keys = set(running.tuples())
    return sorted(keys - named)


def give_all(
    catalogue: Catalogue,
    given: Sequence[Given],
    provider: str,
    now: float,
    *,
    revoked: Sequence[Key] = (),
    writes: bool = True,
    progress: Progress = no_progress,
) -> Outcome:
    """Give what the lines say, in the name of this provider, and end what is revoked. Grants of others stay.

    A new grant is no news: its user had that access before. What ends, and what begins again, is.

    Shape   writes: False rolls every change back
    Errors  Outdated; DatabaseUnavailable; batches that were stored stay so, and a second run goes on
    """
    outcome = Outcome()
    for piece in storage.pieces(given, BATCH):
        with storage.writing() if writes else storage.trying():
            for each in piece:
                _give(catalogue, each, provider, now, outcome)
        progress("given", outcome.new + outcome.changed + outcome.same + outcome.ended + outcome.over, len(given))
    for keys in storage.pieces(revoked, BATCH):
        with storage.writing() if writes else storage.trying():
            for user_id, plan in keys:
                of_plan = (Grant.user == user_id, Grant.plan == plan, Grant.given_by == provider, _runs(now))
                outcome.revoked += bool(Grant.update(ends_at=int(now)).where(*of_plan).execute())
                _store(catalogue, user_id, now, changes.ALL)
    return outcome


def _give(catalogue: Catalogue, given: Given, provider: str, now: float, outcome: Outcome) -> None:
    """Give what one line says, inside a writing transaction."""
    of_plan = (Grant.user == given.user_id, Grant.plan == given.plan, Grant.given_by == provider)
    last: Grant | None = Grant.select().where(*of_plan).order_by(Grant.id.desc()).first()
    is_running = last is not None and (last.ends_at is None or last.ends_at > now)
    wanted = {"ends_at": given.until, "reason": given.reason, "quantity": given.quantity}
    if given.until is not None and given.until <= now:
        if last is None or not is_running:
            outcome.over += 1
            return
        outcome.ended += 1
    elif last is None or not is_running:
        outcome.new += 1
        User.insert(id=given.user_id, created_at=int(now)).on_conflict_ignore().execute()
        named = {"user": given.user_id, "plan": given.plan, "given_by": provider, "uid": new_uid()}
        Grant.insert(created_at=int(now), **named, **wanted).execute()
        _store(catalogue, given.user_id, now, changes.NONE if last is None else changes.ALL)
        return
    elif all(getattr(last, name) == value for name, value in wanted.items()):
        outcome.same += 1
        return
    else:
        outcome.changed += 1
    Grant.update(wanted).where(Grant.id == last.id).execute()
    _store(catalogue, given.user_id, now, changes.ALL)


def _store(catalogue: Catalogue, user_id: str, now: float, kinds: frozenset[str]) -> None:
    catalogue.timelines.store([user_id], now, kinds)
    granted.touch(user_id, now)


def _runs(now: float) -> object:
    return Grant.ends_at.is_null() | (Grant.ends_at > now)
