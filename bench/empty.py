"""The floor: waitress as Corkage sets it, and a handler that reads the body and says yes."""

from collections.abc import Callable, Iterable
from typing import Any

from waitress.server import create_server

from corkage.serve import CONNECTIONS, LARGEST_BODY, THREADS

ANSWER = b'{"received": true}'


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(ANSWER)))])
    return [ANSWER]


if __name__ == "__main__":
    server: Any = create_server(
        application,
        host="127.0.0.1",
        port=0,
        threads=THREADS,
        connection_limit=CONNECTIONS,
        max_request_body_size=LARGEST_BODY,
    )
    print(f"http://127.0.0.1:{server.effective_port}", flush=True)
    server.run()
