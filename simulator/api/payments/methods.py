"""What requests for PaymentIntents and SetupIntents share."""

from typing import Any

from ...errors import ApiError, invalid
from ...http import form
from ...http.form import boolean, choice, integer, list_of, nested
from ...money.instruments import instrument_of
from ...test_cards import DELAYED_TYPES, resolve_name
from ...world import Object, World
from ..customers import get_customer
from ..payment_methods import create_method

TYPES = list_of(choice("card", *DELAYED_TYPES.values()))
AUTOMATIC = nested({"allow_redirects": choice("always", "never"), "enabled": boolean})
MANDATE = nested({"customer_acceptance": nested({"accepted_at": integer, "type": choice("offline")})})


def method_of(world: World, given: str, intent: Object) -> str:
    """Return the id of a payment method that this intent can use; a name such as pm_card_visa creates one.

    Errors  ApiError when it is of another customer, or of a type that the intent does not take
    """
    name = resolve_name(given)
    method = create_method(world, name, {}) if name else world.get("payment_method", given, "payment_method")
    if method["customer"] not in (None, intent["customer"]):
        raise invalid("The provided PaymentMethod belongs to a Customer; provide that customer, too.", "payment_method")
    kind = instrument_of(world, method["id"]).type
    if kind not in intent["payment_method_types"]:
        message = f"The PaymentMethod provided ({kind}) is not allowed for this intent. Provide one of these: "
        raise invalid(message + ", ".join(intent["payment_method_types"]), "payment_method")
    return str(method["id"])


def change(
    world: World, intent: Object, params: dict[str, Any], fields: tuple[str, ...], confirmable: tuple[str, ...]
) -> Object:
    """Change an intent that can still be confirmed; its description and metadata at any time.

    Shape   fields: the parameters that are stored as they are; confirmable: the statuses before confirmation
    Errors  ApiError for another status, an unknown customer, or a payment method that the intent cannot use
    """
    if params.keys() - {"description", "metadata"}:
        refuse_unexpected(intent, "updated", confirmable)
    if "customer" in params:
        get_customer(world, params["customer"])
    intent |= {name: params[name] for name in fields if name in params}
    intent["metadata"] = form.merge_metadata(intent["metadata"], params.get("metadata"))
    if "payment_method" in params:
        intent["payment_method"] = method_of(world, params["payment_method"], intent)
        intent["status"] = "requires_confirmation"
    return intent


def refuse_unexpected(intent: Object, verb: str, allowed: tuple[str, ...]) -> None:
    """Raise ApiError if the intent's status does not allow this."""
    if intent["status"] in allowed:
        return
    noun = {"payment_intent": "PaymentIntent", "setup_intent": "SetupIntent"}[intent["object"]]
    raise ApiError(
        400,
        f"This {noun}'s status is {intent['status']}, and it cannot be {verb}. Allowed statuses: {', '.join(allowed)}.",
        code=f"{intent['object']}_unexpected_state",
    )
