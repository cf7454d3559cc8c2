"""Credit: what packs gave a user to use up, and what is left of it."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from .. import storage

Rows = Callable[[str, tuple[object, ...]], list[tuple[Any, ...]]]

# The plan's terms are those of the database, as for every timeline.
_LEFT = """
SELECT k.purchase_id, k.price_id, k.name, k."left", b.returned, t.terms
FROM corkage_credit AS k
JOIN corkage_purchase AS b ON b.id = k.purchase_id AND b.price_id = k.price_id
LEFT JOIN corkage_price AS p ON p.id = b.price_id
LEFT JOIN corkage_plan AS t ON t.key = p.plan
WHERE k.user_id = ? AND k."left" > 0
ORDER BY b.created, k.purchase_id, k.price_id, k.name
"""


class CreditLeft(NamedTuple):
    """What is left of a pack. name: of the limit that it adds to."""

    purchase_id: str
    price_id: str
    name: str
    left: int


def credits_of(user_id: str, rows: Rows = storage.rows) -> list[CreditLeft]:
    """Return the user's credit that can be used, the oldest first: not that of a pack which was paid back or is
    disputed, unless its plan keeps it.

    Shape   rows: returns the rows of a query, where it is not to be read on this thread's connection
    Errors  DatabaseUnavailable when the database cannot be read
    """
    found = rows(_LEFT, (user_id,))
    return [CreditLeft(*facts) for *facts, returned, terms in found if counts(returned, terms)]


def counts(returned: str | None, terms: str | None) -> bool:
    """Return whether a purchase still gives what it gave.

    Shape   returned: of the Purchase; terms: those of its plan, as stored, None where it has none
    """
    if returned is None:
        return True
    its = json.loads(terms or "{}")
    return all(its.get(f"keeps_{word}", False) for word in returned.split(" "))
