"""PaymentIntents: created, confirmed, captured, settled, canceled."""

from typing import Any

from ..errors import ApiError
from ..test_cards import DELAYED_TYPES, Instrument, Outcome
from ..world import Object, World, copy_json
from . import charges, sequels
from .instruments import expected_outcome, forget_authentication, instrument_of, unconfirmed

ACTIVE = ("requires_action", "requires_capture", "requires_confirmation", "requires_payment_method")
UNAUTHENTICATED = Instrument(
    "",
    declines="charge",
    decline_code="authentication_required",
    code="authentication_required",
    message="Your card was declined. This transaction requires authentication.",
)


def create(world: World, *, amount: int, currency: str, **fields: Any) -> Object:
    """Create a PaymentIntent that waits for a payment method, or with one for its confirmation."""
    intent = _blank(world) | {"amount": amount, "currency": currency} | fields
    intent["client_secret"] = f"{intent['id']}_secret_{world.new_token(25)}"
    intent["status"] = "requires_confirmation" if intent["payment_method"] else "requires_payment_method"
    world.add("payment_intent", intent)
    world.emit("payment_intent.created", intent)
    return intent


def types_for(currency: str) -> list[str]:
    """Return the payment methods that the account takes in a currency."""
    return ["card", DELAYED_TYPES[currency]] if currency in DELAYED_TYPES else ["card"]


def confirm(world: World, intent: Object, method_id: str, *, may_ask: bool = True) -> Outcome:
    """Charge a payment method. A pending payment is decided by settle().

    Shape   may_ask: whether the customer is there to confirm to the bank; else a card that asks for it is declined
    """
    outcome = expected_outcome(world, method_id)
    forget_authentication(world, method_id)
    intent |= {"payment_method": method_id, "next_action": None, "last_payment_error": None}
    if outcome == "action" and may_ask:
        _ask(world, intent)
        return outcome
    intent["latest_charge"] = _charge(world, intent, method_id)["id"]
    if outcome == "paid":
        _succeed(world, intent)
    elif outcome == "pending":
        intent |= {"status": "processing"}
        world.emit("charge.pending", charge_of(world, intent))
        world.emit("payment_intent.processing", intent)
    else:
        _fail(world, intent, UNAUTHENTICATED if outcome == "action" else instrument_of(world, method_id))
    return "declined" if outcome == "action" else outcome


def settle(world: World, intent: Object) -> bool:
    """Decide a pending payment as its bank does; return whether the money arrived."""
    instrument = instrument_of(world, intent["payment_method"])
    if instrument.declines:
        _fail(world, intent, instrument)
    else:
        _succeed(world, intent)
    return not instrument.declines


def settle_when_due(world: World, intent_id: str, _moment: int) -> None:
    intent = world.find("payment_intent", intent_id)
    if intent and intent["status"] == "processing":
        settle(world, intent)


def refuse(world: World, intent: Object) -> ApiError:
    """Fail a payment that the customer did not confirm to the bank; return its error."""
    _set_error(world, intent, unconfirmed("payment_intent"), None)
    return error_of(intent)


def capture(world: World, intent: Object, amount: int) -> None:
    """Take what a confirmed PaymentIntent with manual capture has authorized."""
    charges.capture(world, charge_of(world, intent), amount)
    intent |= {"amount_capturable": 0, "amount_received": amount, "status": "succeeded"}
    world.emit("payment_intent.succeeded", intent)


def cancel(world: World, intent: Object, reason: str | None) -> None:
    """Cancel a PaymentIntent, and give up its authorization."""
    if intent["status"] == "requires_capture":
        charges.release(world, charge_of(world, intent))
    intent |= {"amount_capturable": 0, "canceled_at": world.now, "cancellation_reason": reason, "next_action": None}
    intent["status"] = "canceled"
    world.emit("payment_intent.canceled", intent)


def charge_of(world: World, intent: Object) -> Object:
    return world.get("charge", intent["latest_charge"], "latest_charge")


def error_of(intent: Object) -> ApiError:
    """Return the error of the last payment, as the request that caused it is answered."""
    said = intent["last_payment_error"]
    error = ApiError(402, said["message"], code=said["code"], kind="card_error", decline_code=said["decline_code"])
    error.body["error"] |= {"charge": intent["latest_charge"], "payment_intent": copy_json(intent)}
    return error


def _ask(world: World, intent: Object) -> None:
    url = f"{world.base_url}/authenticate/{intent['id']}"
    back = world.hidden.get(intent["id"], {}).get("return_url")
    intent["next_action"] = {"redirect_to_url": {"return_url": back, "url": url}, "type": "redirect_to_url"}
    intent["status"] = "requires_action"
    world.emit("payment_intent.requires_action", intent)


def _charge(world: World, intent: Object, method_id: str) -> Object:
    same = ("amount", "currency", "customer", "description", "receipt_email", "shipping", "statement_descriptor")
    fields = {name: intent[name] for name in same}
    tags = dict(intent["metadata"])
    return charges.create(world, method_id, payment_intent=intent["id"], metadata=tags, **fields)


def _succeed(world: World, intent: Object) -> None:
    charge, is_manual = charge_of(world, intent), intent["capture_method"] == "manual"
    charges.succeed(world, charge, captured=not is_manual)
    if is_manual:
        intent |= {"amount_capturable": intent["amount"], "status": "requires_capture"}
        world.emit("payment_intent.amount_capturable_updated", intent)
    else:
        intent |= {"amount_received": intent["amount"], "status": "succeeded"}
        world.emit("payment_intent.succeeded", intent)
    sequels.follow(world, charge)


def _fail(world: World, intent: Object, instrument: Instrument) -> None:
    charge = charge_of(world, intent)
    charges.decline(world, charge, instrument)
    _set_error(world, intent, instrument, charge["id"])


def _set_error(world: World, intent: Object, instrument: Instrument, charge_id: str | None) -> None:
    error = {
        "charge": charge_id,
        "code": instrument.code,
        "decline_code": instrument.decline_code or None,
        "message": instrument.message,
        "payment_method": world.get("payment_method", intent["payment_method"]),
        "type": "card_error",
    }
    intent |= {"last_payment_error": error, "next_action": None, "payment_method": None}
    intent["status"] = "requires_payment_method"
    world.emit("payment_intent.payment_failed", intent)


NULLS = (
    "amount_details application application_fee_amount automatic_payment_methods canceled_at cancellation_reason "
    "customer customer_account description last_payment_error latest_charge next_action on_behalf_of payment_method "
    "payment_method_configuration_details processing receipt_email review setup_future_usage shipping source "
    "statement_descriptor statement_descriptor_suffix transfer_data transfer_group"
).split()


def _blank(world: World) -> Object:
    nulls: dict[str, Any] = dict.fromkeys(NULLS)
    return nulls | {
        "id": world.new_id("payment_intent"),
        "object": "payment_intent",
        "amount_capturable": 0,
        "amount_received": 0,
        "capture_method": "automatic_async",
        "confirmation_method": "automatic",
        "created": world.now,
        "livemode": False,
        "metadata": {},
        "payment_method_options": {},
        "payment_method_types": ["card"],
    }
