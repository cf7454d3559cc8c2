"""The two routes that are asked all the time, answered before Bottle looks at the request.

Bottle's routing, its request and its response cost more than these routes themselves. Here is only what most requests
come to: a plain request, and success. Every other request is left to the ordinary route, and so is every error.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from ..errors import InvalidBody
from ..service import Service

FAILED = "corkage.failed"  # in the environ: what the quick answer raised, which the ordinary route raises again

_LENGTH = re.compile("[0-9]{1,9}")

Environ = dict[str, Any]


class Answer(NamedTuple):
    """A response with status 200: headers besides those that every response has, and the body."""

    headers: dict[str, str]
    body: str


Quick = Callable[[Service, Environ], Answer | None]


def answer(act: Quick, service: Service, environ: Environ, start_response: Callable[..., Any]) -> list[bytes] | None:
    """Answer a request, or return None for one that the ordinary route is to answer."""
    if environ.get("QUERY_STRING") or "HTTP_ORIGIN" in environ:
        return None
    try:
        service.start()
        found = act(service, environ)
    except Exception as error:  # whatever it is, the ordinary route logs it, and makes the response
        environ[FAILED] = error
        return None
    if found is None:
        return None
    body = found.body.encode()
    start_response("200 OK", [*found.headers.items(), ("Content-Length", str(len(body)))])
    return [body]


def raise_failure(environ: Environ) -> None:
    """Raise what the quick answer to this request raised."""
    if (failure := environ.pop(FAILED, None)) is not None:
        raise failure


def read_body(environ: Environ, limit: int) -> bytes | None:
    """Return the raw body; None for one without a length, or over the limit.

    Errors  InvalidBody when the connection ended before the whole body came
    """
    announced = environ.get("CONTENT_LENGTH", "")
    if not _LENGTH.fullmatch(announced) or int(announced) > limit:
        return None
    body: bytes = environ["wsgi.input"].read(int(announced))
    check_length(body, int(announced))
    return body


def check_length(body: bytes, announced: int) -> None:
    """Raise InvalidBody for a body that is shorter than was announced."""
    if len(body) < announced:
        raise InvalidBody(f"the body ended after {len(body)} of {announced} bytes")
