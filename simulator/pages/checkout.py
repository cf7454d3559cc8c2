"""The hosted Checkout page, and the hosted page of an open invoice."""

import time
from typing import Any

import bottle

from .. import billing
from ..errors import ApiError
from ..resources.checkout_sessions import complete
from ..resources.payment_methods import attached
from ..world import Object, World
from . import card_fields, date, money, page, price_in_words, see_other, typed_card

WEBHOOK_SECONDS = 2.0  # Stripe waits up to ten for the answer to checkout.session.completed


def show_checkout(world: World, session_id: str, error: str | None = None) -> bottle.HTTPResponse:
    session = world.get("checkout.session", session_id)
    if session["status"] != "open":
        link = session["success_url"] if session["status"] == "complete" else session["cancel_url"]
        text = {"complete": "This has been paid.", "expired": "This page has expired. Please start again."}
        return page(
            "Checkout", "message", 200, heading="Checkout", text=text[session["status"]], link=_to(session, link)
        )
    return page(
        "Checkout", "checkout", 402 if error else 200, card_fields=card_fields(error), **_values(world, session)
    )


def pay_checkout(world: World, session_id: str) -> bottle.HTTPResponse:
    with world.lock:
        session = world.get("checkout.session", session_id)
        try:
            if session["status"] == "open":
                complete(world, session, typed_card(world)["id"])
        except ApiError as error:
            return show_checkout(world, session_id, str(error))
    _wait_for_webhooks(world, session_id)
    return see_other(_to(session, session["success_url"]) or f"/c/pay/{session_id}")


def show_invoice(world: World, invoice_id: str, error: str | None = None) -> bottle.HTTPResponse:
    invoice = world.get("invoice", invoice_id)
    return page(
        "Invoice",
        "invoice",
        402 if error else 200,
        number=invoice["number"],
        amount=money(invoice["amount_due"], invoice["currency"]),
        status=f"{invoice['status']}, of {date(invoice['created'])}",
        is_open=invoice["status"] == "open",
        card_fields=card_fields(error),
    )


def pay_invoice(world: World, invoice_id: str) -> bottle.HTTPResponse:
    with world.lock:
        invoice = world.get("invoice", invoice_id)
        try:
            method = typed_card(world)
            attached(world, method["id"], world.get("customer", invoice["customer"]), "payment_method")
            billing.subscription_of(world, invoice)["default_payment_method"] = method["id"]
            if invoice["status"] == "open" and not billing.attempt(world, invoice):
                raise ApiError(402, "Your card was declined.", code="card_declined", kind="card_error")
        except ApiError as error:
            return show_invoice(world, invoice_id, str(error))
        return show_invoice(world, invoice_id)


def _values(world: World, session: Object) -> dict[str, Any]:
    wishes = world.wishes[session["id"]]
    first = wishes["items"][0]
    price = world.get("price", first["price"])
    customer = world.get("customer", session["customer"]) if session["customer"] else {}
    return {
        "product": world.get("product", price["product"])["name"],
        "price": price_in_words(price, first.get("quantity", 1)),
        "trial_days": wishes["subscription_data"].get("trial_period_days"),
        "email": customer.get("email") or "",
        "cancel_url": session["cancel_url"],
        "is_subscription": session["mode"] == "subscription",
    }


def _to(session: Object, url: str | None) -> str | None:
    return url and url.replace("{CHECKOUT_SESSION_ID}", session["id"])


def _wait_for_webhooks(world: World, session_id: str) -> None:
    deadline = time.monotonic() + WEBHOOK_SECONDS
    told = [each for each in world.all("event") if each["data"]["object"]["id"] == session_id]
    while any(each["pending_webhooks"] for each in told) and time.monotonic() < deadline:
        time.sleep(0.02)
