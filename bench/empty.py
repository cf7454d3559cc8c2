"""The floor: a handler that reads the body and says yes."""

from collections.abc import Callable, Iterable
from typing import Any

from plain import serve

ANSWER = b'{"received": true}'


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(ANSWER)))])
    return [ANSWER]


if __name__ == "__main__":
    serve(application)
