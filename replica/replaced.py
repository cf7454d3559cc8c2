"""Subscriptions that a purchase for good has taken the place of: their end is owed as soon as the purchase is paid."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..access import ENDED, Holding, Plans, Terms, given_back
from ..logs.facts import logger
from ..models import Subscription
from ..plans import Plan
from . import owed
from .prices import Catalogue

log = logger("corkage.replaced")


class Lifetime(NamedTuple):
    """A purchase that lets in for good. rank: of its plan."""

    purchase_id: str
    group: str
    rank: int
    created: int


def lifetimes_of(holdings: Sequence[Holding], plans: Mapping[str, Plan], terms: Plans) -> list[Lifetime]:
    """Return the purchases of plans that have no end, and that nothing was given back of, the newest first."""
    found = []
    for each in holdings:
        plan, its = plans.get(each.plan or ""), terms.get(each.plan or "", Terms())
        if each.kind != "purchase" or plan is None or plan.adds or plan.lasts_days or given_back(each.returned, its):
            continue
        found.append(Lifetime(each.id, plan.in_group, its.rank, each.created))
    return sorted(found, key=lambda each: (-each.created, each.purchase_id))


def mark(user_id: str, holdings: Sequence[Holding], catalogue: Catalogue, now: float) -> None:
    """Mark which of the user's subscriptions are to end, and owe their end: a purchase for good, paid later, gives as
    much.

    To be called inside a writing transaction.
    """
    lifetimes = lifetimes_of(holdings, catalogue.plans, catalogue.timelines.plans)
    items: dict[str, list[Holding]] = {}
    for each in holdings:
        if each.kind == "subscription" and each.status not in ENDED:  # with what another product sold in it
            items.setdefault(each.id, []).append(each)
    for subscription_id, held in items.items():
        by = next((each.purchase_id for each in lifetimes if _replaces(each, held, catalogue)), None)
        if by != held[0].replaced_by:
            Subscription.update(replaced_by=by).where(Subscription.id == subscription_id).execute()
            if by is not None:
                owed.add(user_id, subscription_id, owed.END_REPLACED, "{}", now)
            log.info("%s of user %s is replaced by %s", subscription_id, user_id, by or "nothing any more")


def _replaces(lifetime: Lifetime, items: Sequence[Holding], catalogue: Catalogue) -> bool:
    """Return whether a subscription that was begun before gives nothing that the purchase does not give as well."""
    if items[0].created > lifetime.created:
        return False
    return all(_is_covered(each, lifetime, catalogue) for each in items)


def _is_covered(item: Holding, lifetime: Lifetime, catalogue: Catalogue) -> bool:
    plan = catalogue.plans.get(item.plan or "")
    rank = catalogue.timelines.plans.get(item.plan or "", Terms()).rank
    return plan is not None and plan.in_group == lifetime.group and rank <= lifetime.rank
