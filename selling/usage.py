"""Usage: what a user has used of a limit that is counted, and of the credit of packs."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .. import storage
from ..access import UNLIMITED, Access
from ..errors import KeyReused, UnknownLimit
from ..plans import Plan
from ..storage.group_commit import Execute
from ..sync import meters
from ..texts import is_text
from .credits import CreditLeft, credits_of
from .windows import Window, anchor_of, window_at

LONGEST_KEY = 200
MOST_AT_ONCE = 1_000_000_000
_ENDLESS = 2**62

# The subscription that a user had first, of those that began: it says when their months begin.
_FIRST = """
SELECT s.created, s.current_period_end
FROM corkage_customer AS c
JOIN corkage_subscription AS s ON s.customer_id = c.id
WHERE c.user_id = ? AND s.status NOT LIKE 'incomplete%' AND (s.ours OR EXISTS (
    SELECT 1 FROM corkage_subscription_item AS i JOIN corkage_price AS p ON p.id = i.price_id
    WHERE i.subscription_id = s.id AND p.plan IS NOT NULL
))
ORDER BY s.created, s.id LIMIT 1
"""
_FACTS = """
SELECT u.usage_anchor, (
    SELECT max(s.clock_ahead) FROM corkage_customer AS c JOIN corkage_subscription AS s ON s.customer_id = c.id
    WHERE c.user_id = u.id
)
FROM corkage_user AS u WHERE u.id = ?
"""
_NEW_USER = "INSERT INTO corkage_user (id, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING"
_SET_ANCHOR = "UPDATE corkage_user SET usage_anchor = ? WHERE id = ? AND usage_anchor IS NULL"
_KNOWN_KEY = "SELECT name, amount FROM corkage_usage_key WHERE user_id = ? AND key = ?"
_STORE_KEY = "INSERT INTO corkage_usage_key (user_id, key, name, amount, used_at) VALUES (?, ?, ?, ?, ?)"
_USED = "SELECT used FROM corkage_usage WHERE user_id = ? AND name = ? AND starts_at = ?"
# The limit stands twice: the first use of a window finds no row to update.
_COUNT = """
INSERT INTO corkage_usage (user_id, name, starts_at, used)
SELECT user_id, name, starts_at, amount FROM (
    SELECT CAST(? AS TEXT) AS user_id, CAST(? AS TEXT) AS name, CAST(? AS BIGINT) AS starts_at,
        CAST(? AS BIGINT) AS amount
) AS given WHERE amount <= ?
ON CONFLICT (user_id, name, starts_at) DO UPDATE SET used = corkage_usage.used + excluded.used
WHERE corkage_usage.used + excluded.used <= ?
RETURNING used
"""
_TAKE_CREDIT = 'UPDATE corkage_credit SET "left" = "left" - ? WHERE purchase_id = ? AND price_id = ? AND name = ?'


class Usage(NamedTuple):
    """What a user has used of a limit that is counted, and what is left.

    Shape   limit: a number or "unlimited"; used: of the limit, in the present window; credit: what is left of packs,
            which is used after the limit; left: of both together, a number or "unlimited"
    Units   resets_at: when `used` begins anew at 0, in Unix seconds, by Stripe's clock; None for never
    """

    name: str
    used: int
    limit: int | str
    credit: int
    left: int | str
    resets_at: int | None


class Use(NamedTuple):
    """What became of a use; it is true where it was allowed. The rest is the Usage after it.

    Shape   allowed: whether it fitted, and was counted; repeated: its key was counted before, and nothing was now
    """

    allowed: bool
    repeated: bool
    name: str
    used: int
    limit: int | str
    credit: int
    left: int | str
    resets_at: int | None

    def __bool__(self) -> bool:
        return self.allowed


class Counter(NamedTuple):
    """A limit that is counted.

    Shape   every: when it begins anew; meter: the event name of Stripe's meter, where a plan has one; metered_by: the
            plans that have it
    """

    every: str
    meter: str | None
    metered_by: frozenset[str]


class Counters:
    """The limits that plans.toml counts, by name."""

    def __init__(self, plans: Iterable[Plan]) -> None:
        plans = tuple(plans)
        every: dict[str, str] = {name: each for plan in plans for name, each in plan.every.items()}
        names = {name for plan in plans for name in (*plan.every, *plan.meters, *plan.adds)}
        self._numbers = {name for plan in plans for name in plan.limits} - names
        self.all: Mapping[str, Counter] = {
            name: Counter(
                every.get(name, "month"),
                next((plan.meters[name] for plan in plans if name in plan.meters), None),
                frozenset(plan.key for plan in plans if name in plan.meters),
            )
            for name in sorted(names)
        }

    def check(self, name: str) -> None:
        """Check that plans.toml has a limit of this name, counted or not.

        Errors  UnknownLimit
        """
        if name not in self._numbers:
            self.named(name)

    def named(self, name: str) -> Counter:
        """Return the limit that is counted under this name.

        Errors  UnknownLimit
        """
        if name in self.all:
            return self.all[name]
        if name in self._numbers:
            raise UnknownLimit(
                f'the limit {name!r} is not counted: give it {{ limit = ..., every = "month" }} in plans.toml'
            )
        raise UnknownLimit(f"plans.toml counts no limit {name!r}; it counts {', '.join(self.all) or 'none'}")


class _Facts(NamedTuple):
    """What is stored of a user.

    Shape   anchor: from when on their months are counted, 0 for calendar months; is_new: there is no row of the user;
            is_unset: the row has no anchor yet; now: the present, by the clock of their subscriptions
    """

    anchor: int
    is_new: bool
    is_unset: bool
    now: float


class _Wish(NamedTuple):
    """A use to be counted.

    Shape   limit: how much may be used of the window in all; credit: what was left of packs a moment ago
    """

    user_id: str
    name: str
    amount: int
    key: str | None
    limit: int | str
    credit: int
    window: Window
    facts: _Facts
    metered: meters.Metered | None


def use(access: Access, counters: Counters, name: str, amount: int, key: str | None, now: float) -> Use:
    """Count a use of a limit, or of the credit of packs, if it fits as a whole.

    Errors  UnknownLimit; KeyReused; ValueError for another amount or key; DatabaseUnavailable
    """
    counter = counters.named(name)
    _check(amount, key)
    user_id, limit = access.user_id, access.limits.get(name, 0)
    facts = _facts(user_id, now)
    window = window_at(counter.every, facts.anchor, facts.now)
    credit = _sum_of(name, credits_of(user_id))
    metered = _metered(access, counter, facts.now)
    wish = _Wish(user_id, name, amount, key, limit, credit, window, facts, metered)
    found = storage.act(functools.partial(_count, wish, now), user_id)
    if found is None:
        raise KeyReused(f"the key {key!r} of {user_id!r} was given with another name or amount than {name!r}, {amount}")
    return found


def usages(access: Access, counters: Counters, now: float) -> dict[str, Usage]:
    """Return what the user has used of each limit that is counted, by its name.

    Errors  DatabaseUnavailable
    """
    facts = _facts(access.user_id, now)
    credit = credits_of(access.user_id)
    found = {}
    for name, counter in counters.all.items():
        window = window_at(counter.every, facts.anchor, facts.now)
        row = storage.row(_USED, (access.user_id, name, window.starts_at))
        limit, used = access.limits.get(name, 0), row[0] if row else 0
        found[name] = Usage(*_counted(name, used, limit, _sum_of(name, credit), window))
    return found


def _sum_of(name: str, credit: Iterable[CreditLeft]) -> int:
    return sum(each.left for each in credit if each.name == name)


def _counted(name: str, used: int, limit: int | str, credit: int, window: Window) -> tuple[Any, ...]:
    """Return the fields of a Usage."""
    left = max(0, limit - used) + credit if isinstance(limit, int) else UNLIMITED
    return name, used, limit, credit, left, window.ends_at


def _facts(user_id: str, now: float) -> _Facts:
    row = storage.row(_FACTS, (user_id,))
    anchor, ahead = row or (None, None)
    if anchor is None and row is not None:
        first = storage.row(_FIRST, (user_id,))
        anchor = anchor_of(*first) if first else None
        return _Facts(anchor or 0, is_new=False, is_unset=anchor is not None, now=now + (ahead or 0))
    return _Facts(anchor or 0, is_new=row is None, is_unset=False, now=now + (ahead or 0))


def _metered(access: Access, counter: Counter, now: float) -> meters.Metered | None:
    """Return where Stripe bills the use; None where it does not, as for what was granted."""
    plans = counter.metered_by.intersection(access.plans)
    return meters.metered(access.user_id, str(counter.meter), plans, now) if plans else None


def _check(amount: object, key: object) -> None:
    if not (type(amount) is int and 1 <= amount <= MOST_AT_ONCE):
        raise ValueError(f"amount is a whole number from 1 to {MOST_AT_ONCE}")
    if key is not None and not (is_text(key) and 0 < len(key) <= LONGEST_KEY and key.isprintable()):
        raise ValueError(f"key is a text of 1 to {LONGEST_KEY} printable characters")


def _count(wish: _Wish, now: float, execute: Execute) -> Use | None:
    """Count the use, while no other of the user is counted; return None where its key is that of another."""
    known = execute(_KNOWN_KEY, (wish.user_id, wish.key)).fetchone() if wish.key else None
    if known is not None:
        is_same = tuple(known) == (wish.name, wish.amount)
        return _answer(wish, _used(wish, execute), wish.credit, repeated=True) if is_same else None
    if not wish.facts.is_new and (row := _add(wish, wish.amount, execute)):
        _note(wish, now, execute)
        return _answer(wish, row[0], wish.credit)
    return _count_with_credit(wish, now, execute)


def _count_with_credit(wish: _Wish, now: float, execute: Execute) -> Use:
    """Count what the limit has left, and the rest from the credit. Nothing is written where that is too little."""
    used = _used(wish, execute)
    credit = credits_of(wish.user_id, lambda sql, values: list(execute(sql, values).fetchall()))
    credit = [each for each in credit if each.name == wish.name]
    from_limit = min(wish.amount, max(0, _number(wish.limit) - used))
    from_credit = _taken(wish.amount - from_limit, credit)
    left = _sum_of(wish.name, credit)
    if from_limit + sum(from_credit) < wish.amount:
        return _answer(wish, used, left, allowed=False)
    if wish.facts.is_new:
        execute(_NEW_USER, (wish.user_id, int(now)))
    if from_limit:
        _add(wish, from_limit, execute)
    for each, taken in zip(credit, from_credit, strict=True):
        if taken:
            execute(_TAKE_CREDIT, (taken, each.purchase_id, each.price_id, each.name))
    _note(wish, now, execute)
    return _answer(wish, used + from_limit, left - sum(from_credit))


def _number(limit: int | str) -> int:
    return limit if isinstance(limit, int) else _ENDLESS


def _used(wish: _Wish, execute: Execute) -> int:
    row = execute(_USED, (wish.user_id, wish.name, wish.window.starts_at)).fetchone()
    return row[0] if row else 0


def _add(wish: _Wish, amount: int, execute: Execute) -> Any:
    """Add to what was used of the window if that fits; return the row with the sum, or None."""
    most = _number(wish.limit)
    values = (wish.user_id, wish.name, wish.window.starts_at, amount, most, most)
    return execute(_COUNT, values).fetchone()


def _taken(amount: int, credit: Iterable[CreditLeft]) -> list[int]:
    """Return how much of each credit is used for an amount, in their order."""
    taken = []
    for each in credit:
        taken.append(min(amount, each.left))
        amount -= taken[-1]
    return taken


def _note(wish: _Wish, now: float, execute: Execute) -> None:
    """Store what comes with a use that was counted: its key, what Stripe bills, and the first time the anchor."""
    if wish.facts.is_unset:
        execute(_SET_ANCHOR, (wish.facts.anchor, wish.user_id))
    if wish.key:
        execute(_STORE_KEY, (wish.user_id, wish.key, wish.name, wish.amount, int(now)))
    if wish.metered:
        meters.owe(execute, wish.user_id, wish.name, wish.amount, wish.metered, now)


def _answer(wish: _Wish, used: int, credit: int, *, allowed: bool = True, repeated: bool = False) -> Use:
    return Use(allowed, repeated, *_counted(wish.name, used, wish.limit, credit, wish.window))
