"""Metered use: stored with the use itself, for the worker to send to Stripe (sync/meters.py)."""

import uuid
from collections.abc import Collection
from typing import NamedTuple

from ..access import LIVE
from ..storage.group_commit import Execute
from .usage import Row

HOUR_SECONDS = 3600
GATHER_SECONDS = 300  # well within the hour for which Stripe keeps the invoice of a period as a draft

_METERED = """
SELECT s.customer_id, s.current_period_end
FROM corkage_customer AS c
JOIN corkage_subscription AS s ON s.customer_id = c.id
JOIN corkage_subscription_item AS i ON i.subscription_id = s.id
JOIN corkage_price AS p ON p.id = i.price_id
WHERE c.user_id = ? AND s.status IN ({live}) AND p.plan IN ({marks})
ORDER BY p.metered DESC, s.created DESC, s.id LIMIT 1
"""
_OWE = """
INSERT INTO corkage_meter_event
    (id, user_id, customer_id, name, event_name, amount, used_at, hour, period_end, created_at, next_attempt_at,
    attempts)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)
ON CONFLICT (user_id, customer_id, name, event_name, hour, period_end) WHERE attempts = 0
DO UPDATE SET amount = corkage_meter_event.amount + excluded.amount
"""


class Metered(NamedTuple):
    """Where Stripe bills a use.

    Shape   event_name: of its meter
    Units   used_at and period_end, of the subscription, in Unix seconds by its clock; 0 where that has none
    """

    customer_id: str
    event_name: str
    used_at: int
    period_end: int


def metered(user_id: str, event_name: str, plans: Collection[str], now: float, row: Row) -> Metered | None:
    """Return where Stripe bills what the user uses on one of these plans; None where they have no subscription to it,
    because a plan was given to them.

    Shape   row: returns the first row of a query
    Units   now by the clock of the subscription
    """
    live, marks = (", ".join("?" * len(each)) for each in (LIVE, plans))
    found = row(_METERED.format(live=live, marks=marks), (user_id, *LIVE, *plans))
    return None if found is None else Metered(found[0], event_name, int(now), found[1] or 0)


def owe(execute: Execute, user_id: str, name: str, amount: int, metered: Metered, now: float) -> None:
    """Store what Stripe is to be notified of, with the use itself.

    A row has the time of its first use. So it must not go on over the end of the period, heard of or not.
    """
    hour = metered.used_at - metered.used_at % HOUR_SECONDS
    if hour < metered.period_end <= metered.used_at:
        hour = metered.period_end
    place = (user_id, metered.customer_id, name, metered.event_name)
    times = (metered.used_at, hour, metered.period_end, int(now), now + GATHER_SECONDS)
    execute(_OWE, (str(uuid.uuid4()), *place, amount, *times))
