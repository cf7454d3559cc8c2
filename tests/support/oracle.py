"""The rule of access once more, written independently: what is true at one moment. It shares no code with access.py.

access.py computes phases and merges them into a timeline. This asks, of each holding, one question after the other.
"""

from typing import Any, NamedTuple

FOREVER = 253_402_300_799


def compared(answer: Any) -> dict[str, Any]:
    """Return an answer of a timeline as this oracle gives it."""
    values = answer._asdict() | {"features": tuple(sorted(answer.features)), "limits": dict(answer.limits)}
    return {name: value for name, value in values.items() if name not in ("starts_at", "ends_at")}


class Word(NamedTuple):
    """What a holding says by itself at one moment."""

    lets_in: bool
    reason: str
    until: int | None = None


def alone(holding: Any, terms: Any, at: float, also: Any = ()) -> Word:
    """Return what a holding says by itself at a moment of our clock. also: all that is held, for days that add up."""
    clock = at + holding.clock_ahead  # the holding's own time
    if holding.kind == "grant":
        is_over = holding.ends_at is not None and clock >= holding.ends_at
        return Word(False, "ended") if is_over else Word(True, "granted", holding.ends_at)
    if holding.kind == "purchase":
        return _bought(holding, terms, clock, also or [holding])
    return _subscribed(holding, terms, clock)


def _taken_back(holding: Any, terms: Any) -> str:
    became = (holding.returned or "").split(" ")
    if "refunded" in became and not terms.keeps_refunded:
        return "refunded"
    return "disputed" if "disputed" in became and not terms.keeps_disputed else ""


def _bought(holding: Any, terms: Any, clock: float, also: Any) -> Word:
    if holding.plan is None and not holding.ours:
        return Word(False, "unknown_price")
    if _taken_back(holding, terms):
        return Word(False, _taken_back(holding, terms))
    if terms.lasts_seconds is None:
        return Word(True, "active")
    end = _end_of_days(holding, terms, also)
    return Word(True, "active", end) if clock < end else Word(False, "ended")


def _end_of_days(holding: Any, terms: Any, also: Any) -> int:
    """Return when the days end: all that were bought up to this purchase, one after the other; or when more are bought
    before that.
    """
    same = [
        each
        for each in also
        if each.kind == "purchase" and each.plan == holding.plan and (each.quantity or 1) == (holding.quantity or 1)
        if not _taken_back(each, terms)
    ]
    same.sort(key=lambda each: (each.created, each.id, each.price_id or ""))
    at = next(number for number, each in enumerate(same) if each is holding)
    end = 0
    for each in same[: at + 1]:
        end = terms.lasts_seconds + max(end, each.created)
    later = same[at + 1].created if len(same) > at + 1 else end
    return min(end, later)


def _subscribed(holding: Any, terms: Any, clock: float) -> Word:
    status = holding.status
    if status == "canceled" or status == "incomplete_expired":
        return Word(False, "ended")
    if holding.plan is None and not holding.ours:
        return Word(False, "unknown_price")
    if status in {"unpaid", "paused", "incomplete"}:
        return Word(False, status)
    if status not in {"active", "trialing", "past_due"}:
        return Word(False, "unknown_status")
    if _taken_back(holding, terms):
        return Word(False, _taken_back(holding, terms))
    if status == "past_due":
        return _owed(holding, terms, clock)
    return _running(holding, terms, clock)


def _owed(holding: Any, terms: Any, clock: float) -> Word:
    has_grace = holding.unpaid_since is not None and terms.grace_seconds > 0
    if holding.payment_pending and terms.denies_pending:
        has_grace = False
    if has_grace and clock - holding.unpaid_since < terms.grace_seconds:
        return Word(True, "grace", holding.unpaid_since + terms.grace_seconds)
    return Word(False, "past_due")


def _running(holding: Any, terms: Any, clock: float) -> Word:
    is_paused = holding.pause_behavior is not None
    if is_paused and holding.resumes_at is not None and holding.resumes_at <= clock:
        is_paused = False
    is_void = is_paused and holding.pause_behavior == "void"
    if is_void and (holding.paid_until is None or holding.paid_until <= clock):
        return Word(False, "paused")
    if holding.status == "active" and holding.payment_pending:
        lets_in, reason = not terms.denies_pending, "payment_pending"
    elif holding.cancel_at is not None:
        lets_in, reason = True, "canceling"
    else:
        lets_in, reason = True, "collection_paused" if is_paused else holding.status
    if is_paused:
        known = {holding.cancel_at, holding.paid_until if is_void else None} - {None}
        return Word(lets_in, reason, min(known) if known else None)
    if holding.cancel_at is not None:
        return Word(lets_in, reason, holding.cancel_at)
    return Word(lets_in, reason, holding.trial_end if holding.status == "trialing" else holding.current_period_end)


