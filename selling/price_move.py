"""A price move: all subscribers of one price get another one, after a notice, each once; and the way back.

The move of each subscription is stored with the moment at which it is due, and sent as any other change: by the worker,
or by whoever runs the command again. Nothing is prorated: the next invoice has the new price.
"""

import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

from .. import storage
from ..access import ENDED, LIVE, Plans
from ..gateway.gateway import Gateway
from ..gateway.states import PriceState, SubscriptionState
from ..logs.facts import logger
from ..models import ChangeRow, Customer, Price, Subscription, SubscriptionItem
from ..plans import Plan
from ..replica import owed
from ..replica.prices import Catalogue
from . import price_notices
from .changes import Changes
from .decisions import why_left_out
from .price_notices import Costs, ToCome

KIND = "move_price"
CHUNK = 100  # takes some milliseconds, for which webhooks wait to store their events
UNDONE = "undone"

log = logger("corkage.changes")


class NothingMoved(Exception):
    """The move is not possible as asked for. The message says why, and what to do."""


class Move(NamedTuple):
    """From which price to which."""

    old: Price
    new: Price

    @property
    def batch(self) -> str:
        return f"{self.old.id}>{self.new.id}"

    @property
    def back(self) -> "Move":
        return Move(self.new, self.old)

    @property
    def wish(self) -> str:
        return json.dumps({"old": self.old.id, "new": self.new.id}, sort_keys=True)

    def warning(self, user_id: str, subscription_id: str, at: int, costs: Costs) -> ToCome:
        """Return what a payer is to hear of it."""
        return ToCome(user_id, subscription_id, self.old.id, self.new.id, at, costs)


class Payer(NamedTuple):
    """A subscription at the old price.

    Shape   left_out: why it keeps its price, None when it is moved; at: when it is, where that is stored already
    Units   amounts of a period, in the currency's minor units, without tax and discounts, None where the price has
            tiers; at in Unix seconds
    """

    user_id: str | None
    held: SubscriptionState
    amount: int | None
    new_amount: int | None
    left_out: str | None
    at: int | None = None


Progress = Callable[[str, int, int | None], None]


