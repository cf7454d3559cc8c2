"""The routes of the hosted pages."""

import functools
import time
from collections.abc import Callable
from typing import Any

import bottle

from ..errors import ApiError
from ..scheduler import catch_up
from ..world import World
from . import authentication, checkout, events, invoices, page, portal

WEBHOOK_SECONDS = 2.0  # Stripe waits up to ten

ROUTES: tuple[tuple[str, str, Callable[..., Any]], ...] = (
    ("GET", "/authenticate/<intent_id>", authentication.show_authentication),
    ("POST", "/authenticate/<intent_id>", authentication.answer_authentication),
    ("GET", "/buy/<link_id>", checkout.follow_link),
    ("GET", "/c/pay/<session_id>", checkout.show_checkout),
    ("POST", "/c/pay/<session_id>", checkout.pay_checkout),
    ("POST", "/c/pay/<session_id>/code", checkout.use_code),
    ("POST", "/c/pay/<session_id>/details", checkout.enter),
    ("GET", "/control/events", events.show_events),
    ("POST", "/control/events/<event_id>/send", events.send_again),
    ("GET", "/i/<invoice_id>", invoices.show_invoice),
    ("POST", "/i/<invoice_id>", invoices.pay_invoice),
    ("GET", "/i/<invoice_id>/pdf", invoices.download_invoice),
    ("GET", "/p/session/<session_id>", portal.open_portal),
    ("GET", "/p/session/<session_id>/<name:re:card|change|cancel>", portal.show_flow),
    ("GET", "/p/session/<session_id>/<name:re:card|change|cancel>/<subscription_id>", portal.show_flow),
    ("POST", "/p/session/<session_id>/<action:re:card>", portal.submit),
    ("POST", "/p/session/<session_id>/<action:re:change|cancel|cancel_now|renew>/<subscription_id>", portal.submit),
)


def add_pages(app: bottle.Bottle, world: World) -> None:
    """Add every hosted page to the app."""
    for method, rule, handler in ROUTES:
        app.route(rule, method, functools.partial(_respond, handler, world))


def _respond(handler: Callable[..., Any], world: World, **arguments: str) -> bottle.HTTPResponse:
    try:
        with world.lock:
            catch_up(world)
            with world.on_clock(world.clock_of(*arguments.values())):
                response = handler(world, **arguments)
    except ApiError as error:
        return page("Not found", "message", error.status, heading="Not found", text=str(error), link=None)
    _wait_for_webhooks(world, arguments.get("session_id", ""))
    return response


def _wait_for_webhooks(world: World, session_id: str) -> None:
    """Wait until the session's events are delivered. Stripe, too, redirects only then, or after a timeout."""
    deadline = time.monotonic() + WEBHOOK_SECONDS
    events = [each for each in world.all("event") if each["data"]["object"].get("id") == session_id]
    while any(each["pending_webhooks"] for each in events) and time.monotonic() < deadline:
        time.sleep(0.02)
