"""The text of the mirror of grants: a user's running grants, as they stand in the metadata of a customer at Stripe.

Source  docs.stripe.com/api/metadata: 50 keys of 40 characters, with values of 500
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..access import FOREVER
from ..texts import is_text

KEY = "corkage_grants"
LONGEST_VALUE = 490  # Stripe's documentation says up to 500, its error "under 500"
MOST_PIECES = 20  # of the 50 keys: the others are the product's
NAMES = (KEY, *(f"{KEY}_{number}" for number in range(2, MOST_PIECES + 1)))


class Mirrored(NamedTuple):
    """A grant in the mirror; the columns are those of Grant."""

    uid: str
    plan: str
    created_at: int
    quantity: int | None = None
    ends_at: int | None = None
    given_by: str = ""
    reason: str = ""


def text_of(user_id: str, grants: Sequence[Mirrored]) -> str:
    """Return the text that holds these grants, the first of them where not all fit; empty without any."""
    for count in range(len(grants), 0, -1):
        listed = [_without_defaults(each) for each in grants[:count]]
        text = json.dumps({"user": user_id, "grants": listed}, ensure_ascii=False, separators=(",", ":"))
        if len(text) <= MOST_PIECES * LONGEST_VALUE:
            return text
    return ""


def _without_defaults(grant: Mirrored) -> dict[str, Any]:
    defaults = Mirrored._field_defaults
    return {name: value for name, value in grant._asdict().items() if name not in defaults or value != defaults[name]}


def read(text: str) -> tuple[str | None, list[Mirrored]]:
    """Return the user of a text, and the grants. What is no grant is left out: anybody may edit metadata."""
    try:
        found = json.loads(text)
        return found["user"], [each for each in (_mirrored(given) for given in found["grants"]) if each is not None]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None, []


def _mirrored(given: Mapping[str, Any]) -> Mirrored | None:
    found = Mirrored(**given)
    texts = (found.uid, found.plan, found.given_by, found.reason)
    numbers = (found.created_at, *(each for each in (found.quantity, found.ends_at) if each is not None))
    are_numbers = all(type(each) is int and 0 < each < FOREVER for each in numbers)
    return found if all(map(is_text, texts)) and are_numbers else None


def to_metadata(text: str) -> dict[str, str]:
    """Return the metadata that holds a text, and removes what a longer one left there."""
    return {name: text[number * LONGEST_VALUE :][:LONGEST_VALUE] for number, name in enumerate(NAMES)}


def text_in(metadata: Mapping[str, str]) -> str:
    """Return the text that metadata holds; empty without one."""
    return "".join(metadata.get(name, "") for name in NAMES) if KEY in metadata else ""
