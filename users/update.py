"""Store a user's changed e-mail and name, at Stripe and here."""

from .. import storage
from ..errors import UnknownCustomer
from ..models import Customer, User
from ..sync.converge import Converger

LONGEST_TEXT = 320


def update_user(converger: Converger, user_id: str, email: str | None, name: str | None, now: float) -> None:
    """Store what is given on all the user's customers at Stripe, then here; "" removes it.

    Errors  ValueError for an invalid e-mail or name;
            StripeError as the gateway's: some customers may have it already; calling again is safe
    """
    changes = {key: text for key, text in (("email", email), ("name", name)) if text is not None}
    if not all(isinstance(text, str) and text.isprintable() and len(text) <= LONGEST_TEXT for text in changes.values()):
        raise ValueError(f"an e-mail or a name is a text of at most {LONGEST_TEXT} printable characters")
    customers = (Customer.user == user_id, Customer.deleted_at.is_null())
    for customer_id in storage.column(Customer.select(Customer.id).where(*customers)):
        try:
            converger.gateway.update_customer(customer_id, changes)
        except UnknownCustomer:
            converger.converge(customer_id, now, reads_customer=True)  # stores that it was deleted; otherwise it raises
    _write(user_id, {key: text or None for key, text in changes.items()}, now)


def _write(user_id: str, changes: dict[str, str | None], now: float) -> None:
    with storage.writing():
        User.insert(id=user_id, created_at=int(now)).on_conflict_ignore().execute()
        User.update(changes).where(User.id == user_id).execute()
        # Discard fetches in flight: they may hold the old values.
        Customer.update(revision=Customer.revision + 1).where(Customer.user == user_id).execute()
