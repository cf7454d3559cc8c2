"""Figures of the business, from the replica alone: users, recurring revenue, who came and went, what was bought once.

Each query sums up in the database, by day, since a month in UTC is made of whole days.
"""

import datetime
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .. import storage
from ..access import FOREVER, NOBODY, read_access
from ..models import MADE_AT, MOVES_SINCE, SYNCED, RevenueRow, number, setting
from ..replica import revenue
from ..replica.revenue import COUNTED, Recurring, month_of

DAY = 86_400
MONTHS, MOST_MONTHS = 12, 120
TRIAL_BEGINS_WITHIN = 60  # seconds after its subscription: a later one was given to who paid already

_USERS = """
SELECT COALESCE(a.plan, '') AS its_plan, COALESCE(a.reason, :otherwise) AS its_reason, COUNT(*)
FROM corkage_user AS u
LEFT JOIN corkage_access AS a ON a.user_id = u.id
GROUP BY its_plan, its_reason
"""
_OURS = """
FROM corkage_subscription AS s
JOIN corkage_customer AS c ON c.id = s.customer_id
WHERE c.user_id IS NOT NULL AND (s.ours OR EXISTS (
    SELECT 1 FROM corkage_subscription_item AS i JOIN corkage_price AS p ON p.id = i.price_id
    WHERE i.subscription_id = s.id AND p.plan IS NOT NULL))
"""
_HAD_TRIAL = f"s.trial_end IS NOT NULL AND COALESCE(s.trial_start, s.created) <= s.created + {TRIAL_BEGINS_WITHIN}"
# A payer comes with the first of subscriptions that follow each other without a gap, and is lost with the last.
_PAYERS = f"""
WITH paid AS (
    SELECT c.user_id, s.id, CASE WHEN {_HAD_TRIAL} THEN s.trial_end ELSE s.created END - s.clock_ahead AS begins,
        COALESCE(s.ended_at - s.clock_ahead, {FOREVER}) AS ends
    {_OURS} AND s.has_paid
), walked AS (
    SELECT begins, ROW_NUMBER() OVER each AS number, MAX(ends) OVER each AS ends,
        MAX(ends) OVER (each ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS ended_before,
        LEAD(begins) OVER each AS next
    FROM paid
    WINDOW each AS (PARTITION BY user_id ORDER BY begins, id)
)
SELECT 'new', begins / {DAY} AS day, COUNT(*) FROM walked
WHERE number = 1 AND begins >= :since AND begins <= :now GROUP BY day
UNION ALL
SELECT 'back', begins / {DAY} AS day, COUNT(*) FROM walked
WHERE number > 1 AND ended_before < begins AND begins >= :since AND begins <= :now GROUP BY day
UNION ALL
SELECT 'lost', ends / {DAY} AS day, COUNT(*) FROM walked
WHERE ends >= :since AND ends <= :now AND (next IS NULL OR next > ends) GROUP BY day
"""  # noqa: S608 -- only constants of this module are put into the text; values are bound
_TRIALS = f"""
SELECT outcome, ends / {DAY} AS day, COUNT(*)
FROM (
    SELECT CASE WHEN s.has_paid THEN 'trials_paid' WHEN s.status IN ('canceled', 'incomplete_expired', 'paused')
            THEN 'trials_left' ELSE 'trials_open' END AS outcome,
        CASE WHEN s.ended_at < s.trial_end THEN s.ended_at ELSE s.trial_end END - s.clock_ahead AS ends
    {_OURS} AND {_HAD_TRIAL}
) AS trials
WHERE ends >= :since AND ends <= :now
GROUP BY outcome, day
"""  # noqa: S608 -- only constants of this module are put into the text; values are bound
_MOVES = f"""
SELECT CASE WHEN after > before THEN 'upgraded' ELSE 'downgraded' END AS kind, at / {DAY} AS day, currency, COUNT(*),
    SUM(after - before)
FROM corkage_move
WHERE at >= :since AND at <= :now
GROUP BY kind, day, currency
"""  # noqa: S608 -- only constants of this module are put into the text; values are bound
_BOUGHT = f"""
SELECT 'bought', b.created / {DAY} AS day, b.currency, COUNT(*), SUM(b.amount)
FROM corkage_purchase AS b
JOIN corkage_customer AS c ON c.id = b.customer_id
LEFT JOIN corkage_price AS p ON p.id = b.price_id
WHERE c.user_id IS NOT NULL AND (b.ours OR p.plan IS NOT NULL) AND b.created >= :since AND b.created <= :now
GROUP BY day, b.currency
"""  # noqa: S608 -- only constants of this module are put into the text; values are bound
# Of what we sold: a customer may pay for another product of the same Stripe account, too.
_REFUNDED = f"""
SELECT CASE WHEN r.kind = 'refund' THEN 'refunded' ELSE 'disputed' END AS its_kind,
    r.created / {DAY} AS day, r.currency, COUNT(*), SUM(r.amount)
FROM corkage_refund AS r
JOIN corkage_customer AS c ON c.id = r.customer_id
WHERE c.user_id IS NOT NULL AND r.created >= :since AND r.created <= :now
    AND ((r.kind = 'refund' AND r.status = 'succeeded') OR (r.kind = 'dispute' AND r.status = 'lost'))
    AND (r.purchase_id IS NOT NULL OR r.subscription_id IN (SELECT s.id {_OURS}))
GROUP BY its_kind, day, r.currency
"""  # noqa: S608 -- only constants of this module are put into the text; values are bound


