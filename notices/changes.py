"""Notices of what changed, each stored once, in order, in the transaction that makes the change.

Those about access and plans are about the user; those about payments, cancellations and trials about a subscription,
those about refunds and disputes about a subscription or a purchase. What was last noticed is stored with the user, and
with each subscription and purchase, and compared with what is true now.
"""

import json
import operator
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .. import storage
from ..access import CURRENT, ENDED, LIVE, OWING, Access, Answer, Holding, Plans, Terms, answer_at, lonely_addons
from . import outbox
from .notice import KINDS, AccessSummary

TRIAL_ENDS_SOON_SECONDS = 3 * 86_400  # as early as Stripe's own trial_will_end


# Which kinds of notice a change stores. The others were true before, and are no news.
NONE: frozenset[str] = frozenset()
ACCESS = frozenset(("access_granted", "access_revoked"))
OF_USER = ACCESS | {"plan_changed"}
ALL = frozenset(KINDS)


class Seen(NamedTuple):
    """What was last noticed, packed: of the user, and of each subscription and purchase by its id.

    Shape   answers: the user's until now, which know the price
    """

    of_user: str | None
    of_things: Mapping[str, str | None]
    answers: Sequence[Answer] = ()


class SubscriptionSummary(NamedTuple):
    """What notices about a subscription compare. without_plan: it is to add-ons, and the user has none of the plans."""

    status: str | None = None
    cancel_at: int | None = None
    trial_ending: bool = False
    returned: str | None = None
    replaced_by: str | None = None
    without_plan: bool = False


class PurchaseSummary(NamedTuple):
    """What notices about a purchase compare."""

    returned: str | None = None


class News(NamedTuple):
    """A notice to store.

    Shape   subscription_id or purchase_id: what it is about; both None for the user's access;
            details: what only this kind says, as JSON
    """

    kind: str
    before: AccessSummary
    after: AccessSummary
    subscription_id: str | None = None
    purchase_id: str | None = None
    details: str | None = None


_STORE = """
INSERT INTO corkage_notice (message_id, user_id, kind, subscription_id, purchase_id, before, after, details, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id
"""
_NOTHING_NOTED = SubscriptionSummary()
_NOTHING = "[]"


class Change(NamedTuple):
    """What changed for a user.

    Shape   notified, noted and noted_purchases: to be stored as Seen, noted for the subscriptions that changed;
            next_change_at: when time alone will change more;
            addons: of subscriptions to add-ons that go on, whether they have just lost or got the plan that they add to
    """

    notices: list[News]
    notified: str
    noted: dict[str, str]
    next_change_at: int | None
    noted_purchases: dict[str, str]
    addons: list[tuple[str, bool]]


def compare(seen: Seen, holdings: Sequence[Holding], answers: Sequence[Answer], plans: Plans, now: float) -> Change:
    """Return what changed since what was last seen, and when time alone will change more."""
    held = list(holdings)
    subscriptions, lonely = _subscriptions(held, plans), lonely_addons(held, plans, now)
    moments = [each.starts_at for each in answers]
    moments += [at for each in subscriptions if (at := _trial_warning_at(each)) is not None]
    after = _summary(answer_at(answers, now), plans)
    notified = _packed_access(after)
    noted = {}
    for each in subscriptions:
        ends_soon = _trial_ends_soon(each, now)
        is_ = SubscriptionSummary(
            each.status, each.cancel_at, ends_soon, each.returned, each.replaced_by, each.id in lonely
        )
        if (text := _trimmed(is_, _NOTHING_NOTED)) != seen.of_things.get(each.id):
            noted[each.id] = text
    purchases = _purchases(holdings)
    noted_purchases = {
        each.id: text
        for each in purchases
        if (text := _trimmed((each.returned,), (None,))) != (seen.of_things.get(each.id) or _NOTHING)
    }
    notices: list[News] = []
    addons: list[tuple[str, bool]] = []
    # What is seen as it was is no news, which saves most of the work.
    if noted or noted_purchases or notified != seen.of_user:
        before = _before(seen, after, now)
        notices += [News(kind, before, after) for kind in _kinds_of_user(before, after)]
        for each in subscriptions:
            if each.id in noted:
                was, is_ = (_unpacked_subscription(text) for text in (seen.of_things.get(each.id), noted[each.id]))
                notices += _news_of_subscription(each, before, after, was, is_)
                if was.without_plan != is_.without_plan and is_.status in LIVE:
                    addons.append((each.id, is_.without_plan))
        for each in purchases:
            if each.id in noted_purchases:
                notices += _news_of_purchase(each, before, after, seen.of_things.get(each.id))
        notices.sort(key=lambda news: KINDS.index(news.kind))
    next_change_at = min((at for at in moments if at > now), default=None)
    return Change(notices, notified, noted, next_change_at, noted_purchases, addons)


