"""A user's e-mail and name: what the host changes reaches Stripe, and the user's own row."""

from .. import storage
from ..errors import UnknownCustomer
from ..models import Customer, User
from ..sync.converge import Converger

LONGEST_TEXT = 320


def update_user(converger: Converger, user_id: str, email: str | None, name: str | None, now: float) -> None:
    """Write what is given to all the user's customers at Stripe, then here; "" takes it away.

    Errors  ValueError when it is no text for an e-mail or a name;
            StripeError as the gateway's: some customers may have it already, and calling again is the same
    """
    changes = {key: text for key, text in (("email", email), ("name", name)) if text is not None}
    if not all(text.isprintable() and len(text) <= LONGEST_TEXT for text in changes.values()):
        raise ValueError(f"an e-mail or a name is a text of at most {LONGEST_TEXT} printable characters")
    customers = (Customer.user == user_id, Customer.deleted_at.is_null())
    for customer_id in storage.column(Customer.select(Customer.id).where(*customers)):
        try:
            converger.gateway.update_customer(customer_id, changes)
        except UnknownCustomer:
            converger.converge(customer_id, now, reads_customer=True)  # it was deleted; if not that, it raises
    _write(user_id, {key: text or None for key, text in changes.items()}, now)


def _write(user_id: str, changes: dict[str, str | None], now: float) -> None:
    with storage.writing():
        User.insert(id=user_id, created_at=int(now)).on_conflict_ignore().execute()
        User.update(changes).where(User.id == user_id).execute()
        # A fetch that is under way may hold what was there before: it is to start over.
        Customer.update(revision=Customer.revision + 1).where(Customer.user == user_id).execute()
