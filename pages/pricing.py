"""The pricing page: the plans at one interval and currency, each with a button for this visitor."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..access import ENDED, Access, Holding
from ..models import Customer, Price, Subscription, User
from ..plans import Plan
from ..selling.buyer import had_trial
from ..selling.held import held_by_group, held_for_good, is_covered
from . import N_
from .words import Words, money, period

FAR = float("inf")  # to pay once stands last
MONTHS = {"day": 12 / 365, "week": 84 / 365, "month": 1.0, "year": 12.0}
ONCE = ("", 1)
INTERVALS = {("month", 1): N_("Monthly"), ("year", 1): N_("Yearly"), ONCE: N_("Pay once")}
SWITCHES = {("month", 1): N_("Pay monthly"), ("year", 1): N_("Pay yearly")}


NOTHING: Mapping[str, int] = {}


class Switch(NamedTuple):
    """A link that chooses an interval or a currency: the query of its address."""

    label: str
    query: dict[str, str]
    is_chosen: bool


class Offer(NamedTuple):
    """A plan on the page. An empty text is not shown, and no button for what cannot be sold to this visitor.

    Shape   action: "checkout" with `value` for its `plan`, "sign_in", "account" for the present plan, or none
    """

    name: str
    description: str
    points: tuple[str, ...]
    amount: str
    is_sold: bool
    seats: "Seats | None"
    period: str
    saving: str
    trial: str
    is_present: bool
    action: str
    value: str
    button: str


class Seats(NamedTuple):
    """How many of a plan can be bought, and how many there are now."""

    least: int
    most: int
    now: int


class Pricing(NamedTuple):
    intervals: tuple[Switch, ...]
    currencies: tuple[Switch, ...]
    offers: tuple[Offer, ...]


class Visitor(NamedTuple):
    """The visitor: somebody who is not signed in, or a user with their access.

    Shape   held: the best item of each group of which the user has a subscription;
            currency: in which the user pays, and must go on to; None while they are free to choose;
            may_buy: False where somebody else buys for them; for_good: see selling/held.py, held_for_good
    """

    access: Access | None
    had_trial: bool
    held: Mapping[str, Holding]
    currency: str | None = None
    may_buy: bool = True
    for_good: Mapping[str, int] = NOTHING


def visitor_of(
    access: Access | None, plans: Mapping[str, Plan], *, buyer_id: str | None = None, may_buy: bool = True
) -> Visitor:
    """Return the visitor with this access; None is a visitor who is not signed in.

    Shape   buyer_id: who buys, where that is not the user themselves: they get one trial between them
    """
    people = [each for each in (access.user_id if access else None, buyer_id) if each is not None]
    was_tried = had_trial(people)
    user = None if access is None else User.get_or_none(User.id == access.user_id)
    if user is None:
        return Visitor(access, was_tried, held={}, may_buy=may_buy)
    running = (Customer.user == user.id, Subscription.status.not_in(ENDED), Subscription.currency.is_null(False))
    paid = Subscription.select(Subscription.currency).join(Customer).where(*running).limit(1).scalar()
    for_good = held_for_good(user.id, plans)
    return Visitor(access, was_tried, held_by_group(user.id, plans), paid, may_buy, for_good)


def points_of(plan: Plan) -> tuple[str, ...]:
    """Return a plan's selling points or, where it has none, its features."""
    return plan.points or feature_labels(plan.features)


def feature_labels(features: Iterable[str]) -> tuple[str, ...]:
    return tuple(feature[:1].upper() + feature[1:].replace("_", " ") for feature in features)


