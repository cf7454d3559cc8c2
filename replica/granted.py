"""Grants in use: each with whether Stripe has a copy of it, and restored from there.

A grant that is in a customer's metadata and was never here is restored when the customer is fetched. One that was here
is not: it may have been revoked since.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from .. import storage
from ..gateway.mirrored import Mirrored, read
from ..logs.facts import logger
from ..models import Grant

MIRRORED, WAITING, NO_CUSTOMER, FAILED = "mirrored", "waiting", "no_customer", "failed"

_TOUCH = """
INSERT INTO corkage_grant_mirror (user_id, due_at, attempts) VALUES (?, ?, 0)
ON CONFLICT (user_id) DO UPDATE SET due_at = excluded.due_at, attempts = 0
"""
_COLUMNS = ("id", "user_id", *Mirrored._fields)
_IN_USE = f"""
SELECT {", ".join(f"g.{name}" for name in _COLUMNS)}, u.stripe_customer_id, m.customer_id, m.text, m.error
FROM corkage_grant AS g
JOIN corkage_user AS u ON u.id = g.user_id
LEFT JOIN corkage_grant_mirror AS m ON m.user_id = g.user_id
WHERE g.id > :after AND (g.ends_at IS NULL OR g.ends_at > :now)
ORDER BY g.id
LIMIT :limit
"""  # noqa: S608 -- our own column names; the values are bound
AT_A_TIME = 1000

log = logger("corkage.granted")


class InUse(NamedTuple):
    """A running grant, and its copy at Stripe.

    Shape   copy: "mirrored"; or why there is none: "waiting" to be written, "no_customer" of the user's, or "failed"
            with an error
    """

    grant: Grant
    copy: str
    error: str = ""


def in_use(now: float) -> Iterator[InUse]:
    """Return every running grant, the oldest first.

    Errors  DatabaseUnavailable
    """
    after = 0
    while found := page(now, after, AT_A_TIME):
        yield from found
        after = found[-1].grant.id


def page(now: float, after: int, limit: int) -> list[InUse]:
    """Return some of the running grants, those with an id after this one, the oldest first."""
    rows = storage.rows(_IN_USE, {"now": now, "after": after, "limit": limit})
    return [_in_use(Grant(**dict(zip(_COLUMNS, row, strict=False))), *row[len(_COLUMNS) :]) for row in rows]


def _in_use(grant: Any, customer_id: str | None, mirror_id: str | None, text: str | None, error: str | None) -> InUse:
    if customer_id is None:
        return InUse(grant, NO_CUSTOMER)
    if customer_id == mirror_id and Mirrored(*(getattr(grant, name) for name in Mirrored._fields)) in _read(text or ""):
        return InUse(grant, MIRRORED)
    return InUse(grant, FAILED, error) if error else InUse(grant, WAITING)


@lru_cache(maxsize=1024)
def _read(text: str) -> tuple[Mirrored, ...]:
    return tuple(read(text)[1])


def touch(user_id: str, now: float) -> None:
    """Have the mirror of a user's grants written soon. To be called inside the transaction that changes them."""
    storage.change(_TOUCH, (user_id, now))


def restore(user_id: str, text: str, now: float) -> int:
    """Restore the running grants of a mirror that this database never had; return how many.

    A plan that the user was given here meanwhile stays as it was given here. To be called inside a writing transaction,
    before the user's timeline is made anew.
    """
    owner, mirrored = read(text)
    if owner != user_id or not mirrored:
        return 0
    with storage.reading():
        known = list(Grant.select().where(Grant.uid.in_([each.uid for each in mirrored]) | (Grant.user == user_id)))
    uids, plans = {each.uid for each in known}, {each.plan for each in known if _runs(each, now)}
    lost = [each for each in mirrored if _runs(each, now) and each.uid not in uids and each.plan not in plans]
    for each in lost:
        Grant.insert(user=user_id, **each._asdict()).execute()
        log.info("user %s has plan %s again, which Stripe's metadata says they were given", user_id, each.plan)
    if lost:
        touch(user_id, now)
    return len(lost)


def running(user_id: str, now: float) -> list[Mirrored]:
    """Return a user's running grants, the oldest first."""
    with storage.reading():
        rows: Any = list(Grant.select().where(Grant.user == user_id).order_by(Grant.id))
    return [Mirrored(*(getattr(row, name) for name in Mirrored._fields)) for row in rows if _runs(row, now)]


def _runs(grant: Any, now: float) -> bool:
    return grant.ends_at is None or grant.ends_at > now
