"""A row about a user in every table that has rows of users, whatever its columns are."""

from typing import Any

from peewee import AutoField, BooleanField, FloatField, IntegerField

from corkage import storage
from corkage.models import TABLES, StripeEvent
from corkage.users.export import IN_JSON
from corkage.users.held import KEPT, conditions_of

REFERENCES = {"customer": "cus_", "subscription": "sub_", "stripe_customer": "cus_"}


def fill(user: str, number: int) -> None:
    """Store the rows. The user's id, their e-mail and the word "private" stand in whatever must not stay."""
    of_users = conditions_of(user)
    with storage.writing():
        for table in TABLES:
            if table in of_users:
                fields: Any = table._meta.sorted_fields  # type: ignore[attr-defined]
                table.insert({each.name: _value(each, table, user, number) for each in fields}).execute()


def _value(field: Any, table: Any, user: str, number: int) -> Any:
    name = field.name.removesuffix("_id")
    if name == "user" or (name == "id" and table.__name__ == "User"):
        return user
    if name in REFERENCES or (name == "id" and table.__name__ in ("Customer", "Subscription")):
        return f"{REFERENCES.get(name) or REFERENCES[table.__name__.lower()]}{number}"
    if field.name in ("email", "said_email"):
        return f"{user}@example.org"
    if isinstance(field, BooleanField):
        return True
    if isinstance(field, AutoField | IntegerField | FloatField) or name == "notice":
        return number
    if field.name in ("notified", "noted"):  # packed, and read while converging
        return None
    if field.name in IN_JSON:
        return '{"of": "private"}'
    return f"{field.name} {number}" if table in KEPT else f"private {field.name} of {user}"


def texts_of(tables: Any = TABLES) -> str:
    """Return all that these tables hold, as one text; events apart, whose ids stay."""
    return "\n".join(str(row) for table in tables if table is not StripeEvent for row in table.select().tuples())
