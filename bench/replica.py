"""A database as it would be with so many users, each with a customer and a subscription, ids of real length."""

import json
import random
import sqlite3
import string
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import psycopg

from corkage import Billing, Config, Plan
from corkage.access import Answer, Holding, Terms, timeline
from corkage.replica import timelines
from corkage.storage.url import is_server

LETTERS = string.ascii_letters + string.digits
MONTH = 30 * 86_400


def billing_of(database: Path | str, api_base: str | None = None) -> Billing:
    """Make a Billing on a file of its own, or on a PostgreSQL server. Without a simulated Stripe it asks nobody."""
    plans = (Plan("pro", "Pro", ("pro_monthly",), features=("exports", "api"), grace_days=7),)
    config = Config(
        stripe_secret_key="sk_test_simulator" if api_base else "sk_test_of_the_bench",
        stripe_api_base=api_base,
        frontend_urls=("https://app.example.com",),
        plans=plans,
        database=str(database),
        worker="off",
    )
    return Billing(config)


def stripe_id(prefix: str, number: int, length: int = 24) -> str:
    """Make an id as Stripe's are: it begins with what grows with time, and ends at random."""
    return f"{prefix}_1N{number:05}{''.join(random.choices(LETTERS, k=length - 7))}"


def user_id(number: int) -> str:
    return f"user_{number:08}"


def fill(database: Path | str, users: int, *, shuffled: bool = False, mark: int | None = None) -> None:
    """Write the rows into a database that a Billing has made.

    Shape   shuffled: users come in no order, as where their ids are random; mark: the number of the mark that made the
            timelines, that of the Billing when None; with 0 they wait to be made anew
    """
    random.seed(users)
    now = int(time.time())
    terms = {"pro": Terms(features=("exports", "api"), grace_seconds=7 * 86_400, rank=0)}
    with connected(database) as connection:
        if mark is None:
            (found,) = connection.execute("SELECT value FROM corkage_setting WHERE name = 'rule'").fetchone()
            mark = json.loads(found)[0]
        holding = _holding(stripe_id("price", 0), now)
        _insert(connection, "corkage_price", [_price(holding.price_id)])
        (answer,) = timeline([holding], terms, now)
        numbers = list(range(users))
        if shuffled:
            random.shuffle(numbers)
        for start in range(0, users, 10_000):
            for table, values in _rows(numbers[start : start + 10_000], holding, answer, mark).items():
                _insert(connection, table, values)
    connection.close()


def connected(database: Path | str) -> Any:
    if is_server(str(database)):
        return psycopg.connect(str(database))
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA foreign_keys = OFF")
    return connection


def _insert(connection: Any, table: str, rows: list[dict[str, object]]) -> None:
    names = ", ".join(rows[0])
    if isinstance(connection, sqlite3.Connection):
        marks = ", ".join(f":{name}" for name in rows[0])
        connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)
        return
    with connection.cursor().copy(f"COPY {table} ({names}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(tuple(row.values()))


def _price(price_id: str) -> dict[str, object]:
    return {
        "id": price_id,
        "product_id": "prod_NWjs8kKbJWmuuc",
        "lookup_key": "pro_monthly",
        "plan": "pro",
        "sold": 1,
        "unit_amount": 900,
        "currency": "usd",
        "interval": "month",
        "interval_count": 1,
    }


def _holding(price: str, now: int) -> Holding:
    return Holding(
        "subscription", "", now, "pro", price, quantity=1, status="active", ours=True, current_period_end=now
    )


def _rows(numbers: list[int], holding: Holding, answer: Answer, mark: int) -> dict[str, list[dict[str, object]]]:
    """Return the rows of these users, by table, as converging stores them."""
    names = ("user_id", *answer._fields)
    now, rows = holding.created, defaultdict(list)
    for number in numbers:
        user, customer, subscription = user_id(number), stripe_id("cus", number, 14), stripe_id("sub", number)
        ends = now + random.randrange(MONTH)
        rows["corkage_user"].append(
            {
                "id": user,
                "email": f"somebody.{number}@example.com",
                "name": "Some Body",
                "stripe_customer_id": customer,
                "rule": mark,
                "notified": NOTIFIED,
                "created_at": now,
            }
        )
        rows["corkage_customer"].append({"id": customer, "user_id": user, "revision": 3, "fetched_at": now})
        rows["corkage_subscription"].append(
            {
                "id": subscription,
                "customer_id": customer,
                "status": "active",
                "currency": "usd",
                "created": now,
                "current_period_end": ends,
                "has_paid": 1,
                "payment_pending": 0,
                "ours": 1,
                "clock_ahead": 0,
                "ask_at": ends + 60.0,
                "noted": '["active"]',
            }
        )
        item = {"subscription_id": subscription, "price_id": holding.price_id, "quantity": 1}
        rows["corkage_subscription_item"].append(item)
        values = timelines._row(user, answer._replace(until=ends, stale_at=ends))
        rows["corkage_answer"].append(dict(zip(names, values, strict=True)))
    return rows


NOTIFIED = '[true,"active","pro",1]'
