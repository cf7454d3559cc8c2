"""Export all that is held about one user, for them to have."""

import json
from typing import Any

from .. import storage
from ..access import read_access
from ..models import Customer, Table
from .held import conditions_of, name_of

IN_JSON = frozenset("plans features limits wish params before after details notified noted".split())
ABOUT = "Times are Unix seconds in UTC; amounts are in the currency's minor units, such as cents."
AT_STRIPE = (
    "Stripe holds the customer's name, e-mail, address, payment methods, invoices and payments under these ids; "
    "its Dashboard shows and exports them."
)


def export_user(user_id: str, now: float) -> dict[str, Any]:
    """Return all rows about the user, by table, and the ids under which Stripe holds more.

    Shape   what json.dumps() takes; tables without a row of the user are left out
    Errors  DatabaseUnavailable
    """
    with storage.writing():  # at one moment: others write before it or after it
        held = {name_of(table): _rows(table, condition) for table, condition in conditions_of(user_id).items()}
        access = read_access(user_id)._asdict()
    customers = [row["id"] for row in held[name_of(Customer)]]
    return {
        "user": user_id,
        "exported_at": int(now),
        "about": ABOUT,
        "access": access,
        "held": {name: rows for name, rows in held.items() if rows},
        "at_stripe": {"customers": customers, "about": AT_STRIPE},
    }


def _rows(table: type[Table], condition: Any) -> list[dict[str, Any]]:
    keys = table._meta.get_primary_keys()  # type: ignore[no-untyped-call]  # Peewee's stubs lack it
    rows: Any = table.select().where(condition).order_by(*keys).dicts()
    return [{name: _value(name, value) for name, value in row.items()} for row in rows]


def _value(name: str, value: Any) -> Any:
    return json.loads(value) if name in IN_JSON and isinstance(value, str) else value
