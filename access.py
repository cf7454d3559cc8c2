"""Access: may this user in, and why. The rule is `timeline`: what a user holds becomes answers with their moments."""

import json
import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from . import storage

RULE_VERSION = 1
"""Raised by every change of the rule that changes an answer. Stored timelines of an older rule are computed again."""

FOREVER = 253_402_300_799  # the last second of the year 9999
KEPT_SECONDS = 86_400  # answers that ended no longer ago stay, for clocks that step back or run behind
UNLIMITED = "unlimited"

# Stripe's statuses of a subscription, in groups. A status that is unknown is in none of them.
CURRENT = ("active", "trialing")  # nothing is owed
LIVE = (*CURRENT, "past_due")  # the only ones that can let a user in
OWING = ("past_due", "unpaid")
ENDED = ("canceled", "incomplete_expired")  # for ever
LETS_NOBODY_IN = ("unpaid", "paused", "incomplete")

Limits = Mapping[str, int | str]
NO_LIMITS: Limits = {}

REASONS = {
    "active": "paid, and going on",
    "trialing": "in a trial",
    "canceling": "paid or in a trial, and ends at `cancel_at`",
    "payment_pending": 'the first payment is on its way; let in unless the plan says `pending = "deny"`',
    "collection_paused": "you paused collection; let in, with behavior `void` only until the paid period ends",
    "grace": "a renewal failed; let in for the plan's `grace_days`",
    "granted": "given by you, not paid",
    "past_due": "a renewal failed, and the plan's grace is over or none",
    "unpaid": "Stripe gave up collecting",
    "paused": "Stripe paused it; or you paused collection with behavior `void`, and the paid period is over",
    "incomplete": "the first payment has not succeeded",
    "refunded": "what was last paid has been refunded",
    "disputed": "what was last paid is disputed, or the dispute is lost",
    "addon_only": "has an add-on, and none of the plans that it adds to",
    "ended": "canceled, never begun, or a grant that is over",
    "free": "holds nothing; the free plan gives its features",
    "no_subscription": "never subscribed",
    "unknown_price": "subscribed to something that is neither in plans.toml nor bought through Corkage",
    "unknown_status": "Stripe reports a status that this version does not know",
}


class Terms(NamedTuple):
    """What a plan gives, and on which terms.

    Shape   rank: its place in plans.toml, where the cheapest stands first; -1 when it was taken out of the file;
            adds_to: the plans that an add-on adds to; is_pack: gives credit to use, and nothing else;
            lasts_seconds: how long what is bought once lasts, None for ever
    """

    features: tuple[str, ...] = ()
    limits: Limits = NO_LIMITS
    grace_seconds: int = 0
    denies_pending: bool = False
    rank: int = -1
    is_free: bool = False
    adds_to: tuple[str, ...] = ()
    is_pack: bool = False
    lasts_seconds: int | None = None
    keeps_refunded: bool = False
    keeps_disputed: bool = False


Plans = Mapping[str, Terms]


class Holding(NamedTuple):
    """One thing that a user holds: an item of a subscription, a one-time purchase, or a grant.

    Shape   kind: "subscription", "purchase" or "grant"; id: of the subscription, the purchase or the grant;
            plan: the plan that its price stands for; ours: sold through us, whatever its price;
            unpaid_since: when the oldest unpaid invoice after the last paid one was due;
            payment_pending: an invoice above zero is open, and none above zero was ever paid;
            pause_behavior and resumes_at: of Stripe's `pause_collection`; paid_until: the end of the last paid period;
            returned: "refunded", "disputed", or both with a space between, where that became of what was last paid;
            ends_at: of a grant, None for one without an end; replaced_by: the purchase that took a subscription's place
    Units   times are Unix seconds, UTC, by a clock that is clock_ahead seconds ahead of ours: that of a test clock
    """

    kind: str
    id: str
    created: int
    plan: str | None = None
    price_id: str | None = None
    quantity: int | None = None
    status: str | None = None
    ours: bool = False
    current_period_end: int | None = None
    cancel_at: int | None = None
    trial_end: int | None = None
    unpaid_since: int | None = None
    payment_pending: bool = False
    pause_behavior: str | None = None
    resumes_at: int | None = None
    paid_until: int | None = None
    returned: str | None = None
    ends_at: int | None = None
    clock_ahead: int = 0
    replaced_by: str | None = None


