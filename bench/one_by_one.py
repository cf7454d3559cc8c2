"""Corkage under waitress as it comes: each of its threads commits each event by itself, one after the other."""

import logging

from plain import serve

from corkage import Billing, Config

if __name__ == "__main__":
    logging.disable()
    serve(Billing(Config.from_env()).wsgi)
