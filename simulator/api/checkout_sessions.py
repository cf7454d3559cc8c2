"""Checkout Sessions: created over the API, completed by a visitor on the hosted page."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..billing import customer_currency, discounts, invoiceitems, payments
from ..clock import DAY
from ..errors import ApiError, invalid, missing_parameter
from ..http import form, lists
from ..http.form import boolean, choice, integer, list_of, metadata, nested, optional, text
from ..http.route import Route, retrieve_route
from ..money import intents, setups
from ..money.instruments import expected_outcome, instrument_of
from ..test_cards import DELAYED_TYPES
from ..world import Object, World
from .checkout import buyer, order, receipts, totals
from .customers import create_customer, get_customer
from .payment_methods import ADDRESS, attach
from .subscriptions import create_subscription

PATH = "/v1/checkout/sessions"
SHORTEST_TRIAL_SECONDS = 2 * DAY
SHORTEST_SECONDS, LONGEST_SECONDS = 1_800, DAY
OF_ONE_MODE = {
    "invoice_creation": "payment",
    "payment_intent_data": "payment",
    "payment_method_collection": "subscription",
    "subscription_data": "subscription",
}
"""Parameters that Stripe takes in one mode alone."""


def create_session(world: World, params: dict[str, Any]) -> Object:
    ordered, optional_items, currency = _read_order(world, params)
    session = _blank(world) | buyer.fields_of(params)
    session |= {
        "allow_promotion_codes": params.get("allow_promotion_codes"),
        "cancel_url": params.get("cancel_url"),
        "client_reference_id": params.get("client_reference_id"),
        "customer": params.get("customer"),
        "customer_email": params.get("customer_email"),
        "currency": currency,
        "expires_at": _expiry(world, params),
        "invoice_creation": receipts.shown(params),
        "locale": params.get("locale"),
        "metadata": form.merge_metadata({}, params.get("metadata")),
        "mode": params["mode"],
        "optional_items": order.shown_optional(optional_items),
        "payment_method_collection": params.get("payment_method_collection", "always"),
        "payment_method_types": params.get("payment_method_types") or _payment_method_types(currency),
        "success_url": params.get("success_url"),
    }
    session["url"] = f"{world.base_url}/c/pay/{session['id']}"
    world.hidden[session["id"]] = {
        "items": ordered,
        "optional_items": optional_items,
        "customer_update": params.get("customer_update", {}),
        "subscription_data": params.get("subscription_data", {}),
        "discounts": params.get("discounts", []),
        "payment_data": params.get("payment_intent_data", {}),
        "setup_data": params.get("setup_intent_data", {}),
        "keeps_method": _keeps_method(params),
    }
    totals.set_totals(world, session)
    world.clock.schedule(session["expires_at"], "expire_session", session["id"])
    return world.add("checkout.session", session)


def _keeps_method(params: dict[str, Any]) -> bool:
    """Return whether the payment method is saved with the customer."""
    if params["mode"] == "setup":
        return "customer" in params
    return params["mode"] == "subscription" or "setup_future_usage" in params.get("payment_intent_data", {})


def _read_order(world: World, params: dict[str, Any]) -> tuple[order.Order, order.Order, str | None]:
    """Return the items, the optional items and the currency.

    Errors  ApiError for what Checkout does not sell, or not so
    """
    _check(world, params)
    ordered = order.read_items(world, params.get("line_items", []))
    optional_items = order.read_items(world, params.get("optional_items", []), "optional_items")
    prices = [world.get("price", each["price"]) for each in [*ordered, *optional_items]]
    if params["mode"] == "payment" and any(price["recurring"] for price in prices):
        raise invalid("You specified `payment` mode but passed a recurring price.", "mode")
    if params["mode"] == "subscription" and not any(price["recurring"] for price in prices[: len(ordered)]):
        raise invalid("You must provide at least one recurring price in `subscription` mode.", "mode")
    if not prices:
        return ordered, optional_items, params.get("currency")
    currency = order.choose_currency(world, params.get("currency"), params.get("customer"), prices)
    if "customer" in params:
        customer_currency.check_currency(world, params["customer"], currency)
    return ordered, optional_items, currency


def _check(world: World, params: dict[str, Any]) -> None:
    _refuse_both(params, "customer", "customer_email")
    _refuse_both(params, "discounts", "allow_promotion_codes")
    _check_mode(params)
    trial_end = params.get("subscription_data", {}).get("trial_end")
    if trial_end is not None and trial_end < world.now + SHORTEST_TRIAL_SECONDS:
        raise invalid("The `trial_end` date has to be at least 2 days in the future.", "subscription_data[trial_end]")
    if "customer" in params:
        get_customer(world, params["customer"])
    buyer.check(world, params)


def _check_mode(params: dict[str, Any]) -> None:
    """Raise ApiError for parameters that the mode needs or does not have."""
    for name, mode in OF_ONE_MODE.items():
        if name in params and params["mode"] != mode:
            raise invalid(f"You can not pass `{name}` in `{params['mode']}` mode.", name)
    if params["mode"] != "setup":
        if not params.get("line_items"):
            raise missing_parameter("line_items")
        if "setup_intent_data" in params:
            raise invalid("You can only set `setup_intent_data` in `setup` mode.", "setup_intent_data")
        return
    for name in ("line_items", "discounts", "allow_promotion_codes", "payment_intent_data", "subscription_data"):
        if name in params:
            raise invalid(f"You cannot set `{name}` in `setup` mode.", name)
    if "currency" not in params and "payment_method_types" not in params:
        raise missing_parameter("currency")


def _refuse_both(params: dict[str, Any], name: str, other: str) -> None:
    if {name, other} <= params.keys():
        raise invalid(f"You may only specify one of these parameters: {name}, {other}.", name)


def _payment_method_types(currency: str | None) -> list[str]:
    return ["card", DELAYED_TYPES[currency]] if currency in DELAYED_TYPES else ["card"]


def redeem(world: World, session: Object, typed: str) -> None:
    """Apply a promotion code that the visitor typed.

    Errors  ApiError with a message for the visitor
    """
    code = discounts.find_code(world, typed.strip())
    if not session["allow_promotion_codes"] or code is None:
        raise ApiError(400, "This code is invalid.", code="resource_missing", param="promotion_code")
    wanted = world.hidden[session["id"]]
    before, wanted["discounts"] = wanted["discounts"], [{"promotion_code": code["id"]}]
    try:
        totals.set_totals(world, session)
    except ApiError:
        wanted["discounts"] = before
        raise


def enter_details(world: World, session: Object, submitted: Mapping[str, str]) -> None:
    """Take what the visitor entered: quantities, optional items, address, tax id, custom fields.

    Errors  ApiError with a message for the visitor
    """
    wanted = world.hidden[session["id"]]
    items, chosen = order.change_quantities(wanted["items"], wanted.get("optional_items", []), submitted)
    if not any(each.get("quantity", 1) for each in items) and not chosen:
        raise ApiError(400, "Please choose at least one item.")
    buyer.enter(world, session, submitted)
    wanted |= {"items": items, "chosen": chosen}
    totals.set_totals(world, session)


def list_sessions(world: World, params: dict[str, Any]) -> Object:
    names = ("customer", "payment_intent", "status", "subscription")
    fields = {name: params[name] for name in names if name in params}
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


def expire_when_due(world: World, session_id: str, _moment: int) -> None:
    session = world.find("checkout.session", session_id)
    if session and session["status"] == "open":
        expire_session(world, {}, session_id)


def needs_no_card(session: Object) -> bool:
    """Return whether the visitor can finish without a payment method: a one-time order at 100 % off always can."""
    is_optional = session["mode"] == "payment" or session["payment_method_collection"] == "if_required"
    return bool(is_optional and session["amount_total"] == 0)


def complete(world: World, session: Object, method_id: str | None, email: str | None = None) -> None:
    """Complete the session, as the hosted page does when the visitor pays.

    Errors  ApiError when the card declines or the session is not open; nothing has changed then
    """
    if session["status"] != "open":
        raise ApiError(400, "This Checkout Session is no longer open.", param="session")
    missing = buyer.missing_details(world, session)
    if missing:
        raise ApiError(400, missing)
    if method_id:
        _check_payment(world, session, method_id)
    email = email or session["customer_email"]
    customer = _get_or_create_customer(world, session, email)
    is_pending = False
    if method_id and customer and world.hidden[session["id"]]["keeps_method"]:
        attach(world, method_id, customer, "payment_method")
    if session["mode"] == "subscription":
        is_pending = _subscribe(world, session, method_id)
    elif method_id and session["mode"] == "setup":
        _set_up(world, session, method_id)
    elif method_id and session["amount_total"]:
        is_pending = _pay_once(world, session, method_id)
    paid = "paid" if session["amount_total"] else "no_payment_required"
    session |= {
        "customer_details": _customer_details(customer or {"email": email}) | buyer.details(world, session),
        "payment_status": "unpaid" if is_pending else paid,
        "status": "complete",
        "url": None,
    }
    if session["payment_status"] == "paid":
        receipts.create(world, session)
    _count_for_link(world, session)
    world.emit("checkout.session.completed", session)


def _count_for_link(world: World, session: Object) -> None:
    link = world.find("payment_link", session["payment_link"])
    if link and link["restrictions"]:
        link["restrictions"]["completed_sessions"]["count"] += 1


def receive_bank_answer(world: World, session_id: str, _moment: int) -> None:
    """Settle a delayed payment of a session without an invoice: the bank has answered."""
    session = world.get("checkout.session", session_id)
    intent = world.find("payment_intent", session["payment_intent"])
    if intent:
        is_paid = intents.settle(world, intent)
    else:  # a state file of before sessions had one
        is_paid = not instrument_of(world, world.hidden[session_id]["method"]).declines
    if is_paid:
        receipts.create(world, session)
    payments.finish_delayed_payment(world, session, paid=is_paid)


def _check_payment(world: World, session: Object, method_id: str) -> None:
    instrument = instrument_of(world, method_id)
    if instrument.type not in session["payment_method_types"]:
        raise invalid(f"This Checkout Session does not take {instrument.type}.", "payment_method")
    if instrument.declines == "attach" or (instrument.declines == "charge" and session["amount_total"]):
        raise instrument.error()
    if expected_outcome(world, method_id) == "action":
        raise ApiError(402, "This payment requires authentication.", code="authentication_required", kind="card_error")


def _get_or_create_customer(world: World, session: Object, email: str | None) -> Object | None:
    """Return the session's customer, created if needed; None for a one-time payment that keeps no card."""
    if session["customer"]:
        buyer.save_to_customer(world, session, is_new=False)
        return world.get("customer", session["customer"])
    if not (world.hidden[session["id"]]["keeps_method"] or receipts.are_made(session)):
        return None
    made = create_customer(world, {"email": email} if email else {})
    session["customer"] = made["id"]
    buyer.save_to_customer(world, session, is_new=True)
    return made


