"""Invoice payments, to read."""

from typing import Any

from ...http import form, lists
from ...http.form import choice, nested, text
from ...http.route import Route, retrieve_route
from ...world import Object, World

PATH = "/v1/invoice_payments"


def list_payments(world: World, params: dict[str, Any]) -> Object:
    fields = {name: params[name] for name in ("invoice", "status") if name in params}
    found = world.where("invoice_payment", **fields)
    if "payment" in params:
        wanted = params["payment"].get("payment_intent")
        found = [each for each in found if each["payment"]["payment_intent"] == wanted]
    return lists.page(found, params, PATH)


ROUTES = (
    retrieve_route("invoice_payment", PATH),
    Route(
        "GET",
        PATH,
        list_payments,
        form.LIST
        | {
            "created": form.created,
            "invoice": text,
            "payment": nested({"payment_intent": text, "type": choice("payment_intent")}),
            "status": choice("canceled", "open", "paid"),
        },
    ),
)
