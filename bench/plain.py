"""Waitress as it comes, with the numbers that Corkage gives it."""

from typing import Any

from waitress.server import create_server

from corkage.server.connections import MOST_CONNECTIONS
from corkage.server.serve import THREADS


def serve(application: Any) -> None:
    """Serve the app on a free port, and say on which."""
    server: Any = create_server(
        application,
        host="127.0.0.1",
        port=0,
        threads=THREADS,
        connection_limit=MOST_CONNECTIONS,
        asyncore_use_poll=True,
    )
    print(f"http://127.0.0.1:{server.effective_port}", flush=True)
    server.run()
