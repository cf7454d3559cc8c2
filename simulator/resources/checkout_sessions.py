"""Checkout Sessions: made over the API, completed by a visitor on the hosted page."""

from typing import Any

from .. import form, lists
from ..cards import CARDS
from ..errors import ApiError, invalid
from ..form import choice, integer, list_of, metadata, nested, optional, text
from ..route import Route, retrieving
from ..world import Object, World
from .customers import create_customer, live_customer
from .payment_methods import ADDRESS, attached
from .subscriptions import create_subscription

PATH = "/v1/checkout/sessions"
SHORTEST_SECONDS, LONGEST_SECONDS = 1_800, 86_400


def create_session(world: World, params: dict[str, Any]) -> Object:
    prices = [world.get("price", each.get("price", ""), "line_items[0][price]") for each in params["line_items"]]
    if any((price["recurring"] is not None) is (params["mode"] == "payment") for price in prices):
        raise invalid(f"You specified `{params['mode']}` mode but passed a price of another type.", "mode")
    if "customer" in params:
        live_customer(world, params["customer"])
    session = _blank(world) | {
        "cancel_url": params.get("cancel_url"),
        "client_reference_id": params.get("client_reference_id"),
        "customer": params.get("customer"),
        "currency": prices[0]["currency"],
        "expires_at": _expiry(world, params),
        "metadata": form.merge_metadata({}, params.get("metadata")),
        "mode": params["mode"],
        "success_url": params.get("success_url"),
    }
    session["url"] = f"{world.base_url}/c/pay/{session['id']}"
    total = sum(
        price["unit_amount"] * each.get("quantity", 1) for price, each in zip(prices, params["line_items"], strict=True)
    )
    trial_days = params.get("subscription_data", {}).get("trial_period_days")
    session["amount_subtotal"] = session["amount_total"] = 0 if trial_days else total
    world.wishes[session["id"]] = {
        "items": params["line_items"],
        "subscription_data": params.get("subscription_data", {}),
    }
    return world.add("checkout.session", session)


def list_sessions(world: World, params: dict[str, Any]) -> Object:
    fields = {name: params[name] for name in ("customer", "status", "subscription") if name in params}
    return lists.page(world.where("checkout.session", **fields), params, PATH)


def expire_session(world: World, _params: dict[str, Any], session_id: str) -> Object:
    session = world.get("checkout.session", session_id, "session")
    if session["status"] != "open":
        raise ApiError(
            400,
            f'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status of '
            f"{session['status']}.",
            param="session",
        )
    session |= {"status": "expired", "url": None}
    world.emit("checkout.session.expired", session)
    return session


def complete(world: World, session: Object, method_id: str, email: str | None = None) -> None:
    """What the hosted page does when the visitor pays.

    Errors  ApiError of the card's, or because the session is no longer open; nothing has happened then
    """
    if session["status"] != "open":
        raise ApiError(400, "This Checkout Session is no longer open.", param="session")
    card = CARDS[world.cards[method_id]]
    if card.declines:
        raise card.error()
    customer_id = session["customer"] or create_customer(world, {"email": email} if email else {})["id"]
    session["customer"] = customer_id if session["mode"] == "subscription" else session["customer"]
    if session["mode"] == "subscription":
        _subscribe(world, session, customer_id, method_id)
    session |= {
        "customer_details": _details(world.get("customer", customer_id)),
        "payment_status": "paid" if session["amount_total"] else "no_payment_required",
        "status": "complete",
        "url": None,
    }
    world.emit("checkout.session.completed", session)


def _subscribe(world: World, session: Object, customer_id: str, method_id: str) -> None:
    wishes = world.wishes[session["id"]]
    attached(world, method_id, world.get("customer", customer_id), "payment_method")
    subscription = create_subscription(
        world,
        {
            **wishes["subscription_data"],
            "customer": customer_id,
            "default_payment_method": method_id,
            "items": [{"price": each["price"], "quantity": each.get("quantity", 1)} for each in wishes["items"]],
        },
    )
    session |= {"subscription": subscription["id"], "invoice": subscription["latest_invoice"]}


