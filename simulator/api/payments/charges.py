"""Charges: made by PaymentIntents, or directly as before there were any."""

from typing import Any

from ...billing.payments import NO_PAYMENT_METHOD
from ...errors import ApiError, invalid, missing_parameter, unsupported
from ...http import form, lists
from ...http.form import boolean, integer, metadata, nested, positive, text
from ...http.route import Route, retrieve_route
from ...money import charges, intents, sequels
from ...money.instruments import expected_outcome, instrument_of
from ...test_cards import resolve_name
from ...world import Object, World
from ..customers import get_customer
from ..payment_methods import ADDRESS, create_method

PATH = "/v1/charges"
SHOWN = ("customer", "description", "receipt_email", "shipping", "statement_descriptor", "statement_descriptor_suffix")


def create_charge(world: World, params: dict[str, Any]) -> Object:
    for name in ("amount", "currency"):
        if name not in params:
            raise missing_parameter(name)
    method_id = _method_of(world, params)
    fields = {name: params[name] for name in SHOWN if name in params}
    fields["metadata"] = form.merge_metadata({}, params.get("metadata"))
    charge = charges.create(world, method_id, amount=params["amount"], currency=params["currency"].lower(), **fields)
    outcome = expected_outcome(world, method_id)
    if outcome != "paid":
        instrument = intents.UNAUTHENTICATED if outcome == "action" else instrument_of(world, method_id)
        charges.decline(world, charge, instrument)
        error = instrument.error()
        error.body["error"]["charge"] = charge["id"]
        raise error
    charges.succeed(world, charge, captured=params.get("capture", True))
    sequels.follow(world, charge)
    return charge


def capture_charge(world: World, params: dict[str, Any], charge_id: str) -> Object:
    charge = world.get("charge", charge_id)
    if charge["captured"] or charge["refunded"] or charge["status"] != "succeeded":
        message = f"Charge {charge_id} has already been captured, or has nothing to capture."
        raise ApiError(400, message, code="charge_already_captured")
    amount = int(params.get("amount") or charge["amount"])
    if not 1 <= amount <= charge["amount"]:
        raise invalid("The amount to capture must be positive, and no more than was authorized.", "amount")
    if charge["payment_intent"]:
        intents.capture(world, world.get("payment_intent", charge["payment_intent"]), amount)
    else:
        charges.capture(world, charge, amount)
    return charge


def update_charge(world: World, params: dict[str, Any], charge_id: str) -> Object:
    charge = world.get("charge", charge_id)
    with world.changing(charge, "charge.updated"):
        charge |= {name: params[name] for name in ("description", "receipt_email", "shipping") if name in params}
        charge["metadata"] = form.merge_metadata(charge["metadata"], params.get("metadata"))
    return charge


def list_charges(world: World, params: dict[str, Any]) -> Object:
    fields = {name: params[name] for name in ("customer", "payment_intent") if name in params}
    return lists.page(world.where("charge", **fields), params, PATH)


def _method_of(world: World, params: dict[str, Any]) -> str:
    """Return the payment method to charge: a test token's, or the customer's default."""
    if "source" in params:
        name = resolve_name(params["source"]) if params["source"].startswith("tok_") else None
        if name is None:
            raise unsupported("sources other than test tokens")
        return str(create_method(world, name, {})["id"])
    if "customer" not in params:
        raise ApiError(400, "Must provide source or customer.", code="parameter_missing")
    method_id = get_customer(world, params["customer"])["invoice_settings"]["default_payment_method"]
    if method_id is None:
        raise ApiError(402, NO_PAYMENT_METHOD, code="missing", kind="card_error", param="card")
    return str(method_id)


SHIPPING = nested({"address": ADDRESS, "carrier": text, "name": text, "phone": text, "tracking_number": text})
FIELDS = {"description": text, "metadata": metadata, "receipt_email": text, "shipping": SHIPPING}

ROUTES = (
    Route(
        "POST",
        PATH,
        create_charge,
        FIELDS
        | {
            "amount": positive,
            "capture": boolean,
            "currency": text,
            "customer": text,
            "source": text,
            "statement_descriptor": text,
            "statement_descriptor_suffix": text,
        },
    ),
    retrieve_route("charge", PATH),
    Route("POST", f"{PATH}/<id>", update_charge, FIELDS),
    Route("POST", f"{PATH}/<id>/capture", capture_charge, {"amount": integer}),
    Route("GET", PATH, list_charges, form.LIST | {"created": form.created, "customer": text, "payment_intent": text}),
)
