"""What a user bought once, on the account page: what, when, for how much, and how it stands."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..access import Holding, Plans, Terms, given_back, in_sequence
from ..models import Credit, Purchase
from ..plans import Plan
from ..replica.timelines import holdings_of
from . import N_
from .words import Words, money

MOST = 24
TAKEN_BACK = {"refunded": N_("Refunded"), "disputed": N_("Disputed")}


class Bought(NamedTuple):
    """A line of the list. is_taken_back: it was refunded or disputed, and gives nothing for that."""

    date: str
    name: str
    amount: str
    state: str
    is_taken_back: bool


def describe_purchases(
    user_id: str, plans: Mapping[str, Plan], terms: Plans, words: Words, now: float
) -> tuple[Bought, ...]:
    """Return the user's purchases of plans and packs, the newest first."""
    held = in_sequence(holdings_of([user_id])[user_id].holdings, terms)
    bought = [each for each in held if each.kind == "purchase" and (each.ours or each.plan)]
    newest = sorted(bought, key=lambda each: (-each.created, each.id, each.price_id or ""))[:MOST]
    rows = {
        (row.id, row.price_id): row for row in Purchase.select().where(Purchase.id.in_([each.id for each in newest]))
    }
    return tuple(_line(each, rows[each.id, each.price_id or ""], plans, terms, words, now) for each in newest)


def _line(holding: Holding, row: Purchase, plans: Mapping[str, Plan], terms: Plans, words: Words, now: float) -> Bought:
    plan, its = plans.get(holding.plan or ""), terms.get(holding.plan or "", Terms())
    name = words.gettext(plan.name) if plan else holding.plan or words.gettext("Purchase")
    times = f"{holding.quantity} x " if (holding.quantity or 1) > 1 else ""
    became = given_back(holding.returned, its)
    return Bought(
        date=words.date(holding.created, "medium"),
        name=times + name,
        amount=money(words, row.amount, row.currency),
        state=words.gettext(TAKEN_BACK[became]) if became else _state(holding, its, words, now),
        is_taken_back=became is not None,
    )


def _state(holding: Holding, terms: Terms, words: Words, now: float) -> str:
    if terms.is_pack:
        key = (Credit.purchase_id == holding.id, Credit.price_id == holding.price_id)
        return _left(Credit.select().where(*key).order_by(Credit.name), words)
    if holding.ends_at is None:
        return words.gettext("Yours")
    date = words.date(holding.ends_at, "medium")
    if holding.ends_at <= now:
        return words.gettext("Ended on %(date)s", date=date)
    return words.gettext("Until %(date)s", date=date)


def _left(credit: Iterable[Credit], words: Words) -> str:
    """Return how much of a pack can still be used."""
    each = (
        words.gettext(
            "%(name)s: %(left)s of %(amount)s left",
            name=words.gettext(row.name[:1].upper() + row.name[1:].replace("_", " ")),
            left=str(row.left),
            amount=str(row.amount),
        )
        for row in credit
    )
    return ", ".join(each)
