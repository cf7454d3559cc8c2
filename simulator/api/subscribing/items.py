"""Subscription items: each call changes the item's subscription."""

from typing import Any

from ...billing import periods
from ...errors import invalid
from ...http import form, lists
from ...http.form import text
from ...http.route import Route, retrieve_route
from ...world import Object, World
from ..subscriptions import ITEM, PAYMENT, update_subscription

PATH = "/v1/subscription_items"
KIND = "subscription_item"


def create_item(world: World, params: dict[str, Any]) -> Object:
    subscription = world.get("subscription", params.pop("subscription"), "subscription")
    before = {each["id"] for each in subscription["items"]["data"]}
    _change(world, subscription, params, {})
    return next(each for each in subscription["items"]["data"] if each["id"] not in before)


def update_item(world: World, params: dict[str, Any], item_id: str) -> Object:
    item = world.get(KIND, item_id)
    _change(world, world.get("subscription", item["subscription"]), params, {"id": item_id})
    return item


def delete_item(world: World, params: dict[str, Any], item_id: str) -> Object:
    item = world.get(KIND, item_id)
    subscription = world.get("subscription", item["subscription"])
    if len(subscription["items"]["data"]) == 1:
        raise invalid("A subscription must have at least one active plan.", "id")
    _change(world, subscription, params, {"id": item_id, "deleted": True})
    return {"id": item_id, "object": KIND, "deleted": True}


def list_items(world: World, params: dict[str, Any]) -> Object:
    subscription = world.get("subscription", params["subscription"], "subscription")
    return lists.page(subscription["items"]["data"], params, PATH)


def _change(world: World, subscription: Object, params: dict[str, Any], item: Object) -> None:
    if subscription["status"] in periods.ENDED:
        raise invalid("The items of a canceled subscription cannot be changed.", "subscription")
    given = item | {name: params.pop(name) for name in ITEM if name in params}
    update_subscription(world, {"items": [given], **params}, subscription["id"])


FIELDS = {name: parser for name, parser in ITEM.items() if name not in ("id", "deleted")} | PAYMENT

ROUTES = (
    Route("GET", PATH, list_items, form.LIST | {"subscription": text}, required=("subscription",)),
    Route("POST", PATH, create_item, FIELDS | {"subscription": text}, required=("subscription",)),
    retrieve_route(KIND, PATH),
    Route("POST", f"{PATH}/<id>", update_item, FIELDS),
    Route(
        "DELETE",
        f"{PATH}/<id>",
        delete_item,
        PAYMENT,
    ),
)
