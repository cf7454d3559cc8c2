"""What is to be sent to Stripe for a change that was asked for, decided on what Stripe says at that moment."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..access import CURRENT, ENDED, LIVE
from ..errors import CannotChange, CurrencyRefused, InvalidQuantity, UnknownPlan
from ..gateway.gateway import Gateway
from ..gateway.states import ItemState, ScheduleState, SubscriptionState
from ..models import Price
from ..plans import Plan
from ..replica import owed
from ..replica.prices import Catalogue
from . import buyer
from .held import group_of
from .subscribers import plan_of, quantity_after

NOW, PERIOD_END = "now", "period_end"
CHARGES = {"next_invoice": "create_prorations", "now": "always_invoice", "nothing": "none"}
"""When the difference for the rest of the period is charged, and Stripe's word for it."""
LEFT_OUT = "left out: "
ADDON_ENDS = "The plan that it adds to has ended."

Step = tuple[str, dict[str, Any]]
"""A call to Stripe: a key of CALLS, and its parameters."""
Asked = Mapping[str, Any]


class Decision(NamedTuple):
    """What is to be sent, in this order. Without steps, outcome says why there is nothing to send."""

    steps: tuple[Step, ...]
    outcome: str = "already"


class Situation(NamedTuple):
    """What a decision rests on.

    Shape   held: the subscription as Stripe holds it now; schedule: its schedule;
            is_lonely: it is to add-ons, and its user has none of the plans that they add to;
            ended_by_us: the newest change of it is that we canceled it as such;
            is_replaced: its user has bought for good what it gives
    """

    held: SubscriptionState
    schedule: ScheduleState | None
    is_lonely: bool = False
    ended_by_us: bool = False
    is_replaced: bool = False


class Wanted(NamedTuple):
    """An item as it is, and as it is wanted: its price, and how many, None where Stripe counts usage."""

    item: ItemState
    price: Price
    quantity: int | None

    @property
    def is_there(self) -> bool:
        return self.item.price.id == self.price.id and self.quantity in (None, self.item.quantity)

    def parameters(self, *, is_new: bool = False) -> dict[str, Any]:
        """Return Stripe's parameters of the item. Without a quantity Stripe would make it 1."""
        named = {"price": self.price.id} if is_new else {"id": self.item.id, "price": self.price.id}
        return named if self.quantity is None else {**named, "quantity": self.quantity}


def decide(kind: str, asked: Asked, found: Situation, catalogue: Catalogue, gateway: Gateway) -> Decision:
    """Return what is to be sent.

    Errors  CannotChange, InvalidQuantity, CurrencyRefused, UnknownPlan; StripeError as the gateway's
    """
    if kind == "change":
        return _change(asked, found, catalogue, gateway)
    return _DECIDED[kind](asked, found)


def wanted_item(held: SubscriptionState, asked: Asked, catalogue: Catalogue, gateway: Gateway) -> Wanted:
    """Return the item that a wish is about, as it is wanted.

    Errors  as decide()
    """
    offer = asked["plan"]
    item = _item(held, offer.partition(":")[0] if offer else None, catalogue.plans)
    price = _price(held, item, offer, catalogue, gateway)
    if price.interval is None:
        raise CannotChange(f"{price.id} is paid once, in Checkout; it takes no subscription's place")
    if not price.is_sold_in(held.currency):
        raise CurrencyRefused(f"{held.id} is paid in {held.currency}, and {price.id} is not sold in it")
    if price.metered:
        if asked["quantity"] is not None:
            raise InvalidQuantity(f"{price.id} is billed by usage, and takes no quantity")
        return Wanted(item, price, None)
    return Wanted(item, price, _quantity(item, price, asked["quantity"], catalogue.plans))


def _change(asked: Asked, found: Situation, catalogue: Catalogue, gateway: Gateway) -> Decision:
    held = found.held
    if held.status not in CURRENT:
        why = "it has ended" if held.status in ENDED else "what is owed comes first"
        raise CannotChange(f"{held.id} is {held.status}: {why}")
    wanted = wanted_item(held, asked, catalogue, gateway)
    if asked["when"] == PERIOD_END:
        return _change_later(wanted, found)
    released = _released(found)
    if wanted.is_there:
        return Decision(released)
    params: dict[str, Any] = {
        "items": [wanted.parameters()],
        "proration_behavior": CHARGES[asked["charge"]],
        "payment_behavior": "error_if_incomplete",  # a payment that fails leaves all as it was
    }
    if asked["prorated_at"] is not None and asked["charge"] != "nothing":
        params["proration_date"] = asked["prorated_at"]
    return Decision((*released, ("update", params)))