class PriceList:
    """The prices on sale, in the order of plans.toml. A plan shows its first price at an interval and currency."""

    def __init__(self, plans: Iterable[Plan], sold: Iterable[Price], unsold: Iterable[str] = ()) -> None:
        """Make the list of these prices. unsold: the names of prices that cannot be sold."""
        rows, self._unsold = list(sold), set(unsold)
        by_name = {row.id: row for row in rows} | {row.lookup_key: row for row in rows if row.lookup_key}
        self.plans = tuple(plans)
        self._named = {
            plan.key: [(name, by_name[name]) for name in plan.prices if name in by_name] for plan in self.plans
        }
        self.rows = [row for plan in self.plans for _, row in self._named[plan.key]]
        self._by_key = {plan.key: plan for plan in self.plans}

    def describe(self, visitor: Visitor, wanted: dict[str, str], words: Words) -> Pricing:
        """Return the page for a visitor. `wanted` may name an "interval" and a "currency"; unknown ones are ignored.

        A member, who may not buy, sees what the plans are and nothing of what they cost.
        """
        intervals = self._intervals()
        currencies = [visitor.currency] if visitor.currency else []
        currencies = currencies or list(dict.fromkeys(row.currency or "" for row in self.rows))
        held = next((row for row in self.rows if visitor.access and row.id == visitor.access.price_id), None)
        by_key = {_key(each): each for each in intervals}
        present = _interval(held) if held and _interval(held) in intervals else next(iter(intervals), None)
        interval = by_key.get(wanted.get("interval", "")) or present
        currency = wanted.get("currency", "").lower()
        if currency not in currencies:
            currency = (held.currency or "") if held and not visitor.currency else next(iter(currencies), "")
        offers = tuple(
            self._offer(plan, interval, currency, visitor, words) for plan in self.plans if _is_offered(plan, visitor)
        )
        if not visitor.may_buy:
            return Pricing((), (), tuple(map(_without_cost, offers)))
        return Pricing(
            tuple(
                Switch(_interval_label(each, words), _query(each, currency, currencies), each == interval)
                for each in sorted(intervals, key=lambda each: _months(each) or FAR)
            ),
            tuple(Switch(each.upper(), _query(interval, each, currencies), each == currency) for each in currencies),
            offers,
        )

    def _intervals(self) -> list[tuple[str, int]]:
        """Return the intervals to choose from: to pay once is one, where a plan can be paid otherwise, too."""
        recurring = list(dict.fromkeys(_interval(row) for row in self.rows if row.interval))
        kinds = [{bool(row.interval) for _, row in named} for named in self._named.values()]
        return [*recurring, ONCE] if {True, False} in kinds else recurring

    def _offer(
        self, plan: Plan, interval: tuple[str, int] | None, currency: str, visitor: Visitor, words: Words
    ) -> Offer:
        name, row = self._chosen(plan, interval, currency, visitor.currency)
        is_unknown = not self._named[plan.key] and not self._unsold.issuperset(plan.prices)
        is_sold = row is not None or is_unknown
        is_once = row is not None and not row.interval
        trial = 0 if visitor.had_trial or visitor.held or not is_sold or is_once else plan.trial_days
        is_theirs = not plan.free and is_covered(plan, visitor.for_good, self._by_key)
        is_for_them = (is_sold or _holds(visitor, plan)) and not is_theirs
        action, button = _action(plan, row, visitor, trial, words) if is_for_them else ("", "")
        return Offer(
            name=words.gettext(plan.name),
            description=words.gettext(plan.description),
            points=tuple(map(words.gettext, points_of(plan))),
            amount=words.gettext("Free") if plan.free else _amount(words, row, currency),
            is_sold=is_sold or plan.free,
            seats=_seats(plan, visitor) if action == "checkout" else None,
            period=_period(plan, row, words),
            saving=self._saving(plan, row, words),
            trial=words.ngettext("%(count)d day free", "%(count)d days free", trial) if trial else "",
            is_present=_holds(visitor, plan),
            action=action,
            value=f"{plan.key}:{name}" if name else plan.key,
            button=button,
        )

    def _chosen(
        self, plan: Plan, interval: tuple[str, int] | None, currency: str, pays_in: str | None
    ) -> tuple[str, Price | None]:
        """Return the plan's price at this interval and currency, else at this interval, else its first.

        Shape   pays_in: the currency that the visitor is bound to
        """
        named = [each for each in self._named[plan.key] if each[1].is_sold_in(pays_in)]
        fitting = [each for each in named if _interval(each[1]) == interval]
        exact = [each for each in fitting if each[1].is_sold_in(currency)]
        return next(iter([*exact, *fitting, *named]), ("", None))

    def _saving(self, plan: Plan, row: Price | None, words: Words) -> str:
        """Return what is saved against the plan's dearest price at a shorter interval, from one percent."""
        if row is None or not (row.unit_amount and row.interval):
            return ""
        others = [
            _rate(each)
            for _, each in self._named[plan.key]
            if each.currency == row.currency and each.unit_amount
            if each.interval and _months(_interval(each)) < _months(_interval(row))
        ]
        share = int(100 * (1 - _rate(row) / max(others))) if others else 0
        return words.gettext("Save %(percent)s", percent=words.percent(share / 100)) if share > 0 else ""


