"""Tax ids by their owner: the account, which has none, or a customer."""

from typing import Any

from ...errors import missing_parameter
from ...http import form, lists
from ...http.form import choice, nested, text
from ...http.route import Route
from ...world import Object, World

PATH = "/v1/tax_ids"


def list_tax_ids(world: World, params: dict[str, Any]) -> Object:
    owner = params.get("owner", {})
    if owner.get("type") != "customer":
        return lists.page([], params, PATH)
    if "customer" not in owner:
        raise missing_parameter("owner[customer]")
    world.get("customer", owner["customer"], "owner[customer]")
    return lists.page(world.where("tax_id", customer=owner["customer"]), params, PATH)


OWNER = nested({"customer": text, "type": choice("customer", "self")})
ROUTES = (Route("GET", PATH, list_tax_ids, form.LIST | {"owner": OWNER}),)
