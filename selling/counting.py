"""Counting: a use is counted against the limit and the packs, all or nothing, and once for each key.

All that it depends on is read in the transaction that counts it, while no other use of the same user is counted.
"""

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

from .. import storage
from ..errors import KeyReused
from ..storage.group_commit import Execute
from ..texts import is_text
from .credits import CreditLeft, credits_of
from .metered import metered, owe
from .usage import USED, Counter, Counters, Facts, Row, Use, counted, facts_of, sum_of
from .windows import Window, window_at

LONGEST_KEY = 200
MOST_AT_ONCE = 1_000_000_000
_ENDLESS = 2**62

_NEW_USER = "INSERT INTO corkage_user (id, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING"
_SET_ANCHOR = "UPDATE corkage_user SET usage_anchor = ? WHERE id = ? AND usage_anchor IS NULL"
_KNOWN_KEY = "SELECT name, amount FROM corkage_usage_key WHERE user_id = ? AND key = ?"
_STORE_KEY = "INSERT INTO corkage_usage_key (user_id, key, name, amount, used_at) VALUES (?, ?, ?, ?, ?)"
_ADD = """
UPDATE corkage_usage SET used = used + ? WHERE user_id = ? AND name = ? AND starts_at = ? AND used + ? <= ?
RETURNING used
"""
_BEGIN = """
INSERT INTO corkage_usage (user_id, name, starts_at, used) VALUES (?, ?, ?, ?)
ON CONFLICT (user_id, name, starts_at) DO UPDATE SET used = corkage_usage.used + excluded.used
"""
_TAKE_CREDIT = 'UPDATE corkage_credit SET "left" = "left" - ? WHERE purchase_id = ? AND price_id = ? AND name = ?'


class _Wish(NamedTuple):
    """A use that is to be counted."""

    user_id: str
    counter: Counter
    name: str
    amount: int
    key: str | None
    now: float


class _Place(NamedTuple):
    """What a use is counted against.

    Shape   limit: how much may be used of the window in all; credit: that of packs for it, the oldest first
    """

    limit: int | str
    window: Window
    credit: list[CreditLeft]
    facts: Facts


def use(user_id: str, counters: Counters, name: str, amount: int, key: str | None, now: float) -> Use:
    """Count a use of a limit, or of the credit of packs, if it fits as a whole.

    Errors  UnknownLimit; KeyReused; ValueError for another amount or key; DatabaseUnavailable
    """
    wish = _Wish(user_id, counters.named(name), name, amount, key, now)
    _check(amount, key)
    found = storage.act(functools.partial(_count, wish), user_id)
    if found is None:
        raise KeyReused(f"the key {key!r} of {user_id!r} was given with another name or amount than {name!r}, {amount}")
    return found


def _check(amount: object, key: object) -> None:
    if not (type(amount) is int and 1 <= amount <= MOST_AT_ONCE):
        raise ValueError(f"amount is a whole number from 1 to {MOST_AT_ONCE}")
    if key is not None and not (is_text(key) and 0 < len(key) <= LONGEST_KEY and key.isprintable()):
        raise ValueError(f"key is a text of 1 to {LONGEST_KEY} printable characters")


def _count(wish: _Wish, execute: Execute) -> Use | None:
    """Count the use; return None where its key is that of another."""

    def row(sql: str, values: Any) -> Any:
        return execute(sql, values).fetchone()

    known = row(_KNOWN_KEY, (wish.user_id, wish.key)) if wish.key else None
    if known is not None and tuple(known) != (wish.name, wish.amount):
        return None
    place = _place(wish, execute, row)
    if known is not None:
        return _answer(wish, place, _used(wish, place, row), repeated=True)
    where = (wish.user_id, wish.name, place.window.starts_at)
    if added := row(_ADD, (wish.amount, *where, wish.amount, _number(place.limit))):
        _note(wish, place, execute, row)
        return _answer(wish, place, added[0])
    return _count_otherwise(wish, place, execute, row)


def _place(wish: _Wish, execute: Execute, row: Row) -> _Place:
    facts = facts_of(wish.user_id, wish.now, row)
    credit: list[CreditLeft] = []
    if facts.has_credit:
        every = credits_of(wish.user_id, lambda sql, values: list(execute(sql, values).fetchall()))
        credit = [each for each in every if each.name == wish.name]
    window = window_at(wish.counter.every, facts.anchor, facts.now)
    return _Place(facts.limits.get(wish.name, 0), window, credit, facts)


def _count_otherwise(wish: _Wish, place: _Place, execute: Execute, row: Row) -> Use:
    """Count the first use of a window, or what the limit has left, and the rest from the credit.

    Nothing is written where all of that is too little.
    """
    used = _used(wish, place, row)
    from_limit = min(wish.amount, max(0, _number(place.limit) - used))
    from_credit = _taken(wish.amount - from_limit, place.credit)
    if from_limit + sum(from_credit) < wish.amount:
        return _answer(wish, place, used, allowed=False)
    if place.facts.is_new:
        execute(_NEW_USER, (wish.user_id, int(wish.now)))
    if from_limit:
        execute(_BEGIN, (wish.user_id, wish.name, place.window.starts_at, from_limit))
    for each, taken in zip(place.credit, from_credit, strict=True):
        if taken:
            execute(_TAKE_CREDIT, (taken, each.purchase_id, each.price_id, each.name))
    _note(wish, place, execute, row)
    return _answer(wish, place, used + from_limit, sum(from_credit))


def _number(limit: int | str) -> int:
    return limit if isinstance(limit, int) else _ENDLESS


def _used(wish: _Wish, place: _Place, row: Row) -> int:
    found = row(USED, (wish.user_id, wish.name, place.window.starts_at))
    return found[0] if found else 0


def _taken(amount: int, credit: Iterable[CreditLeft]) -> list[int]:
    """Return how much of each credit is used for an amount, in their order."""
    taken = []
    for each in credit:
        taken.append(min(amount, each.left))
        amount -= taken[-1]
    return taken


def _note(wish: _Wish, place: _Place, execute: Execute, row: Row) -> None:
    """Store what comes with a use that was counted: its key, what Stripe bills, and the first time the anchor."""
    if place.facts.is_unset:
        execute(_SET_ANCHOR, (place.facts.anchor, wish.user_id))
    if wish.key:
        execute(_STORE_KEY, (wish.user_id, wish.key, wish.name, wish.amount, int(wish.now)))
    plans = wish.counter.metered_by.intersection(place.facts.plans)
    if plans and (where := metered(wish.user_id, str(wish.counter.meter), plans, place.facts.now, row)):
        owe(execute, wish.user_id, wish.name, wish.amount, where, wish.now)


def _answer(
    wish: _Wish, place: _Place, used: int, from_credit: int = 0, *, allowed: bool = True, repeated: bool = False
) -> Use:
    credit = sum_of(wish.name, place.credit) - from_credit
    return Use(allowed, repeated, *counted(wish.name, used, place.limit, credit, place.window))
