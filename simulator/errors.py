"""Errors in Stripe's shape."""

from collections.abc import Iterable


class ApiError(Exception):
    """An answer that is an error. `is_kept`: whether an idempotency key would replay it, as Stripe does once a request
    has begun to be carried out."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
        decline_code: str | None = None,
        is_kept: bool = True,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.is_kept = is_kept
        said = {"code": code, "decline_code": decline_code, "message": message, "param": param, "type": kind}
        self.body = {"error": {name: value for name, value in said.items() if value is not None}}


CALLS = ("create_preview", "search")  # where an id could stand in the path


def missing(kind: str, object_id: str, param: str = "id") -> ApiError:
    """Nothing of this id: 404 when it stands in the path, 400 when in a parameter."""
    if param == "id" and object_id in CALLS:
        return not_played(f"{object_id} of {kind}s")
    noun = {"payment_method": "PaymentMethod"}.get(kind, kind)
    return ApiError(
        404 if param == "id" else 400, f"No such {noun}: '{object_id}'", code="resource_missing", param=param
    )


def taken(kind: str) -> ApiError:
    """Somebody chose an id that there is already."""
    return ApiError(400, f"{kind.capitalize()} already exists.", code="resource_already_exists", param="id")


def unknown_parameter(name: str, known: Iterable[str]) -> ApiError:
    """Not Stripe's, or not played: the simulator cannot know which, and says what it does take."""
    played = ", ".join(sorted(known)) or "none"
    return ApiError(
        400,
        f"Received unknown parameter: {name}. If Stripe has it, the simulator does not play it; it plays: {played}.",
        code="parameter_unknown",
        param=name,
        is_kept=False,
    )


def missing_parameter(name: str) -> ApiError:
    return ApiError(400, f"Missing required param: {name}.", code="parameter_missing", param=name, is_kept=False)


def invalid(message: str, param: str, code: str | None = None) -> ApiError:
    return ApiError(400, message, code=code, param=param, is_kept=False)


def not_played(what: str) -> ApiError:
    """What Stripe can and this simulator cannot: said plainly, never answered with a plausible lie."""
    return ApiError(
        400,
        f"Stripe can do this, and the simulator does not play it: {what}",
        code="simulator_not_played",
        is_kept=False,
    )
