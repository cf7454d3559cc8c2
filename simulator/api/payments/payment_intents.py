"""PaymentIntents: created, confirmed, captured, canceled."""

from typing import Any

from ...billing import payments
from ...clock import DAY
from ...errors import ApiError, invalid
from ...http import form, lists
from ...http.form import boolean, choice, integer, metadata, nested, optional, positive, text
from ...http.route import Route, retrieve_route
from ...money import intents, invoice_payments
from ...world import Object, World
from ..customers import get_customer
from ..payment_methods import ADDRESS, attach
from .methods import AUTOMATIC, MANDATE, TYPES, change, method_of, refuse_unexpected

PATH = "/v1/payment_intents"
CONFIRMABLE = ("requires_action", "requires_confirmation", "requires_payment_method")
LONGEST_CURRENCY = 3
PLAIN = ("capture_method", "confirmation_method", "customer", "receipt_email", "setup_future_usage", "shipping")
SHOWN = (*PLAIN, "description", "statement_descriptor", "statement_descriptor_suffix")


def create_intent(world: World, params: dict[str, Any]) -> Object:
    currency = params["currency"].lower()
    if len(currency) != LONGEST_CURRENCY:
        raise invalid(f"Invalid currency: {currency}.", "currency")
    if "customer" in params:
        get_customer(world, params["customer"])
    types = params.get("allowed_payment_method_types") or params.get("payment_method_types")
    fields = {
        "automatic_payment_methods": None if types else {"allow_redirects": "always", "enabled": True},
        "metadata": form.merge_metadata({}, params.get("metadata")),
        "payment_method_types": types or intents.types_for(currency),
        **{name: params[name] for name in SHOWN if name in params},
    }
    method_id = None
    if "payment_method" in params:
        method_id = method_of(world, params["payment_method"], {"customer": None} | fields)
    intent = intents.create(world, amount=params["amount"], currency=currency, payment_method=method_id, **fields)
    return confirm_intent(world, params, intent["id"], method_id) if params.get("confirm") else intent


def confirm_intent(world: World, params: dict[str, Any], intent_id: str, method_id: str | None = None) -> Object:
    intent = world.get("payment_intent", intent_id)
    refuse_unexpected(intent, "confirmed", CONFIRMABLE)
    intent |= {name: params[name] for name in ("receipt_email", "setup_future_usage", "shipping") if name in params}
    if method_id is None and "payment_method" in params:
        method_id = method_of(world, params["payment_method"], intent)
    method_id = method_id or intent["payment_method"]
    if method_id is None:
        message = "You cannot confirm this PaymentIntent because it's missing a payment method."
        raise ApiError(400, message, code="payment_intent_unexpected_state")
    world.hidden.setdefault(intent_id, {})["return_url"] = params.get("return_url")
    may_ask = not (params.get("off_session") or params.get("error_on_requires_action"))
    pay(world, intent, method_id, may_ask=may_ask)
    return intent


def pay(world: World, intent: Object, method_id: str, *, may_ask: bool = True) -> None:
    """Charge a payment method, for the intent's invoice if it has one.

    Errors  ApiError when the payment is declined
    """
    invoice = invoice_payments.invoice_of(world, intent["id"])
    if invoice:
        outcome = payments.attempt(world, invoice, method_id, by_schedule=False)
    else:
        outcome = intents.confirm(world, intent, method_id, may_ask=may_ask)
        if outcome == "pending":
            answer_at = world.now + world.rules.delayed_payment_days * DAY
            world.clock.schedule(answer_at, "answer_of_bank_for_intent", intent["id"])
    if outcome == "declined":
        raise intents.error_of(intent)
    if outcome in ("paid", "pending") and intent["customer"] and intent["setup_future_usage"]:
        attach(world, method_id, world.get("customer", intent["customer"]), "payment_method")


def capture_intent(world: World, params: dict[str, Any], intent_id: str) -> Object:
    intent = world.get("payment_intent", intent_id)
    refuse_unexpected(intent, "captured", ("requires_capture",))
    amount = int(params.get("amount_to_capture") or intent["amount_capturable"])
    if not 1 <= amount <= intent["amount_capturable"]:
        raise invalid("The amount to capture must be positive, and no more than is capturable.", "amount_to_capture")
    intent["metadata"] = form.merge_metadata(intent["metadata"], params.get("metadata"))
    intents.capture(world, intent, amount)
    return intent


def cancel_intent(world: World, params: dict[str, Any], intent_id: str) -> Object:
    intent = world.get("payment_intent", intent_id)
    refuse_unexpected(intent, "canceled", intents.ACTIVE)
    if invoice_payments.invoice_of(world, intent_id):
        raise ApiError(400, "You cannot cancel the PaymentIntent of an invoice; void the invoice instead.")
    intents.cancel(world, intent, params.get("cancellation_reason"))
    return intent


def update_intent(world: World, params: dict[str, Any], intent_id: str) -> Object:
    intent = world.get("payment_intent", intent_id)
    if "amount" in params and invoice_payments.invoice_of(world, intent_id):
        raise invalid("The amount of an invoice's PaymentIntent follows the invoice.", "amount")
    return change(world, intent, params, ("amount", "currency", *SHOWN), CONFIRMABLE)


def list_intents(world: World, params: dict[str, Any]) -> Object:
    fields = {"customer": params["customer"]} if "customer" in params else {}
    return lists.page(world.where("payment_intent", **fields), params, PATH)


SHIPPING = nested({"address": ADDRESS, "carrier": text, "name": text, "phone": text, "tracking_number": text})
USAGE = choice("off_session", "on_session")
FIELDS = {"customer": text, "description": text, "metadata": metadata, "payment_method": text}
TEXTS = {"receipt_email": text, "statement_descriptor": text, "statement_descriptor_suffix": text}
CONFIRMATION = {
    "error_on_requires_action": boolean,
    "mandate_data": MANDATE,
    "off_session": boolean,
    "return_url": text,
    "setup_future_usage": USAGE,
    "shipping": SHIPPING,
}

ROUTES = (
    Route(
        "POST",
        PATH,
        create_intent,
        FIELDS
        | TEXTS
        | CONFIRMATION
        | {
            "allowed_payment_method_types": TYPES,
            "amount": positive,
            "automatic_payment_methods": AUTOMATIC,
            "capture_method": choice("automatic", "automatic_async", "manual"),
            "confirm": boolean,
            "confirmation_method": choice("automatic", "manual"),
            "currency": text,
            "payment_method_types": TYPES,
        },
        required=("amount", "currency"),
    ),
    retrieve_route("payment_intent", PATH),
    Route(
        "POST",
        f"{PATH}/<id>",
        update_intent,
        FIELDS
        | TEXTS
        | {
            "amount": positive,
            "currency": text,
            "receipt_email": optional(text),
            "setup_future_usage": optional(USAGE),
            "shipping": optional(SHIPPING),
        },
    ),
    Route(
        "POST",
        f"{PATH}/<id>/confirm",
        confirm_intent,
        CONFIRMATION | {"payment_method": text, "receipt_email": optional(text)},
    ),
    Route("POST", f"{PATH}/<id>/capture", capture_intent, {"amount_to_capture": integer, "metadata": metadata}),
    Route(
        "POST",
        f"{PATH}/<id>/cancel",
        cancel_intent,
        {"cancellation_reason": choice("abandoned", "duplicate", "fraudulent", "requested_by_customer")},
    ),
    Route("GET", PATH, list_intents, form.LIST | {"created": form.created, "customer": text}),
)