class PriceMove:
    """Moves the subscribers of one price to another."""

    def __init__(self, gateway: Gateway, catalogue: Catalogue, changes: Changes) -> None:
        self.gateway, self.catalogue, self.changes = gateway, catalogue, changes

    @property
    def plans(self) -> Plans:
        """The terms of the plans, as the notices have them."""
        return self.catalogue.timelines.plans

    def find(self, old: str, new: str, *, is_undone: bool = False) -> Move:
        """Fetch the two prices, named by lookup key or id.

        Shape   is_undone: the move is to be undone, so the old price may be on sale again
        Errors  NothingMoved when they do not fit together, plans.toml is not ready, or a move to another price is still
                to be made; StripeError as the gateway's
        """
        states = [self._price(name) for name in (old, new)]
        _refuse_misfits(*states, is_undone=is_undone)
        _refuse_plans(self.catalogue, *states, is_undone=is_undone)
        with storage.writing():
            self.catalogue.timelines.refuse_if_outdated()
            for state in states:
                self.catalogue.store_price(state)
        move = Move(*(Price.get_by_id(state.id) for state in states))
        if not is_undone:
            _refuse_second(move)
        return move

    def payers(self, move: Move) -> list[Payer]:
        """Fetch who has the old price, those who are left out too. Nothing is stored.

        Errors  StripeError as the gateway's
        """
        listed = {each.id: each for each in self.gateway.subscriptions_at(move.old.id) if each.status not in ENDED}
        for id_ in _stored_at(move.old.id) - listed.keys():  # such as those on test clocks, which the list lacks
            held = self.gateway.subscription(id_)
            if held is not None and held.status not in ENDED:
                listed[id_] = held
        users = _users({each.customer_id for each in listed.values()})
        dates = {row.subscription_id: row.not_before for row in _owed(move)}
        found = [self._payer(move, each, users.get(each.customer_id), dates.get(each.id)) for each in listed.values()]
        return sorted(found, key=lambda each: (each.left_out or "", each.user_id or "", each.held.id))

    def begin(self, move: Move, payers: list[Payer], at: int, now: float) -> int:
        """Store the moves that are not stored yet, each with its notice; return how many there are."""
        new = [each for each in payers if each.left_out is None]
        count = 0
        for start in range(0, len(new), CHUNK):
            with storage.writing():
                known = {row.subscription_id for row in _owed(move)}
                for each in new[start : start + CHUNK]:
                    if each.held.id not in known:
                        self._store(move, each, at, now)
                        count += 1
        return count

    def carry_on(self, move: Move, now: float, progress: Progress) -> int:
        """Make the moves that are due; return how many failed. Those stay owed, and are tried again.

        Errors  DatabaseUnavailable
        """
        due = [row.nonce for row in _owed(move) if row.not_before <= now]
        failed = 0
        for number, nonce in enumerate(due):
            progress("subscriptions moved", number, len(due))
            failed += self.changes.carry_on(nonce) is not None
        progress("subscriptions moved", len(due), len(due))
        return failed

    def undo(self, move: Move, now: float) -> tuple[int, int]:
        """Withdraw the moves that are not made yet, and store the way back of those that are, each with its notice;
        return how many there are of each.
        """
        withdrawn = moved = 0
        while rows := _to_undo(move, now):
            with storage.writing():
                for row in rows:
                    is_made = row.done_at is not None
                    moved += is_made and _can_go_back(move, row.subscription_id)
                    withdrawn += not is_made
                    self._undo(move, row, now)
        return withdrawn, moved

    def outcomes(self, move: Move) -> dict[str, int]:
        """Return how many moves came to which outcome; "owed" for those that are still to be made."""
        found: dict[str, int] = {}
        for row in ChangeRow.select().where(ChangeRow.batch == move.batch):
            outcome = row.outcome or "owed"
            found[outcome] = found.get(outcome, 0) + 1
        return found

    def _price(self, name: str) -> PriceState:
        found = next(iter(self.gateway.prices_by_lookup_key([name])), None) or self.gateway.price(name)
        if found is None:
            raise NothingMoved(f"Stripe has no price {name}: name it by its lookup key or its id")
        return self.gateway.price(found.id) or found

    def _payer(self, move: Move, held: SubscriptionState, user_id: str | None, at: int | None) -> Payer:
        counts = [each.quantity for each in held.items if each.price.id == move.old.id]
        (was, _), (will, paid_in) = (each.amount_in(held.currency) for each in move)
        reason = why_left_out(held, move.old.id)
        if user_id is None:
            reason = "its customer belongs to no user here"
        elif paid_in != held.currency:
            reason = f"{move.new.id} is not sold in {held.currency}"
        elif any(each.price.id == move.new.id for each in held.items):
            reason = "it has the new price beside the old one"
        was, will = (None if each is None else each * ((counts or [1])[0] or 1) for each in (was, will))
        return Payer(user_id, held, was, will, reason, at)

    def _store(self, move: Move, payer: Payer, at: int, now: float) -> None:
        if payer.user_id is None:
            return
        owed.add(payer.user_id, payer.held.id, KIND, move.wish, now, move.batch, at)
        costs = Costs(payer.amount, payer.new_amount, payer.held.currency)
        price_notices.warn(move.warning(payer.user_id, payer.held.id, at, costs), self.plans, now)

    def _undo(self, move: Move, row: ChangeRow, now: float) -> None:
        """Withdraw a move or, when it was made, store the way back. Inside a writing transaction."""
        user_id, id_ = row.user_id, row.subscription_id
        if row.done_at is None:
            ended = {"done_at": int(now), "outcome": UNDONE}
            ChangeRow.update(ended).where(ChangeRow.nonce == row.nonce).execute()
            price_notices.withdraw(row, self.plans, now)
            return
        ChangeRow.update(outcome=UNDONE).where(ChangeRow.nonce == row.nonce).execute()
        if not _can_go_back(move, id_):
            return
        owed.add(user_id, id_, KIND, move.back.wish, now, move.back.batch)
        costs = price_notices.costs_of(id_, move.new.id, move.old.id)
        price_notices.warn(move.back.warning(user_id, id_, int(now), costs), self.plans, now)


def _owed(move: Move) -> list[ChangeRow]:
    mine = (ChangeRow.batch == move.batch, ChangeRow.done_at.is_null())
    return list(ChangeRow.select().where(*mine).order_by(ChangeRow.not_before, ChangeRow.nonce))


def _to_undo(move: Move, now: float) -> list[ChangeRow]:
    """Return some moves that are owed, and not being sent, or that were made."""
    mine = (ChangeRow.batch == move.batch, ChangeRow.done_at.is_null() | (ChangeRow.outcome == "done"))
    found = ChangeRow.select().where(*mine).order_by(ChangeRow.nonce)
    return [row for row in found if row.done_at is not None or not owed.is_claimed(row, now)][:CHUNK]


