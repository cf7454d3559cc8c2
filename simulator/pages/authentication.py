"""The bank's page, on which a customer confirms a PaymentIntent or SetupIntent."""

import bottle

from ..api.payments import payment_intents, setup_intents
from ..errors import ApiError
from ..money import intents, setups
from ..money.instruments import authenticate
from ..world import Object, World
from . import authentication_page, page, redirect


def show_authentication(world: World, intent_id: str) -> bottle.HTTPResponse:
    return authentication_page(_waiting(world, intent_id)["payment_method"], f"/authenticate/{intent_id}")


def answer_authentication(world: World, intent_id: str) -> bottle.HTTPResponse:
    """Confirm the payment or setup, or let it fail, and send the customer back."""
    intent = _waiting(world, intent_id)
    is_payment = intent["object"] == "payment_intent"
    if bottle.request.forms.get("answer") != "confirm":
        error = (intents.refuse if is_payment else setups.refuse)(world, intent)
        return page(
            "Confirm the payment", "message", 402, heading="Refused", text=str(error), link=_back(world, intent)
        )
    authenticate(world, intent["payment_method"])
    (payment_intents.pay if is_payment else setup_intents.set_up)(world, intent, intent["payment_method"])
    back = _back(world, intent)
    text = "Your bank has confirmed it."
    return redirect(back) if back else page("Confirm the payment", "message", 200, heading="Done", text=text, link=None)


def _waiting(world: World, intent_id: str) -> Object:
    """Return the intent, if it waits for the customer."""
    kind = "setup_intent" if intent_id.startswith("seti_") else "payment_intent"
    intent = world.get(kind, intent_id)
    if intent["status"] != "requires_action":
        raise ApiError(400, "Nothing waits for a confirmation any more.")
    return intent


def _back(world: World, intent: Object) -> str | None:
    """Return where the customer is sent: the `return_url` that the intent was confirmed with."""
    found: str | None = world.hidden.get(intent["id"], {}).get("return_url")
    return found
