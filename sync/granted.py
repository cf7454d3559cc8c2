"""Grants in use, each with whether Stripe has a copy of it."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from .. import storage
from ..models import Grant
from .mirrored import Mirrored, read

MIRRORED, WAITING, NO_CUSTOMER, FAILED = "mirrored", "waiting", "no_customer", "failed"

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
