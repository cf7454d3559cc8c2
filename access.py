"""Access: may this user in, and why. The rule is one SQL view; its rows are the answers."""

import json
from functools import lru_cache
from typing import NamedTuple

from . import storage

# The rule of access is written here only: `allowed` decides, `reason` says why. It must run in readers' SQLite of ten
# years ago. It is written for speed: SQLite repeats an inner expression wherever its name is used, and makes a table in
# memory for each IN with more than two values.
_RULE = """
SELECT
    user_id,
    allowed,
    reason,
    plan,
    price_id,
    quantity,
    CASE WHEN allowed THEN coalesce(features, '[]') ELSE '[]' END AS features,
    CASE
        WHEN NOT allowed THEN NULL
        WHEN status = 'past_due' THEN grace_end
        WHEN cancel_at IS NOT NULL THEN cancel_at
        WHEN status = 'trialing' THEN trial_end
        ELSE current_period_end
    END AS until,
    status,
    cancel_at,
    CASE
        WHEN status = 'active' OR status = 'past_due' THEN coalesce(ends <= now, 0)
        WHEN status = 'trialing' THEN coalesce(coalesce(min(trial_end, ends), trial_end, ends) <= now, 0)
        ELSE 0
    END AS stale
FROM (
    SELECT
        *,
        coalesce(min(current_period_end, cancel_at), current_period_end, cancel_at) AS ends,
        CASE status
            WHEN 'active' THEN is_covered AND (NOT payment_pending OR coalesce(allow_pending, 1))
            WHEN 'trialing' THEN is_covered
            WHEN 'past_due' THEN is_covered AND coalesce(now < grace_end, 0)
            ELSE 0
        END AS allowed,
        CASE
            WHEN status IS NULL THEN 'no_subscription'
            WHEN status = 'canceled' OR status = 'incomplete_expired' THEN 'ended'
            WHEN NOT is_covered THEN 'unknown_price'
            WHEN status = 'active' AND payment_pending THEN 'payment_pending'
            WHEN status = 'active' OR status = 'trialing' THEN
                CASE WHEN cancel_at IS NULL THEN status ELSE 'canceling' END
            WHEN status = 'past_due' THEN CASE WHEN now < grace_end THEN 'grace' ELSE status END
            WHEN status = 'unpaid' OR status = 'paused' OR status = 'incomplete' THEN status
            ELSE 'unknown_status'
        END AS reason
    FROM (
        SELECT
            u.id AS user_id,
            u.stripe_price_id AS price_id,
            u.subscription_status AS status,
            u.quantity,
            u.current_period_end,
            u.cancel_at,
            u.trial_end,
            u.payment_pending,
            p.plan,
            p.features,
            p.allow_pending,
            u.ours OR p.plan IS NOT NULL AS is_covered,
            u.past_due_since + coalesce(p.grace_seconds, 0) AS grace_end,
            {present} + u.clock_ahead AS now
        FROM corkage_user AS u
        LEFT JOIN corkage_price AS p ON p.id = u.stripe_price_id
    )
)
"""
_PRESENT = "CAST(strftime('%s', 'now') AS INTEGER)"
ACCESS_VERSION = 1  # for readers of the view in other languages: raised by every change but a new column
ACCESS_VIEW = f"CREATE VIEW corkage_access AS {_RULE.format(present=_PRESENT)}"

REASONS = {
    "active": "paid, and going on",
    "trialing": "in a trial",
    "canceling": "paid or in a trial, and ends at `cancel_at`",
    "payment_pending": 'the first payment is on its way; let in unless the plan says `pending = "deny"`',
    "grace": "a renewal failed; let in for the plan's `grace_days`",
    "past_due": "a renewal failed, and the plan's grace is over or none",
    "unpaid": "Stripe gave up collecting",
    "paused": "Stripe paused the subscription",
    "incomplete": "the first payment has not succeeded",
    "ended": "canceled, or never begun",
    "no_subscription": "never subscribed",
    "unknown_price": "subscribed to something that is neither in plans.toml nor bought through Corkage",
    "unknown_status": "Stripe reports a status that this version does not know",
}


class Access(NamedTuple):
    """Whether a user may in, and why: a row of the view corkage_access.

    Shape   reason is one of REASONS or, for a visitor, not_signed_in; features are empty unless allowed
    Units   until and cancel_at are Unix seconds, UTC; until is when the answer may change, None when it will not
    """

    user_id: str
    allowed: bool
    reason: str
    plan: str | None = None
    price_id: str | None = None
    quantity: int | None = None
    features: tuple[str, ...] = ()
    until: int | None = None
    status: str | None = None
    cancel_at: int | None = None
    stale: bool = False


_COLUMNS = ", ".join(Access._fields)
ACCESS_QUERY = f"SELECT {_COLUMNS} FROM corkage_access WHERE user_id = ?"  # noqa: S608 -- inserts our own column names; the user is bound
ACCESS_AT_QUERY = f"SELECT {_COLUMNS} FROM ({_RULE.format(present='?')}) WHERE user_id = ?"  # noqa: S608 -- inserts our own SQL; the moment and the user are bound


def read_access(user_id: str) -> Access:
    """Return the user's access: one local SELECT, no network, no ORM.

    Errors  DatabaseUnavailable when the database cannot be read
    """
    return _answer(user_id, ACCESS_QUERY, (user_id,))


def access_at(user_id: str, now: float) -> Access:
    """Return the user's access at this moment, by the same rule as the view.

    Errors  DatabaseUnavailable when the database cannot be read
    """
    return _answer(user_id, ACCESS_AT_QUERY, (int(now), user_id))


def _answer(user_id: str, query: str, values: tuple[object, ...]) -> Access:
    try:
        row = storage.connection().execute(query, values).fetchone()
    except storage.FILE_ERRORS:
        with storage.reading():  # translates the error; entering it for every read would cost half as much again
            raise
    if row is None:
        return Access(user_id, allowed=False, reason="no_subscription")
    user, allowed, reason, plan, price, quantity, features, until, status, cancel_at, stale = row
    return Access(
        user, allowed == 1, reason, plan, price, quantity, _parsed(features), until, status, cancel_at, stale == 1
    )


@lru_cache(maxsize=1024)
def _parsed(features: str) -> tuple[str, ...]:
    return tuple(json.loads(features))
