"""Where a subscriber is led who clicks on a plan: never to another Checkout."""

from collections.abc import Iterable

from ..access import CURRENT, OWING
from ..errors import CardRefused, CurrencyRefused, StripeRefused
from ..gateway.gateway import Gateway
from ..gateway.states import ItemState, SubscriptionState
from ..logs.facts import logger
from ..models import Price, Subscription
from ..storage import column, writing
from . import CANCELING, CODE_UNKNOWN, NOT_OFFERED, SEVERAL_ITEMS
from .buyer import Buyer, Lead, Wish
from .portal import ask_to_resume, open_portal

PAYABLE = ("open", "uncollectible")  # Stripe's page takes a payment for what was written off, too
CARD = {"type": "payment_method_update"}
ASKED_FOR_SECONDS = 86_400  # who went to give a card and came back later than that is asked again

log = logger("corkage.checkout")


def lead_subscriber(
    gateway: Gateway, buyer: Buyer, held: SubscriptionState, wish: Wish, code_id: str | None
) -> Lead | None:
    """Return where a click leads, in one round trip; None when the subscription changed, and must be looked at again.

    Errors  CurrencyRefused; StripeError as the gateway's
    """
    if held.status in (*OWING, "incomplete"):
        return _to_invoice(gateway, buyer, held)
    if held.status == "paused":
        return _to_resumption(gateway, buyer, held, wish)
    if held.status not in CURRENT:
        return Lead(open_portal(gateway, held.customer_id, buyer.after_portal).url)
    return _to_change(gateway, buyer, held, wish, code_id)


def is_of(held: SubscriptionState, wish: Wish) -> bool:
    """Return whether a subscription is what is wanted: to that price or, where none is named, to any of the plan's."""
    return any(
        each.price.id == wish.price.id or (not wish.names_price and plan_of(each) == wish.plan.key)
        for each in held.items
    )


def plan_of(item: ItemState) -> str | None:
    """Return the plan that the price of an item stands for."""
    row = Price.get_or_none(Price.id == item.price.id)
    return None if row is None else row.plan


def resume_asked(gateway: Gateway, own: Iterable[SubscriptionState], now: float) -> bool:
    """Resume subscriptions that were paused for want of a card, where the user went to give one and it is there now;
    return whether any goes on. Each visit to the card form allows one try, because each try charges the card.

    Errors  StripeError as the gateway's
    """
    asked = (Subscription.resume_asked_at > now - ASKED_FOR_SECONDS, Subscription.status == "paused")
    wanted = set(column(Subscription.select(Subscription.id).where(*asked)))
    found = [each for each in own if each.id in wanted and each.has_card and _waits_for_card(each)]
    return True in [_resume(gateway, each) for each in found]


def _waits_for_card(held: SubscriptionState) -> bool:
    """Return whether it is paused for want of a card, and no invoice of an earlier try is open."""
    return held.lacks_card and not (held.latest_invoice is not None and held.latest_invoice.status == "open")


def _resume(gateway: Gateway, held: SubscriptionState) -> bool:
    """Resume it; return whether it goes on. The worker is to fetch it at once."""
    with writing():
        fetched_at_once = {"ask_at": 0, "resume_asked_at": None}
        Subscription.update(fetched_at_once).where(Subscription.id == held.id).execute()
    try:
        status = gateway.resume_subscription(held.id)
    except CardRefused as error:
        log.info("%s could not be resumed: %s", held.id, error)
        return False
    log.info("%s is resumed, and %s", held.id, status)
    return status in CURRENT


def _to_invoice(gateway: Gateway, buyer: Buyer, held: SubscriptionState) -> Lead | None:
    """Lead to the latest invoice, by which Stripe judges; without one that can be paid to the portal's card form."""
    latest = held.latest_invoice
    try:
        if latest is not None and latest.status == "draft" and held.pause_behavior is None:
            latest = gateway.finalize_invoice(latest.id)
    except StripeRefused as error:
        log.info("%s could not be finalized, it is no longer as it was read: %s", held.id, error)
        return None
    if latest is not None and latest.status in PAYABLE and latest.page_url:
        return Lead(latest.page_url)
    return Lead(open_portal(gateway, held.customer_id, buyer.after_portal, CARD).url)


def _to_resumption(gateway: Gateway, buyer: Buyer, held: SubscriptionState, wish: Wish) -> Lead | None:
    """Lead to what makes a paused subscription go on. Who wants another plan is not charged for this one."""
    if not is_of(held, wish):
        return Lead(open_portal(gateway, held.customer_id, buyer.after_portal).url, NOT_OFFERED)
    if held.latest_invoice is not None and held.latest_invoice.status == "open" and held.latest_invoice.page_url:
        return Lead(held.latest_invoice.page_url)
    if held.has_card and not held.lacks_card:
        return Lead(open_portal(gateway, held.customer_id, buyer.after_portal).url)
    try:
        if held.has_card and _resume(gateway, held):
            return Lead(buyer.after_portal)
    except StripeRefused as error:  # it is no longer paused, as after a click in another tab
        log.info("%s could not be resumed: %s", held.id, error)
        return None
    ask_to_resume(held.id)
    return Lead(open_portal(gateway, held.customer_id, buyer.after_portal, CARD).url)


def _to_change(gateway: Gateway, buyer: Buyer, held: SubscriptionState, wish: Wish, code_id: str | None) -> Lead:
    """Lead to the portal, at the change to the wanted price and quantity where it can be made there."""
    if not wish.price.is_sold_in(held.currency):
        raise CurrencyRefused(
            f"{held.id} is paid in {held.currency}, and {wish.price.id} is not sold in it. What to do: add the "
            "currency to the price (its currency_options)"
        )
    item = held.items[0] if len(held.items) == 1 else None
    is_held = is_of(held, wish)
    if item is None or held.cancel_at is not None or (is_held and wish.quantity in (None, item.quantity)):
        note = CANCELING if held.cancel_at is not None else "" if is_held else SEVERAL_ITEMS
        return Lead(open_portal(gateway, held.customer_id, buyer.after_portal).url, note)
    price_id = item.price.id if is_held else wish.price.id
    wanted = {"id": item.id, "price": price_id} | (
        {} if wish.price.metered else {"quantity": quantity_after(item, wish)}
    )
    confirm: dict[str, object] = {"subscription": held.id, "items": [wanted]}
    confirm |= {"discounts": [{"promotion_code": code_id}]} if code_id else {}
    flow = {"type": "subscription_update_confirm", "subscription_update_confirm": confirm}
    opened = open_portal(gateway, held.customer_id, buyer.after_portal, flow)
    if not opened.is_at_flow:
        return Lead(opened.url, NOT_OFFERED)
    return Lead(opened.url, CODE_UNKNOWN, {"code": wish.code}) if wish.code and not code_id else Lead(opened.url)


def quantity_after(item: ItemState, wish: Wish) -> int:
    """Return how many there are after a change: as many as are wanted, else as there were, within the plan's seats."""
    if wish.quantity:
        return wish.quantity
    if wish.plan.seats:
        least, most = wish.plan.seats
        return min(max(item.quantity or 1, least), most)
    return 1 if plan_of(item) in wish.plans_with_seats else item.quantity or 1
