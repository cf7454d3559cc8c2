"""Payouts and top-ups: money between the account's balance and its bank."""

from typing import Any

from ...http import form, lists
from ...http.form import choice, metadata, positive, text
from ...http.route import Route, retrieve_route
from ...money import payouts
from ...world import Object, World

PAYOUTS, TOPUPS = "/v1/payouts", "/v1/topups"


def create_payout(world: World, params: dict[str, Any]) -> Object:
    return payouts.pay_out(world, params["amount"], params["currency"].lower(), **_fields(params))


def cancel_payout(world: World, _params: dict[str, Any], payout_id: str) -> Object:
    payout = world.get("payout", payout_id)
    payouts.cancel(world, payout)
    return payout


def update_payout(world: World, params: dict[str, Any], payout_id: str) -> Object:
    return _updated(world, "payout", payout_id, params)


def create_topup(world: World, params: dict[str, Any]) -> Object:
    return payouts.top_up(world, params["amount"], params["currency"].lower(), **_fields(params))


def update_topup(world: World, params: dict[str, Any], topup_id: str) -> Object:
    topup = world.get("topup", topup_id)
    topup |= {name: value for name, value in _fields(params).items() if name != "metadata"}
    topup["metadata"] = form.merge_metadata(topup["metadata"], params.get("metadata"))
    return topup


def list_payouts(world: World, params: dict[str, Any]) -> Object:
    fields = {name: params[name] for name in ("status",) if name in params}
    return lists.page(world.where("payout", **fields), params, PAYOUTS)


def list_topups(world: World, params: dict[str, Any]) -> Object:
    fields = {name: params[name] for name in ("status",) if name in params}
    return lists.page(world.where("topup", **fields), params, TOPUPS)


def _updated(world: World, kind: str, object_id: str, params: dict[str, Any]) -> Object:
    found = world.get(kind, object_id)
    with world.changing(found, f"{kind}.updated"):
        found["metadata"] = form.merge_metadata(found["metadata"], params.get("metadata"))
    return found


def _fields(params: dict[str, Any]) -> dict[str, Any]:
    shown = {name: params[name] for name in ("description", "statement_descriptor") if name in params}
    return shown | {"metadata": form.merge_metadata({}, params.get("metadata"))}


NEW = {"amount": positive, "currency": text, "description": text, "metadata": metadata, "statement_descriptor": text}
LIST = form.LIST | {"created": form.created}

ROUTES = (
    Route("POST", PAYOUTS, create_payout, NEW, required=("amount", "currency")),
    retrieve_route("payout", PAYOUTS),
    Route("POST", f"{PAYOUTS}/<id>", update_payout, {"metadata": metadata}),
    Route("POST", f"{PAYOUTS}/<id>/cancel", cancel_payout),
    Route("GET", PAYOUTS, list_payouts, LIST | {"status": choice("canceled", "paid", "pending")}),
    Route("POST", TOPUPS, create_topup, NEW, required=("amount", "currency")),
    retrieve_route("topup", TOPUPS),
    Route("POST", f"{TOPUPS}/<id>", update_topup, {"description": text, "metadata": metadata}),
    Route("GET", TOPUPS, list_topups, LIST | {"status": choice("pending", "succeeded")}),
)