def _can_go_back(move: Move, subscription_id: str) -> bool:
    """Return whether a subscription that was moved still has the new price and goes on, as far as is stored."""
    of_it = (SubscriptionItem.subscription == subscription_id, SubscriptionItem.price_id == move.new.id)
    goes_on = (Subscription.status.in_(LIVE), Subscription.cancel_at.is_null())
    found: bool = SubscriptionItem.select().join(Subscription).where(*of_it, *goes_on).exists()
    return found


def _stored_at(price_id: str) -> set[str]:
    """Return the subscriptions of users that have an item at this price and go on, as far as is stored."""
    query = (
        Subscription.select(Subscription.id)
        .join(SubscriptionItem)
        .switch(Subscription)
        .join(Customer)
        .where(SubscriptionItem.price_id == price_id, Subscription.status.in_(LIVE), Customer.user.is_null(False))
    )
    return set(storage.column(query))


def _users(customer_ids: set[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for piece in storage.pieces(sorted(customer_ids)):
        found |= {row.id: row.user_id for row in Customer.select().where(Customer.id.in_(piece))}
    return found


def _refuse_misfits(old: PriceState, new: PriceState, *, is_undone: bool) -> None:
    problems = list(_misfits(old, new, is_undone=is_undone))
    if problems:
        raise NothingMoved("; ".join(problems))


def _refuse_second(move: Move) -> None:
    """Refuse while others, or the same, are to be moved from this price to another one: they were promised that."""
    waiting = ChangeRow.select().where(
        ChangeRow.kind == KIND, ChangeRow.done_at.is_null(), ChangeRow.batch != move.batch
    )
    targets = [json.loads(row.wish) for row in waiting]
    others = [each["new"] for each in targets if each["old"] == move.old.id]
    if not others:
        return
    old, new = (each.lookup_key or each.id for each in (move.old, Price.get_by_id(others[0])))
    raise NothingMoved(
        f"{len(others)} subscriptions are still to be moved to {new}: withdraw that first, with "
        f"`corkage move-price {old} {new} --undo --yes`"
    )


def _misfits(old: PriceState, new: PriceState, *, is_undone: bool) -> Iterator[str]:
    if old.id == new.id:
        yield f"both names are of the price {old.id}"
        return
    for each in (old, new):
        if each.interval is None:
            yield f"{each.id} is paid once, and nobody subscribes to it"
    target = old if is_undone else new
    if not target.is_active or not target.has_active_product:
        yield f"{target.id} or its product is archived: make it active at Stripe"
    if old.currency != new.currency:
        yield f"{old.id} is in {old.currency}, and {new.id} in {new.currency}: make a price in {old.currency}"
    if (old.interval, old.interval_count) != (new.interval, new.interval_count):
        yield (
            f"{old.id} is paid every {old.interval_count} {old.interval}, and {new.id} every {new.interval_count} "
            f"{new.interval}: another interval begins another period, which is no price move"
        )
    if old.is_metered != new.is_metered:
        yield "one is billed by usage, and the other is not"


def _refuse_plans(catalogue: Catalogue, old: PriceState, new: PriceState, *, is_undone: bool) -> None:
    """Refuse while plans.toml does not name both prices for one plan: who is moved would lose it."""
    of_old, of_new = (_plan_of(catalogue, each) for each in (old, new))
    row = Price.get_or_none(Price.id == old.id)
    key = next((plan.key for plan in (of_old, of_new) if plan), row.plan if row else None) or "a_plan"
    write = f'Write, and restart:\n\n[{key}]\nprices = ["{new.lookup_key or new.id}"]\nretired = ["{old.id}"]'
    if of_old is None or of_new is None:
        missing = " and ".join(each.id for each, plan in ((old, of_old), (new, of_new)) if plan is None)
        raise NothingMoved(f"plans.toml does not name {missing}, and who pays that would lose the plan. {write}")
    if of_old.key != of_new.key:
        raise NothingMoved(
            f"{old.id} is of plan {of_old.key}, and {new.id} of plan {of_new.key}: to move users to another plan, use "
            "`corkage user change`"
        )
    if not is_undone and {old.id, old.lookup_key} & set(of_old.prices):
        raise NothingMoved(f"plans.toml still sells {old.id}. {write}")


def _plan_of(catalogue: Catalogue, price: PriceState) -> Plan | None:
    return catalogue.named.get(price.id) or catalogue.named.get(price.lookup_key or "")
