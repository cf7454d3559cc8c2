"""Recurring revenue, from the replica alone: what subscriptions cost a month, what is charged for them, and how that
changed.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import NamedTuple

from .. import storage
from ..models import Move, Price, RevenueRow
from .replica import Row

A_YEAR = {"day": 365, "week": 52, "month": 12, "year": 1}
COUNTED = "active"  # the state of what counts as revenue

_STATE = """
CASE WHEN s.status IN ('past_due', 'unpaid') THEN 'past_due'
    WHEN s.status = 'trialing' THEN 'trialing'
    WHEN s.status = 'paused' OR s.pause_behavior IS NOT NULL THEN 'paused'
    WHEN s.status = 'incomplete' OR s.payment_pending THEN 'pending'
    WHEN s.cancel_at IS NOT NULL THEN 'canceling'
    ELSE 'active' END
"""
_GOING_ON = """
FROM corkage_subscription AS s
JOIN corkage_customer AS c ON c.id = s.customer_id
JOIN corkage_subscription_item AS i ON i.subscription_id = s.id
LEFT JOIN corkage_price AS p ON p.id = i.price_id
WHERE s.status NOT IN ('canceled', 'incomplete_expired') AND c.user_id IS NOT NULL
    AND (s.ours OR p.plan IS NOT NULL) AND s.currency IS NOT NULL
"""
# By price, so that only some rows are left to multiply. The share of a discount is that of the last whole period.
_AMOUNTS = f"""
SELECT {_STATE} AS state, s.currency, i.price_id, COUNT(*), SUM(i.quantity),
    SUM(CASE WHEN s.billed > 0 THEN i.quantity * 1.0 * s.charged / s.billed ELSE i.quantity END)
{_GOING_ON}
GROUP BY state, s.currency, i.price_id
"""
_COUNTS = f"""
SELECT {_STATE} AS state, s.currency, COUNT(DISTINCT s.id), COUNT(DISTINCT CASE WHEN s.billed IS NULL THEN s.id END)
{_GOING_ON}
GROUP BY state, s.currency
"""


class Recurring(NamedTuple):
    """What subscriptions of one state are to bring a month, in one currency.

    Shape   state: "active" is what counts as revenue; beside it "canceling", "trialing", "past_due", "paused" and
            "pending"; unread: subscriptions of which no invoice of a whole period was fetched, charged in full as far
            as this knows; unpriced: items that are billed by usage or by tiers, which are left out
    Units   agreed: by the prices, a month, in the currency's minor units; charged: after discounts, as at the last
            invoice
    """

    state: str
    currency: str
    subscriptions: int
    agreed: int
    charged: int
    unread: int
    unpriced: int


def monthly(price: Price | None, quantity: int | None, currency: str) -> Fraction | None:
    """Return what an item costs a month, in minor units; None where that is not known, or there is no such price."""
    if price is None or price.interval not in A_YEAR or quantity is None:
        return None
    amount, its_currency = price.amount_in(currency)
    if amount is None or its_currency != currency:
        return None
    return Fraction(amount * quantity * A_YEAR[price.interval], 12 * (price.interval_count or 1))


def recurring() -> list[Recurring]:
    """Return what is to come in a month, by state and currency.

    Errors  DatabaseUnavailable
    """
    prices = {price.id: price for price in Price.select()}
    sums: dict[tuple[str, str], tuple[Fraction, float, int]] = {}
    for state, currency, price_id, count, quantity, charged_quantity in storage.rows(_AMOUNTS):
        one = monthly(prices.get(price_id), None if quantity is None else 1, currency)
        agreed, charged, unpriced = sums.get((state, currency), (Fraction(0), 0.0, 0))
        if one is None:
            sums[state, currency] = agreed, charged, unpriced + count
        else:
            more = one * int(quantity), float(one) * float(charged_quantity)
            sums[state, currency] = agreed + more[0], charged + more[1], unpriced
    found = []
    for state, currency, subscriptions, unread in storage.rows(_COUNTS):
        # A subscription may have come between the two statements: its amounts are in the next look.
        agreed, charged, unpriced = sums.get((state, currency), (Fraction(0), 0.0, 0))
        found.append(Recurring(state, currency, subscriptions, round(agreed), round(charged), unread, unpriced))
    return sorted(found, key=lambda each: (each.currency, each.state))


def keep(now: float) -> None:
    """Store the present revenue as that of this month, in place of an earlier look's."""
    rows = [each for each in recurring() if each.state == COUNTED]
    month = month_of(now)
    with storage.writing():
        RevenueRow.delete().where(RevenueRow.month == month).execute()
        for each in rows:
            facts = {"subscriptions": each.subscriptions, "agreed": each.agreed, "charged": each.charged}
            RevenueRow.insert(month=month, currency=each.currency, **facts).execute()


def month_of(moment: float) -> str:
    """Return the month of a moment in Unix seconds, by UTC, such as "2026-11"."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m")


def note_move(held: Row | None, before: Mapping[str, int | None], after: Mapping[str, int | None], now: float) -> None:
    """Note what a paid subscription costs a month more or less, where its items changed and both costs are known.

    To be called inside a writing transaction, with the prices of its items stored.

    Shape   held: the subscription's row of before; before and after: quantities by price
    """
    if held is None or not held["has_paid"] or before == after or not before or not held["currency"]:
        return
    rows = {price.id: price for price in Price.select().where(Price.id.in_(sorted({*before, *after})))}
    costs = [_cost(rows, each.items(), held["currency"]) for each in (before, after)]
    if None not in costs and costs[0] != costs[1]:
        amounts = {"before": round(costs[0] or 0), "after": round(costs[1] or 0)}
        Move.insert(subscription_id=held["id"], at=int(now), currency=held["currency"], **amounts).execute()


def _cost(prices: Mapping[str, Price], items: Iterable[tuple[str, int | None]], currency: str) -> Fraction | None:
    costs = [monthly(prices.get(price_id), quantity, currency) for price_id, quantity in items]
    return None if None in costs else sum((each for each in costs if each is not None), Fraction(0))
