"""Timelines: from what users hold, by the plans of this process, to their stored answers.

Each timeline carries a mark: a number that stands for the version of the rule and the plans that made it. A program
with a newer rule, or one that starts with other plans, claims the next number. From then on the other processes write
no answers, and the worker makes the timelines with an older mark anew.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from .. import storage
from ..access import NOBODY, RULE_VERSION, Answer, Holding, Terms, timeline
from ..errors import Outdated
from ..models import AnswerRow, Customer, PlanRow, Purchase, Subscription, SubscriptionItem, User, store_setting
from ..notices import changes
from ..plans import Plan
from . import owed

BATCH = 25
TURN_SECONDS = 0.0001  # for which Python's lock is kept while others may wait for it; a sleep takes half as long
SHORTEST_SLEEP_SECONDS = 1e-6
MARK = "rule"

_HOLDINGS = """
SELECT c.user_id, s.noted, 'subscription', s.id, s.created, p.plan, i.price_id, i.quantity, s.status, s.ours,
    s.current_period_end, s.cancel_at, s.trial_end, s.unpaid_since, s.payment_pending, s.pause_behavior, s.resumes_at,
    s.paid_until, s.returned, CAST(NULL AS BIGINT), s.clock_ahead, s.replaced_by
FROM corkage_customer AS c
JOIN corkage_subscription AS s ON s.customer_id = c.id
LEFT JOIN corkage_subscription_item AS i ON i.subscription_id = s.id
LEFT JOIN corkage_price AS p ON p.id = i.price_id
WHERE c.user_id IN ({marks})
UNION ALL
SELECT c.user_id, b.noted, 'purchase', b.id, b.created, p.plan, b.price_id, b.quantity, NULL, b.ours,
    NULL, NULL, NULL, NULL, false, NULL, NULL, NULL, b.returned, NULL, 0, NULL
FROM corkage_customer AS c
JOIN corkage_purchase AS b ON b.customer_id = c.id
LEFT JOIN corkage_price AS p ON p.id = b.price_id
WHERE c.user_id IN ({marks})
UNION ALL
SELECT user_id, NULL, 'grant', CAST(id AS TEXT), created_at, plan, NULL, quantity, NULL, false,
    NULL, NULL, NULL, NULL, false, NULL, NULL, NULL, NULL, ends_at, 0, NULL
