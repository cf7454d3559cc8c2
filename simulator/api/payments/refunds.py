"""Refunds of charges, by charge or PaymentIntent."""

from typing import Any

from ...errors import ApiError, missing_parameter
from ...http import form, lists
from ...http.form import choice, integer, metadata, text
from ...http.route import Route, retrieve_route
from ...money import refunds
from ...world import Object, World

PATH = "/v1/refunds"


def create_refund(world: World, params: dict[str, Any]) -> Object:
    tags = form.merge_metadata({}, params.get("metadata"))
    return refunds.create(world, _charge_of(world, params), params.get("amount"), params.get("reason"), tags)


def update_refund(world: World, params: dict[str, Any], refund_id: str) -> Object:
    refund = world.get("refund", refund_id)
    before, refund["metadata"] = refund["metadata"], form.merge_metadata(refund["metadata"], params.get("metadata"))
    if refund["metadata"] != before:
        refunds.emit_updated(world, refund, {"metadata": before})
    return refund


def cancel_refund(world: World, _params: dict[str, Any], refund_id: str) -> Object:
    """Refuse: only refunds that wait for the customer's action can be canceled, and cards have none."""
    status = world.get("refund", refund_id)["status"]
    raise ApiError(400, f"A refund with status {status} cannot be canceled; only requires_action can.", param="refund")


def list_refunds(world: World, params: dict[str, Any]) -> Object:
    fields = {name: params[name] for name in ("charge", "payment_intent") if name in params}
    return lists.page(world.where("refund", **fields), params, PATH)


def _charge_of(world: World, params: dict[str, Any]) -> Object:
    if "charge" in params:
        return world.get("charge", params["charge"], "charge")
    if "payment_intent" not in params:
        raise missing_parameter("charge")
    intent = world.get("payment_intent", params["payment_intent"], "payment_intent")
    if intent["latest_charge"] is None:
        message = f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
        raise ApiError(400, message, param="payment_intent")
    return world.get("charge", intent["latest_charge"])


ROUTES = (
    Route(
        "POST",
        PATH,
        create_refund,
        {
            "amount": integer,
            "charge": text,
            "metadata": metadata,
            "payment_intent": text,
            "reason": choice("duplicate", "fraudulent", "requested_by_customer"),
        },
    ),
    retrieve_route("refund", PATH),
    Route("POST", f"{PATH}/<id>", update_refund, {"metadata": metadata}),
    Route("POST", f"{PATH}/<id>/cancel", cancel_refund),
    Route("GET", PATH, list_refunds, form.LIST | {"charge": text, "created": form.created, "payment_intent": text}),
)
