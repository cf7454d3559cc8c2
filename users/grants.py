"""Grants: a plan that the host or the operator gives to a user, without a payment. Stripe only keeps a copy."""

from typing import Any

from .. import storage
from ..access import FOREVER
from ..errors import UnknownPlan
from ..logs.facts import logger
from ..models import Grant, User, new_uid
from ..replica import granted
from ..replica.prices import Catalogue
from ..texts import is_text

LONGEST_TEXT = 500
MOST_QUANTITY = 1_000_000

log = logger("corkage.users")


def grant_plan(
    catalogue: Catalogue,
    user_id: str,
    plan: str,
    now: float,
    *,
    until: int | None = None,
    quantity: int = 1,
    reason: str = "",
    given_by: str = "",
) -> None:
    """Give a user a plan, from now on, in place of a running grant of the same plan. Notices follow at once.

    Units   until in Unix seconds; None for a grant without an end
    Errors  UnknownPlan for a plan that cannot be given; ValueError for any other value that does not fit; Outdated;
            DatabaseUnavailable
    """
    _refuse_unknown(catalogue, plan)
    _refuse_misfits(now, until, quantity, reason, given_by)
    given = {"plan": plan, "quantity": quantity, "reason": reason, "given_by": given_by, "ends_at": until}
    with storage.writing():
        User.insert(id=user_id, created_at=int(now)).on_conflict_ignore().execute()
        replaced = Grant.get_or_none(*_running(user_id, plan, now))
        uid = replaced.uid if replaced else new_uid()  # a mirror of before must not restore what is replaced
        Grant.delete().where(*_running(user_id, plan, now)).execute()
        Grant.insert(user=user_id, uid=uid, created_at=int(now), **given).execute()
        catalogue.timelines.store([user_id], now)
        granted.touch(user_id, now)
    log.info("user %s was given plan %s until %s by %s", user_id, plan, until or "revoked", given_by or "the host")


def revoke_plan(catalogue: Catalogue, user_id: str, plan: str, now: float) -> bool:
    """End the running grant of a plan; return whether there was one. What the user pays for goes on.

    Errors  UnknownPlan for a plan that cannot be given; Outdated; DatabaseUnavailable
    """
    # A grant of a plan that left plans.toml may be revoked, too. None would stand for any plan.
    if not (is_text(plan) and running_grants(user_id, now, plan)):
        _refuse_unknown(catalogue, plan)
        return False
    with storage.writing():
        ended = Grant.update(ends_at=int(now)).where(*_running(user_id, plan, now)).execute()
        catalogue.timelines.store([user_id], now)
        granted.touch(user_id, now)
    log.info("the grant of plan %s to user %s was revoked", plan, user_id)
    return bool(ended)


def running_grants(user_id: str, now: float, plan: str | None = None) -> list[Grant]:
    """Return the user's grants that have not ended, the oldest first: all, or of this plan."""
    with storage.reading():
        return list(Grant.select().where(*_running(user_id, plan, now)).order_by(Grant.id))


def _running(user_id: str, plan: str | None, now: float) -> list[Any]:
    of_plan = [] if plan is None else [Grant.plan == plan]
    return [Grant.user == user_id, Grant.ends_at.is_null() | (Grant.ends_at > now), *of_plan]


def _refuse_unknown(catalogue: Catalogue, plan: str) -> None:
    given = [each.key for each in catalogue.plans.values() if not each.free]
    if plan not in given:
        raise UnknownPlan(f"{plan!r} cannot be given; plans.toml has {', '.join(given) or 'nothing to give'}")


def _refuse_misfits(now: float, until: int | None, quantity: int, reason: str, given_by: str) -> None:
    if until is not None and not (type(until) is int and now < until < FOREVER):
        raise ValueError("until is a time to come, in whole Unix seconds, or None for a grant without an end")
    if not (type(quantity) is int and 1 <= quantity <= MOST_QUANTITY):
        raise ValueError(f"quantity is a whole number from 1 to {MOST_QUANTITY}")
    if not (_is_text(reason) and _is_text(given_by)):
        raise ValueError(f"reason and given_by are texts of at most {LONGEST_TEXT} printable characters")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and len(value) <= LONGEST_TEXT