def _pay_once(world: World, session: Object, method_id: str) -> bool:
    """Pay the session with a PaymentIntent; return whether it is not paid yet."""
    data = world.hidden[session["id"]].get("payment_data", {})
    shown = ("capture_method", "description", "receipt_email", "setup_future_usage", "shipping", "statement_descriptor")
    intent = intents.create(
        world,
        amount=session["amount_total"],
        currency=session["currency"],
        customer=session["customer"],
        metadata=form.merge_metadata({}, data.get("metadata")),
        payment_method_types=session["payment_method_types"],
        **{name: data[name] for name in shown if name in data},
    )
    session["payment_intent"] = intent["id"]
    if intents.confirm(world, intent, method_id) != "pending":
        return bool(intent["status"] == "requires_capture")
    answer_at = world.now + world.rules.delayed_payment_days * DAY
    world.clock.schedule(answer_at, "answer_of_bank_for_session", session["id"])
    return True


def _set_up(world: World, session: Object, method_id: str) -> None:
    """Save the payment method with a SetupIntent."""
    data = world.hidden[session["id"]]["setup_data"]
    intent = setups.create(
        world,
        customer=session["customer"],
        description=data.get("description"),
        metadata=form.merge_metadata({}, data.get("metadata")),
        payment_method_types=session["payment_method_types"],
    )
    session["setup_intent"] = intent["id"]
    setups.confirm(world, intent, method_id)


