"""What is wanted at Stripe, from the settings and plans.toml alone: no call is made."""

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..amounts import WantedPrice
from ..config import Config
from ..plans import Plan
from ..users.wishes import FEEDBACKS

MOST_PRODUCTS = 10  # in a portal's configuration
LATER = ("decreasing_item_amount", "shortening_interval")
LONGEST_NAME = 200  # of what we name at Stripe


class WantedProduct(NamedTuple):
    """A product that we make, with its prices."""

    id: str
    plan: str
    fields: dict[str, Any]
    prices: tuple[WantedPrice, ...]


class Offered(NamedTuple):
    """A price as the portal may offer it.

    Shape   id: its id at Stripe; seats: the least and the most that a customer may choose of it
    """

    id: str
    product_id: str
    seats: tuple[int, int] | None


def product_id(app: str, plan: str) -> str:
    """Return the id of a plan's product: fixed, so that it is made once, whatever happens meanwhile."""
    return f"corkage_{hashlib.sha256(app.encode()).hexdigest()[:10]}_{plan}"


def products(config: Config) -> tuple[WantedProduct, ...]:
    """Return the products that plans.toml gives amounts for."""
    return tuple(_product(config.app, plan) for plan in config.plans if plan.wanted_prices)


def _product(app: str, plan: Plan) -> WantedProduct:
    fields: dict[str, Any] = {"name": plan.name, "active": True}
    fields |= {"description": plan.description} if plan.description else {}
    return WantedProduct(product_id(app, plan.key), plan.key, fields, plan.wanted_prices)


def meters(config: Config) -> dict[str, str]:
    """Return the names of limits by the event names of the meters that prices of plans.toml are billed by."""
    events = {price.meter for plan in config.plans for price in plan.wanted_prices if price.meter}
    return {event: name for plan in config.plans for name, event in plan.meters.items() if event in events}


def offered_plans(config: Config) -> Iterator[tuple[Plan, str]]:
    """Return the plans and prices that the portal offers: where several are sold in a group, or seats."""
    groups: dict[str, int] = {}
    bases = [plan for plan in config.plans if plan.prices and not (plan.adds_to or plan.adds)]
    for plan in bases:
        groups[plan.in_group] = groups.get(plan.in_group, 0) + len(plan.prices)
    for plan in bases:
        if groups[plan.in_group] > 1 or plan.seats:
            yield from ((plan, name) for name in plan.prices)


def portal_features(offered: list[Offered], *, codes: bool) -> dict[str, Any]:
    """Return the features of the portal's configuration: upgrades at once, and paid at once; downgrades at the end of
    the period.

    Shape   codes: whether promotion codes are taken
    """
    return {
        "customer_update": {"enabled": True, "allowed_updates": ["address", "email", "name", "phone", "tax_id"]},
        "invoice_history": {"enabled": True},
        "payment_method_update": {"enabled": True},
        "subscription_cancel": {
            "enabled": True,
            "mode": "at_period_end",
            "proration_behavior": "none",
            "cancellation_reason": {"enabled": True, "options": list(FEEDBACKS)},
        },
        "subscription_update": _update(offered, codes=codes),
    }


def _update(offered: list[Offered], *, codes: bool) -> dict[str, Any]:
    """Return the settings of changes, all of them even where there are none: so that what is found is comparable."""
    updates = ["price", *(["quantity"] if any(each.seats for each in offered) else [])]
    return {
        "enabled": bool(offered),
        "default_allowed_updates": [*updates, *(["promotion_code"] if codes else [])] if offered else "",
        "proration_behavior": "always_invoice",
        "schedule_at_period_end": {"conditions": [{"type": each} for each in LATER]},
        "trial_update_behavior": "continue_trial",
        "products": [_offered_product(each, offered) for each in _product_ids(offered)] or "",
    }


def _product_ids(offered: list[Offered]) -> list[str]:
    return list(dict.fromkeys(each.product_id for each in offered))[:MOST_PRODUCTS]


def _offered_product(id_: str, offered: list[Offered]) -> dict[str, Any]:
    """Return a product of the portal. Stripe lets a quantity be adjusted unless it is said that it may not."""
    of_product = [each for each in offered if each.product_id == id_]
    seats = next((each.seats for each in of_product if each.seats), None)
    adjustable = {"enabled": True, "minimum": seats[0], "maximum": seats[1]} if seats else {"enabled": False}
    return {"product": id_, "prices": [each.id for each in of_product], "adjustable_quantity": adjustable}
