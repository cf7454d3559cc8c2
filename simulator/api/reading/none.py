"""Lists of what the simulator never has: sources."""

from typing import Any

from ...http import form, lists
from ...http.form import text
from ...http.route import Route
from ...world import Object, World

SOURCES = "/v1/customers/<id>/sources"


def list_sources(world: World, params: dict[str, Any], customer_id: str) -> Object:
    world.get("customer", customer_id)
    return lists.page([], params, SOURCES.replace("<id>", customer_id))


ROUTES = (Route("GET", SOURCES, list_sources, form.LIST | {"object": text}),)
