"""What follows a charge of some test cards: a dispute, an early fraud warning, or money that is available at once."""

from ..world import Object, World
from . import balance, disputes
from .instruments import instrument_of


def follow(world: World, charge: Object) -> None:
    """Do what the test card of a charge that succeeded stands for."""
    sequel = instrument_of(world, charge["payment_method"]).sequel
    if sequel in disputes.REASONS:
        disputes.open_dispute(world, charge, sequel)
    elif sequel == "fraud_warning":
        _warn(world, charge)
    elif sequel == "available":
        world.emit("balance.available", balance.of_account(world))


def _warn(world: World, charge: Object) -> None:
    warning = {
        "id": world.new_id("radar.early_fraud_warning"),
        "object": "radar.early_fraud_warning",
        "actionable": True,
        "charge": charge["id"],
        "created": world.now,
        "fraud_type": "misc",
        "livemode": False,
        "payment_intent": charge["payment_intent"],
    }
    world.emit("radar.early_fraud_warning.created", world.add("radar.early_fraud_warning", warning))
