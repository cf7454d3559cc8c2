"""Move customers in: each gets its user here, silently, and our mark at Stripe.

A move is a sync that knows whose the customers are. It lists what the whole account has, and calls Stripe once for each
customer that lacks our mark. What it has done stays done: a move that was cut off at any point is run again.
"""

import re
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .. import storage
from ..errors import StripeError, StripeNotSetUp, StripeUnavailable, UnknownCustomer
from ..gateway.states import CustomerState
from ..logs.facts import logger
from ..models import Customer
from ..notices import changes
from ..sync import jobs
from ..sync.converge import Converger
from ..sync.resync import (
    Listing,
    Progress,
    Report,
    ReportingConverger,
    list_everything,
    no_progress,
    store_everything,
)
from ..texts import USER_ID_LENGTH, is_user_id
from .sheet import Column, Problem, read_sheet

COLUMNS = (
    Column(("user", "user_id", "userid", "owner_id", "subscriber_id", "subscriber", "owner", "id")),
    Column(
        (
            "customer",
            "customer_id",
            "stripe_customer_id",
            "stripe_customer",
            "stripecustomerid",
            "stripe_id",
            "processor_id",
        )
    ),
)
PAUSES_SECONDS = (2, 5, 15)
# Stripe's own ids begin with cus_; those of before 2013, and those that an account chose itself, may be anything.
CUSTOMER_ID = re.compile(r"[A-Za-z0-9_.@+:-]{1,255}")
OTHER_IDS = re.compile(r"(acct|ch|evt|in|pi|pm|price|prod|re|seti|si|sub|txn)_[A-Za-z0-9]+")


log = logger("corkage.moving")


class Entry(NamedTuple):
    """A line of a map: a customer, and the user that it belongs to."""

    line: int
    user_id: str
    customer_id: str


class Map(NamedTuple):
    """What a file says: each customer once. empty: how many lines have a user, and no customer."""

    entries: list[Entry]
    problems: list[Problem]
    empty: int = 0


def read_map(data: bytes) -> Map:
    """Read a file of users and customers. A user may have several customers, a customer has one user."""
    rows, problems = read_sheet(data, COLUMNS)
    found: dict[str, Entry] = {}
    empty = 0
    for row in rows:
        entry = Entry(row.line, row.values["user"], row.values["customer"])
        first = found.get(entry.customer_id)
        if not entry.customer_id:
            empty += 1
        elif reason := _fault_of(entry):
            problems.append(Problem(row.line, reason))
        elif first is not None and first.user_id != entry.user_id:
            reason = f"{entry.customer_id} is of user {first.user_id} on line {first.line}, and of {entry.user_id} here"
            problems.append(Problem(row.line, reason))
        else:
            found.setdefault(entry.customer_id, entry)
    return Map(list(found.values()), problems, empty)


def _fault_of(entry: Entry) -> str | None:
    if not entry.user_id:
        return f"{entry.customer_id!r} has no user"
    if not is_user_id(entry.user_id):
        return f"a user id is a text of 1 to {USER_ID_LENGTH} printable characters, not {entry.user_id!r}"
    if entry.user_id.startswith("cus_") and not entry.customer_id.startswith("cus_"):
        return f"{entry.user_id} is a customer, and stands where the user does: the columns are user, customer"
    if OTHER_IDS.fullmatch(entry.customer_id) or not CUSTOMER_ID.fullmatch(entry.customer_id):
        return f"{entry.customer_id!r} is no id of a customer: Stripe's begin with cus_"
    return None


@dataclass
class Move:
    """A move that was looked at, and what came of it.

    Shape   to_link: customers that get their user; were_linked: how many have theirs already; taken: from which other
            user a customer is taken; to_mark: customers that lack our mark at Stripe; singly: those that only a call of
            their own finds; deleted: those that were deleted at Stripe, and are left out;
            problems: with these nothing is moved; linked, marked: how many were;
            failed: the reasons, by customer; report: of the sync that it is
    """

    importer: "Importer"
    listing: Listing
    entries: dict[str, Entry]
    to_link: list[str] = field(default_factory=list)
    were_linked: int = 0
    taken: dict[str, str] = field(default_factory=dict)
    to_mark: list[str] = field(default_factory=list)
    singly: set[str] = field(default_factory=set)
    deleted: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    linked: int = 0
    marked: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def report(self) -> Report:
        return self.importer.report


class Importer(ReportingConverger):
    """A ReportingConverger that knows whose customers are. What was true of a customer that moves in is no news."""

    def __init__(self, converger: Converger, owners: Mapping[str, str], *, writes: bool) -> None:
        super().__init__(converger, writes=writes)
        self._owners = owners
        self.silent: Collection[str] = frozenset()  # customers

    def owner_of(self, row: Customer, customer: CustomerState) -> str | None:
        """Return the customer's user: the row's, else the one that the map says, else the one in our metadata."""
        return row.user_id or self._owners.get(row.id) or super().owner_of(row, customer)

    def is_done(self, row: Customer, began: int) -> bool:
        """Return whether an interrupted run has stored the customer already, with its user."""
        return super().is_done(row, began) and self._owners.get(row.id) in (None, row.user_id)

    def kinds_for(self, customer_id: str, user_id: str | None) -> frozenset[str]:
        """Return the kinds of notices to store: none for a customer that moves in."""
        return changes.NONE if customer_id in self.silent else super().kinds_for(customer_id, user_id)


