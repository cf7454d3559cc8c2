"""A database as it is after years: so many users, each with a subscription, and ten times as many events.

The database makes the rows itself, ten million in a minute or two. They are as converging stores them, but for ids:
these grow with time and end as at random, as Stripe's do.
"""

import json
import sqlite3
from typing import Any

from elsewhere import elsewhere

EVENTS_OF_A_USER = 10
DAY = 86_400
KEEP_DAYS = 90
OLD_SHARE = 100  # one in so many events is older than events are kept
AT_ONCE = 1_000_000

_NUMBERS = (
    "WITH RECURSIVE numbers(n) AS (SELECT CAST({first} AS BIGINT) UNION ALL SELECT n + 1 FROM numbers WHERE n < {last})"
)
_RANDOM = "substr(CAST(10000000000 + ({n} * 2654435761) % 10000000000 AS TEXT), 2)"
_USER = "'user_' || substr(CAST(100000000 + {n} AS TEXT), 2)"
_ENDS = "{now} + 3600 + (n * 7919) % 2592000"
_KINDS = (
    "CASE n / {users} % 4 WHEN 0 THEN 'invoice.paid' WHEN 1 THEN 'customer.subscription.updated' "
    "WHEN 2 THEN 'invoice.payment_succeeded' ELSE 'customer.updated' END"
)
_ROWS = {
    "corkage_user (id, email, name, stripe_customer_id, rule, notified, created_at)": (
        "{user}, 'somebody.' || n || '@example.com', 'Some Body', {customer}, {mark}, '{notified}', {now} - 8640000"
    ),
    "corkage_customer (id, user_id, revision, fetched_at, purchases_at)": "{customer}, {user}, 3, {now}, {now}",
    "corkage_subscription (id, customer_id, status, currency, created, current_period_end, has_paid, payment_pending, "
    "ours, clock_ahead, ask_at, noted, billed, charged)": (
        "{subscription}, {customer}, 'active', 'usd', {now} - 8640000, {ends}, {true}, {false}, {true}, 0, "
        "{ends} + 60, '[\"active\"]', 900, 900"
    ),
    "corkage_subscription_item (subscription_id, price_id, quantity)": "{subscription}, '{price}', 1",
    "corkage_answer (user_id, starts_at, ends_at, allowed, reason, plan, plans, price_id, quantity, features, limits, "
    '"until", status, stale_at)': (
        "{user}, 0, 253402300799, {true}, 'active', 'pro', '[\"pro\"]', '{price}', 1, '[\"exports\",\"api\"]', '{{}}', "
        "{ends}, 'active', {ends}"
    ),
    "corkage_usage (user_id, name, starts_at, used)": "{user}, 'exports', {now} - 8640000 * (1 + n % 10 / 5 * 4), 7",
    "corkage_usage_key (user_id, key, name, amount, used_at)": (
        "{user}, 'key_' || n, 'exports', 1, {now} - n % 20 * 172800"
    ),
    "corkage_notice (message_id, user_id, kind, before, after, created_at)": (
        "'msg_' || {random}, {user}, 'access_granted', '{{}}', '{{}}', {now} - 5184000 + n % 5184000"
    ),
}
_DELIVERIES = (
    "INSERT INTO corkage_notice_delivery (notice_id, receiver, user_id, attempts, next_attempt_at, delivered_at, "
    "outcome) SELECT id, 'url', user_id, 1, created_at, created_at, '200' FROM corkage_notice"
)
_EVENTS = (
    "corkage_stripe_event (id, type, customer_id, object_id, created, source, received_at, applied_at, outcome, "
    "attempts, next_attempt_at)"
)
_EVENT = (
    "'evt_1' || substr(CAST(1000000000 + n AS TEXT), 2) || 'x' || {random}, {kind}, {customer}, {subscription}, "
    "{at}, 'webhook', {at}, {at} + 3, 'converged', 0, {at} + 2"
)

