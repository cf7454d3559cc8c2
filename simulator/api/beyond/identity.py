"""Identity's verification sessions: made, canceled, redacted. Nobody is verified."""

from typing import Any

from ...errors import ApiError, missing_parameter
from ...http import form, lists
from ...http.form import boolean, choice, metadata, nested, text
from ...http.route import Route, retrieve_route
from ...world import Object, World

PATH = "/v1/identity/verification_sessions"


def create_session(world: World, params: dict[str, Any]) -> Object:
    if "type" not in params:
        raise missing_parameter("type")
    session_id = world.new_id("identity.verification_session")
    session = {
        "id": session_id,
        "object": "identity.verification_session",
        "client_reference_id": params.get("client_reference_id"),
        "client_secret": f"{session_id}_secret_test_{world.new_token(24)}",
        "created": world.now,
        "last_error": None,
        "last_verification_report": None,
        "livemode": False,
        "metadata": form.merge_metadata({}, params.get("metadata")),
        "options": params.get("options", {}),
        "related_customer": None,
        "related_customer_account": None,
        "status": "requires_input",
        "type": params["type"],
        "url": f"https://verify.stripe.com/start/{world.new_token(40)}",
    }
    world.add("identity.verification_session", session)
    world.emit("identity.verification_session.created", session)
    return session


def cancel_session(world: World, _params: dict[str, Any], session_id: str) -> Object:
    session = world.get("identity.verification_session", session_id)
    if session["status"] != "requires_input":
        raise ApiError(400, f"A VerificationSession that is {session['status']} cannot be canceled.")
    session |= {"client_secret": None, "status": "canceled", "url": None}
    world.emit("identity.verification_session.canceled", session)
    return session


def redact_session(world: World, _params: dict[str, Any], session_id: str) -> Object:
    session = world.get("identity.verification_session", session_id)
    if session.get("redaction"):
        raise ApiError(400, "This VerificationSession was redacted already.")
    session |= {"client_secret": None, "metadata": {}, "redaction": {"status": "redacted"}, "url": None}
    world.emit("identity.verification_session.redacted", session)
    return session


def list_sessions(world: World, params: dict[str, Any]) -> Object:
    fields = {name: params[name] for name in ("status",) if name in params}
    return lists.page(world.where("identity.verification_session", **fields), params, PATH)


ROUTES = (
    Route(
        "POST",
        PATH,
        create_session,
        {
            "client_reference_id": text,
            "metadata": metadata,
            "options": nested({"document": nested({"require_matching_selfie": boolean})}),
            "return_url": text,
            "type": choice("document", "id_number"),
        },
    ),
    retrieve_route("identity.verification_session", PATH),
    Route("POST", f"{PATH}/<id>/cancel", cancel_session),
    Route("POST", f"{PATH}/<id>/redact", redact_session),
    Route("GET", PATH, list_sessions, form.LIST | {"status": choice("canceled", "requires_input")}),
)
