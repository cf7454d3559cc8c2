"""Find the user whom an operator means: by their id, by an e-mail, or by an id of Stripe's."""

from typing import Any

from peewee import fn

from .. import storage
from ..models import Customer, Subscription, User

MOST = 20


def find_users(text: str) -> list[tuple[str, str | None]]:
    """Return the users whom a text names, each with their e-mail: the one with this id, whatever it looks like; else
    those with this e-mail, in any case of letters; else the one with this customer or subscription of Stripe's.

    At most MOST, by their ids.

    Errors  DatabaseUnavailable
    """
    lower = fn.LOWER(text)
    customers = Customer.select(Customer.user).where(Customer.id == text)
    subscriptions = Customer.select(Customer.user).join(Subscription).where(Subscription.id == text)
    for condition in (
        User.id == text,
        User.id.in_(customers) | User.id.in_(subscriptions),
        # This reads all users: an index would take 40 bytes for each.
        (fn.LOWER(User.email) == lower) | (fn.LOWER(User.said_email) == lower),
    ):
        with storage.reading():
            query: Any = User.select(User.id, User.email).where(condition).order_by(User.id).limit(MOST)
            if found := list(query.tuples()):
                return found
    return []
