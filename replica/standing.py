"""What each thing that a user holds does by itself: the rule of access, asked about one thing at a time."""

from typing import NamedTuple

from ..access import Answer, Holding, Plans, Terms, answer_at, in_sequence, timeline
from .timelines import holdings_of


class Standing(NamedTuple):
    """A subscription with all its items, a purchase, or a grant.

    Shape   items: one for a purchase or a grant; answer: what it gives by itself, the free plan left out, and for an
            add-on that stands alone as if its plan were there
    """

    items: tuple[Holding, ...]
    answer: Answer

    @property
    def kind(self) -> str:
        return self.items[0].kind

    @property
    def id(self) -> str:
        return self.items[0].id

    @property
    def is_ours(self) -> bool:
        """Whether it is to a plan, or was sold by us; else it belongs to another product."""
        return any(each.ours or each.plan for each in self.items)

    @property
    def has_ended(self) -> bool:
        return self.answer.reason == "ended"

    def is_stale(self, now: float) -> bool:
        """Return whether its period is over, and nothing was heard since."""
        return self.answer.stale_at is not None and self.answer.stale_at <= now


def standings_of(user_id: str, plans: Plans, now: float) -> list[Standing]:
    """Return each thing that the user holds or held, the newest first."""
    grouped: dict[tuple[str, str], list[Holding]] = {}
    for each in in_sequence(holdings_of([user_id])[user_id].holdings, plans):
        grouped.setdefault((each.kind, each.id), []).append(each)
    found = [_standing(tuple(items), plans, now) for items in grouped.values()]
    return sorted(found, key=lambda each: (-each.items[0].created, each.id))


def _standing(items: tuple[Holding, ...], plans: Plans, now: float) -> Standing:
    return Standing(items, answer_at(timeline(items, _alone(items, plans), now), now))


def _alone(items: tuple[Holding, ...], plans: Plans) -> dict[str, Terms]:
    """Return the terms of what these items give by themselves."""
    own = {key: terms for key, terms in plans.items() if not terms.is_free}
    named = [own.get(each.plan or "", Terms()) for each in items]
    if not all(terms.adds_to for terms in named):
        return own
    for each, terms in zip(items, named, strict=True):
        times = 1 if each.quantity is None else each.quantity
        limits = {name: limit * times if isinstance(limit, int) else limit for name, limit in terms.limits.items()}
        own[each.plan or ""] = terms._replace(adds_to=(), limits=limits)
    return own