class UserCount(NamedTuple):
    """How many users have a plan, empty for none, and a state, one of access.REASONS."""

    plan: str
    state: str
    users: int


class Movement(NamedTuple):
    """Who came and went in a month.

    Shape   new: users who paid for a subscription the first time; back: again, after a gap; lost: whose last paid
            subscription ended; upgraded, downgraded: changes to a higher or lower monthly cost; trials_paid,
            trials_left, trials_open: trials that ended then and were paid for, were not, or are not decided yet
    """

    month: str
    new: int
    back: int
    lost: int
    upgraded: int
    downgraded: int
    trials_paid: int
    trials_left: int
    trials_open: int


class Money(NamedTuple):
    """Amounts of a month in one currency, in its minor units.

    Shape   bought, refunded, disputed: what was bought once, and what was refunded, and lost in disputes, of anything
            that is sold here;
            upgraded, downgraded: what changes added to the monthly revenue, and took from it, below zero;
            each with how many there were
    """

    month: str
    currency: str
    bought: int
    bought_count: int
    refunded: int
    refunded_count: int
    disputed: int
    disputed_count: int
    upgraded: int
    upgraded_count: int
    downgraded: int
    downgraded_count: int


class Past(NamedTuple):
    """The recurring revenue at the last look in a month, in the currency's minor units."""

    month: str
    currency: str
    subscriptions: int
    agreed: int
    charged: int


