"""Stripe's customer portal: whether it offers what is sold, and what our pages lead to."""

from collections.abc import Iterator, Mapping
from typing import Any

from ...gateway.states import PriceState
from ...models import PORTAL, setting
from ...plans import Plan
from ...replica.prices import Catalogue
from .check import Check, Examination, Seen, note, wrong

MAKE_ONE, SET_BACK = "corkage push", "corkage push --overwrite"
NEEDED = {
    "payment_method_update": "change their card",
    "subscription_cancel": "cancel",
    "invoice_history": "see their invoices",
}
"""What a portal must offer, and what users cannot do without it."""


def configuration(found: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the configuration that our sessions have: the one that `corkage push` made, else the account's default."""
    ours = setting(PORTAL)
    return next((each for each in found if (each["id"] == ours if ours else each["is_default"])), None)


def changeable(catalogue: Catalogue, found: Mapping[str, PriceState]) -> dict[str, str]:
    """Return the prices between which subscribers may change, with the names that plans.toml has for them: those of a
    group in which several are sold.
    """
    groups: dict[str, dict[str, str]] = {}
    unsold = {(key, name) for key, name, _ in catalogue.troubles(found)}
    for key, plan in catalogue.plans.items():
        for name in plan.prices if _is_base(plan) else ():
            if (key, name) not in unsold and found[name].interval:
                groups.setdefault(plan.in_group, {})[found[name].id] = name
    return {id_: name for group in groups.values() if len(group) > 1 for id_, name in group.items()}


def _is_base(plan: Plan) -> bool:
    return not (plan.adds_to or plan.adds)


def _sells_subscriptions(catalogue: Catalogue, found: Mapping[str, PriceState]) -> bool:
    sold = [name for plan in catalogue.plans.values() for name in plan.prices]
    return any(name in found and found[name].interval for name in sold)


def _look(examination: Examination) -> Iterator[Seen]:
    catalogue = examination.worker.catalogue
    prices = examination.at_stripe["prices"]
    if not _sells_subscriptions(catalogue, prices):
        return
    found = configuration(examination.at_stripe["portals"])
    if found is None and setting(PORTAL):
        yield wrong("the portal's configuration that `corkage push` made is not active: nobody can open it", SET_BACK)
        return
    if found is None:
        yield wrong("the customer portal is not set up: Stripe refuses to open it for anybody", MAKE_ONE)
        return
    features, repair = found["features"], MAKE_ONE if found["is_default"] else SET_BACK
    lacking = [text for name, text in NEEDED.items() if not features[name]["enabled"]]
    if lacking:
        yield wrong(f"in the customer portal users cannot {', nor '.join(lacking)}", repair)
    if not features["customer_update"]["enabled"]:
        yield note("in the customer portal users cannot change their e-mail or address")
    if why := _why_no_changes(features["subscription_update"], changeable(catalogue, prices)):
        yield wrong(why, repair)


def _why_no_changes(feature: dict[str, Any], wanted: Mapping[str, str]) -> str:
    """Return why subscribers cannot change between what is sold; empty where they can, or nothing else is sold."""
    if not wanted:
        return ""
    if not feature["enabled"] or "price" not in feature["default_allowed_updates"]:
        return "in the customer portal subscribers cannot change to another plan or price"
    offered = {price for product in feature.get("products") or () for price in product["prices"]}
    lacking = [name for id_, name in wanted.items() if id_ not in offered]
    return f"the customer portal does not offer what is sold: {', '.join(lacking)}" if lacking else ""


CHECKS = (
    Check(
        "portal",
        "the customer portal: set up, lets users change their card, cancel and see invoices, and offers every price "
        "that is sold where there are several",
        "it offers what is sold",
        _look,
    ),
)