class Answer(NamedTuple):
    """One answer of a timeline.

    Shape   reason is one of REASONS; plans: the plans that let in, the add-ons in force and the free plan, in the order
            of plans.toml; plan, price_id, quantity, status, cancel_at and until are those of the best holding
    Units   starts_at, ends_at and stale_at are Unix seconds by our clock; until and cancel_at by Stripe's
    """

    starts_at: int
    ends_at: int
    allowed: bool
    reason: str
    plan: str | None = None
    plans: tuple[str, ...] = ()
    price_id: str | None = None
    quantity: int | None = None
    features: tuple[str, ...] = ()
    limits: Limits = NO_LIMITS
    until: int | None = None
    status: str | None = None
    cancel_at: int | None = None
    stale_at: int | None = None


class _Phase(NamedTuple):
    """What a holding does by itself from a moment on."""

    starts_at: int
    lets_in: bool
    reason: str
    until: int | None = None


class _Held(NamedTuple):
    """A holding in one of its phases, with the terms of its plan."""

    holding: Holding
    terms: Terms
    lets_in: bool
    reason: str
    until: int | None


class _Given(NamedTuple):
    """What all that is held gives together."""

    plans: tuple[str, ...]
    features: tuple[str, ...]
    limits: Limits


def timeline(holdings: Iterable[Holding], plans: Plans, now: float) -> list[Answer]:
    """Return a user's answers in order. One is in force at any time: the first begins at 0, the last never ends.

    Time alone makes a new answer only where the clock is ours: grace, the end of a grant or of what was bought for some
    days, collection that is paused. Answers that ended more than a day before `now` are left out.
    """
    known = [(each, plans.get(each.plan or "", Terms())) for each in in_sequence(holdings, plans)]
    phased = [(each, terms, _phases(each, terms)) for each, terms in known if not terms.is_pack]
    answers: list[Answer] = []
    starts: list[int] = []
    for moment in sorted({0, *(phase.starts_at for _, _, phases in phased for phase in phases)}):
        held = []
        for holding, terms, phases in phased:
            phase = next(phase for phase in reversed(phases) if phase.starts_at <= moment)
            held.append(_Held(holding, terms, phase.lets_in, phase.reason, phase.until))
        answer = _together(held, plans)
        if not answers or answer != answers[-1]:
            answers.append(answer)
            starts.append(moment)
    ends = [*starts[1:], FOREVER]
    first = next(number for number, end in enumerate(ends) if end > now - KEPT_SECONDS)
    starts[first] = 0
    bounded = list(zip(answers, starts, ends, strict=True))[first:]
    return [
        each if (start, end) == (0, FOREVER) else each._replace(starts_at=start, ends_at=end)
        for each, start, end in bounded
    ]


def in_sequence(holdings: Iterable[Holding], plans: Plans) -> list[Holding]:
    """Return the holdings, with when each purchase ends that lasts some days, unless that is known.

    Days that are bought again before they are over are added to those that are left: the newer purchase then ends
    later, and takes the place of the older. Different quantities are no such sequence, and stay side by side.
    """
    found = list(holdings)
    lasting = [number for number, each in enumerate(found) if _lasts(each, plans)]
    ends: dict[tuple[str | None, int], int] = {}
    last: dict[tuple[str | None, int], int] = {}
    for number in sorted(lasting, key=lambda number: _oldest_first(found[number])):
        each = found[number]
        key = each.plan, each.quantity or 1
        if each.created < ends.get(key, 0):
            found[last[key]] = found[last[key]]._replace(ends_at=each.created)
        ends[key] = max(each.created, ends.get(key, 0)) + (plans[each.plan or ""].lasts_seconds or 0)
        last[key] = number
        found[number] = each._replace(ends_at=ends[key])
    return found


def _lasts(holding: Holding, plans: Plans) -> bool:
    """Return whether it was bought once, lasts some days, and nothing was given back."""
    if holding.kind != "purchase" or holding.ends_at is not None:
        return False
    terms = plans.get(holding.plan or "", Terms())
    return terms.lasts_seconds is not None and given_back(holding.returned, terms) is None


def _oldest_first(holding: Holding) -> tuple[int, str, str]:
    return holding.created, holding.id, holding.price_id or ""


def answer_at(answers: Iterable[Answer], now: float) -> Answer:
    """Return the answer that is in force."""
    return next(each for each in answers if each.starts_at <= now < each.ends_at)


def _phases(holding: Holding, terms: Terms) -> list[_Phase]:
    """Return what the holding does by itself from 0 on, and from each moment at which time alone changes that."""
    phases = _OF_KIND[holding.kind](holding, terms)
    if len(phases) == 1 and phases[0].starts_at == 0:
        return phases
    by_start = {phase.starts_at and max(0, phase.starts_at - holding.clock_ahead): phase for phase in phases}
    return [phase._replace(starts_at=start) for start, phase in sorted(by_start.items()) if start < FOREVER]