def _change_later(wanted: Wanted, found: Situation) -> Decision:
    """Decide on a schedule, which changes the item at the end of the period."""
    held, schedule = found.held, found.schedule
    if held.cancel_at is not None:
        raise CannotChange(f"{held.id} is canceled for the end of its period, and has none after that")
    if wanted.is_there:
        return Decision(_released(found))
    others = [Wanted(each, _row(each), each.quantity) for each in held.items if each.id != wanted.item.id]
    after = [wanted, *others]
    if schedule is not None and set(schedule.next_items or ()) == {(each.price.id, each.quantity) for each in after}:
        return Decision(())
    items = [each.parameters(is_new=True) | {"was": each.item.price.id} for each in after]
    return Decision((*_released(found), ("schedule", {"items": items})))


def _cancel(asked: Asked, found: Situation) -> Decision:
    held = found.held
    if held.status in ENDED or (asked["when"] == PERIOD_END and held.cancel_at is not None):
        return Decision(())
    said = {name: asked[name] for name in ("feedback", "comment") if asked[name]}
    details = {"cancellation_details": said} if said else {}
    if asked["when"] == NOW:
        return Decision((*_released(found), ("cancel", details)))
    return Decision((*_released(found), ("update", {"cancel_at_period_end": True} | details)))


def _resume(_: Asked, found: Situation) -> Decision:
    """Decide what makes the subscription go on: a cancellation, a pause of its collection, or its pause is undone."""
    held = found.held
    if held.status in ENDED:
        raise CannotChange(f"{held.id} has ended, and never goes on again")
    params: dict[str, Any] = _kept(held)
    if held.pause_behavior is not None:
        params["pause_collection"] = ""
    steps: list[Step] = [("update", params)] if params else []
    if held.status == "paused":
        steps.append(("resume", {}))
    if steps and found.schedule is not None:
        raise CannotChange(f"{held.id} has the schedule {found.schedule.id}, which decides when it ends or is paused")
    return Decision(tuple(steps))


def _kept(held: SubscriptionState) -> dict[str, Any]:
    """Return the parameters that undo a cancellation, in the one of Stripe's two fields that says it."""
    if held.cancel_at is None:
        return {}
    return {"cancel_at_period_end": False} if held.ends_with_period else {"cancel_at": ""}


def _extend_trial(asked: Asked, found: Situation) -> Decision:
    held, until = found.held, asked["until"]
    if held.status != "trialing" or held.trial_end is None:
        raise CannotChange(f"{held.id} is {held.status}, and in no trial")
    if held.trial_end == until:
        return Decision(())
    if until < held.trial_end:
        raise CannotChange(f"{held.id} is in a trial until {held.trial_end}, which is later than {until}")
    if found.schedule is not None:
        raise CannotChange(f"{held.id} has the schedule {found.schedule.id}, which decides when its trial ends")
    return Decision((("update", {"trial_end": until, "proration_behavior": "none"}),))


def _end_addon(_: Asked, found: Situation) -> Decision:
    if found.held.status not in LIVE or found.held.cancel_at is not None or not found.is_lonely:
        return Decision(())
    said = {"cancellation_details": {"comment": ADDON_ENDS}}
    return Decision((*_released(found), ("update", {"cancel_at_period_end": True} | said)))


def _keep_addon(_: Asked, found: Situation) -> Decision:
    """Decide to undo the cancellation of an add-on that we canceled, and nobody since."""
    held = found.held
    if held.status not in LIVE or held.cancel_at is None or found.is_lonely or not found.ended_by_us:
        return Decision(())
    return Decision((("update", _kept(held)),))


def _end_replaced(_: Asked, found: Situation) -> Decision:
    """Decide to end it at once, whatever a schedule still had to do."""
    if found.held.status in ENDED or not found.is_replaced:
        return Decision(())
    schedule = found.schedule
    released: tuple[Step, ...] = () if schedule is None else (("release", {"schedule": schedule.id}),)
    return Decision((*released, ("cancel", {})))