@dataclass(frozen=True, slots=True)
class Figures:
    """All figures.

    Shape   as_of: in Unix seconds; months: those that are covered, such as "2026-11", the present one last;
            unknown: what the replica cannot know, as sentences
    """

    as_of: int
    months: tuple[str, ...]
    users: list[UserCount]
    recurring: list[Recurring]
    history: list[Past]
    movements: list[Movement]
    money: list[Money]
    unknown: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON has them."""
        lists = ("users", "recurring", "history", "movements", "money")
        rows = {name: [each._asdict() for each in getattr(self, name)] for name in lists}
        return {"as_of": self.as_of, "months": list(self.months), **rows, "unknown": self.unknown}


def figures(now: float, count: int = MONTHS) -> Figures:
    """Return the figures of the present month and those before it, without a call to Stripe.

    Shape   count: how many months
    Errors  DatabaseUnavailable
    """
    months = _months(now, count)
    window = {"since": _begins(months[0]), "now": int(now)}
    recurring = revenue.recurring()
    moves = _by_month(_MOVES, window)
    counts = _by_month(_PAYERS, window) + _by_month(_TRIALS, window)
    return Figures(
        as_of=int(now),
        months=months,
        users=_users(),
        recurring=recurring,
        history=_history(months, recurring),
        movements=list(_movements(months, counts + moves)),
        money=list(_money(months, moves + _by_month(_BOUGHT, window) + _by_month(_REFUNDED, window))),
        unknown=list(_unknown(recurring, window["since"])),
    )


def _users() -> list[UserCount]:
    """Return the users by plan, those without one last, and the most frequent state first."""
    found = [UserCount(*row) for row in storage.rows(_USERS, {"otherwise": read_access(NOBODY).reason})]
    return sorted(found, key=lambda each: (not each.plan, each.plan, -each.users, each.state))


class _Sum(NamedTuple):
    kind: str
    month: str
    currency: str
    times: int
    amount: int


def _by_month(query: str, window: Mapping[str, int]) -> list[_Sum]:
    """Return the rows of a query by kind and day, each with its month."""
    found = []
    for kind, day, *rest in storage.rows(query, window):
        currency, count, amount = rest if len(rest) > 1 else ("", rest[0], 0)
        found.append(_Sum(kind, month_of(day * DAY), currency, int(count), int(amount)))
    return found


def _movements(months: Sequence[str], sums: Sequence[_Sum]) -> Iterator[Movement]:
    counts: Counter[tuple[str, str]] = Counter()
    for each in sums:
        counts[each.month, each.kind] += each.times
    for month in months:
        yield Movement(month, *(counts[month, kind] for kind in Movement._fields[1:]))


def _money(months: Sequence[str], sums: Sequence[_Sum]) -> Iterator[Money]:
    """Return the amounts of each month, for each currency that has any in these months."""
    amounts: Counter[tuple[str, str, str]] = Counter()
    for each in sums:
        amounts[each.month, each.currency, each.kind] += each.amount
        amounts[each.month, each.currency, f"{each.kind}_count"] += each.times
    for currency in sorted({each.currency for each in sums}):
        for month in months:
            yield Money(month, currency, *(amounts[month, currency, kind] for kind in Money._fields[2:]))


def _history(months: Sequence[str], recurring: Sequence[Recurring]) -> list[Past]:
    """Return the revenue that was stored in earlier months, and the present one in place of this month's."""
    rows = RevenueRow.select().where(RevenueRow.month >= months[0], RevenueRow.month < months[-1])
    with storage.reading():
        past = [Past(row.month, row.currency, row.subscriptions, row.agreed, row.charged) for row in rows]
    present = [each for each in recurring if each.state == COUNTED]
    past += [Past(months[-1], each.currency, each.subscriptions, each.agreed, each.charged) for each in present]
    return sorted(past, key=lambda each: (each.currency, each.month))


def _unknown(recurring: Sequence[Recurring], since: int) -> Iterator[str]:
    counted = [each for each in recurring if each.state == COUNTED]
    if setting(SYNCED) is None:
        yield "`corkage sync` has not run: subscriptions from before this database may be missing."
    known_since = number(MOVES_SINCE) or number(MADE_AT)
    if known_since > since:
        yield (
            f"Upgrades, downgrades and the revenue of past months are known since {_day(known_since)}; two changes "
            "between two looks at Stripe count as one."
        )
    if unread := sum(each.unread for each in counted):
        yield f"{unread} subscriptions count as charged in full: no invoice of theirs for a whole period was fetched."
    if unpriced := sum(each.unpriced for each in counted):
        yield f"{unpriced} items are billed by usage or by tiers, and are left out of the recurring revenue."
    yield (
        "Taxes, Stripe's fees, credit balances, and coupons that came or went after a subscription's last invoice are "
        "not in this database. Currencies are not converted."
    )
    yield (
        "A payer begins with their subscription, or at the end of its trial, though the money may come days later. Who "
        "was forgotten is in no figure."
    )


def _day(moment: int) -> str:
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%d")


def _months(now: float, count: int) -> tuple[str, ...]:
    year, month = (int(part) for part in month_of(now).split("-"))
    numbers = range(12 * year + month - count, 12 * year + month)
    return tuple(f"{number // 12:04}-{number % 12 + 1:02}" for number in numbers)


def _begins(month: str) -> int:
    year, number = (int(part) for part in month.split("-"))
    return int(datetime.datetime(year, number, 1, tzinfo=datetime.UTC).timestamp())