def _news_of_subscription(
    holding: Holding,
    before: AccessSummary,
    after: AccessSummary,
    was: SubscriptionSummary,
    is_: SubscriptionSummary,
) -> Iterator[News]:
    for kind in _kinds_of_subscription(was, is_):
        yield News(kind, _of(holding, before, was), _of(holding, after, is_), subscription_id=holding.id)


def _news_of_purchase(
    holding: Holding, before: AccessSummary, after: AccessSummary, noted_before: str | None
) -> Iterator[News]:
    was = PurchaseSummary(*json.loads(noted_before or _NOTHING))
    nothing = SubscriptionSummary()
    for kind in _kinds_of_returned(was.returned, holding.returned):
        yield News(kind, _of(holding, before, nothing), _of(holding, after, nothing), purchase_id=holding.id)


def store(user_id: str, change: Change, now: float, kinds: frozenset[str]) -> None:
    """Store the notices of a change that are of these kinds, and what was seen of subscriptions and purchases.

    To be called inside a writing transaction.
    """
    written = [_write(user_id, news, now) for news in change.notices if news.kind in kinds]
    if written:
        outbox.owe([(notice_id, user_id) for notice_id in written], now)
    noted = [(text, subscription_id) for subscription_id, text in change.noted.items()]
    storage.execute_many("UPDATE corkage_subscription SET noted = ? WHERE id = ?", noted)
    noted = [(text, purchase_id) for purchase_id, text in change.noted_purchases.items()]
    storage.execute_many("UPDATE corkage_purchase SET noted = ? WHERE id = ?", noted)


def announce(access: Access, kind: str, holding: Holding, details: Mapping[str, Any], plans: Plans, now: float) -> None:
    """Store a notice of what is to come of a subscription, with its details. Nothing of the access has changed.

    To be called inside a writing transaction.
    """
    noted = SubscriptionSummary(holding.status, holding.cancel_at, _trial_ends_soon(holding, now))
    summary = _of(holding, _summary(access, plans), noted)
    news = News(kind, summary, summary, subscription_id=holding.id, details=json.dumps(dict(details)))
    notice_id = _write(access.user_id, news, now)
    outbox.owe([(notice_id, access.user_id)], now)


def _kinds_of_user(before: AccessSummary, after: AccessSummary) -> Iterator[str]:
    if after.allowed and not before.allowed:
        yield "access_granted"
    if before.allowed and not after.allowed:
        yield "access_revoked"
    if before.allowed and after.allowed and before.bought != after.bought:
        yield "plan_changed"


def _kinds_of_subscription(before: SubscriptionSummary, after: SubscriptionSummary) -> Iterator[str]:
    if before.status not in OWING and after.status in OWING:
        yield "payment_failed"
    if before.status in OWING and after.status in CURRENT:
        yield "payment_recovered"
    yield from _kinds_of_returned(before.returned, after.returned)
    if after.replaced_by and after.status in ENDED and before.status not in ENDED:
        yield "subscription_replaced"
    if after.status not in LIVE:
        return
    if before.cancel_at is None and after.cancel_at is not None:
        yield "cancellation_scheduled"
    if before.cancel_at is not None and after.cancel_at is None:
        yield "cancellation_undone"
    if after.trial_ending and not before.trial_ending:
        yield "trial_ending"
    if after.without_plan and not before.without_plan:
        yield "addon_without_plan"


def _kinds_of_returned(before: str | None, after: str | None) -> Iterator[str]:
    known = before.split(" ") if before else []
    yield from (kind for kind in (after.split(" ") if after else []) if kind not in known)