def _move_price(asked: Asked, found: Situation) -> Decision:
    """Decide to give an item its new price, for the next invoice on."""
    held = found.held
    if any(each.price.id == asked["new"] for each in held.items):
        return Decision(())
    if reason := why_left_out(held, asked["old"]):
        return Decision((), LEFT_OUT + reason)
    item = next(each for each in held.items if each.price.id == asked["old"])
    wanted = Wanted(item, Price.get_by_id(asked["new"]), item.quantity)
    return Decision((("update", {"items": [wanted.parameters()], "proration_behavior": "none"}),))


def why_left_out(held: SubscriptionState, old: str) -> str | None:
    """Return why a price move leaves a subscription as it is; None when it moves it."""
    if all(each.price.id != old for each in held.items):
        return "it has another price by now"
    if held.status not in LIVE:
        return f"it is {held.status}"
    if held.cancel_at is not None:
        return "it is canceled for later"
    return "a schedule changes it" if held.schedule_id is not None else None


def _released(found: Situation) -> tuple[Step, ...]:
    """Return the step that takes the subscription out of its schedule, where it has one.

    Errors  CannotChange for a schedule that does more than to change the items once
    """
    if found.schedule is None:
        return ()
    if not found.schedule.is_plain:
        raise CannotChange(
            f"{found.held.id} has the schedule {found.schedule.id}, which has more to do than one change of its items: "
            "change or release it in Stripe's Dashboard"
        )
    return (("release", {"schedule": found.schedule.id}),)


def _item(held: SubscriptionState, key: str | None, plans: Mapping[str, Plan]) -> ItemState:
    """Return the item to change: that of the plan, else the one of its group; without a plan, the one that is no
    add-on, or the only one.
    """
    if key is not None and key not in plans:
        raise UnknownPlan(f"{key!r} is not on offer")
    of_plan = [(each, plan_of(each)) for each in held.items]
    addons = {plan.key for plan in plans.values() if plan.adds_to}
    if key is not None:
        same = [each for each, plan in of_plan if plan == key]
        group = plans[key].in_group
        fits = same or [each for each, plan in of_plan if group_of(plan, plans) == group]
    else:
        fits = [each for each, plan in of_plan if plan not in addons] or list(held.items)
    if len(fits) != 1:
        raise CannotChange(f"{held.id} has {len(held.items)} items, and {len(fits)} of them could be what to change")
    return fits[0]


def _price(
    held: SubscriptionState, item: ItemState, offer: str | None, catalogue: Catalogue, gateway: Gateway
) -> Price:
    """Return the wanted price. Where none is named, it is the present one of the same plan, else one of the same
    interval, else the plan's first.
    """
    key, _, name = (offer or "").partition(":")
    if not key or (not name and plan_of(item) == key):
        return _row(item)
    if not name:
        same = (Price.interval == item.price.interval, Price.interval_count == item.price.interval_count)
        sold = list(Price.select().where(Price.plan == key, Price.sold, *same))
        named = {name: place for place, name in enumerate(catalogue.plans[key].prices)}
        sold.sort(key=lambda each: min(named.get(each.id, len(named)), named.get(each.lookup_key or "", len(named))))
        if fitting := [each for each in sold if each.is_sold_in(held.currency)]:
            return fitting[0]
    return catalogue.sold_price(offer or key, gateway)


def _row(item: ItemState) -> Price:
    found: Price | None = Price.get_or_none(Price.id == item.price.id)
    if found is None:
        raise CannotChange(f"the price {item.price.id} is not known here yet")
    return found


def _quantity(item: ItemState, price: Price, quantity: int | None, plans: Mapping[str, Plan]) -> int:
    plan = plans.get(price.plan or "")
    if quantity is None and price.id == item.price.id:
        return item.quantity or 1
    if plan is None:
        raise CannotChange(f"{price.id} stands for no plan of plans.toml")
    least, most = plan.seats or (1, 1)
    if quantity is not None and not least <= quantity <= most:
        raise InvalidQuantity(f"{quantity} of plan {plan.key}, which is sold from {least} to {most}")
    with_seats = frozenset(each.key for each in plans.values() if each.seats)
    return quantity_after(item, buyer.Wish(plan, price, quantity, plans_with_seats=with_seats))


_DECIDED: dict[str, Callable[[Asked, Situation], Decision]] = {
    "cancel": _cancel,
    "resume": _resume,
    "extend_trial": _extend_trial,
    owed.END_ADDON: _end_addon,
    owed.END_REPLACED: _end_replaced,
    "keep_addon": _keep_addon,
    "move_price": _move_price,
}
