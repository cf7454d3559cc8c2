"""Errors in Stripe's shape."""

from collections.abc import Iterable


class ApiError(Exception):
    """An error response. `is_replayed`: whether its idempotency key replays it. Stripe replays errors of requests that
    it began to execute."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
        decline_code: str | None = None,
        is_replayed: bool = True,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.is_replayed = is_replayed
        said = {"code": code, "decline_code": decline_code, "message": message, "param": param, "type": kind}
        self.body = {"error": {name: value for name, value in said.items() if value is not None}}


CALLS = ("create_preview", "search")  # calls with a path that looks like an object's


def missing(kind: str, object_id: str, param: str = "id") -> ApiError:
    """Return the error for an unknown id: 404 for one in the path, 400 for one in a parameter."""
    if param == "id" and object_id in CALLS:
        return unsupported(f"{object_id} of {kind}s")
    noun = {"payment_method": "PaymentMethod"}.get(kind, kind)
    return ApiError(
        404 if param == "id" else 400, f"No such {noun}: '{object_id}'", code="resource_missing", param=param
    )


def already_exists(kind: str) -> ApiError:
    """Return the error for a chosen id that already exists."""
    return ApiError(400, f"{kind.capitalize()} already exists.", code="resource_already_exists", param="id")


def unknown_parameter(name: str, known: Iterable[str]) -> ApiError:
    """Return the error for a parameter that Stripe does not have or the simulator does not support."""
    supported = ", ".join(sorted(known)) or "none"
    return ApiError(
        400,
        f"Received unknown parameter: {name}. If Stripe has it, the simulator does not support it; it supports: "
        f"{supported}.",
        code="parameter_unknown",
        param=name,
        is_replayed=False,
    )


def missing_parameter(name: str) -> ApiError:
    return ApiError(400, f"Missing required param: {name}.", code="parameter_missing", param=name, is_replayed=False)


def invalid(message: str, param: str, code: str | None = None) -> ApiError:
    return ApiError(400, message, code=code, param=param, is_replayed=False)


def unsupported(what: str) -> ApiError:
    """Return the error for what Stripe can do and the simulator cannot. It never invents a response."""
    return ApiError(
        400,
        f"Stripe can do this, and the simulator does not support it: {what}",
        code="simulator_not_played",
        is_replayed=False,
    )
