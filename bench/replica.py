"""A database file as it would be with so many users, each with a customer and a subscription, ids of real length."""

import random
import sqlite3
import string
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corkage import Billing

LETTERS = string.ascii_letters + string.digits
MONTH = 30 * 86_400


def billing_of(path: Path) -> "Billing":
    """Make a Billing on a file of its own, which asks nobody."""
    from corkage import Billing, Config, Plan

    plans = (Plan("pro", "Pro", ("pro_monthly",), features=("exports", "api"), grace_days=7),)
    config = Config(
        stripe_secret_key="sk_test_of_the_bench",
        frontend_urls=("https://app.example.com",),
        plans=plans,
        database=str(path),
        worker="off",
    )
    return Billing(config)


def stripe_id(prefix: str, number: int, length: int = 24) -> str:
    """Make an id as Stripe's are: it begins with what grows with time, and ends at random."""
    return f"{prefix}_1N{number:05}{''.join(random.choices(LETTERS, k=length - 7))}"


def user_id(number: int) -> str:
    return f"user_{number:08}"


def fill(path: Path, users: int) -> None:
    """Write the rows into a file that a Billing has made."""
    random.seed(users)
    now = int(time.time())
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA foreign_keys = OFF")
        price = stripe_id("price", 0)
        connection.execute(
            "INSERT INTO corkage_price "
            "(id, product_id, lookup_key, plan, features, grace_seconds, allow_pending, sold) VALUES "
            "(?, 'prod_NWjs8kKbJWmuuc', 'pro_monthly', 'pro', '[\"exports\", \"api\"]', 604800, 1, 1)",
            (price,),
        )
        for rows in _rows(users, price, now):
            for table, values in rows.items():
                names = ", ".join(values[0])
                marks = ", ".join(f":{name}" for name in values[0])
                connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", values)
    connection.close()


def _rows(users: int, price: str, now: int) -> Iterator[dict[str, list[dict[str, object]]]]:
    for start in range(0, users, 10_000):
        rows: dict[str, list[dict[str, object]]] = {
            "corkage_user": [],
            "corkage_customer": [],
            "corkage_subscription": [],
        }
        for number in range(start, min(users, start + 10_000)):
            user, customer, subscription = user_id(number), stripe_id("cus", number, 14), stripe_id("sub", number)
            ends = now + random.randrange(MONTH)
            standing: dict[str, object] = {
                "stripe_price_id": price,
                "subscription_status": "active",
                "quantity": 1,
                "current_period_end": ends,
                "payment_pending": 0,
                "ours": 1,
                "clock_ahead": 0,
            }
            rows["corkage_user"].append(
                standing
                | {
                    "id": user,
                    "email": f"somebody.{number}@example.com",
                    "name": "Some Body",
                    "stripe_customer_id": customer,
                    "subscription_id": subscription,
                    "notified": NOTIFIED % price,
                    "created_at": now,
                }
            )
            rows["corkage_customer"].append({"id": customer, "user_id": user, "revision": 3, "fetched_at": now})
            rows["corkage_subscription"].append(
                standing
                | {
                    "id": subscription,
                    "customer_id": customer,
                    "created": now,
                    "ask_at": ends + 300.0,
                }
            )
        yield rows


NOTIFIED = '[true,"active","active","pro","%s",1]'
