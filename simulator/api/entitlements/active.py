"""Active entitlements: the features of what a customer's live subscriptions sell."""

from typing import Any

from ...errors import missing
from ...http import form, lists
from ...http.form import text
from ...http.route import Route
from ...world import Object, World
from ..customers import get_customer
from .features import KIND as FEATURE
from .features import features_of

PATH = "/v1/entitlements/active_entitlements"
KIND = "entitlements.active_entitlement"
LIVE = ("active", "past_due", "trialing")
SUMMARY_LIMIT = 10  # of entitlements in an event


def follow_subscription(world: World, kind: str, subject: Object) -> None:
    """Bring the customer's entitlements up to date after an event of a subscription, and emit what changed."""
    if kind.startswith("customer.subscription.") and world.has_any(FEATURE):
        _refresh(world, subject["customer"])


def list_entitlements(world: World, params: dict[str, Any]) -> Object:
    get_customer(world, params["customer"])
    return lists.page(_entitlements_of(world, params["customer"]), params, PATH)


def retrieve_entitlement(world: World, _params: dict[str, Any], entitlement_id: str) -> Object:
    found = world.find(KIND, entitlement_id)
    if found is None:
        raise missing("active_entitlement", entitlement_id)
    return found


def _refresh(world: World, customer_id: str) -> None:
    """Keep the entitlements that stay: their ids stay, too."""
    before = {each["feature"]: each["id"] for each in _entitlements_of(world, customer_id)}
    wanted = _features_for(world, customer_id)
    if before.keys() == wanted.keys():
        return
    for gone in before.keys() - wanted.keys():
        world.remove(KIND, before[gone])
    for feature_id in wanted.keys() - before.keys():
        entitlement = {
            "id": world.new_id(KIND),
            "object": KIND,
            "feature": feature_id,
            "livemode": False,
            "lookup_key": wanted[feature_id]["lookup_key"],
        }
        before[feature_id] = world.add(KIND, entitlement)["id"]
    world.hidden.setdefault(customer_id, {})["entitlements"] = [before[each] for each in wanted]
    world.emit("entitlements.active_entitlement_summary.updated", _summary(world, customer_id))


def _features_for(world: World, customer_id: str) -> dict[str, Object]:
    live = [each for each in world.where("subscription", customer=customer_id) if each["status"] in LIVE]
    products = {item["price"]["product"]: None for each in live for item in each["items"]["data"]}
    links = [link for product_id in products for link in features_of(world, product_id)]
    return {each["entitlement_feature"]["id"]: each["entitlement_feature"] for each in links}


def _entitlements_of(world: World, customer_id: str) -> list[Object]:
    ids = world.hidden.get(customer_id, {}).get("entitlements", [])
    return [world.get(KIND, each) for each in ids]


def _summary(world: World, customer_id: str) -> Object:
    found = _entitlements_of(world, customer_id)
    shown = lists.embedded(found[:SUMMARY_LIMIT], f"/v1/customer/{customer_id}/entitlements")
    return {
        "object": "entitlements.active_entitlement_summary",
        "customer": customer_id,
        "entitlements": shown | {"has_more": len(found) > SUMMARY_LIMIT},
        "livemode": False,
    }


ROUTES = (
    Route("GET", PATH, list_entitlements, form.LIST | {"customer": text}, required=("customer",)),
    Route("GET", f"{PATH}/<id>", retrieve_entitlement),
)
