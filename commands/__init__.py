"""The commands, a file for each. cli.py defines their arguments."""

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

from ..billing_app import Billing
from ..config import Config
from ..service import Service

OK, FAILED, MISCONFIGURED = 0, 1, 2


def configured() -> Config:
    """Return the configuration, and set up logging by it."""
    config = Config.from_env()
    logging.basicConfig(level=config.log.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("stripe").setLevel(logging.WARNING)  # it logs every request, with e-mails in it
    return config


@contextmanager
def opened() -> Iterator[Service]:
    """Open the database beside a running server, without a worker of one's own."""
    with closing(Billing(replace(configured(), worker="off"))) as billing:
        yield billing.service
