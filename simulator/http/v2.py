"""What is different in Stripe's v2 API: JSON bodies, the shape of errors, lists with URLs of their pages."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from ..errors import ApiError, invalid
from ..world import Object
from .form import Parser, integer, text

ROOT = "/v2/"
LIST: dict[str, Parser] = {"limit": integer, "page": text}
"""The parameters of every list; `page` comes from the URLs in a list's response."""


def read_body(body: str) -> dict[str, Any]:
    """Return the parameters, without those that are null.

    Errors  ApiError when the body is not a JSON object
    """
    try:
        given = json.loads(body) if body else {}
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise ApiError(400, "The body must be a JSON object: the v2 API takes no forms.", code="invalid_json")
    return {name: value for name, value in given.items() if value is not None}


def error_body(error: ApiError) -> Object:
    """Return an error in the v2 API's shape."""
    said = error.body["error"]
    code = said.get("code")
    if said["type"] == "idempotency_error":
        code = "idempotency_error"
    elif error.status == 404:
        code = "not_found"
    return {"error": {"code": code or "invalid_request", "message": said["message"], "type": said["type"]}}


def status_of(error: ApiError) -> int:
    """Return the status: 409 for an idempotency key that was used with other parameters."""
    return 409 if error.body["error"]["type"] == "idempotency_error" else error.status


def page(objects: Sequence[Object], params: dict[str, Any], url: str) -> Object:
    """Return the requested page, with the URLs of the next and previous ones."""
    limit, start = params.get("limit", 20), integer(params.get("page", "0"), "page")
    if not 1 <= limit <= 100:
        raise invalid("limit must be between 1 and 100.", "limit")
    kept = [(name, value) for name, value in _flat(params) if name != "page"]

    def page_url(position: int) -> str:
        return f"{url}?{urlencode([*kept, ('page', str(position))])}"

    return {
        "data": list(objects[start : start + limit]),
        "next_page_url": page_url(start + limit) if len(objects) > start + limit else None,
        "previous_page_url": page_url(max(0, start - limit)) if start else None,
    }


def _flat(params: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the parameters as query string pairs."""
    pairs: list[tuple[str, str]] = []
    for name, value in params.items():
        if isinstance(value, dict):
            pairs += [(f"{name}[{key}]", str(each)) for key, each in value.items()]
        elif isinstance(value, list):
            pairs += [(f"{name}[{position}]", str(each)) for position, each in enumerate(value)]
        else:
            pairs.append((name, str(value)))
    return pairs