def _without_cost(offer: Offer) -> Offer:
    return offer._replace(amount="", period="", saving="", trial="", seats=None, action="", value="", button="")


def _interval(row: Price) -> tuple[str, int]:
    return row.interval or "", row.interval_count or 1


def _months(interval: tuple[str, int]) -> float:
    return MONTHS.get(interval[0], 0.0) * interval[1]


def _rate(row: Price) -> float:
    return (row.unit_amount or 0) / (_months(_interval(row)) or 1.0)


def _key(interval: tuple[str, int]) -> str:
    name, count = interval
    if interval == ONCE:
        return "once"
    return name if count == 1 else f"{count}-{name}"


def _query(interval: tuple[str, int] | None, currency: str, currencies: list[str]) -> dict[str, str]:
    query = {"interval": _key(interval)} if interval else {}
    return query | ({"currency": currency} if len(currencies) > 1 else {})


def _interval_label(interval: tuple[str, int], words: Words) -> str:
    if interval in INTERVALS:
        return words.gettext(INTERVALS[interval])
    written = period(words, *interval)
    return written[:1].upper() + written[1:]


def _amount(words: Words, row: Price | None, wanted_currency: str) -> str:
    amount, currency = row.amount_in(wanted_currency) if row else (None, "")
    return "" if amount is None else money(words, amount, currency, is_short=True)


def _period(plan: Plan, row: Price | None, words: Words) -> str:
    """Return for how long the amount is paid; empty where that is for good, or for something to use up."""
    if row is not None and row.interval:
        return period(words, row.interval, row.interval_count or 1)
    days = plan.lasts_days if row is not None else 0
    return words.ngettext("for %(count)d day", "for %(count)d days", days) if days else ""


def _seats(plan: Plan, visitor: Visitor) -> Seats | None:
    """Return how many can be bought, and how many the visitor has."""
    if plan.seats is None:
        return None
    held, (least, most) = visitor.held.get(plan.in_group), plan.seats
    return Seats(least, most, min(max((held.quantity if held else None) or least, least), most))


def _is_offered(plan: Plan, visitor: Visitor) -> bool:
    """Return whether the plan is shown: an add-on to those who have it, or a plan that it adds to."""
    present = visitor.access.plans if visitor.access else ()
    is_for_them = not plan.adds_to or not {plan.key, *plan.adds_to}.isdisjoint(present)
    return not plan.granted_only and (is_for_them or plan.in_group in visitor.held)


def _holds(visitor: Visitor, plan: Plan) -> bool:
    """Return whether the plan is the visitor's: what they pay for or were given; the free one while that is all."""
    access = visitor.access
    if access is None:
        return False
    if plan.free:
        return not access.allowed
    held = visitor.held.get(plan.in_group)
    return plan.key in access.plans or (held is not None and held.plan == plan.key)


def _action(plan: Plan, row: Price | None, visitor: Visitor, trial: int, words: Words) -> tuple[str, str]:
    """Return the button's action and its text."""
    held = visitor.held.get(plan.in_group)
    if plan.free:
        return "", ""
    action = "sign_in" if visitor.access is None else "checkout"
    if row is not None and not row.interval:
        return action, words.gettext("Buy")
    if held is None:
        return action, words.gettext("Start free trial") if trial else words.gettext("Subscribe")
    if held.plan != plan.key:
        return "checkout", words.gettext("Change to %(plan)s", plan=words.gettext(plan.name))
    if plan.seats and row is not None and row.id == held.price_id:
        return "checkout", words.gettext("Change the number")
    if row is None or row.id == held.price_id or _interval(row) not in SWITCHES or _has_present_interval(row, held):
        return "account", words.gettext("Manage plan")
    return "checkout", words.gettext(SWITCHES[_interval(row)])


def _has_present_interval(row: Price, present: Holding) -> bool:
    """Return whether the present price, which may be off sale, has this interval: then there is nothing to switch."""
    held = Price.get_or_none(Price.id == present.price_id)
    return held is not None and _interval(held) == _interval(row)
