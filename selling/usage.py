"""Usage: what a user has used of the limits that are counted, and what is left, with the credit of packs."""

import json
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from .. import storage
from ..access import IN_FORCE_AT, NOBODY, UNLIMITED, Limits
from ..errors import UnknownLimit
from ..plans import Plan
from .credits import CreditLeft, credits_of
from .windows import Window, anchor_of, window_at

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
_FACTS = f"""
SELECT u.id, u.usage_anchor, (
    SELECT max(s.clock_ahead) FROM corkage_customer AS c JOIN corkage_subscription AS s ON s.customer_id = c.id
    WHERE c.user_id = u.id
), EXISTS (SELECT 1 FROM corkage_credit AS k WHERE k.user_id = u.id AND k."left" > 0), a.limits, a.plans
FROM (SELECT CAST(? AS TEXT) AS id) AS asked
LEFT JOIN corkage_user AS u ON u.id = asked.id
LEFT JOIN corkage_answer AS a ON a.user_id = asked.id AND {IN_FORCE_AT}
"""  # noqa: S608 -- a text of access.py
_DEFAULT = f"SELECT limits, plans FROM corkage_answer WHERE user_id = '{NOBODY}' AND {IN_FORCE_AT}"  # noqa: S608 -- texts of access.py
USED = "SELECT used FROM corkage_usage WHERE user_id = ? AND name = ? AND starts_at = ?"

Row = Callable[[str, Any], tuple[Any, ...] | None]
"""Returns the first row of a query, or None; see storage.row()."""


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


class Facts(NamedTuple):
    """What is stored of a user.

    Shape   limits, plans: those of the answer in force; anchor: from when on their months are counted, 0 for calendar
            months; is_new: there is no row of the user;
            is_unset: the row has no anchor yet; now: the present, by the clock of their subscriptions; has_credit: a
            pack has something left
    """

    limits: Limits
    plans: frozenset[str]
    anchor: int
    is_new: bool
    is_unset: bool
    now: float
    has_credit: bool


def usages(user_id: str, counters: Counters, now: float) -> dict[str, Usage]:
    """Return what the user has used of each limit that is counted, by its name.

    Errors  DatabaseUnavailable
    """
    facts = facts_of(user_id, now)
    credit = credits_of(user_id) if facts.has_credit else []
    found = {}
    for name, counter in counters.all.items():
        window = window_at(counter.every, facts.anchor, facts.now)
        row = storage.row(USED, (user_id, name, window.starts_at))
        limit, used = facts.limits.get(name, 0), row[0] if row else 0
        found[name] = Usage(*counted(name, used, limit, sum_of(name, credit), window))
    return found


def counted(name: str, used: int, limit: int | str, credit: int, window: Window) -> tuple[Any, ...]:
    """Return the fields of a Usage."""
    left = max(0, limit - used) + credit if isinstance(limit, int) else UNLIMITED
    return name, used, limit, credit, left, window.ends_at


def sum_of(name: str, credit: Iterable[CreditLeft]) -> int:
    """Return how much credit there is for a limit."""
    return sum(each.left for each in credit if each.name == name)


def facts_of(user_id: str, now: float, row: Row = storage.row) -> Facts:
    """Return what is stored of a user. Of one who is unknown it is what everybody has.

    Errors  DatabaseUnavailable
    """
    at = int(now)
    found = row(_FACTS, (user_id, at, at))
    known, anchor, ahead, has_credit, limits, plans = found or (None,) * 6
    if limits is None:
        limits, plans = row(_DEFAULT, (at, at)) or ("{}", "[]")
    first = row(_FIRST, (user_id,)) if known is not None and anchor is None else None
    return Facts(
        limits=_read_limits(limits),
        plans=_read_plans(plans),
        anchor=anchor_of(*first) if first else anchor or 0,
        is_new=known is None,
        is_unset=first is not None,
        now=now + (ahead or 0),
        has_credit=bool(has_credit),
    )


@lru_cache(maxsize=1024)  # most users have the same
def _read_limits(text: str) -> Limits:
    limits: Limits = json.loads(text)
    return limits


@lru_cache(maxsize=1024)
def _read_plans(text: str) -> frozenset[str]:
    return frozenset(json.loads(text))
