"""The notices of a price move: that a price will change, and that it stays after all."""

import json
from typing import NamedTuple

from ..access import ENDED, Holding, Plans, read_access
from ..models import ChangeRow, Price, Subscription, SubscriptionItem
from ..notices import changes as notices
from ..replica.timelines import holdings_of


class Costs(NamedTuple):
    """What a subscription costs a period at both prices.

    Units   amounts in the currency's minor units, without tax and discounts, None where the price has tiers
    """

    amount: int | None
    new_amount: int | None
    currency: str


class ToCome(NamedTuple):
    """A price that is to change, at a moment in Unix seconds."""

    user_id: str
    subscription_id: str
    price_id: str
    new_price_id: str
    at: int
    costs: Costs


def warn(what: ToCome, plans: Plans, now: float) -> None:
    """Store the notice that a price will change. To be called inside a writing transaction."""
    _announce("price_will_change", what, plans, now)


def withdraw(row: ChangeRow, plans: Plans, now: float) -> None:
    """Store the notice that a price stays, unless its subscription has ended. Inside a writing transaction.

    Shape   row: of the move that is not made
    """
    if Subscription.select().where(Subscription.id == row.subscription_id, Subscription.status.in_(ENDED)).exists():
        return
    wish = json.loads(row.wish)
    costs = costs_of(row.subscription_id, wish["old"], wish["new"])
    what = ToCome(row.user_id, row.subscription_id, wish["old"], wish["new"], row.not_before, costs)
    _announce("price_change_withdrawn", what, plans, now)


def costs_of(subscription_id: str, old: str, new: str) -> Costs:
    """Return what a subscription costs at both prices, as stored."""
    prices = {each.id: each for each in Price.select().where(Price.id.in_((old, new)))}
    row = Subscription.get_or_none(Subscription.id == subscription_id)
    currency = (row.currency if row else None) or prices[old].currency or ""
    of_both = (SubscriptionItem.subscription == subscription_id, SubscriptionItem.price_id.in_((old, new)))
    count = next((each.quantity for each in SubscriptionItem.select().where(*of_both)), 1) or 1
    was, will = (prices[each].amount_in(currency)[0] for each in (old, new))
    return Costs(None if was is None else was * count, None if will is None else will * count, currency)


def _announce(kind: str, what: ToCome, plans: Plans, now: float) -> None:
    stored = (each for each in holdings_of([what.user_id])[what.user_id].holdings if each.id == what.subscription_id)
    holding = next(stored, Holding("subscription", what.subscription_id, int(now)))
    prices = {"price_id": what.price_id, "new_price_id": what.new_price_id}
    details = {"at": what.at, **what.costs._asdict(), **prices}
    notices.announce(read_access(what.user_id), kind, holding, details, plans, now)
