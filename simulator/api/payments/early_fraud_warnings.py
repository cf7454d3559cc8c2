"""Early fraud warnings, to read."""

from typing import Any

from ...http import form, lists
from ...http.form import text
from ...http.route import Route, retrieve_route
from ...world import Object, World

PATH = "/v1/radar/early_fraud_warnings"
KIND = "radar.early_fraud_warning"


def list_warnings(world: World, params: dict[str, Any]) -> Object:
    fields = {name: params[name] for name in ("charge", "payment_intent") if name in params}
    return lists.page(world.where(KIND, **fields), params, PATH)


ROUTES = (
    retrieve_route(KIND, PATH),
    Route("GET", PATH, list_warnings, form.LIST | {"charge": text, "created": form.created, "payment_intent": text}),
)