def _of_grant(holding: Holding, _: Terms) -> list[_Phase]:
    return _lasting(holding.ends_at, "granted")


def _of_purchase(holding: Holding, terms: Terms) -> list[_Phase]:
    if not (holding.ours or holding.plan):
        return [_Phase(0, False, "unknown_price")]
    if returned := given_back(holding.returned, terms):
        return [_Phase(0, False, returned)]
    return _lasting(holding.ends_at, "active")


def _lasting(ends_at: int | None, reason: str) -> list[_Phase]:
    begins = _Phase(0, True, reason, ends_at)
    return [begins] if ends_at is None else [begins, _Phase(ends_at, False, "ended")]


def given_back(returned: str | None, terms: Terms) -> str | None:
    """Return what ends the access that was paid for: "refunded" or "disputed". None: nothing does, by the terms."""
    keeps = {"refunded": terms.keeps_refunded, "disputed": terms.keeps_disputed}
    became = returned.split(" ") if returned else []
    return next((each for each in became if not keeps.get(each, False)), None)


def _of_subscription(holding: Holding, terms: Terms) -> list[_Phase]:
    status = holding.status or ""
    if status in ENDED:
        return [_Phase(0, False, "ended")]
    if not (holding.ours or holding.plan):
        return [_Phase(0, False, "unknown_price")]
    if status not in LIVE:
        return [_Phase(0, False, status if status in LETS_NOBODY_IN else "unknown_status")]
    if returned := given_back(holding.returned, terms):
        return [_Phase(0, False, returned)]
    if status == "past_due":
        return _of_debt(holding, terms)
    if holding.pause_behavior:
        return _of_paused_collection(holding, terms)
    return [_going_on(holding, terms)]


def _of_debt(holding: Holding, terms: Terms) -> list[_Phase]:
    never_paid = holding.payment_pending and terms.denies_pending
    if holding.unpaid_since is None or not terms.grace_seconds or never_paid:
        return [_Phase(0, False, "past_due")]
    ends_at = holding.unpaid_since + terms.grace_seconds
    return [_Phase(0, True, "grace", ends_at), _Phase(ends_at, False, "past_due")]


def _going_on(holding: Holding, terms: Terms) -> _Phase:
    """Return the phase of a subscription of which nothing is owed, and which nobody paused."""
    if holding.cancel_at is not None:
        until: int | None = holding.cancel_at
    else:
        until = holding.trial_end if holding.status == "trialing" else holding.current_period_end
    if holding.status == "active" and holding.payment_pending:
        return _Phase(0, not terms.denies_pending, "payment_pending", until)
    return _Phase(0, True, holding.status or "" if holding.cancel_at is None else "canceling", until)


def _of_paused_collection(holding: Holding, terms: Terms) -> list[_Phase]:
    """Return the phases while Stripe collects nothing: with "void", nobody will ever pay for the periods that begin."""
    resumed = _going_on(holding, terms)
    is_void = holding.pause_behavior == "void"
    ends = [each for each in (holding.cancel_at, holding.paid_until if is_void else None) if each is not None]
    reason = "collection_paused" if resumed.reason in CURRENT else resumed.reason
    phases = [resumed._replace(reason=reason, until=min(ends, default=None))]
    if is_void:
        phases.append(_Phase(holding.paid_until or 0, False, "paused"))
    if holding.resumes_at is not None:
        phases = [phase for phase in phases if phase.starts_at < holding.resumes_at]
        phases.append(resumed._replace(starts_at=holding.resumes_at))
    return phases


def lonely_addons(holdings: Iterable[Holding], plans: Plans, now: float) -> frozenset[str]:
    """Return the subscriptions of ours that go on, to nothing but add-ons to plans of which the user holds none.

    A plan that lets nobody in at the moment is held until it has ended. What is held of an unknown plan may be any.
    """
    held = list(holdings)
    terms_of = {each.plan: plans.get(each.plan or "", Terms()) for each in held}
    if not any(terms.adds_to for terms in terms_of.values()):  # as of most users
        return frozenset()
    going_on: dict[str, list[Terms]] = {}
    for each in held:
        if each.ours and each.status in LIVE:  # a status is a subscription's
            going_on.setdefault(each.id, []).append(terms_of[each.plan])
    addons = {id_: items for id_, items in going_on.items() if all(terms.adds_to for terms in items)}
    if not addons:
        return frozenset()
    bases = {each.plan for each in held if _is_held(each, terms_of[each.plan], now)}
    named = {id_: {plan for terms in items for plan in terms.adds_to} for id_, items in addons.items()}
    return frozenset(id_ for id_, wanted in named.items() if None not in bases and not bases & wanted)


