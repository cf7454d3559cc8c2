"""Plans, the older form of prices: each recurring price is also a plan with the same id."""

from typing import Any

from ...billing.pricing.prices import plan_for
from ...errors import already_exists, missing, missing_parameter
from ...http import form, lists
from ...http.form import boolean, choice, decimal, integer, metadata, optional, text, text_or
from ...http.route import Route
from ...versions import plan_of
from ...world import Object, World
from .. import products
from ..prices import create_price
from .rates import RATE, TRANSFORM

PATH = "/v1/plans"
RENAMED = {"amount": "unit_amount", "amount_decimal": "unit_amount_decimal", "transform_usage": "transform_quantity"}
RECURRING = ("interval", "interval_count", "meter", "usage_type")


def create_plan(world: World, params: dict[str, Any]) -> Object:
    if world.find("price", params.get("id")):
        raise already_exists("plan")
    if "product" not in params:
        raise missing_parameter("product")
    wanted = {RENAMED.get(name, name): value for name, value in params.items() if name not in RECURRING}
    wanted["recurring"] = {name: params[name] for name in RECURRING if name in params}
    wanted["id"] = params.get("id") or world.new_id("plan")
    if isinstance(wanted["product"], dict):
        if "name" not in wanted["product"]:
            raise missing_parameter("product[name]")
        wanted["product"] = products.create_product(world, wanted["product"])["id"]
    plan = plan_for(world, create_price(world, wanted))
    world.emit("plan.created", plan)
    return plan


def retrieve_plan(world: World, _params: dict[str, Any], plan_id: str) -> Object:
    return plan_for(world, _price(world, plan_id))


def update_plan(world: World, params: dict[str, Any], plan_id: str) -> Object:
    price = _price(world, plan_id)
    plan = plan_for(world, price)
    with world.changing(price, "price.updated"), world.changing(plan, "plan.updated"):
        price["metadata"] = form.merge_metadata(price["metadata"], params.pop("metadata", None))
        price |= params
        plan |= plan_of(price)
    return plan


def delete_plan(world: World, _params: dict[str, Any], plan_id: str) -> Object:
    """Delete a plan. Subscriptions to it go on."""
    price = _price(world, plan_id)
    plan = plan_for(world, price)
    for each in (price, plan):
        each["active"] = False
        world.remove(each["object"], plan_id)
    world.emit("price.deleted", price)
    world.emit("plan.deleted", plan)
    return {"id": plan_id, "object": "plan", "deleted": True}


def list_plans(world: World, params: dict[str, Any]) -> Object:
    fields = {name: params[name] for name in ("active", "product") if name in params}
    found = world.where("price", type="recurring", **fields)
    return lists.page([plan_for(world, each) for each in found], params, PATH)


def _price(world: World, plan_id: str) -> Object:
    price = world.find("price", plan_id)
    if price is None or not price["recurring"]:
        raise missing("plan", plan_id)
    return price


PRODUCT = {"active": boolean, "id": text, "metadata": metadata, "name": text}
FIELDS = {"active": boolean, "metadata": metadata, "nickname": optional(text)}

ROUTES = (
    Route(
        "POST",
        PATH,
        create_plan,
        FIELDS
        | {
            "amount": integer,
            "amount_decimal": decimal,
            "billing_scheme": RATE["billing_scheme"],
            "currency": text,
            "id": text,
            "interval": choice("day", "week", "month", "year"),
            "interval_count": integer,
            "meter": text,
            "product": text_or(PRODUCT),
            "tiers": RATE["tiers"],
            "tiers_mode": RATE["tiers_mode"],
            "transform_usage": TRANSFORM,
            "usage_type": choice("licensed", "metered"),
        },
        required=("currency", "interval"),
    ),
    Route("GET", f"{PATH}/<id>", retrieve_plan),
    Route("POST", f"{PATH}/<id>", update_plan, FIELDS),
    Route("DELETE", f"{PATH}/<id>", delete_plan),
    Route("GET", PATH, list_plans, form.LIST | {"active": boolean, "created": form.created, "product": text}),
)