FROM corkage_grant
WHERE user_id IN ({marks})
"""
_USERS = f"""
SELECT u.id, u.rule, u.notified, u.next_change_at, {", ".join(f"a.{name}" for name in Answer._fields)}
FROM corkage_user AS u
LEFT JOIN corkage_answer AS a ON a.user_id = u.id
WHERE u.id IN ({{marks}})
ORDER BY u.id, a.starts_at
"""  # noqa: S608 -- our own column names; the users are bound
_COLUMNS = ("user_id", *Answer._fields)
_DELETE = "DELETE FROM corkage_answer WHERE user_id = ? AND starts_at = ?"
_STORE = f"""
INSERT INTO corkage_answer ({", ".join(_COLUMNS)}) VALUES ({", ".join("?" * len(_COLUMNS))})
ON CONFLICT (user_id, starts_at) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[2:])}
"""  # noqa: S608 -- our own column names; the values are bound


class Mark(NamedTuple):
    """What made a timeline: the version of the rule, and a digest of the plans. The number grows with each claim."""

    number: int
    rule: int
    plans: str


class Held(NamedTuple):
    """What a user holds, and of each subscription and purchase what was last notified (notices/changes.py)."""

    holdings: list[Holding]
    noted: dict[str, str | None]


class _Stored(NamedTuple):
    """What is stored of a user: the columns of the row, and the timeline."""

    rule: int
    notified: str | None
    next_change_at: int | None
    answers: list[Answer]


class Timelines:
    """The timelines of the database, as the plans of this process make them.

    Shape   plans: the terms of the plans of plans.toml, and of those that it had before
    """

    def __init__(self, plans: Sequence[Plan]) -> None:
        self.plans: dict[str, Terms] = {plan.key: plan.terms(rank) for rank, plan in enumerate(plans)}
        self._of_file = tuple(self.plans)
        names = [(plan.prices, plan.retired) for plan in plans]
        self._digest = hashlib.sha256(json.dumps([self.plans, names]).encode()).hexdigest()[:16]

    def claim(self, *, claims: bool) -> bool:
        """Return whether this process may write answers. To be called inside a writing transaction.

        Shape   claims: let these plans make all timelines from now on, unless a program with a newer rule runs;
                without it, only where nobody has claimed yet
        """
        mark = _stored_mark()
        if mark is None or (claims and mark.rule <= RULE_VERSION and not self._is_ours(mark)):
            mark = Mark(mark.number + 1 if mark else 1, RULE_VERSION, self._digest)
            store_setting(MARK, json.dumps(mark))
            for key in self._of_file:
                terms = json.dumps(self.plans[key]._asdict())
                PlanRow.insert(key=key, terms=terms).on_conflict(
                    conflict_target=[PlanRow.key], preserve=[PlanRow.terms]
                ).execute()
            AnswerRow.delete().where(AnswerRow.user_id == NOBODY).execute()
            _store_answers({NOBODY: ([], timeline([], self._present(), 0))})
        self.plans = self._present()
        return self._is_ours(mark)

    def is_outdated(self) -> bool:
        """Return whether another process has claimed the timelines, with a newer rule or other plans."""
        mark = _stored_mark()
        return mark is None or not self._is_ours(mark)

    def refuse_if_outdated(self) -> int:
        """Return the number of the mark of this process.

        Errors  Outdated when another process has claimed the timelines
        """
        mark = _stored_mark()
        if mark is None or not self._is_ours(mark):
            raise Outdated(
                "another process started with a newer Corkage or another plans.toml, and this one writes no answers "
                "any more: restart it with the same"
            )
        return mark.number

    def store(
        self, user_ids: Sequence[str], now: float, kinds: frozenset[str] = changes.ALL, *, gives_way: bool = False
    ) -> dict[str, Held]:
        """Make the timelines of these users anew, and store notices of these kinds of what that changes. Return what
        each of them holds.

        To be called inside a writing transaction.

        Shape   gives_way: let the other threads have Python's lock after TURN_SECONDS, rather than after a millisecond
        Errors  Outdated
        """
        number = self.refuse_if_outdated()
        held = holdings_of(user_ids)
        timelines, changed, turn_ends = {}, [], 0.0
        for user_id, stored in _users(user_ids).items():
            theirs = held[user_id]
            answers = timeline(theirs.holdings, self.plans, now)
            timelines[user_id] = (stored.answers, answers)
            seen = changes.Seen(stored.notified, theirs.noted, stored.answers)
            change = changes.compare(seen, theirs.holdings, answers, self.plans, now)
            changes.store(user_id, change, now, kinds)
            if "addon_without_plan" in kinds:
                _owe_addons(user_id, change.addons, now)
            if gives_way and time.perf_counter() > turn_ends:
                time.sleep(SHORTEST_SLEEP_SECONDS)
                turn_ends = time.perf_counter() + TURN_SECONDS
            row = (number, change.notified, change.next_change_at)
            if row != stored[:3]:
                changed.append((*row, user_id))
        _store_answers(timelines)
        storage.execute_many("UPDATE corkage_user SET rule = ?, notified = ?, next_change_at = ? WHERE id = ?", changed)
        return held

    def mark_holders(self, price_ids: Sequence[str]) -> None:
        """Have the timelines of all who hold one of these prices made anew. Inside a writing transaction."""
        for piece in storage.pieces(price_ids):
            items = SubscriptionItem.select(SubscriptionItem.subscription).where(SubscriptionItem.price_id.in_(piece))
            subscribers = Subscription.select(Subscription.customer).where(Subscription.id.in_(items))
            buyers = Purchase.select(Purchase.customer).where(Purchase.price_id.in_(piece))
            users = Customer.select(Customer.user).where(Customer.id.in_(subscribers) | Customer.id.in_(buyers))
            User.update(rule=0).where(User.id.in_(users)).execute()

    def renew(self, now: float) -> None:
        """Make every timeline anew whose mark is older, in batches.

        Errors  Outdated; DatabaseUnavailable
        """
        while self.renew_some(now):
            pass

    def renew_some(self, now: float, limit: int = BATCH) -> int:
        """Make some of the timelines with an older mark anew, in a transaction; return how many.

        Errors  as renew()
        """
        if not are_waiting():
            return 0
        with storage.writing():
            found = _older_than_mark(limit)
            self.store(found, now, gives_way=True)
        return len(found)

    def follow_time(self, now: float, limit: int = BATCH) -> None:
        """Store the notices of what time alone has changed, such as the end of a grace period.

        Errors  Outdated; DatabaseUnavailable
        """
        due = "SELECT id FROM corkage_user WHERE next_change_at <= ? ORDER BY next_change_at LIMIT ?"
        if not storage.rows(due, (now, 1)):
            return
        with storage.writing():
            self.store([user_id for (user_id,) in storage.rows(due, (now, limit))], now)

    def _is_ours(self, mark: Mark) -> bool:
        return (mark.rule, mark.plans) == (RULE_VERSION, self._digest)

    def _present(self) -> dict[str, Terms]:
        """Return the terms of the plans of plans.toml, and of those that it had before."""
        gone = {row.key: _terms(row.terms) for row in PlanRow.select().where(PlanRow.key.not_in(self._of_file))}
        return gone | {key: self.plans[key] for key in self._of_file}


def _owe_addons(user_id: str, addons: Sequence[tuple[str, bool]], now: float) -> None:
    """Store that add-ons are to be canceled that lost their plan, or kept that have one again."""
    for subscription_id, is_without_plan in addons:
        owed.add(user_id, subscription_id, owed.END_ADDON if is_without_plan else "keep_addon", "{}", now)


def holdings_of(user_ids: Sequence[str]) -> dict[str, Held]:
    """Return what each of these users holds."""
    held = {user_id: Held([], {}) for user_id in user_ids}
    for user_id, noted, *facts in _rows(_HOLDINGS, user_ids):
        holding = Holding(*facts)
        held[user_id].holdings.append(holding)
        if holding.kind != "grant":
            held[user_id].noted[holding.id] = noted
    return held


def users_of(customers: object) -> list[str]:
    """Return the users of these customers, each once. Takes a query of customer ids."""
    return storage.column(
        Customer.select(Customer.user).where(Customer.id.in_(customers), Customer.user.is_null(False)).distinct()
    )


def are_waiting() -> bool:
    """Return whether a timeline has an older mark."""
    return bool(_older_than_mark(1))


def waiting() -> int:
    """Return how many timelines have an older mark, and are to be made anew."""
    mark = _stored_mark()
    return 0 if mark is None else User.select().where(User.rule < mark.number).count()


def next_due_at(now: float) -> float | None:
    """Return when a timeline is to be made anew, or time alone will change somebody's access; None when never."""
    if are_waiting():
        return now
    query = "SELECT next_change_at FROM corkage_user WHERE next_change_at IS NOT NULL ORDER BY next_change_at LIMIT 1"
    found = storage.rows(query)
    return found[0][0] if found else None


