"""Tax rates, made by hand for `tax_rates` and `default_tax_rates`, or by automatic tax."""

from typing import Any

from ...billing.taxes import new_rate
from ...errors import invalid
from ...http import form, lists
from ...http.form import boolean, choice, metadata, number, text
from ...http.route import Route, retrieve_route
from ...world import Object, World

PATH = "/v1/tax_rates"
TYPES = (
    "amusement_tax communications_tax gst hst igst jct lease_tax pst qst retail_delivery_fee rst sales_tax "
    "service_tax vat"
).split()
FIELDS = {
    "active": boolean,
    "country": text,
    "description": text,
    "display_name": text,
    "jurisdiction": text,
    "metadata": metadata,
    "state": text,
    "tax_type": choice(*TYPES),
}


def create_rate(world: World, params: dict[str, Any]) -> Object:
    if not 0 <= params["percentage"] <= 100:
        raise invalid("This value must be between 0 and 100 (inclusive).", "percentage")
    rate = new_rate(world, **params | {"metadata": form.merge_metadata({}, params.get("metadata"))})
    world.emit("tax_rate.created", rate)
    return rate


def update_rate(world: World, params: dict[str, Any], rate_id: str) -> Object:
    rate = world.get("tax_rate", rate_id)
    with world.changing(rate, "tax_rate.updated"):
        given = params.pop("metadata", None)
        rate |= params | {"metadata": form.merge_metadata(rate["metadata"], given)}
    return rate


def list_rates(world: World, params: dict[str, Any]) -> Object:
    fields = {name: params[name] for name in ("active", "inclusive") if name in params}
    return lists.page(world.where("tax_rate", **fields), params, PATH)


ROUTES = (
    Route(
        "POST",
        PATH,
        create_rate,
        FIELDS | {"inclusive": boolean, "percentage": number},
        required=("display_name", "inclusive", "percentage"),
    ),
    retrieve_route("tax_rate", PATH),
    Route("POST", f"{PATH}/<id>", update_rate, FIELDS),
    Route("GET", PATH, list_rates, form.LIST | {"active": boolean, "created": form.created, "inclusive": boolean}),
)
