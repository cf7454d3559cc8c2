"""Corkage as a server of its own: waitress, and how it stops without cutting anybody off."""

import functools
import importlib
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from waitress.proxy_headers import PROXY_HEADERS

from .. import storage
from ..billing_app import Billing
from ..handlers.responses import largest_body
from ..logs.facts import logger
from ..pacing.line import THREADS
from . import connections

DRAIN_SECONDS = 5.0  # for requests at hand, which may wait for Stripe
CLOSE_SECONDS = 3.0  # then, for what the worker has begun: in all less than the 10 s after which Docker kills
STOPS = (signal.SIGINT, signal.SIGTERM)
UNREAD = tuple(f"HTTP_{each}" for each in PROXY_HEADERS - {"X_FORWARDED_FOR"})
SWITCH_SECONDS = 0.001  # Python's 5 ms would be what a quick answer waits for each time that the worker is at work

log = logger("corkage")


def serve(billing: Billing, host: str, port: int, threads: int = THREADS) -> None:
    """Answer requests until SIGTERM or Ctrl-C, then finish those at hand, and close the Billing. New connections are
    refused meanwhile, so that a load balancer takes another server.

    Errors  ConfigError when the key belongs to another Stripe account than the database mirrors;
            OSError when the port cannot be had
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it logs each request that waits for a thread
    billing.service.check_account()
    server = make_server(billing, host, port, threads)
    billing.start()
    for number in STOPS:
        signal.signal(number, lambda *_: _stop(server, billing))
    log.info("serving on http://%s:%s, database %s", host, server.effective_port, storage.current().label)
    server.run()
    billing.close(CLOSE_SECONDS)
    log.info("stopped")


def make_server(billing: Billing, host: str, port: int, threads: int = THREADS) -> Any:
    """Make waitress's server, as `serve` runs it; its effective_port is what it listens on."""
    server = connections.Server(
        _without_unread(billing.wsgi),
        limit=connections.connections_within(connections.limit_of_open_files()),
        is_proxy=functools.partial(connections.is_near, proxies=billing.config.trusted_proxies),
        largest_body=largest_body,
        repeats=billing.service.repeats,
        host=_address_of(host, port),
        port=port,
        threads=threads,
        ident="corkage",
        clear_untrusted_proxy_headers=False,  # X-Forwarded-For, too
    )
    if billing.config.auth_secrets:  # or the first token would load it
        importlib.import_module("jwt")
    return server


def _without_unread(app: Callable[..., Any]) -> Callable[..., Any]:
    """Take out what a proxy, or a stranger, says of our address: Bottle would believe it."""

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        for name in UNREAD:
            environ.pop(name, None)
        return app(environ, start_response)

    return answer


def _address_of(host: str, port: int) -> str:
    """Find the one address to listen on: a name such as localhost may stand for several, IPv4's first."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return str(min(found, key=lambda each: each[0] != socket.AF_INET)[4][0])


def _stop(server: Any, billing: Billing) -> None:
    """Begin to stop, once, in a thread: an exception raised here could be lost in a part of waitress's loop."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    log.info("stopping: finishing the requests at hand")
    threading.Thread(target=_drain, args=(server, billing), daemon=True).start()


def _drain(server: Any, billing: Billing) -> None:
    """Take no new connections, let the open requests end, then end waitress's loop."""
    server.stop_listening()
    billing.service.begin_to_stop()
    deadline = time.monotonic() + DRAIN_SECONDS
    while _is_busy(server) and time.monotonic() < deadline:
        time.sleep(0.05)
    server.end()


def _is_busy(server: Any) -> bool:
    unsent = any(channel.total_outbufs_len for channel in list(server.active_channels.values()))
    return bool(unsent or server.task_dispatcher.active_count or server.task_dispatcher.queue)
