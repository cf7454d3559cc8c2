"""One currency per customer: what a customer has running decides it."""

from ..errors import ApiError
from ..world import Object, World
from .periods import ENDED


def check_currency(world: World, customer_id: str | None, currency: str) -> None:
    """Raise ApiError if something of another currency runs for the customer. What has ended does not count."""
    customer = world.find("customer", customer_id)
    if customer is None or customer["currency"] in (None, currency):
        return
    other = customer["currency"]
    if _is_bound(world, customer, other):
        raise ApiError(
            400,
            "You cannot combine currencies on a single customer. This customer has an active subscription, "
            "subscription schedule, discount, quote, invoice item or active subscription mode checkout session with "
            f"currency {other}.",
            is_replayed=False,
        )


def _is_bound(world: World, customer: Object, currency: str) -> bool:
    mine = {"customer": customer["id"]}
    subscriptions = world.where("subscription", **mine, currency=currency)
    schedules = world.where("subscription_schedule", **mine)
    sessions = world.where("checkout.session", **mine, mode="subscription", status="open", currency=currency)
    items = world.where("invoiceitem", **mine, currency=currency, invoice=None)
    return bool(
        sessions
        or items
        or any(each["status"] not in ENDED for each in subscriptions)
        or any(
            each["status"] in ("not_started", "active") and each["phases"][0]["currency"] == currency
            for each in schedules
        )
    )