def _purchases(holdings: Iterable[Holding]) -> list[Holding]:
    """Return a holding for each purchase that is ours or to a plan."""
    found = {each.id: each for each in holdings if each.kind == "purchase" and (each.ours or each.plan)}
    return sorted(found.values(), key=lambda each: (each.created, each.id))


def _subscriptions(holdings: Iterable[Holding], plans: Plans) -> list[Holding]:
    """Return a holding for each subscription that is ours or to a plan: the item of its dearest plan."""
    found: dict[str, Holding] = {}
    for each in sorted(holdings, key=lambda each: (plans.get(each.plan or "", Terms()).rank, each.price_id or "")):
        if each.kind == "subscription" and (each.ours or each.plan):
            found[each.id] = each
    return sorted(found.values(), key=lambda each: (each.created, each.id))


def _of(holding: Holding, access: AccessSummary, summary: SubscriptionSummary) -> AccessSummary:
    """Return the user's access in a notice about one subscription or purchase."""
    named: Any = {"plan": holding.plan, "price_id": holding.price_id, "quantity": holding.quantity}
    return access._replace(**named, **{name: getattr(summary, name) for name in _OF_SUBSCRIPTION})


def _summary(answer: Answer | Access, plans: Plans) -> AccessSummary:
    shared = {name: getattr(answer, name) for name in AccessSummary._fields if name not in ("trial_ending", "plans")}
    return AccessSummary(**shared, plans=tuple(key for key in answer.plans if not plans.get(key, Terms()).is_free))


def _write(user_id: str, news: News, now: float) -> int:
    before, after = json.dumps(news.before._asdict()), json.dumps(news.after._asdict())
    about = (user_id, news.kind, news.subscription_id, news.purchase_id)
    row = (f"ntc_{uuid.uuid4().hex}", *about, before, after, news.details, now)
    return int(storage.rows(_STORE, row)[0][0])


def _before(seen: Seen, after: AccessSummary, now: float) -> AccessSummary:
    """Return the access that was last noticed. Plans of which an earlier version said nothing are no news."""
    values = json.loads(seen.of_user or "[]")
    if not values:
        return AccessSummary()
    facts: dict[str, Any] = dict(zip(_PACKED, values, strict=False))
    if facts.get("plans", ()) is None:
        facts |= {"plans": after.plans, "quantity": after.quantity}
    was = _usual(facts["reason"], facts.get("plan"))._replace(**facts)
    past = (each.price_id for each in reversed(seen.answers) if each.starts_at <= now and each.plan == was.plan)
    return was._replace(plans=tuple(was.plans), price_id=next(past, None))


_ENCODE = json.JSONEncoder(separators=(",", ":")).encode
_PACKED = ("allowed", "reason", "plan", "quantity", "cancel_at", "status", "plans")
_OF_SUBSCRIPTION = ("status", "cancel_at", "trial_ending")
_packing = operator.attrgetter(*_PACKED)


def _packed_access(access: AccessSummary) -> str:
    """Return an access as a JSON list, without its price and without usual values at the end."""
    usual = _usual(access.reason, access.plan)
    return _trimmed(_packing(access), (False, "", None, None, None, usual.status, usual.plans))


def _usual(reason: str, plan: str | None) -> AccessSummary:
    return AccessSummary(reason=reason, plan=plan, status=reason, plans=(plan,) if plan else ())


def _unpacked_subscription(text: str | None) -> SubscriptionSummary:
    return SubscriptionSummary(*json.loads(text or "[]"))


def _trimmed(values: Sequence[object], defaults: Sequence[object]) -> str:
    """Return values as a JSON list without the defaults at its end: every user's row holds one."""
    kept = list(values)
    while kept and kept[-1] == defaults[len(kept) - 1]:
        kept.pop()
    return _ENCODE(kept)


def _trial_ends_soon(holding: Holding, now: float) -> bool:
    at = _trial_warning_at(holding)
    return at is not None and at <= now


def _trial_warning_at(holding: Holding) -> int | None:
    """Return when, by our clock, a trial that will be paid for has three days left."""
    is_to_be_paid = holding.status == "trialing" and holding.cancel_at is None and not holding.pause_behavior
    if not is_to_be_paid or holding.trial_end is None:
        return None
    return holding.trial_end - TRIAL_ENDS_SOON_SECONDS - holding.clock_ahead