def _subscribe(world: World, session: Object, method_id: str | None) -> bool:
    """Create the session's subscription; return whether its first payment is still pending."""
    wanted = world.hidden[session["id"]]
    bill = totals.lines_of(world, session)
    once = [_add_once(world, session, line) for line in bill if not line.price["recurring"]]
    recurring = [line for line in bill if line.price["recurring"]]
    asked = {
        **wanted["subscription_data"],
        "automatic_tax": {"enabled": session["automatic_tax"]["enabled"]},
        "currency": session["currency"],
        "customer": session["customer"],
        "items": [_subscription_item(line.item) for line in recurring],
    }
    asked |= {"default_payment_method": method_id} if method_id else {}
    asked |= {"discounts": wanted["discounts"]} if wanted["discounts"] else {}
    try:
        with order.for_sale(world, [line.item for line in recurring]):
            subscription = create_subscription(world, asked)
    except ApiError:
        for each in once:
            world.remove("invoiceitem", each["id"])
        raise
    session |= {"subscription": subscription["id"], "invoice": subscription["latest_invoice"]}
    return payments.is_pending(world, world.get("invoice", subscription["latest_invoice"]))


def _subscription_item(item: Object) -> Object:
    named = {name: item[name] for name in ("quantity", "tax_rates") if item[name]}
    return {"price": item["price"]} | named


