"""The hosted Checkout page."""

from typing import Any

import bottle

from ..api.checkout import buyer, totals
from ..api.checkout.order import price_in
from ..api.checkout.payment_links import open_link
from ..api.checkout.totals import buyer_of
from ..api.checkout_sessions import complete, enter_details, needs_no_card, redeem
from ..billing.tax_ids import FORMS
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
    world: World,
    session_id: str,
    error: str | None = None,
    code_error: str | None = None,
    details_error: str | None = None,
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
    status = 402 if error else 400 if code_error or details_error else 200
    values = _values(world, session) | {"code_error": code_error, "details_error": details_error, "error": error}
    return page("Checkout", "checkout", status, card_fields=card_fields(error), **values)


def follow_link(world: World, link_id: str) -> bottle.HTTPResponse:
    """Open a session for the visitor of a payment link."""
    try:
        session = open_link(world, link_id, bottle.request.query.decode())
    except ApiError as error:
        world.get("payment_link", link_id)
        return page("Checkout", "message", 200, heading="Checkout", text=str(error), link=None)
    return redirect(_path(session))


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


def enter(world: World, session_id: str) -> bottle.HTTPResponse:
    """Take the order's details: quantities, optional items, address, tax id, custom fields."""
    try:
        enter_details(world, world.get("checkout.session", session_id), bottle.request.forms.decode())
    except ApiError as error:
        return show_checkout(world, session_id, details_error=str(error))
    return redirect(f"/c/pay/{session_id}")


def _values(world: World, session: Object) -> dict[str, Any]:
    wanted = world.hidden[session["id"]]
    bill = totals.lines_of(world, session)
    customer = world.get("customer", session["customer"]) if session["customer"] else {}
    discount = session["total_details"]["amount_discount"]
    trial_days = wanted["subscription_data"].get("trial_period_days")
    asks = _asks(world, session)
    taxed = session["total_details"]["amount_tax"] or session["automatic_tax"]["status"] == "complete"
    return {
        "action": _path(session),
        "account_fields": _account_fields(session),
        "cancel_url": session["cancel_url"],
        "asks": asks,
        "details": template("checkout_details").render(**asks, action=_path(session)) if asks else None,
        "discount": money(discount, session["currency"]) if discount else None,
        "due": money(session["amount_total"] or 0, session["currency"] or "usd"),
        "email": customer.get("email") or session["customer_email"] or "",
        "needs_no_card": needs_no_card(session),
        **_sold(world, bill, session["currency"]),
        "lines": _lines(world, bill, session["currency"]),
        "missing": buyer.missing_details(world, session),
        "note": (session["custom_text"]["submit"] or {}).get("message"),
        "tax": money(session["total_details"]["amount_tax"], session["currency"]) if taxed else None,
        "takes_codes": bool(session["allow_promotion_codes"]),
        "trial_days": trial_days,
        "verb": "Start trial" if trial_days else VERBS[session["mode"]],
    }


def _sold(world: World, bill: list[totals.Line], currency: str) -> Object:
    """Return the name and price of what is bought; in setup mode, nothing is."""
    if not bill:
        return {"price": "Nothing is charged now.", "product": "Save your payment method"}
    first = next((each for each in bill if each.price["recurring"]), bill[0])
    return {
        "price": format_price(price_in(world, first.price, currency), first.item["quantity"] or 1),
        "product": world.get("product", first.price["product"])["name"],
    }


def _lines(world: World, bill: list[totals.Line], currency: str) -> list[dict[str, str]]:
    """Return the lines to show, if there is more to say than the first one's price."""
    is_plain = len(bill) < 2 and all((each.item["quantity"] or 1) == 1 for each in bill)
    return [] if is_plain else [_line(world, each, currency) for each in bill]


def _line(world: World, line: totals.Line, currency: str) -> dict[str, str]:
    name = world.get("product", line.price["product"])["name"]
    quantity = line.item["quantity"] or 1
    words = f"{quantity} x {name}" if quantity > 1 else name
    return {"name": words, "price": format_price(price_in(world, line.price, currency), quantity)}


def _asks(world: World, session: Object) -> dict[str, Any]:
    """Return the inputs of the details' form; an empty dict if the session asks nothing."""
    wanted = world.hidden[session["id"]]
    chosen = wanted.get("chosen", {})
    quantities = [
        _quantity(world, f"quantity_{at}", each, each["quantity"], session["currency"])
        for at, each in enumerate(wanted["items"])
        if each.get("adjustable_quantity")
    ]
    quantities += [
        _quantity(world, f"optional_{at}", each, chosen.get(str(at), 0), session["currency"])
        for at, each in enumerate(wanted.get("optional_items", []))
    ]
    asks_address, asks_tax_id = buyer.asks_address(session), session["tax_id_collection"]["enabled"]
    if not (quantities or asks_address or asks_tax_id or session["custom_fields"]):
        return {}
    known = buyer_of(world, session)
    return {
        "address": {name: (known.get("address") or {}).get(name) or "" for name in buyer.ADDRESS},
        "asks_address": asks_address,
        "asks_tax_id": asks_tax_id,
        "fields": session["custom_fields"],
        "name": known.get("name") or "",
        "quantities": quantities,
        "tax_id": known["tax_ids"][-1] if known["tax_ids"] else {"type": "eu_vat", "value": ""},
        "tax_id_types": tuple(FORMS),
    }


def _quantity(world: World, name: str, item: Object, now: int, currency: str) -> dict[str, Any]:
    """Return an input for a quantity. An optional item is added by a quantity of 1 or more."""
    price = world.get("price", item["price"])
    bounds = item.get("adjustable_quantity") or {"minimum": item["quantity"], "maximum": item["quantity"]}
    is_optional = name.startswith("optional")
    product = world.get("product", price["product"])["name"]
    return {
        "label": f"{'Add ' if is_optional else ''}{product}, {format_price(price_in(world, price, currency))}",
        "maximum": bounds["maximum"],
        "minimum": 0 if is_optional else bounds["minimum"],
        "name": name,
        "value": now,
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