def _older_than_mark(limit: int) -> list[str]:
    mark = _stored_mark()
    older = "SELECT id FROM corkage_user WHERE rule < ? LIMIT ?"
    return [user_id for (user_id,) in storage.rows(older, (mark.number if mark else 0, limit))]


def _stored_mark() -> Mark | None:
    found = storage.rows("SELECT value FROM corkage_setting WHERE name = ?", (MARK,))
    return Mark(*json.loads(found[0][0])) if found else None


def _terms(text: str) -> Terms:
    """Return stored terms of a plan that left plans.toml."""
    read: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(text).items()
    }
    return Terms(**read | {"rank": -1, "is_free": False})


def _users(user_ids: Sequence[str]) -> dict[str, _Stored]:
    found: dict[str, _Stored] = {}
    for user_id, rule, notified, next_change_at, *values in _rows(_USERS, user_ids):
        stored = found.get(user_id)
        if stored is None:
            stored = found[user_id] = _Stored(rule, notified, next_change_at, [])
        if values[0] is not None:
            stored.answers.append(_read(*values))
    return found


def _read(
    starts_at: int, ends_at: int, allowed: object, reason: str, plan: str | None, plans: str, price_id: str | None,
    quantity: int | None, features: str, limits: str, *rest: Any,
) -> Answer:  # fmt: skip
    """Return an answer from its columns."""
    read = {} if limits == "{}" else json.loads(limits)
    names, given = _names(plans), _names(features)
    return Answer(starts_at, ends_at, bool(allowed), reason, plan, names, price_id, quantity, given, read, *rest)


def _store_answers(timelines: Mapping[str, tuple[Sequence[Answer], Sequence[Answer]]]) -> None:
    """Store what differs. Takes each user's answers of before, which are stored, and the present ones."""
    gone, new = [], []
    for user_id, (before, answers) in timelines.items():
        starts = {each.starts_at for each in answers}
        gone += [(user_id, each.starts_at) for each in before if each.starts_at not in starts]
        new += [_row(user_id, each) for each in answers if each not in before]
    storage.execute_many(_DELETE, gone)
    storage.execute_many(_STORE, new)


def _row(user_id: str, answer: Answer) -> tuple[object, ...]:
    starts_at, ends_at, allowed, reason, plan, plans, price_id, quantity, features, limits, *rest = answer
    written = _json(limits) if limits else "{}"
    own = (starts_at, ends_at, allowed, reason, plan, _text(plans), price_id, quantity, _text(features), written)
    return (user_id, *own, *rest)


@lru_cache(maxsize=1024)  # most users have the same
def _names(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


@lru_cache(maxsize=1024)
def _text(names: tuple[str, ...]) -> str:
    return _json(names)


_json = json.JSONEncoder(separators=(",", ":")).encode


def _rows(query: str, values: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    for piece in storage.pieces(values):
        yield from storage.rows(query.format(marks=", ".join("?" * len(piece))), (*piece,) * query.count("{marks}"))
