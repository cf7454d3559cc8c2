"""The hosted customer portal: plan, cancellation, card, invoices."""

from typing import Any

import bottle

from ..api.customers import get_customer
from ..api.portal import allowed_prices
from ..api.subscription_schedules import create_schedule, update_schedule
from ..api.subscriptions import cancel_subscription, pay_with, update_subscription
from ..billing import payments, periods
from ..errors import ApiError
from ..money.instruments import forget_authentication, instrument_of
from ..world import Object, World
from . import (
    NeedsAuthentication,
    authentication_page,
    card_fields,
    date,
    format_price,
    money,
    page,
    redirect,
    submitted_method,
)

FLOW_PAGES = {
    "payment_method_update": "card",
    "subscription_cancel": "cancel",
    "subscription_update": "change",
    "subscription_update_confirm": "change",
}


def open_portal(world: World, session_id: str) -> bottle.HTTPResponse:
    """Show the portal's home, or the page of the session's flow."""
    session = world.get("billing_portal.session", session_id)
    if not session["flow"] or bottle.request.query.get("home"):
        return _home(world, session)
    kind = session["flow"]["type"]
    subscription_id = (session["flow"].get(kind) or {}).get("subscription", "")
    return show_flow(world, session_id, FLOW_PAGES[kind], subscription_id)


def show_flow(world: World, session_id: str, name: str, subscription_id: str = "", error: str | None = None) -> Any:
    """Show one page of the portal: "card", "change" or "cancel"."""
    session = world.get("billing_portal.session", session_id)
    values: dict[str, Any] = {
        "base": _base_path(session),
        "back": _back_url(session),
        "subscription_id": subscription_id,
    }
    status = 402 if error else 200
    if name == "card":
        return page("Change card", "card", status, card_fields=card_fields(error), **values)
    subscription = _subscription_of_customer(world, session, subscription_id)
    if name == "cancel":
        end = date(periods.period_of(subscription)[1])
        has_period = _features(world, session)["subscription_cancel"]["mode"] == "at_period_end"
        values |= {"name": _name(world, subscription), "end": end, "has_period": has_period, "error": error}
        return page("Cancel plan", "cancel", status, **values)
    choices = [_choice(world, price_id, subscription) for price_id in _choices(world, session)]
    return page(
        "Change plan", "change", status, choices=choices, chosen=_price_to_confirm(session), error=error, **values
    )


def submit(world: World, session_id: str, action: str, subscription_id: str = "") -> bottle.HTTPResponse:
    """Carry out a submitted form of the portal, and redirect as the session says."""
    session = world.get("billing_portal.session", session_id)
    try:
        ACTIONS[action](world, session, subscription_id)
    except NeedsAuthentication as needed:
        return authentication_page(str(needed), f"{_base_path(session)}/card")
    except ApiError as error:
        return show_flow(world, session_id, PAGE_OF.get(action, action), subscription_id, str(error))
    return redirect(_next_url(session))


def _save_card(world: World, session: Object, _subscription_id: str) -> None:
    _enabled_feature(world, session, "payment_method_update")
    method_id = pay_with(world, session["customer"], submitted_method(world))
    is_charged = world.rules.portal_pays_open_invoices
    for invoice in world.where("invoice", customer=session["customer"], status="open") if is_charged else ():
        if not payments.is_pending(world, invoice):
            payments.attempt(world, invoice, method_id, by_schedule=False)
    forget_authentication(world, method_id)


def _change(world: World, session: Object, subscription_id: str) -> None:
    subscription = _subscription_of_customer(world, session, subscription_id)
    wanted = bottle.request.forms.get("price", "")
    if wanted not in _choices(world, session):
        raise ApiError(400, "Please choose a plan.")
    changed = subscription["items"]["data"][0]
    item = {"id": changed["id"], "price": wanted} | {name: changed[name] for name in ("quantity",) if name in changed}
    feature = _enabled_feature(world, session, "subscription_update")
    wanted_item = item | _quantity_to_confirm(session)
    if _waits_for_the_end(world, feature, changed, wanted_item):
        _schedule(world, subscription, wanted_item)
        return
    update_subscription(
        world,
        {"items": [wanted_item], "proration_behavior": feature["proration_behavior"]} | _discounts_to_confirm(session),
        subscription_id,
    )


