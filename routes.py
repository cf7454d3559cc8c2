"""The route table: which handler answers what, and what is said where there is none."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import bottle

from .admin.handlers import act_as_admin, show_admin
from .errors import MethodNotAllowed, NotFound
from .handlers.access import show_access
from .handlers.checkout import start_checkout
from .handlers.csrf import ADMIN, PREFLIGHT
from .handlers.health import show_health
from .handlers.pages import show_account, show_cancel, show_pricing, show_style
from .handlers.portal import open_portal
from .handlers.responses import ErrorsToResponses
from .handlers.returning import come_back
from .handlers.webhook import receive_webhook

if TYPE_CHECKING:
    from .billing_app import Billing

Handler = Callable[["Billing"], bottle.HTTPResponse]

ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "/checkout", start_checkout),
    ("POST", "/portal", open_portal),
    ("POST", "/webhook", receive_webhook),
    ("GET", "/return", come_back),
    ("GET", "/pricing", show_pricing),
    ("GET", "/account", show_account),
    ("GET", "/cancel", show_cancel),
    ("GET", "/style.css", show_style),
    ("GET", "/access", show_access),
    ("GET", ADMIN, show_admin),
    ("POST", ADMIN, act_as_admin),
    ("GET", "/health", show_health),
)


def create_app(billing: "Billing") -> bottle.Bottle:
    """Make the WSGI app: every route, and an answer in our own shape for what is no route.

    The operator's page is none without a token to open it.
    """
    app = bottle.Bottle()
    app.install(ErrorsToResponses(billing))
    routes = [each for each in ROUTES if billing.config.admin_token or each[1] != ADMIN]
    for method, rule, handler in routes:
        app.route(rule, method, functools.partial(_handle, billing, handler), name=f"{method} {rule}")
    for rule in {rule for _, rule, _ in routes}:
        app.route(rule, "ANY", _refuse_method)
    for rule in ("/", r"/<path:re:[\s\S]+>"):  # a line break in an address is none of Bottle's business either
        app.route(rule, "ANY", _refuse_path)
    return app


def _handle(billing: "Billing", handler: Handler) -> bottle.HTTPResponse:
    billing.start()
    return handler(billing)


def _refuse_method() -> bottle.HTTPResponse:
    """Answer a browser's preflight; CORS headers come with it for those who may. Refuse any other method."""
    if bottle.request.method == "OPTIONS":
        return bottle.HTTPResponse(status=204, headers=PREFLIGHT)
    raise MethodNotAllowed(f"{bottle.request.method!r} {bottle.request.path!r}")


def _refuse_path(path: str = "") -> bottle.HTTPResponse:
    raise NotFound(f"no route for {path!r}")
