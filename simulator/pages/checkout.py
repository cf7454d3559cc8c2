"""The hosted Checkout page."""

from typing import Any

import bottle

from ..api.checkout_sessions import complete, needs_no_card, redeem
from ..errors import ApiError
from ..test_cards import BY_NUMBER, INSTRUMENTS
from ..world import Object, World
from . import (
    NeedsAuthentication,
    authentication_page,
    card_fields,
    format_price,
    money,
    page,
    redirect,
    submitted_method,
    template,
)

VERBS = {"payment": "Pay", "setup": "Save", "subscription": "Subscribe"}
LABELS = {"us_bank_account": "Account number", "sepa_debit": "IBAN"}


def show_checkout(
    world: World, session_id: str, error: str | None = None, code_error: str | None = None
) -> bottle.HTTPResponse:
    session = world.get("checkout.session", session_id)
    if session["status"] != "open":
        link = session["success_url"] if session["status"] == "complete" else session["cancel_url"]
        text = {"complete": "This has been paid.", "expired": "This page has expired. Please start again."}
        return page(
            "Checkout",
            "message",
            200,
            heading="Checkout",
            text=text[session["status"]],
            link=_with_session_id(session, link),
        )
    status = 402 if error else 400 if code_error else 200
    values = _values(world, session)
    return page("Checkout", "checkout", status, card_fields=card_fields(error), code_error=code_error, **values)


def pay_checkout(world: World, session_id: str) -> bottle.HTTPResponse:
    session = world.get("checkout.session", session_id)
    try:
        if session["status"] == "open":
            is_without = bool(bottle.request.forms.get("without_card")) and needs_no_card(session)
            complete(world, session, None if is_without else submitted_method(world))
    except NeedsAuthentication as needed:
        return authentication_page(str(needed), _path(session))
    except ApiError as error:
        return show_checkout(world, session_id, str(error))
    return redirect(_with_session_id(session, session["success_url"]) or _path(session))


def use_code(world: World, session_id: str) -> bottle.HTTPResponse:
    try:
        redeem(world, world.get("checkout.session", session_id), bottle.request.forms.get("code", ""))
    except ApiError as error:
        return show_checkout(world, session_id, code_error=str(error))
    return redirect(f"/c/pay/{session_id}")


def _values(world: World, session: Object) -> dict[str, Any]:
    wanted = world.hidden[session["id"]]
    customer = world.get("customer", session["customer"]) if session["customer"] else {}
    discount = session["total_details"]["amount_discount"]
    trial_days = wanted["subscription_data"].get("trial_period_days")
    return {
        "action": _path(session),
        "account_fields": _account_fields(session),
        "cancel_url": session["cancel_url"],
        "discount": money(discount, session["currency"]) if discount else None,
        "due": money(session["amount_total"] or 0, session["currency"] or "usd"),
        "email": customer.get("email") or session["customer_email"] or "",
        "needs_no_card": needs_no_card(session),
        **_sold(world, wanted["items"]),
        "takes_codes": bool(session["allow_promotion_codes"]),
        "trial_days": trial_days,
        "verb": "Start trial" if trial_days else VERBS[session["mode"]],
    }


def _sold(world: World, items: list[Object]) -> Object:
    """Return the name and price of what is bought; in setup mode, nothing is."""
    if not items:
        return {"price": "Nothing is charged now.", "product": "Save your payment method"}
    price = world.get("price", items[0]["price"])
    return {
        "price": format_price(price, items[0].get("quantity", 1)),
        "product": world.get("product", price["product"])["name"],
    }


def _account_fields(session: Object) -> str | None:
    for kind in session["payment_method_types"]:
        if kind in LABELS:
            numbers = [number for number, name in BY_NUMBER.items() if INSTRUMENTS[name].type == kind]
            failing = next(each for each in numbers if INSTRUMENTS[BY_NUMBER[each]].declines)
            return str(template("account_fields").render(label=LABELS[kind], example=numbers[0], failing=failing))
    return None


def _path(session: Object) -> str:
    return f"/c/pay/{session['id']}"


def _with_session_id(session: Object, url: str | None) -> str | None:
    return url and url.replace("{CHECKOUT_SESSION_ID}", session["id"])