def _add_once(world: World, session: Object, line: totals.Line) -> Object:
    """Add an invoice item for a one-time price: the subscription's first invoice takes it."""
    item = receipts.item_of(world, session, line, line.subtotal)
    item["tax_rates"] = [world.get("tax_rate", each) for each in line.item["tax_rates"]]
    return invoiceitems.add(world, item)


def retrieve_payment_page(world: World, _params: dict[str, Any], session_id: str) -> Object:
    """Return what Stripe's CLI reads before it pays in place of the hosted page."""
    session = world.get("checkout.session", session_id, "session")
    return {"id": session_id, "object": "checkout.session", "total_summary": {"due": session["amount_total"]}}


def confirm_payment_page(world: World, params: dict[str, Any], session_id: str) -> Object:
    """Pay as Stripe's CLI does. The CLI moves no clock, so banks answer at once, as in Stripe's sandboxes."""
    session = world.get("checkout.session", session_id, "session")
    method = world.get("payment_method", params["payment_method"], "payment_method")
    if params.get("expected_amount", session["amount_total"]) != session["amount_total"]:
        raise invalid("The amount due has changed.", "expected_amount", "checkout_amount_mismatch")
    rules, world.rules = world.rules, replace(world.rules, delayed_payment_days=0)
    try:
        complete(world, session, method["id"], method["billing_details"]["email"])
    finally:
        world.rules = rules
    return session


def _expiry(world: World, params: dict[str, Any]) -> int:
    expires_at = int(params.get("expires_at", world.now + LONGEST_SECONDS))
    if not SHORTEST_SECONDS <= expires_at - world.now <= LONGEST_SECONDS:
        raise invalid("The `expires_at` timestamp must be between 30 minutes and 24 hours from now.", "expires_at")
    return expires_at


