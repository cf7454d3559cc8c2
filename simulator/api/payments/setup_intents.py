"""SetupIntents: created, confirmed, canceled."""

from typing import Any

from ...errors import ApiError
from ...http import form, lists
from ...http.form import boolean, choice, metadata, text
from ...http.route import Route, retrieve_route
from ...money import setups
from ...world import Object, World
from ..customers import get_customer
from ..payment_methods import attach
from .methods import AUTOMATIC, MANDATE, TYPES, change, method_of, refuse_unexpected

PATH = "/v1/setup_intents"


def create_intent(world: World, params: dict[str, Any]) -> Object:
    if "customer" in params:
        get_customer(world, params["customer"])
    types = params.get("allowed_payment_method_types") or params.get("payment_method_types")
    fields: dict[str, Any] = {
        "automatic_payment_methods": None if types else {"allow_redirects": "always", "enabled": True},
        "metadata": form.merge_metadata({}, params.get("metadata")),
        "payment_method_types": types or ["card"],
        **{name: params[name] for name in ("customer", "description", "usage") if name in params},
    }
    method_id = None
    if "payment_method" in params:
        method_id = method_of(world, params["payment_method"], {"customer": None} | fields)
    intent = setups.create(world, payment_method=method_id, **fields)
    return confirm_intent(world, params, intent["id"], method_id) if params.get("confirm") else intent


def confirm_intent(world: World, params: dict[str, Any], intent_id: str, method_id: str | None = None) -> Object:
    intent = world.get("setup_intent", intent_id)
    refuse_unexpected(intent, "confirmed", setups.CONFIRMABLE)
    if method_id is None and "payment_method" in params:
        method_id = method_of(world, params["payment_method"], intent)
    method_id = method_id or intent["payment_method"]
    if method_id is None:
        message = "You cannot confirm this SetupIntent because it's missing a payment method."
        raise ApiError(400, message, code="setup_intent_unexpected_state")
    world.hidden.setdefault(intent_id, {})["return_url"] = params.get("return_url")
    set_up(world, intent, method_id)
    return intent


def set_up(world: World, intent: Object, method_id: str) -> None:
    """Set up a payment method, and attach it to the intent's customer."""
    if setups.confirm(world, intent, method_id) and intent["customer"]:
        attach(world, method_id, world.get("customer", intent["customer"]), "payment_method")


def cancel_intent(world: World, params: dict[str, Any], intent_id: str) -> Object:
    intent = world.get("setup_intent", intent_id)
    refuse_unexpected(intent, "canceled", setups.CONFIRMABLE)
    setups.cancel(world, intent, params.get("cancellation_reason"))
    return intent


def update_intent(world: World, params: dict[str, Any], intent_id: str) -> Object:
    intent = world.get("setup_intent", intent_id)
    return change(world, intent, params, ("customer", "description"), setups.CONFIRMABLE)


def list_intents(world: World, params: dict[str, Any]) -> Object:
    fields = {name: params[name] for name in ("customer", "payment_method") if name in params}
    return lists.page(world.where("setup_intent", **fields), params, PATH)


FIELDS = {"customer": text, "description": text, "metadata": metadata, "payment_method": text}
CONFIRMATION = {"mandate_data": MANDATE, "payment_method": text, "return_url": text}

ROUTES = (
    Route(
        "POST",
        PATH,
        create_intent,
        FIELDS
        | CONFIRMATION
        | {
            "allowed_payment_method_types": TYPES,
            "automatic_payment_methods": AUTOMATIC,
            "confirm": boolean,
            "payment_method_types": TYPES,
            "usage": choice("off_session", "on_session"),
        },
    ),
    retrieve_route("setup_intent", PATH),
    Route("POST", f"{PATH}/<id>", update_intent, FIELDS),
    Route("POST", f"{PATH}/<id>/confirm", confirm_intent, CONFIRMATION),
    Route(
        "POST",
        f"{PATH}/<id>/cancel",
        cancel_intent,
        {"cancellation_reason": choice("abandoned", "duplicate", "requested_by_customer")},
    ),
    Route("GET", PATH, list_intents, form.LIST | {"created": form.created, "customer": text, "payment_method": text}),
)