def retrieve_payment_page(world: World, _params: dict[str, Any], session_id: str) -> Object:
    """What Stripe's own page, and its CLI in the page's place, reads."""
    session = world.get("checkout.session", session_id, "session")
    return {"id": session_id, "object": "checkout.session", "total_summary": {"due": session["amount_total"]}}


def confirm_payment_page(world: World, params: dict[str, Any], session_id: str) -> Object:
    session = world.get("checkout.session", session_id, "session")
    method = world.get("payment_method", params["payment_method"], "payment_method")
    complete(world, session, method["id"], method["billing_details"]["email"])
    return session


def _expiry(world: World, params: dict[str, Any]) -> int:
    expires_at = int(params.get("expires_at", world.now + LONGEST_SECONDS))
    if not SHORTEST_SECONDS <= expires_at - world.now <= LONGEST_SECONDS:
        raise invalid("The `expires_at` timestamp must be between 30 minutes and 24 hours from now.", "expires_at")
    return expires_at


def _details(customer: Object) -> Object:
    names = ("email", "name", "phone", "address", "tax_exempt")
    return {name: customer[name] for name in names} | {
        "business_name": None,
        "individual_name": None,
        "tax_ids": [],
    }


NULLS = (
    "adaptive_pricing after_expiration allow_promotion_codes billing_address_collection cancel_url client_reference_id "
    "client_secret collected_information consent consent_collection currency_conversion customer customer_account "
    "customer_details customer_email discounts invoice invoice_creation locale managed_payments origin_context "
    "payment_intent payment_link payment_method_configuration_details permissions presentment_details "
    "recovered_from saved_payment_method_options setup_intent shipping_address_collection shipping_cost submit_type "
    "subscription success_url wallet_options"
).split()


def _blank(world: World) -> Object:
    nulls: dict[str, Any] = dict.fromkeys(NULLS)
    return nulls | {
        "id": f"cs_test_{world.new_token(56)}",
        "object": "checkout.session",
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "created": world.now,
        "custom_fields": [],
        "custom_text": dict.fromkeys(("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")),
        "customer_creation": None,
        "livemode": False,
        "payment_method_collection": "always",
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "payment_status": "unpaid",
        "phone_number_collection": {"enabled": False},
        "shipping_options": [],
        "status": "open",
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": "hosted_page",
    }


SHIPPING = nested({"address": ADDRESS, "carrier": text, "name": text, "phone": text, "tracking_number": text})
SUBSCRIPTION_DATA = {"description": text, "metadata": metadata, "trial_period_days": integer, "trial_end": integer}

ROUTES = (
    Route(
        "POST",
        PATH,
        create_session,
        {
            "cancel_url": text,
            "client_reference_id": text,
            "customer": text,
            "expires_at": integer,
            "line_items": list_of(nested({"price": text, "quantity": integer})),
            "metadata": metadata,
            "payment_intent_data": nested({"metadata": metadata, "shipping": SHIPPING}),
            "mode": choice("payment", "subscription"),
            "payment_method_types": list_of(text),
            "subscription_data": nested(SUBSCRIPTION_DATA),
            "success_url": text,
        },
        required=("line_items", "mode"),
    ),
    retrieving("checkout.session", PATH),
    Route("GET", PATH, list_sessions, form.LIST | {"customer": text, "status": text, "subscription": text}),
    Route("POST", f"{PATH}/<id>/expire", expire_session),
    Route("GET", "/v1/payment_pages/<id>", retrieve_payment_page),
    Route(
        "POST",
        "/v1/payment_pages/<id>/confirm",
        confirm_payment_page,
        {"payment_method": text, "expected_amount": integer, "consent": optional(text), "key": text, "eid": text},
        required=("payment_method",),
    ),
)
