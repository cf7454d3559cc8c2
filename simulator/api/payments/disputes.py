"""Disputes: read, answered with evidence, closed."""

from typing import Any

from ...errors import ApiError
from ...http import form, lists
from ...http.form import boolean, metadata, nested, optional, text
from ...http.route import Route, retrieve_route
from ...money import disputes
from ...world import Object, World

PATH = "/v1/disputes"


def update_dispute(world: World, params: dict[str, Any], dispute_id: str) -> Object:
    dispute = world.get("dispute", dispute_id)
    evidence = params.get("evidence", {})
    if evidence and dispute["status"] not in disputes.OPEN:
        raise ApiError(400, "This dispute is already closed or under review.", param="evidence")
    with world.changing(dispute, "charge.dispute.updated"):
        dispute["metadata"] = form.merge_metadata(dispute["metadata"], params.get("metadata"))
        dispute["evidence"] |= evidence
        dispute["evidence_details"]["has_evidence"] = any(dispute["evidence"][name] for name in disputes.EVIDENCE_TEXTS)
    if params.get("submit", bool(evidence)) and dispute["status"] in disputes.OPEN:
        disputes.submit(world, dispute)
    return dispute


def close_dispute(world: World, _params: dict[str, Any], dispute_id: str) -> Object:
    dispute = world.get("dispute", dispute_id)
    if dispute["status"] not in disputes.OPEN:
        raise ApiError(400, "This dispute is already closed or under review.", param="dispute")
    disputes.close(world, dispute)
    return dispute


def list_disputes(world: World, params: dict[str, Any]) -> Object:
    fields = {name: params[name] for name in ("charge", "payment_intent") if name in params}
    return lists.page(world.where("dispute", **fields), params, PATH)


ROUTES = (
    retrieve_route("dispute", PATH),
    Route(
        "POST",
        f"{PATH}/<id>",
        update_dispute,
        {
            "evidence": nested({name: optional(text) for name in disputes.EVIDENCE_TEXTS}),
            "metadata": metadata,
            "submit": boolean,
        },
    ),
    Route("POST", f"{PATH}/<id>/close", close_dispute),
    Route("GET", PATH, list_disputes, form.LIST | {"charge": text, "created": form.created, "payment_intent": text}),
)
