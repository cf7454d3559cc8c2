"""Doubles: several subscriptions of one user in one group, of which one would do."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from peewee import fn

from .. import storage
from ..access import LIVE, Answer, Holding, answer_at, timeline
from ..logs.facts import logger
from ..models import Customer, Subscription
from ..plans import MAIN_GROUP
from .prices import Catalogue
from .timelines import holdings_of

log = logger("corkage.doubles")


class Double(NamedTuple):
    """Subscriptions of one user in one group.

    Shape   subscriptions: their ids, oldest first; spare: the one whose end takes nothing from the user; None when each
            of them gives something that the others do not
    """

    user_id: str
    subscriptions: tuple[str, ...]
    spare: str | None


def doubles(catalogue: Catalogue, now: float) -> list[Double]:
    """Return all users who pay for several subscriptions of one group.

    What is not ours belongs to another product, and is no double.
    """
    query: Any = (
        Subscription.select(Customer.user)
        .join(Customer)
        .where(Subscription.status.in_(LIVE), Customer.user.is_null(False))
        .group_by(Customer.user)
        .having(fn.COUNT(Subscription.id) > 1)
    )
    found = holdings_of(storage.column(query))
    return [double for user, held in found.items() for double in _of_user(user, held.holdings, catalogue, now)]


def warn_of_doubles(user_id: str, holdings: Sequence[Holding], catalogue: Catalogue, now: float) -> None:
    """Log a warning when the user, who holds this, pays twice, with the one to end."""
    for double in _of_user(user_id, holdings, catalogue, now):
        spare = double.spare
        advice = f"the user loses nothing when {spare} ends" if spare else "each gives something of its own"
        log.warning(
            "user %s pays for several subscriptions of one group: %s; %s",
            user_id,
            " and ".join(double.subscriptions),
            advice,
        )


def _of_user(user_id: str, holdings: Sequence[Holding], catalogue: Catalogue, now: float) -> list[Double]:
    # What ends with its period is paid for no more, and nothing may rely on it.
    staying = [each for each in holdings if not _ends_with_period(each)]
    return [Double(user_id, ids, _spare(ids, staying, catalogue, now)) for ids in _by_group(staying, catalogue)]


def _ends_with_period(holding: Holding) -> bool:
    ends_at, period_end = holding.cancel_at, holding.current_period_end
    return ends_at is not None and period_end is not None and ends_at <= period_end


def _by_group(holdings: Sequence[Holding], catalogue: Catalogue) -> list[tuple[str, ...]]:
    """Return the ids of the subscriptions that go on, oldest first, of each group that has several."""
    groups: dict[str, dict[str, None]] = {}
    going_on = [each for each in holdings if each.status in LIVE and (each.ours or each.plan)]
    for each in sorted(going_on, key=lambda each: (each.created, each.id)):
        plan = catalogue.plans.get(each.plan or "")
        groups.setdefault(plan.in_group if plan else MAIN_GROUP, {})[each.id] = None
    return [tuple(ids) for ids in groups.values() if len(ids) > 1]


def _spare(ids: Sequence[str], holdings: Sequence[Holding], catalogue: Catalogue, now: float) -> str | None:
    """Return the subscription that gives the least, if its end takes nothing from the user."""
    plans = catalogue.timelines.plans

    def worth(subscription_id: str) -> tuple[int, int, int]:
        items = [each for each in holdings if each.id == subscription_id]
        ranks = [plans[each.plan].rank for each in items if each.plan in plans]
        return max(ranks, default=-1), items[0].current_period_end or 0, -items[0].created

    def answer(held: Sequence[Holding]) -> Answer:
        return answer_at(timeline(held, plans, now), now)

    with_all = answer(holdings)
    for subscription_id in sorted(ids, key=worth):
        rest = [each for each in holdings if each.id != subscription_id]
        ended = [each for each in holdings if each.id == subscription_id]
        without = answer(rest)
        is_as_firm = (
            without.reason == "active" or answer(ended).reason != "active"
        )  # no trial or grace for what is paid
        if is_as_firm and _gives_as_much(without, with_all) and _has_seats(rest, ended):
            return subscription_id
    return None


def _gives_as_much(without: Answer, with_all: Answer) -> bool:
    has_limits = all(_at_least(without.limits.get(name, 0), limit) for name, limit in with_all.limits.items())
    return without.allowed >= with_all.allowed and set(with_all.features) <= set(without.features) and has_limits


def _at_least(one: int | str, other: int | str) -> bool:
    return isinstance(one, str) or (isinstance(other, int) and one >= other)


def _has_seats(rest: Sequence[Holding], ended: Sequence[Holding]) -> bool:
    """Return whether the rest has as many of something as what is to end."""
    return max((each.quantity or 1 for each in rest), default=0) >= max(each.quantity or 1 for each in ended)
