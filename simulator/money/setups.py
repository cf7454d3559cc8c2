"""SetupIntents: a payment method saved for later, without a payment."""

from typing import Any

from ..errors import ApiError
from ..test_cards import Instrument
from ..world import Object, World, copy_json
from .instruments import instrument_of, unconfirmed

CONFIRMABLE = ("requires_action", "requires_confirmation", "requires_payment_method")


def create(world: World, **fields: Any) -> Object:
    """Create a SetupIntent that waits for a payment method, or with one for its confirmation."""
    intent = _blank(world) | fields
    intent["client_secret"] = f"{intent['id']}_secret_{world.new_token(25)}"
    intent["status"] = "requires_confirmation" if intent["payment_method"] else "requires_payment_method"
    world.add("setup_intent", intent)
    world.emit("setup_intent.created", intent)
    return intent


def confirm(world: World, intent: Object, method_id: str) -> bool:
    """Set up a payment method; return whether it succeeded. The caller attaches it to the customer.

    Errors  ApiError when the card is declined
    """
    instrument = instrument_of(world, method_id)
    intent |= {"payment_method": method_id, "next_action": None, "last_setup_error": None}
    if instrument.declines == "attach":
        fail(world, intent, instrument)
        raise error_of(intent)
    if instrument.authenticates and not world.hidden[method_id].get("authenticated"):
        url = f"{world.base_url}/authenticate/{intent['id']}"
        back = world.hidden.get(intent["id"], {}).get("return_url")
        intent["next_action"] = {"redirect_to_url": {"return_url": back, "url": url}, "type": "redirect_to_url"}
        intent["status"] = "requires_action"
        world.emit("setup_intent.requires_action", intent)
        return False
    intent["status"] = "succeeded"
    world.emit("setup_intent.succeeded", intent)
    return True


def refuse(world: World, intent: Object) -> ApiError:
    """Fail a setup that the customer did not confirm to the bank; return its error."""
    fail(world, intent, unconfirmed("setup_intent"))
    return error_of(intent)


def fail(world: World, intent: Object, instrument: Instrument) -> None:
    method = world.get("payment_method", intent["payment_method"])
    intent |= {"payment_method": None, "next_action": None, "status": "requires_payment_method"}
    intent["last_setup_error"] = {
        "code": instrument.code,
        "decline_code": instrument.decline_code or None,
        "message": instrument.message,
        "payment_method": method,
        "type": "card_error",
    }
    world.emit("setup_intent.setup_failed", intent)


def cancel(world: World, intent: Object, reason: str | None) -> None:
    intent |= {"status": "canceled", "cancellation_reason": reason, "next_action": None}
    world.emit("setup_intent.canceled", intent)


def error_of(intent: Object) -> ApiError:
    """Return the error of the last confirmation."""
    said = intent["last_setup_error"]
    error = ApiError(402, said["message"], code=said["code"], kind="card_error", decline_code=said["decline_code"])
    error.body["error"]["setup_intent"] = copy_json(intent)
    return error


NULLS = (
    "application automatic_payment_methods cancellation_reason customer customer_account description flow_directions "
    "last_setup_error latest_attempt mandate next_action on_behalf_of payment_method "
    "payment_method_configuration_details single_use_mandate"
).split()


def _blank(world: World) -> Object:
    nulls: dict[str, Any] = dict.fromkeys(NULLS)
    return nulls | {
        "id": world.new_id("setup_intent"),
        "object": "setup_intent",
        "created": world.now,
        "livemode": False,
        "metadata": {},
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "usage": "off_session",
    }
