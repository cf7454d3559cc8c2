"""corkage demo: a sample product with billing, in the browser."""

import logging
import signal

from ...config import real_test_key
from ...demo import run_demo
from .. import OK
from .listening import listening


def demo(port: int, keep: str | None) -> int:
    """Run the demo until Ctrl-C or SIGTERM."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with listening("127.0.0.1", port):
        run_demo(port, real_test_key(), keep)
    return OK