def look(
    converger: Converger,
    entries: Collection[Entry],
    *,
    writes: bool,
    force: bool = False,
    progress: Progress = no_progress,
) -> Move:
    """Fetch all that decides, and return what a move would do, or why it cannot be done. Nothing is moved.

    Shape   writes: False for a move that only looks; force: take customers from other users, and from other apps
    Errors  StripeError as the gateway's
    """
    by_customer = {each.customer_id: each for each in entries}
    importer = Importer(converger, {id_: each.user_id for id_, each in by_customer.items()}, writes=writes)
    listing = list_everything(importer, progress, by_customer.keys())
    move = Move(importer, listing, by_customer)
    states = {id_: found.customer for id_, found in listing.fetched.items() if found.customer is not None}
    lacking = [id_ for id_ in by_customer if id_ not in states]
    for count, customer_id in enumerate(lacking, 1):
        with suppress(UnknownCustomer):
            states[customer_id] = importer.gateway.customer(customer_id)
        progress("looked for", count, len(lacking))
    move.deleted = [id_ for id_ in by_customer if id_ in states and states[id_].deleted]
    move.entries = {id_: each for id_, each in by_customer.items() if id_ not in move.deleted}
    move.singly.update(id_ for id_ in lacking if id_ in states and id_ in move.entries)
    for entry in move.entries.values():
        _look_at(move, entry, states.get(entry.customer_id), force=force)
    is_unfinished = jobs.position("sync") != 0  # of a run that was cut off, all that it moved is no news
    importer.silent = frozenset(by_customer if is_unfinished else move.to_link)
    return move


def _look_at(move: Move, entry: Entry, state: CustomerState | None, *, force: bool) -> None:
    """Note what is to be done for one line, or what is wrong with it."""
    row = move.listing.rows.get(entry.customer_id)
    owner, app = row.user_id if row else None, move.importer.app
    if reason := _obstacle(entry, state, owner, app, force=force):
        move.problems.append(Problem(entry.line, reason))
        return
    if owner == entry.user_id:
        move.were_linked += 1
    else:
        move.to_link.append(entry.customer_id)
        if owner is not None:
            move.taken[entry.customer_id] = owner
    if state is not None and (state.app, state.user_id) != (app, entry.user_id):
        move.to_mark.append(entry.customer_id)


def _obstacle(entry: Entry, state: CustomerState | None, owner: str | None, app: str, *, force: bool) -> str | None:
    """Return why a line cannot be taken; None when it can."""
    id_ = entry.customer_id
    if state is None:
        return f"Stripe knows no customer {id_} in this account and mode"
    if force:
        return None
    if owner not in (None, entry.user_id):
        return f"{id_} belongs to user {owner} here; --force takes it from them"
    if state.app not in (None, app):
        return f"{id_} is marked at Stripe for another app, {state.app}; --force takes it from there"
    if state.app == app and state.user_id not in (None, entry.user_id):
        return f"{id_} is marked at Stripe for user {state.user_id}; --force takes it from them"
    return None


def carry_out(move: Move, now: float, progress: Progress = no_progress) -> None:
    """Link all here, then mark all at Stripe: whoever hears of a mark finds its user here already, and it is no news.

    Errors  StripeUnavailable when Stripe does not answer any more, StripeNotSetUp when the key may not write: what was
            done stays, and the same move goes on from there; DatabaseUnavailable
    """
    importer = move.importer
    if importer.writes:
        for customer_id in move.taken:
            importer.give(move.entries[customer_id].user_id, customer_id, now, changes.NONE)
    singly = move.singly | move.taken.keys()
    store_everything(importer, move.listing, now, progress, singly)
    move.failed |= importer.report.failed
    if not importer.writes:
        return
    owners = _owners_of(move.entries)
    for customer_id, entry in move.entries.items():
        if owners.get(customer_id) != entry.user_id:
            move.failed.setdefault(customer_id, f"belongs to user {owners.get(customer_id)} by now")
    move.linked = sum(each not in move.failed for each in move.to_link)
    _mark(move, progress)


def _owners_of(customer_ids: Collection[str]) -> dict[str, str | None]:
    owners: dict[str, str | None] = {}
    for piece in storage.pieces(list(customer_ids)):
        found: Any = Customer.select(Customer.id, Customer.user).where(Customer.id.in_(piece))
        with storage.reading():
            owners.update(found.tuples())
    return owners


def _mark(move: Move, progress: Progress) -> None:
    wanted = [each for each in move.to_mark if each not in move.failed]
    for count, customer_id in enumerate(wanted, 1):
        try:
            _mark_one(move, customer_id)
            move.marked += 1
        except (StripeUnavailable, StripeNotSetUp):
            raise
        except StripeError as error:  # its metadata is full, or it was deleted in this moment
            move.failed[customer_id] = f"{error.code}: {error}"
        progress("marked at Stripe", count, len(wanted))


def _mark_one(move: Move, customer_id: str) -> None:
    """Mark a customer. A worker beside this fetches each that is marked; both together may be too fast for Stripe."""
    for pause in PAUSES_SECONDS:
        try:
            move.importer.gateway.mark_customer(customer_id, move.importer.app, move.entries[customer_id].user_id)
            return
        except StripeUnavailable as error:
            log.info("%s is marked again in %d s: %s", customer_id, pause, error)
            time.sleep(pause)
    move.importer.gateway.mark_customer(customer_id, move.importer.app, move.entries[customer_id].user_id)
