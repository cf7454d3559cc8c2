"""The edge of the app: every answer leaves through here, and every error becomes one, in one shape."""

import json
import logging
from collections.abc import Callable
from typing import Any

import bottle

from ..errors import BillingError, BodyTooLarge, InvalidBody, RequestRefused

log = logging.getLogger("corkage.http")


class ErrorsToResponses:
    """Bottle plugin: what a handler raises becomes a response, and a bug a 500 that explains nothing.

    A plugin, because in a mounted Bottle app hooks and error handlers never run.
    """

    name = "corkage-errors"
    api = 2

    def apply(self, callback: Callable[..., Any], route: bottle.Route) -> Callable[..., Any]:
        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                return callback(*args, **kwargs)
            except bottle.HTTPResponse:
                raise
            except BillingError as error:
                _log(error, route.rule)
                return error_response(error)
            except Exception:  # the outermost edge: a bug must not print itself into the page
                log.exception("%s %s failed", route.method, route.rule)
                return error_response(BillingError("unexpected"))

        return guarded


def _log(error: BillingError, rule: str) -> None:
    level = logging.INFO if isinstance(error, RequestRefused) else logging.ERROR
    log.log(level, "%s answered %d %s: %s", rule, error.http_status, error.code, error)


def error_response(error: BillingError) -> bottle.HTTPResponse:
    """Answer `{"error": {"code", "message"}}` with the error's status."""
    response = json_response({"error": {"code": error.code, "message": error.sentence}}, error.http_status)
    if error.retry_after_seconds is not None:
        response.set_header("Retry-After", str(error.retry_after_seconds))
    if error.http_status == 401:
        response.set_header("WWW-Authenticate", 'Bearer realm="corkage"')
    return response


def json_response(
    body: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None
) -> bottle.HTTPResponse:
    """Answer JSON; never cached unless the headers say otherwise."""
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"} | (headers or {})
    return bottle.HTTPResponse(json.dumps(body), status, headers)


def read_body(limit: int) -> bytes:
    """Read the request's raw bytes.

    Errors  BodyTooLarge over `limit` bytes; InvalidBody when the connection ended before the whole body came
    """
    if bottle.request.content_length > limit:
        raise BodyTooLarge(f"{bottle.request.content_length} bytes announced, {limit} accepted")
    body: bytes = bottle.request.body.read(limit + 1)
    if len(body) > limit:
        raise BodyTooLarge(f"more than {limit} bytes")
    if len(body) < bottle.request.content_length:
        raise InvalidBody(f"the body ended after {len(body)} of {bottle.request.content_length} bytes")
    return body