_HURRY = ("PRAGMA journal_mode = OFF", "PRAGMA foreign_keys = OFF", "PRAGMA cache_size = -400000")
_INDICES_OF_FILE = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
_INDICES_OF_SERVER = """
SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() AND NOT EXISTS (
    SELECT 1 FROM pg_constraint WHERE conname = indexname AND connamespace = current_schema()::regnamespace)
"""


def fill(database: str, users: int, mark: int, price: str, now: int) -> None:
    """Write the rows into a database that has its tables, and that nobody has open.

    Shape   mark: the number of the mark that made the timelines (replica/timelines.py); price: of all subscriptions
    """
    with elsewhere(database) as connection:
        is_file = isinstance(connection, sqlite3.Connection)
        booleans = {"true": "1", "false": "0"} if is_file else {"true": "true", "false": "false"}
        indices = _hurry(connection)
        facts = {"mark": mark, "price": price, "now": now, "notified": json.dumps([True, "active", "pro", 1])}
        of_user = _texts("n") | facts | booleans | {"ends": _ENDS.format(now=now)}
        names = "id, product_id, lookup_key, plan, sold, metered, unit_amount, currency, interval, interval_count"
        values = "'{price}', 'prod_1', 'pro_monthly', 'pro', {true}, {false}, 900, 'usd', 'month', 1"
        connection.execute(f"INSERT INTO corkage_price ({names}) VALUES ({values.format(**of_user)})")
        for table, columns in _ROWS.items():
            _insert(connection, table, columns.format(**of_user), users)
        connection.execute(_DELIVERIES)
        events = users * EVENTS_OF_A_USER
        of_event = _texts(f"(n % {users})") | {"random": _RANDOM.format(n="n"), "kind": _KINDS.format(users=users)}
        _insert(connection, _EVENTS, _EVENT.format(**of_event, at=_received_at(events, now)), events)
        _end(connection, indices)


def user(number: int) -> str:
    """Return the id of a user."""
    return f"user_{number:08}"


def email(number: int) -> str:
    """Return the e-mail of a user."""
    return f"somebody.{number}@example.com"


def _texts(number: str) -> dict[str, str]:
    ended = _RANDOM.format(n=number)
    return {
        "user": _USER.format(n=number),
        "customer": f"'cus_' || {ended}",
        "subscription": f"'sub_1' || {ended}",
        "random": ended,
    }


def _received_at(events: int, now: int) -> str:
    """Return when an event came, in SQL: spread over the days for which events are kept, and a hundredth before."""
    began, old = now - KEEP_DAYS * DAY, events // OLD_SHARE
    return f"CASE WHEN n < {old} THEN {began - DAY} ELSE {began + DAY} + n * {(KEEP_DAYS - 2) * DAY} / {events} END"


def _insert(connection: Any, table: str, columns: str, count: int) -> None:
    for first in range(0, count, AT_ONCE):
        numbers = _NUMBERS.format(first=first, last=min(first + AT_ONCE, count) - 1)
        connection.execute(f"INSERT INTO {table} {numbers} SELECT {columns} FROM numbers")


def _hurry(connection: Any) -> list[str]:
    """Take away what makes inserting by the million slow. Return what makes the indices again, which is quicker so."""
    is_file = isinstance(connection, sqlite3.Connection)
    for setting in _HURRY if is_file else ("SET synchronous_commit = off",):
        connection.execute(setting)
    found = connection.execute(_INDICES_OF_FILE if is_file else _INDICES_OF_SERVER).fetchall()
    for name, _ in found:
        connection.execute(f"DROP INDEX {name}")
    return [made for _, made in found]


def _end(connection: Any, indices: list[str]) -> None:
    """Bring the database to where it is after some time: with its indices, and what a server knows of its tables."""
    for each in indices:
        connection.execute(each)
    if not isinstance(connection, sqlite3.Connection):
        connection.execute("VACUUM ANALYZE")