def _waits_for_the_end(world: World, feature: Object, now: Object, wanted: Object) -> bool:
    """Return whether the portal's settings have a change wait for the end of the period."""
    price = world.get("price", wanted["price"])
    conditions = {each["type"] for each in feature["schedule_at_period_end"]["conditions"]}
    amounts = [_amount(each, quantity) for each, quantity in ((now["price"], now), (price, wanted))]
    lengths = [_days(each["recurring"]) for each in (now["price"], price)]
    is_less = lengths[0] == lengths[1] and amounts[1] < amounts[0]
    is_shorter = lengths[1] < lengths[0]
    return ("decreasing_item_amount" in conditions and is_less) or ("shortening_interval" in conditions and is_shorter)


def _amount(price: Object, item: Object) -> int:
    return int(price["unit_amount"] or 0) * int(item.get("quantity", 1))


def _days(recurring: Object) -> int:
    return int({"day": 1, "week": 7, "month": 30, "year": 365}[recurring["interval"]] * recurring["interval_count"])


def _schedule(world: World, subscription: Object, item: Object) -> None:
    """Have the change made by a schedule at the end of the period, as Stripe's portal does."""
    schedule = create_schedule(world, {"from_subscription": subscription["id"]})
    (phase,) = schedule["phases"]
    begins = {"start_date": phase["start_date"], "end_date": phase["end_date"]}
    present = [{"price": each["price"], "quantity": each["quantity"]} for each in phase["items"]]
    later = {name: value for name, value in item.items() if name != "id"}
    phases = [begins | {"items": present}, {"items": [later]}]
    update_schedule(world, {"phases": phases, "proration_behavior": "none"}, schedule["id"])


def _discounts_to_confirm(session: Object) -> Object:
    """Return the discounts of a flow that confirms a change."""
    confirm = (session["flow"] or {}).get("subscription_update_confirm") or {}
    return {"discounts": confirm["discounts"]} if confirm.get("discounts") else {}


def _cancel(world: World, session: Object, subscription_id: str) -> None:
    """Cancel at the period's end. As at Stripe, flexible billing mode sets cancel_at, not cancel_at_period_end."""
    subscription = _subscription_of_customer(world, session, subscription_id)
    if _enabled_feature(world, session, "subscription_cancel")["mode"] == "immediately":
        raise ApiError(400, "This portal cancels plans at once.")
    if subscription["billing_mode"]["type"] == "flexible":
        update_subscription(world, {"cancel_at": periods.period_of(subscription)[1]}, subscription_id)
    else:
        update_subscription(world, {"cancel_at_period_end": True}, subscription_id)


def _cancel_now(world: World, session: Object, subscription_id: str) -> None:
    _subscription_of_customer(world, session, subscription_id)
    is_credited = _enabled_feature(world, session, "subscription_cancel")["proration_behavior"] != "none"
    cancel_subscription(world, {"prorate": is_credited}, subscription_id)


def _renew(world: World, session: Object, subscription_id: str) -> None:
    _subscription_of_customer(world, session, subscription_id)
    update_subscription(world, {"cancel_at_period_end": False}, subscription_id)


PAGE_OF = {"cancel_now": "cancel", "renew": "cancel"}
ACTIONS = {"card": _save_card, "change": _change, "cancel": _cancel, "cancel_now": _cancel_now, "renew": _renew}


def _home(world: World, session: Object) -> bottle.HTTPResponse:
    features = _features(world, session)
    customer = get_customer(world, session["customer"])
    subscriptions = world.where("subscription", customer=customer["id"])
    invoices = world.where("invoice", customer=customer["id"]) if features["invoice_history"]["enabled"] else []
    return page(
        "Billing",
        "portal",
        base=_base_path(session),
        return_url=session["return_url"] or "/",
        note=None,
        subscriptions=[_subscription_values(world, each) for each in subscriptions],
        can_change=features["subscription_update"]["enabled"],
        can_cancel=features["subscription_cancel"]["enabled"],
        can_change_card=features["payment_method_update"]["enabled"],
        has_invoices=features["invoice_history"]["enabled"],
        card=_card_in_words(world, customer, subscriptions),
        invoices=[
            {
                "date": date(each["created"]),
                "status": each["status"],
                "amount": money(each["amount_due"], each["currency"]),
            }
            for each in invoices
        ],
    )


