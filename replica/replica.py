"""The replica of a customer: its rows, read once before a fetch, and written where they differ from what was fetched.

What was read is still true when the customer's revision is: who writes these columns raises it. There are two
exceptions. `ask_at` may be brought forward: then the subscription is fetched soon again. And others may store a price:
then what they fetched is no older.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from .. import storage
from ..access import ENDED
from ..models import Customer
from .returns import Return, of_customer

_CUSTOMER = (
    "id user_id revision fetched_at purchases_at deleted_at missing_at marked_app marked_user unowned_email"
).split()
_SUBSCRIPTION = (
    "id customer_id status currency created current_period_end cancel_at trial_start trial_end ended_at unpaid_since "
    "has_paid payment_pending pause_behavior resumes_at paid_until returned billed charged ours test_clock clock_ahead "
    "ask_at"
).split()
_ITEM = "price_id quantity".split()
_PRICE = (
    "id product_id lookup_key plan plan_at_stripe metered unit_amount currency interval interval_count amounts"
).split()
_READ = f"""
SELECT {", ".join(f"c.{name}" for name in _CUSTOMER)}, {", ".join(f"s.{name}" for name in _SUBSCRIPTION)},
    {", ".join(f"i.{name}" for name in _ITEM)}, {", ".join(f"p.{name}" for name in _PRICE)},
    EXISTS (SELECT 1 FROM corkage_refund AS r WHERE r.customer_id = c.id)
FROM corkage_customer AS c
LEFT JOIN corkage_subscription AS s ON s.customer_id = c.id
LEFT JOIN corkage_subscription_item AS i ON i.subscription_id = s.id
LEFT JOIN corkage_price AS p ON p.id = i.price_id
WHERE c.id = ?
"""  # noqa: S608 -- our own column names; the id is bound
_STORE_SUBSCRIPTION = f"""
INSERT INTO corkage_subscription ({", ".join(_SUBSCRIPTION)}) VALUES ({", ".join("?" * len(_SUBSCRIPTION))})
ON CONFLICT (id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _SUBSCRIPTION[1:])}
"""  # noqa: S608 -- our own column names; the values are bound
_STORE_ITEM = """
INSERT INTO corkage_subscription_item (subscription_id, price_id, quantity) VALUES (?, ?, ?)
ON CONFLICT (subscription_id, price_id) DO UPDATE SET quantity = excluded.quantity
"""
_DELETE_ITEM = "DELETE FROM corkage_subscription_item WHERE subscription_id = ? AND price_id = ?"

Row = dict[str, Any]


class Replica(NamedTuple):
    """The rows of a customer.

    Shape   customer: revision 0 where there may be no row of it yet;
            subscriptions: by their ids, ended ones included, in the columns that a fetch fills;
            items: quantities by price, of each subscription; prices: those of the items, by their ids;
            returns: refunds and disputes of its payments
    """

    customer: Customer
    subscriptions: dict[str, Row]
    items: dict[str, dict[str, int | None]]
    prices: dict[str, Row]
    returns: tuple[Return, ...] = ()

    @property
    def going_on(self) -> dict[str, bool]:
        """The subscriptions that have not ended, each with whether it was ever paid."""
        return {id_: bool(row["has_paid"]) for id_, row in self.subscriptions.items() if row["status"] not in ENDED}

    def store_subscription(self, row: Row, quantities: dict[str, int | None]) -> None:
        """Store a subscription and its items as they are now. To be called inside a writing transaction."""
        id_ = row["id"]
        if row != self.subscriptions.get(id_):
            storage.execute_many(_STORE_SUBSCRIPTION, [tuple(row[name] for name in _SUBSCRIPTION)])
        before = self.items.get(id_, {})
        gone = before.keys() - quantities.keys()
        changed = quantities.items() - before.items()
        storage.execute_many(_DELETE_ITEM, [(id_, price_id) for price_id in sorted(gone)])
        storage.execute_many(_STORE_ITEM, [(id_, price_id, quantity) for price_id, quantity in changed])


def read(customer_id: str) -> Replica:
    """Return the rows of a customer, in one statement; in two where money was ever asked back."""
    read = storage.rows(_READ, (customer_id,))
    rows = [tuple(_tables(row)) for row in read]
    found = Replica(Customer(**rows[0][0]) if rows else Customer(id=customer_id), {}, {}, {})
    for _, subscription, item, price in rows:
        if subscription["id"] is not None:
            found.subscriptions[subscription["id"]] = subscription
        if item["price_id"] is not None:
            found.items.setdefault(subscription["id"], {})[item["price_id"]] = item["quantity"]
        if price["id"] is not None:
            found.prices[price["id"]] = price
    has_returns = bool(read and read[0][-1])
    return found._replace(returns=of_customer(customer_id)) if has_returns else found


def _tables(row: tuple[Any, ...]) -> Iterator[Row]:
    """Cut a row of the query into those of its tables."""
    values = iter(row)
    for names in (_CUSTOMER, _SUBSCRIPTION, _ITEM, _PRICE):
        yield dict(zip(names, values, strict=False))