def together(holdings: Any, plans: Any, at: float, no_terms: Any) -> dict[str, Any]:
    """Return the answer at a moment, without when it begins and ends. Features come sorted."""
    held = [(each, plans.get(each.plan, no_terms)) for each in holdings]
    said = [(each, terms, alone(each, terms, at, holdings)) for each, terms in held if not terms.is_pack]
    bases = [each for each in said if not each[1].adds_to]
    inside = [each for each in bases if each[2].lets_in]
    based_on = {each.plan for each, _, _ in inside}
    addons = [each for each in said if each[2].lets_in and any(plan in based_on for plan in each[1].adds_to)]
    free = sorted(key for key, terms in plans.items() if terms.is_free)
    in_force = {each.plan for each, _, _ in [*inside, *addons] if each.plan is not None} | set(free)
    answer = _of_one(inside, bases or said, free)
    ranked = sorted(in_force, key=lambda key: (plans[key].rank if key in plans else -1, key))
    features = {feature for key in in_force if key in plans for feature in plans[key].features}
    counted = [plans[key].limits for key in in_force if key in plans and not plans[key].adds_to]
    added = [(terms.limits, each.quantity) for each, terms, _ in addons]
    return answer | {"plans": tuple(ranked), "features": tuple(sorted(features)), "limits": _limits(counted, added)}


def _of_one(inside: Any, outside: Any, free: list[str]) -> dict[str, Any]:
    names = ("plan", "price_id", "quantity", "until", "status", "cancel_at", "stale_at")
    if not (inside or outside):
        nothing = dict.fromkeys(names) | {"allowed": False, "reason": "free" if free else "no_subscription"}
        return nothing | {"plan": free[0] if free else None}
    best, _, word = _best_inside(inside) if inside else _best_outside(outside)
    same = [each.quantity for each, _, _ in inside if each.plan == best.plan] if inside else [best.quantity]
    numbers = [quantity for quantity in same if quantity is not None]
    return {
        "allowed": bool(inside),
        "reason": word.reason if inside or not word.lets_in else "addon_only",
        "plan": best.plan,
        "price_id": best.price_id,
        "quantity": sum(numbers) if numbers else None,
        "until": word.until if inside else None,
        "status": best.status,
        "cancel_at": best.cancel_at,
        "stale_at": _stale_at(best),
    }


def _best_inside(inside: Any) -> Any:
    """Sieve: at each step only the best remain."""
    left = [each for each in inside if each[0].kind != "grant"] or inside
    highest = max(terms.rank for _, terms, _ in left)
    left = [each for each in left if each[1].rank == highest]
    left = [each for each in left if each[2].reason not in {"trialing", "payment_pending"}] or left
    return _newest(left)


def _best_outside(outside: Any) -> Any:
    left = [each for each in outside if each[2].reason != "unknown_price"] or outside
    left = [each for each in left if each[2].reason != "ended"] or left
    left = [each for each in left if each[0].status in {"active", "trialing", "past_due"}] or left
    return _newest(left)


def _newest(left: Any) -> Any:
    """Of equally new ones, and of the items of one subscription, any order must give the same."""
    newest = max(each.created for each, _, _ in left)
    left = [each for each in left if each[0].created == newest]
    first = min(each[0].id for each in left)
    left = [each for each in left if each[0].id == first]
    highest = max(terms.rank for _, terms, _ in left)
    left = [each for each in left if each[1].rank == highest]
    return min(left, key=lambda each: (each[0].plan or "", each[0].price_id or ""))


def _stale_at(holding: Any) -> int | None:
    if holding.status not in {"active", "trialing", "past_due"}:
        return None
    ends = [holding.current_period_end, holding.cancel_at, holding.resumes_at]
    ends += [holding.trial_end] if holding.status == "trialing" else []
    known = [end for end in ends if end is not None]
    return min(known) - holding.clock_ahead if known else None


def _limits(plans: Any, added: Any) -> dict[str, int | str]:
    names = {name for limits in plans for name in limits} | {name for limits, _ in added for name in limits}
    found: dict[str, int | str] = {}
    for name in names:
        most = [limits[name] for limits in plans if name in limits]
        more = [(limits[name], 1 if quantity is None else quantity) for limits, quantity in added if name in limits]
        if "unlimited" in most or any(limit == "unlimited" for limit, _ in more):
            found[name] = "unlimited"
        else:
            found[name] = max(most, default=0) + sum(limit * times for limit, times in more)
    return found
