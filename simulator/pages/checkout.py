"""The hosted Checkout page, and the hosted page of an open invoice."""

from typing import Any

import bottle

from ..api.checkout_sessions import complete, needs_no_card, redeem
from ..api.payment_methods import attach
from ..api.subscriptions import update_subscription
from ..billing import payments
from ..errors import ApiError
from ..test_cards import BY_NUMBER, INSTRUMENTS
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
    template,
)
from .pdf import page_of_text

LABELS = {"us_bank_account": "Account number", "sepa_debit": "IBAN"}


def show_checkout(
    world: World, session_id: str, error: str | None = None, code_error: str | None = None
) -> bottle.HTTPResponse:
    session = world.get("checkout.session", session_id)
    if session["status"] != "open":
        link = session["success_url"] if session["status"] == "complete" else session["cancel_url"]
        text = {"complete": "This has been paid.", "expired": "This page has expired. Please start again."}
        return page(
            "Checkout", "message", 200, heading="Checkout", text=text[session["status"]], link=_to(session, link)
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
        return authentication_page(str(needed), _address(session))
    except ApiError as error:
        return show_checkout(world, session_id, str(error))
    return redirect(_to(session, session["success_url"]) or _address(session))


def use_code(world: World, session_id: str) -> bottle.HTTPResponse:
    try:
        redeem(world, world.get("checkout.session", session_id), bottle.request.forms.get("code", ""))
    except ApiError as error:
        return show_checkout(world, session_id, code_error=str(error))
    return redirect(f"/c/pay/{session_id}")


def show_invoice(world: World, invoice_id: str, error: str | None = None) -> bottle.HTTPResponse:
    invoice = world.get("invoice", invoice_id)
    return page(
        "Invoice",
        "invoice",
        402 if error else 200,
        action=f"/i/{invoice_id}",
        number=invoice["number"],
        amount=money(invoice["amount_due"], invoice["currency"]),
        status=f"{invoice['status']}, of {date(invoice['created'])}",
        is_open=invoice["status"] == "open",
        is_waiting=payments.is_waiting(world, invoice),
        card_fields=card_fields(error),
    )


def download_invoice(world: World, invoice_id: str) -> bottle.HTTPResponse:
    """Return the PDF at an invoice's `invoice_pdf` URL."""
    invoice = world.get("invoice", invoice_id)
    lines = [
        "Simulation, not Stripe.",
        f"Invoice {invoice['number']}",
        f"{invoice['status']}, of {date(invoice['created'])}",
        *(f"{line['description']}: {money(line['amount'], line['currency'])}" for line in invoice["lines"]["data"]),
        f"Total: {money(invoice['total'], invoice['currency'])}",
    ]
    return bottle.HTTPResponse(page_of_text(lines), 200, {"Content-Type": "application/pdf"})


def pay_invoice(world: World, invoice_id: str) -> bottle.HTTPResponse:
    invoice = world.get("invoice", invoice_id)
    try:
        method_id = submitted_method(world)
        attach(world, method_id, world.get("customer", invoice["customer"]), "payment_method")
        if invoice["status"] == "open" and not payments.is_waiting(world, invoice):
            _charge(world, invoice, method_id)
    except NeedsAuthentication as needed:
        return authentication_page(str(needed), f"/i/{invoice_id}")
    except ApiError as error:
        return show_invoice(world, invoice_id, str(error))
    return show_invoice(world, invoice_id)


def _charge(world: World, invoice: Object, method_id: str) -> None:
    """Pay with this method; if that succeeds, make it the subscription's default."""
    if payments.attempt(world, invoice, method_id, by_schedule=False) == "declined":
        raise payments.instrument_of(world, method_id).error()
    details = (invoice["parent"] or {}).get("subscription_details")
    if details:
        update_subscription(world, {"default_payment_method": method_id}, details["subscription"])


def _values(world: World, session: Object) -> dict[str, Any]:
    wanted = world.hidden[session["id"]]
    first = wanted["items"][0]
    price = world.get("price", first["price"])
    customer = world.get("customer", session["customer"]) if session["customer"] else {}
    discount = session["total_details"]["amount_discount"]
    trial_days = wanted["subscription_data"].get("trial_period_days")
    return {
        "action": _address(session),
        "account_fields": _account_fields(session),
        "cancel_url": session["cancel_url"],
        "discount": money(discount, session["currency"]) if discount else None,
        "due": money(session["amount_total"], session["currency"]),
        "email": customer.get("email") or session["customer_email"] or "",
        "needs_no_card": needs_no_card(session),
        "price": format_price(price, first.get("quantity", 1)),
        "product": world.get("product", price["product"])["name"],
        "takes_codes": bool(session["allow_promotion_codes"]),
        "trial_days": trial_days,
        "verb": "Start trial" if trial_days else "Subscribe" if session["mode"] == "subscription" else "Pay",
    }


def _account_fields(session: Object) -> str | None:
    for kind in session["payment_method_types"]:
        if kind in LABELS:
            numbers = [number for number, name in BY_NUMBER.items() if INSTRUMENTS[name].type == kind]
            failing = next(each for each in numbers if INSTRUMENTS[BY_NUMBER[each]].declines)
            return str(template("account_fields").render(label=LABELS[kind], example=numbers[0], failing=failing))
    return None


def _address(session: Object) -> str:
    return f"/c/pay/{session['id']}"


def _to(session: Object, url: str | None) -> str | None:
    return url and url.replace("{CHECKOUT_SESSION_ID}", session["id"])