def _is_held(holding: Holding, terms: Terms, now: float) -> bool:
    if not (holding.ours or holding.plan):
        return False
    phase = next(each for each in reversed(_phases(holding, terms)) if each.starts_at <= now)
    is_returned = holding.kind == "purchase" and phase.reason == "refunded"
    return phase.reason != "ended" and not is_returned


_OF_KIND = {"subscription": _of_subscription, "purchase": _of_purchase, "grant": _of_grant}


def _together(held: list[_Held], plans: Plans) -> Answer:
    """Return the answer for all that is held at one moment. Nothing that is held takes anything away."""
    bases = [each for each in held if not each.terms.adds_to]
    letting_in = [each for each in bases if each.lets_in]
    named = {each.holding.plan for each in letting_in if each.holding.plan}
    addons = [each for each in held if each.lets_in and named.intersection(each.terms.adds_to)]
    free = {key for key, terms in plans.items() if terms.is_free}
    in_force = named | free | {each.holding.plan for each in addons if each.holding.plan}
    keys = tuple(sorted(in_force, key=lambda key: (plans.get(key, Terms()).rank, key)))
    best = min(letting_in, key=_order_in, default=None) or min(bases or held, key=_order_out, default=None)
    first = [best.terms] if best and best.lets_in and not best.terms.adds_to else []
    features = (feature for terms in (*first, *map(plans.get, keys)) if terms for feature in terms.features)
    limits = _limits([plans[key] for key in named | free if key in plans], addons)
    given = _Given(keys, tuple(dict.fromkeys(features)), limits)
    return _of_best(best, letting_in, given) if best else _of_nothing(min(free, default=None), given)


def _of_best(best: _Held, letting_in: list[_Held], given: _Given) -> Answer:
    """Return the answer of the best holding, with what all give."""
    holding, is_allowed = best.holding, bool(letting_in)
    same = [each.holding.quantity for each in letting_in if each.holding.plan == holding.plan] or [holding.quantity]
    counted = [each for each in same if each is not None]
    return Answer(
        0,
        FOREVER,
        is_allowed,
        "addon_only" if best.lets_in and not is_allowed else best.reason,
        plan=holding.plan,
        plans=given.plans,
        price_id=holding.price_id,
        quantity=sum(counted) if counted else None,
        features=given.features,
        limits=given.limits,
        until=best.until if is_allowed else None,
        status=holding.status,
        cancel_at=holding.cancel_at,
        stale_at=_stale_at(holding),
    )


def _of_nothing(free: str | None, given: _Given) -> Answer:
    reason = "free" if free else "no_subscription"
    return Answer(0, FOREVER, False, reason, free, given.plans, features=given.features, limits=given.limits)


def _order_in(held: _Held) -> tuple[object, ...]:
    """Return the sort key of what lets in, best first: paid before granted, the later in plans.toml, what is paid for
    before a trial and what may be paid, the newest.
    """
    is_unpaid = held.reason in ("trialing", "payment_pending")
    return held.holding.kind == "grant", -held.terms.rank, is_unpaid, *_newest_first(held)


def _order_out(held: _Held) -> tuple[object, ...]:
    """Return the sort key of what lets nobody in, best first: what could, what has not ended, what is nearer, the
    newest.
    """
    is_unknown, is_ended = held.reason == "unknown_price", held.reason == "ended"
    return is_unknown, is_ended, held.holding.status not in LIVE, *_newest_first(held)


def _newest_first(held: _Held) -> tuple[object, ...]:
    """Return a sort key that puts any two holdings in the same order, whichever was read first."""
    holding = held.holding
    return -holding.created, holding.id, -held.terms.rank, holding.plan or "", holding.price_id or ""


def _limits(bases: list[Terms], addons: list[_Held]) -> Limits:
    """Return the largest of each limit among the plans, plus what the add-ons give, each as often as it is held."""
    limits: dict[str, int | str] = {}
    for terms in bases:
        for name, limit in terms.limits.items():
            limits[name] = _larger(limits.get(name, 0), limit)
    for each in addons:
        times = 1 if each.holding.quantity is None else each.holding.quantity
        for name, limit in each.terms.limits.items():
            before = limits.get(name, 0)
            are_numbers = isinstance(before, int) and isinstance(limit, int)
            limits[name] = int(before) + int(limit) * times if are_numbers else UNLIMITED
    return dict(sorted(limits.items()))


