"""corkage serve and corkage work: the server, and the worker beside it."""

from contextlib import closing

from ...billing_app import Billing
from ...server.serve import serve as run_server
from .. import FAILED, OK, configured, opened
from .listening import listening


def serve(host: str, port: int, threads: int) -> int:
    """Answer requests until SIGTERM or Ctrl-C."""
    config = configured()
    slots = config.stripe_slots or threads // 2
    with closing(Billing(config, stripe_slots=slots)) as billing, listening(host, port):
        run_server(billing, host, port, threads)
    return OK


def work(once: bool) -> int:
    """Apply what is due, once or until SIGTERM or Ctrl-C; return 1 when something failed."""
    with opened() as service:
        if once:
            done = service.work_once()
            print(f"{done.converged} customers converged, {done.failed} failed")
            return FAILED if done.failed else OK
        service.run_worker()
    return OK
