"""What the operator looks up: users by reason or by text, and one user's customers, events and notices."""

from collections.abc import Collection
from typing import Any, NamedTuple

from peewee import JOIN

from .. import storage
from ..access import NOBODY, Access, read_access
from ..models import (
    Credit,
    Customer,
    Grant,
    NoticeDelivery,
    NoticeRow,
    Price,
    Purchase,
    StripeEvent,
    Subscription,
)
from ..users import find

PAGE = 50
MOST_SCANNED = 100_000  # rows that one page looks through in a tenth of a second; the next page goes on from there

# No index has a part of an e-mail or a name: the rows are scanned in their order.
_FIND = """
SELECT u.id, u.email
FROM (SELECT id, email, name FROM corkage_user WHERE id > :after ORDER BY id LIMIT :scanned) AS u
LEFT JOIN corkage_access AS a ON a.user_id = u.id
WHERE (:reason = '' OR COALESCE(a.reason, :otherwise) = :reason)
    AND (:words = '' OR lower(u.id) LIKE lower(:words) ESCAPE '!'
        OR lower(u.email) LIKE lower(:words) ESCAPE '!' OR lower(u.name) LIKE lower(:words) ESCAPE '!')
ORDER BY u.id
LIMIT :limit
"""
# A user who just came has no answer of their own until the worker makes it, and so that of whoever holds nothing.
_COUNT = """
SELECT COALESCE(a.reason, :otherwise) AS its_reason, count(*) AS users
FROM corkage_user AS u
LEFT JOIN corkage_access AS a ON a.user_id = u.id
GROUP BY its_reason
ORDER BY users DESC, its_reason
"""
_LAST_SCANNED = "SELECT id FROM corkage_user WHERE id > ? ORDER BY id LIMIT 1 OFFSET ?"


class UserPage(NamedTuple):
    """A page of users with their e-mails; `after`: where the next page begins, or None."""

    users: list[tuple[Access, str | None]]
    after: str | None


def count_by_reason() -> dict[str, int]:
    """Return the number of users by reason, the most frequent first.

    Errors  DatabaseUnavailable
    """
    otherwise = read_access(NOBODY).reason
    return dict(storage.rows(_COUNT, {"otherwise": otherwise}))


def find_users(wanted: str, reason: str = "", after: str = "") -> UserPage:
    """Return the user with exactly this id or e-mail, or with a customer or subscription of this id; else all that
    contain the text in their id, e-mail or name.

    Shape   after: the last user id of the page before; reason: one of access.REASONS, or empty
    Errors  DatabaseUnavailable
    """
    named = [] if reason or after or not wanted else find.find_users(wanted)
    if 0 < len(named) < find.MOST:
        return UserPage([(read_access(user_id), email) for user_id, email in named], None)
    words = "".join(f"!{letter}" if letter in "!%_" else letter for letter in wanted)
    values = {
        "after": after,
        "scanned": MOST_SCANNED,
        "reason": reason,
        "otherwise": read_access(NOBODY).reason,
        "words": f"%{words}%" if wanted else "",
        "limit": PAGE + 1,
    }
    rows = storage.rows(_FIND, values)
    users = [(read_access(user_id), email) for user_id, email in rows[:PAGE]]
    return UserPage(users, rows[PAGE - 1][0] if len(rows) > PAGE else _last_scanned(after))


def _last_scanned(after: str) -> str | None:
    row = storage.row(_LAST_SCANNED, (after, MOST_SCANNED - 1))
    return row[0] if row else None


def customers_of(user_id: str) -> list[tuple[Customer, list[Subscription]]]:
    """Return the user's customers, each with all its subscriptions, the newest first."""
    newest = Subscription.select().order_by(Subscription.created.desc())
    return [
        (customer, list(newest.where(Subscription.customer == customer.id)))
        for customer in Customer.select().where(Customer.user == user_id).order_by(Customer.id)
    ]


def grants_of(user_id: str) -> list[Grant]:
    """Return the user's grants, those that have ended too, the newest first."""
    return list(Grant.select().where(Grant.user == user_id).order_by(Grant.id.desc()))


def purchases_of(user_id: str) -> list[tuple[Purchase, Price | None, list[Credit]]]:
    """Return what the user bought once, the newest first, each with its price, and with what is left of a pack."""
    theirs = Customer.select(Customer.id).where(Customer.user == user_id)
    rows = list(Purchase.select().where(Purchase.customer.in_(theirs)).order_by(Purchase.created.desc(), Purchase.id))
    prices = {row.id: row for row in Price.select().where(Price.id.in_([each.price_id for each in rows]))}
    credit: dict[tuple[str, str], list[Credit]] = {}
    for each in Credit.select().where(Credit.user == user_id).order_by(Credit.name):
        credit.setdefault((each.purchase_id, each.price_id), []).append(each)
    return [(row, prices.get(row.price_id), credit.get((row.id, row.price_id), [])) for row in rows]


def events_of(customer_ids: Collection[str], limit: int) -> list[StripeEvent]:
    """Return the latest events of these customers. No index has those that are pending and the others, too."""
    theirs: Any = StripeEvent.select().where(StripeEvent.customer_id.in_(customer_ids)).limit(limit)
    latest = theirs.order_by(StripeEvent.received_at.desc(), StripeEvent.created.desc())
    at = StripeEvent.applied_at
    found = [*latest.where(at.is_null()), *latest.where(at.is_null(False))]
    return sorted(found, key=lambda each: (each.received_at, each.created), reverse=True)[:limit]


def notices_of(user_id: str, limit: int) -> list[Any]:
    """Return the latest notices about the user, once for each receiver; a notice without receivers comes once."""
    query = (
        NoticeRow.select(NoticeRow, NoticeDelivery)
        .join(NoticeDelivery, JOIN.LEFT_OUTER, on=(NoticeDelivery.notice == NoticeRow.id), attr="delivery")
        .where(NoticeRow.user == user_id)
    )
    return list(query.order_by(NoticeRow.id.desc(), NoticeDelivery.receiver).limit(limit))
