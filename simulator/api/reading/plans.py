"""Plans, the older shape of recurring prices: read only."""

from typing import Any

from ...errors import missing
from ...http import form, lists
from ...http.form import boolean, text
from ...http.route import Route
from ...versions import plan_of
from ...world import Object, World

PATH = "/v1/plans"


def retrieve_plan(world: World, _params: dict[str, Any], plan_id: str) -> Object:
    price = world.find("price", plan_id)
    if price is None or price["recurring"] is None:
        raise missing("plan", plan_id)
    return plan_of(price)


def list_plans(world: World, params: dict[str, Any]) -> Object:
    fields = {name: params[name] for name in ("active", "product") if name in params}
    found = [each for each in world.where("price", **fields) if each["recurring"]]
    return lists.page([plan_of(each) for each in found], params, PATH)


ROUTES = (
    Route("GET", f"{PATH}/<id>", retrieve_plan),
    Route("GET", PATH, list_plans, form.LIST | {"active": boolean, "created": form.created, "product": text}),
)