def _subscription_values(world: World, subscription: Object) -> Object:
    end = date(periods.period_of(subscription)[1])
    is_ending = subscription["cancel_at"] is not None
    is_live = subscription["status"] not in periods.ENDED
    item = subscription["items"]["data"][0]
    states = {
        "active": f"Renews on {end}.",
        "trialing": f"Free trial until {end}.",
        "past_due": "The last payment failed. Please change your card.",
        "unpaid": "Payments have failed. Please change your card.",
        "paused": "Paused.",
        "canceled": "Ended.",
        "incomplete_expired": "Ended.",
    }
    state = f"Ends on {date(subscription['cancel_at'])}." if is_ending and is_live else ""
    return {
        "id": subscription["id"],
        "name": _name(world, subscription),
        "price": format_price(item["price"], item.get("quantity", 1)),
        "state": state or states.get(subscription["status"], subscription["status"]),
        "is_live": is_live,
        "is_ending": is_ending,
    }


def _card_in_words(world: World, customer: Object, subscriptions: list[Object]) -> str:
    live = [each["default_payment_method"] for each in subscriptions if each["status"] not in periods.ENDED]
    chosen = next(filter(None, [*live, customer["invoice_settings"]["default_payment_method"]]), None)
    if chosen is None:
        return "No card yet."
    instrument = instrument_of(world, chosen)
    return f"{instrument.brand.capitalize()} ending in {instrument.number[-4:]}"


def _choices(world: World, session: Object) -> list[str]:
    return allowed_prices(world, world.get("billing_portal.configuration", session["configuration"]))


def _choice(world: World, price_id: str, subscription: Object) -> Object:
    price = world.get("price", price_id)
    is_now = subscription["items"]["data"][0]["price"]["id"] == price_id
    name = world.get("product", price["product"])["name"]
    return {"id": price_id, "name": name, "price": format_price(price), "is_now": is_now}


def _price_to_confirm(session: Object) -> str | None:
    price: str | None = _item_to_confirm(session).get("price")
    return price


def _quantity_to_confirm(session: Object) -> Object:
    """Return the quantity to confirm, if the session names one."""
    return {name: value for name, value in _item_to_confirm(session).items() if name == "quantity"}


def _item_to_confirm(session: Object) -> Object:
    items = ((session["flow"] or {}).get("subscription_update_confirm") or {}).get("items") or [{}]
    return dict(items[0])


def _enabled_feature(world: World, session: Object, name: str) -> Object:
    """Return a feature's settings in this portal.

    Errors  ApiError with a message for the visitor if the feature is off
    """
    feature: Object = _features(world, session)[name]
    if not feature["enabled"]:
        raise ApiError(400, "This cannot be done here.")
    return feature


def _features(world: World, session: Object) -> Object:
    return dict(world.get("billing_portal.configuration", session["configuration"])["features"])


def _subscription_of_customer(world: World, session: Object, subscription_id: str) -> Object:
    subscription = world.get("subscription", subscription_id)
    if subscription["customer"] != session["customer"]:
        raise ApiError(404, "No such subscription.")
    return subscription


def _name(world: World, subscription: Object) -> str:
    return str(world.get("product", subscription["items"]["data"][0]["price"]["product"])["name"])


def _base_path(session: Object) -> str:
    return f"/p/session/{session['id']}"


def _back_url(session: Object) -> str:
    return session["return_url"] if session["flow"] and session["return_url"] else f"{_base_path(session)}?home=1"


def _next_url(session: Object) -> str:
    redirect = ((session["flow"] or {}).get("after_completion") or {}).get("redirect") or {}
    return redirect.get("return_url") or f"{_base_path(session)}?home=1"
