"""Corkage under waitress as it comes: each of its threads commits each event by itself, one after the other."""

import logging

from waitress.server import create_server

from corkage import Billing, Config
from corkage.serve import CONNECTIONS, LARGEST_BODY, THREADS

if __name__ == "__main__":
    logging.disable()
    server = create_server(
        Billing(Config.from_env()).wsgi,
        host="127.0.0.1",
        port=0,
        threads=THREADS,
        connection_limit=CONNECTIONS,
        max_request_body_size=LARGEST_BODY,
    )
    print(f"http://127.0.0.1:{server.effective_port}", flush=True)
    server.run()
