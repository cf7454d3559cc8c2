"""What the host may ask for of a subscription, as it is stored: checked, before anything is stored or sent."""

import time
from typing import Any, Literal

from ..access import FOREVER
from ..plans import MOST_SEATS
from ..texts import is_text

When = Literal["now", "period_end"]
Charge = Literal["next_invoice", "now", "nothing"]

WHENS = ("now", "period_end")
CHARGES = ("next_invoice", "now", "nothing")
FEEDBACKS = (
    "customer_service",
    "low_quality",
    "missing_features",
    "other",
    "switched_service",
    "too_complex",
    "too_expensive",
    "unused",
)
"""What Stripe takes as the reason for a cancellation."""
LONGEST_COMMENT = 500


def change_wish(
    plan: str | None, quantity: int | None, when: str, charge: str, prorated_at: int | None
) -> dict[str, Any]:
    """Return the wish for another plan or quantity.

    Errors  ValueError for what does not fit
    """
    if plan is None and quantity is None:
        raise ValueError("name a plan, a quantity or both")
    if plan is not None and not is_text(plan):
        raise ValueError("plan is a text")
    if quantity is not None and not (type(quantity) is int and 1 <= quantity <= MOST_SEATS):
        raise ValueError(f"quantity is a whole number from 1 to {MOST_SEATS}: how many there shall be")
    if prorated_at is not None and not (type(prorated_at) is int and 0 < prorated_at < FOREVER):
        raise ValueError("prorated_at is that of a preview, in Unix seconds")
    _one_of("when", when, WHENS)
    _one_of("charge", charge, CHARGES)
    return {"plan": plan, "quantity": quantity, "when": when, "charge": charge, "prorated_at": prorated_at}


def cancel_wish(when: str, feedback: str | None, comment: str | None) -> dict[str, Any]:
    """Return the wish to cancel.

    Errors  ValueError for what does not fit
    """
    _one_of("when", when, WHENS)
    if feedback is not None:
        _one_of("feedback", feedback, FEEDBACKS)
    if comment is not None and not (is_text(comment) and len(comment) <= LONGEST_COMMENT):
        raise ValueError(f"comment is a text of at most {LONGEST_COMMENT} characters")
    return {"when": when, "feedback": feedback, "comment": comment}


def trial_wish(until: int) -> dict[str, Any]:
    """Return the wish for a longer trial.

    Errors  ValueError for what is no time to come
    """
    if not (type(until) is int and time.time() < until < FOREVER):
        raise ValueError("until is a time to come, in whole Unix seconds")
    return {"until": until}


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} is one of {', '.join(known)}")
