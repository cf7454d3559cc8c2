"""What an operator does, a file for each; cli.py says how it is asked for."""

import logging
from contextlib import closing
from dataclasses import replace

from ..billing_app import Billing
from ..config import Config

OK, FAILED, MISCONFIGURED = 0, 1, 2


def configured() -> Config:
    """Read the configuration, and log as it says."""
    config = Config.from_env()
    logging.basicConfig(level=config.log.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("stripe").setLevel(logging.WARNING)  # it logs every request, with addresses and e-mails
    return config


def opened() -> "closing[Billing]":
    """Open the file beside whoever serves it, without a worker of one's own."""
    return closing(Billing(replace(configured(), worker="off")))
