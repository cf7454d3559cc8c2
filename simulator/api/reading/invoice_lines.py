"""The lines of an invoice, as a list."""

from typing import Any

from ...http import form, lists
from ...http.route import Route
from ...world import Object, World

PATH = "/v1/invoices/<id>/lines"


def list_lines(world: World, params: dict[str, Any], invoice_id: str) -> Object:
    found = world.get("invoice", invoice_id)["lines"]["data"]
    return lists.page(found, params, PATH.replace("<id>", invoice_id))


ROUTES = (Route("GET", PATH, list_lines, form.LIST),)
