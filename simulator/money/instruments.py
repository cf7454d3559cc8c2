"""The test card or test bank account behind a payment method, and the outcome of charging it."""

from ..test_cards import INSTRUMENTS, Instrument, Outcome
from ..world import World


def instrument_of(world: World, method_id: str) -> Instrument:
    """Return the test card or bank account behind a payment method."""
    return INSTRUMENTS[world.hidden[method_id]["instrument"]]


def unconfirmed(kind: str) -> Instrument:
    """Return what declines when the customer refuses to confirm to the bank.

    Shape   kind: "payment_intent" or "setup_intent"
    """
    return Instrument(
        "",
        declines="charge",
        decline_code="",
        code=f"{kind}_authentication_failure",
        message="We are unable to authenticate your payment method. Please choose a different payment method and try "
        "again.",
    )


def expected_outcome(world: World, method_id: str) -> Outcome:
    """Return the outcome of charging a payment method now."""
    return instrument_of(world, method_id).outcome(world.hidden[method_id].get("authenticated", False))


def authenticate(world: World, method_id: str) -> None:
    """Record that the customer confirmed to the bank."""
    world.hidden[method_id]["authenticated"] = True


def forget_authentication(world: World, method_id: str) -> None:
    """Require a new confirmation for the next payment, if the card asks for one each time."""
    if instrument_of(world, method_id).authenticates == "always":
        world.hidden[method_id]["authenticated"] = False
