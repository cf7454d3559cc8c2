"""Which of a user's subscriptions a click is about."""

from collections.abc import Iterator, Mapping

from ..access import CURRENT, ENDED, LIVE, Holding
from ..models import Subscription
from ..plans import MAIN_GROUP, Plan
from ..replica.replaced import lifetimes_of
from ..replica.timelines import holdings_of


def held_subscriptions(user_id: str, plans: Mapping[str, Plan], group: str | None = None) -> list[Holding]:
    """Return an item of each of the user's subscriptions that have not ended and are ours or to a plan, the best first.
    With a group, return only those of that group.

    The best is one to a plan before an add-on, then in the better status, then the newest.
    """
    found: dict[str, Holding] = {}
    for each in _best_first(user_id, plans):
        if group in (None, group_of(each.plan, plans)):
            found.setdefault(each.id, each)
    return list(found.values())


def own_subscriptions(user_id: str) -> set[str]:
    """Return the ids of the user's subscriptions, ended ones too, that are to a plan, or were sold by us."""
    held = holdings_of([user_id])[user_id].holdings
    return {each.id for each in held if each.kind == "subscription" and (each.ours or each.plan)}


def held_subscription(
    user_id: str, plans: Mapping[str, Plan], subscription_id: str | None = None
) -> Subscription | None:
    """Return the best of the user's subscriptions that have not ended, or the one of this id."""
    for each in _best_first(user_id, plans):
        if subscription_id in (None, each.id):
            return Subscription.get_by_id(each.id)
    return None


def held_by_group(user_id: str, plans: Mapping[str, Plan]) -> dict[str, Holding]:
    """Return the best item of each group of which the user has a subscription that has not ended."""
    found: dict[str, Holding] = {}
    for each in _best_first(user_id, plans):
        found.setdefault(group_of(each.plan, plans), each)
    return found


def held_for_good(user_id: str, plans: Mapping[str, Plan]) -> dict[str, int]:
    """Return the groups of which the user has bought a plan for good, each with the rank of the dearest."""
    terms = {key: plan.terms(rank) for rank, (key, plan) in enumerate(plans.items())}
    found: dict[str, int] = {}
    for each in lifetimes_of(holdings_of([user_id])[user_id].holdings, plans, terms):
        found[each.group] = max(each.rank, found.get(each.group, each.rank))
    return found


def is_covered(plan: Plan, for_good: Mapping[str, int], plans: Mapping[str, Plan]) -> bool:
    """Return whether what a user bought for good gives as much as the plan. More seats can always be bought."""
    rank = list(plans).index(plan.key)
    return not plan.seats and rank <= for_good.get(plan.in_group, -1)


def group_of(plan: str | None, plans: Mapping[str, Plan]) -> str:
    """Return the group of a plan's subscriptions; the usual one for a price that stands for no plan of plans.toml."""
    found = plans.get(plan or "")
    return found.in_group if found else MAIN_GROUP


def _best_first(user_id: str, plans: Mapping[str, Plan]) -> list[Holding]:
    return sorted(_going_on(user_id), key=lambda each: _order(each, plans))


def _going_on(user_id: str) -> Iterator[Holding]:
    for each in holdings_of([user_id])[user_id].holdings:
        if each.kind == "subscription" and each.status not in ENDED and (each.ours or each.plan):
            yield each


def _order(holding: Holding, plans: Mapping[str, Plan]) -> tuple[bool, bool, bool, bool, int, str]:
    plan = plans.get(holding.plan or "")
    is_addon = plan is not None and bool(plan.adds_to)
    is_worse = holding.status not in LIVE, holding.status not in CURRENT
    return is_addon, *is_worse, plan is None, -holding.created, holding.id