def _larger(one: int | str, other: int | str) -> int | str:
    return max(one, other) if isinstance(one, int) and isinstance(other, int) else UNLIMITED


def _stale_at(holding: Holding) -> int | None:
    """Return when, by our clock, Stripe must have said what comes next; None for what has no end at Stripe."""
    ends = next_end(holding) if holding.status in LIVE else None
    return None if ends is None else ends - holding.clock_ahead


def next_end(holding: Any) -> int | None:
    """Return when a subscription, as fetched or as stored, changes at Stripe by itself; None when it does not."""
    trial_end = holding.trial_end if holding.status == "trialing" else None
    ends = (holding.current_period_end, holding.cancel_at, trial_end, holding.resumes_at)
    return min((each for each in ends if each is not None), default=None)


class Access(NamedTuple):
    """Whether a user may in, and why: a row of the view corkage_access.

    Shape   reason is one of REASONS or, for a visitor, not_signed_in; plan, price_id, quantity, until, status and
            cancel_at are those of the best thing that the user holds; plans, features and limits are those of all
            together, with the free plan's; a limit is a number or "unlimited", and one that is absent is 0
    Units   until and cancel_at are Unix seconds, UTC; until is when the answer may change, None when it will not
    """

    user_id: str
    allowed: bool
    reason: str
    plan: str | None = None
    price_id: str | None = None
    quantity: int | None = None
    features: tuple[str, ...] = ()
    until: int | None = None
    status: str | None = None
    cancel_at: int | None = None
    stale: bool = False
    plans: tuple[str, ...] = ()
    limits: Limits = NO_LIMITS


def access_of(user_id: str, answer: Answer, now: float) -> Access:
    """Return an answer of a timeline as the access of a user."""
    is_stale = answer.stale_at is not None and answer.stale_at <= now
    shared = {name: getattr(answer, name) for name in Access._fields if name not in ("user_id", "stale")}
    return Access(user_id, **shared, stale=is_stale)


# The view looks an answer up, so it is the same in any language, and time passes without a job. It must run in readers'
# SQLite of ten years ago. NOBODY's answer is that of a user without a row.
NOBODY = ""
_SAID = """allowed, reason, plan, price_id, quantity, features, until, status, cancel_at,
    coalesce(stale_at <= {now}, 1 = 0) AS stale, plans, limits
FROM corkage_answer
WHERE starts_at <= {now} AND {now} < ends_at AND user_id
"""
_IN_FORCE = f"\nSELECT\n    user_id, {_SAID}"
IN_FORCE_AT = "starts_at <= ? AND ? < ends_at"
"""Which answer of a user is in force, in SQL, for a query that joins it to other tables; it takes the moment twice."""
ACCESS_VERSION = 2  # for readers of the views in other languages: raised by every change but a new column
VIEWS = {
    "corkage_access": f"{_IN_FORCE} <> '{NOBODY}'",
    "corkage_access_default": f"{_IN_FORCE} = '{NOBODY}'",
}
"""The views, with a place for the present second in the words of the engine."""
_AT = f"SELECT {_SAID.format(now='?')} = ?"


def for_member(access: Access) -> Access:
    """Return what a member, who may not buy, sees of an access: no price, and not that the plan was canceled."""
    reason = "active" if access.reason == "canceling" else access.reason
    until = access.until if access.cancel_at is None else None
    return access._replace(price_id=None, cancel_at=None, reason=reason, until=until)


def read_access(user_id: str) -> Access:
    """Return the user's access: one local SELECT, no network, no ORM.

    Errors  DatabaseUnavailable when the database cannot be read
    """
    return access_at(user_id, time.time())


def access_at(user_id: str, now: float) -> Access:
    """Return the user's access at this moment, from the same rows as the view.

    Errors  DatabaseUnavailable when the database cannot be read
    """
    at = int(now)
    row = storage.row(_AT, (at, at, at, user_id)) or storage.row(_AT, (at, at, at, NOBODY))
    if row is None:
        return Access(user_id, allowed=False, reason="no_subscription")
    allowed, reason, plan, price, quantity, features, until, status, cancel_at, stale, plans, limits = row
    return Access(
        user_id,
        allowed == 1,
        reason,
        plan,
        price,
        quantity,
        _parsed(features),
        until,
        status,
        cancel_at,
        stale == 1,
        _parsed(plans),
        {} if limits == "{}" else json.loads(limits),
    )


@lru_cache(maxsize=1024)
def _parsed(names: str) -> tuple[str, ...]:
    return tuple(json.loads(names))