def _customer_details(customer: Object) -> Object:
    names = ("email", "name", "phone", "address")
    return {name: customer.get(name) for name in names} | {
        "tax_exempt": customer.get("tax_exempt", "none"),
        "business_name": None,
        "individual_name": None,
        "tax_ids": [],
    }


NULLS = (
    "adaptive_pricing after_expiration cancel_url client_reference_id "
    "client_secret collected_information consent consent_collection currency_conversion customer customer_account "
    "customer_details invoice invoice_creation locale managed_payments origin_context "
    "payment_intent payment_link payment_method_configuration_details permissions presentment_details "
    "recovered_from saved_payment_method_options setup_intent shipping_address_collection shipping_cost submit_type "
    "subscription success_url wallet_options"
).split()


def _blank(world: World) -> Object:
    nulls: dict[str, Any] = dict.fromkeys(NULLS)
    return nulls | {
        "id": f"cs_test_{world.new_token(56)}",
        "object": "checkout.session",
        "created": world.now,
        "customer_creation": None,
        "livemode": False,
        "payment_method_options": {},
        "payment_status": "unpaid",
        "phone_number_collection": {"enabled": False},
        "shipping_options": [],
        "status": "open",
        "ui_mode": "hosted_page",
    }


LOCALES = (
    "auto bg cs da de el en en-GB es es-419 et fi fil fr fr-CA hr hu id it ja ko lt lv ms mt nb nl pl pt pt-BR ro ru "
    "sk sl sv th tr vi zh zh-HK zh-TW"
).split()
SHIPPING = nested({"address": ADDRESS, "carrier": text, "name": text, "phone": text, "tracking_number": text})
SUBSCRIPTION_DATA = {
    "default_tax_rates": list_of(text),
    "billing_mode": nested({"type": choice("classic", "flexible")}),
    "description": text,
    "metadata": metadata,
    "trial_end": integer,
    "trial_period_days": integer,
    "trial_settings": nested(
        {"end_behavior": nested({"missing_payment_method": choice("cancel", "create_invoice", "pause")})}
    ),
}

ROUTES = (
    Route(
        "POST",
        PATH,
        create_session,
        buyer.QUESTIONS
        | {
            "allow_promotion_codes": boolean,
            "cancel_url": text,
            "client_reference_id": text,
            "currency": text,
            "customer": text,
            "customer_email": form.email,
            "customer_update": nested(dict.fromkeys(("address", "name", "shipping"), choice("auto", "never"))),
            "discounts": list_of(nested({"coupon": text, "promotion_code": text})),
            "expires_at": integer,
            "invoice_creation": receipts.CREATION,
            "line_items": order.LINE_ITEMS,
            "locale": choice(*LOCALES),
            "metadata": metadata,
            "payment_intent_data": nested(
                {
                    "capture_method": choice("automatic", "automatic_async", "manual"),
                    "description": text,
                    "metadata": metadata,
                    "receipt_email": text,
                    "setup_future_usage": choice("off_session", "on_session"),
                    "shipping": SHIPPING,
                    "statement_descriptor": text,
                }
            ),
            "mode": choice("payment", "setup", "subscription"),
            "optional_items": order.OPTIONAL_ITEMS,
            "payment_method_collection": choice("always", "if_required"),
            "payment_method_types": list_of(choice("card", *DELAYED_TYPES.values())),
            "setup_intent_data": nested({"description": text, "metadata": metadata}),
            "subscription_data": nested(SUBSCRIPTION_DATA),
            "success_url": text,
            "ui_mode": choice("hosted_page"),
        },
        required=("mode",),
    ),
    retrieve_route("checkout.session", PATH),
    Route(
        "GET",
        PATH,
        list_sessions,
        form.LIST
        | {
            "customer": text,
            "payment_intent": text,
            "status": choice("complete", "expired", "open"),
            "subscription": text,
        },
    ),
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
