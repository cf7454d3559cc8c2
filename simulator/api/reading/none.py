"""Lists of what the simulator never has: sources, and warnings of early fraud."""

from typing import Any

from ...http import form, lists
from ...http.form import text
from ...http.route import Route
from ...world import Object, World

SOURCES = "/v1/customers/<id>/sources"
WARNINGS = "/v1/radar/early_fraud_warnings"


def list_sources(world: World, params: dict[str, Any], customer_id: str) -> Object:
    world.get("customer", customer_id)
    return lists.page([], params, SOURCES.replace("<id>", customer_id))


def list_warnings(_world: World, params: dict[str, Any]) -> Object:
    return lists.page([], params, WARNINGS)


ROUTES = (
    Route("GET", SOURCES, list_sources, form.LIST | {"object": text}),
    Route("GET", WARNINGS, list_warnings, form.LIST | {"created": form.created}),
)
