"""The route table: which handler answers which address."""

import functools
from collections.abc import Callable
from typing import Any

import bottle

from .admin.handlers import act_as_admin, show_admin
from .config import Config
from .errors import MethodNotAllowed, NotFound
from .handlers import quick
from .handlers.access import show_access, show_quickly
from .handlers.clicks import open_portal, start_checkout
from .handlers.health import show_health
from .handlers.metrics import METRICS, show_metrics
from .handlers.origins import ADMIN, PREFLIGHT
from .handlers.pages import show_account, show_cancel, show_pricing, show_refusal, show_style
from .handlers.responses import ErrorsToResponses, check_query
from .handlers.returning import come_back
from .handlers.usage import count_use, show_usage
from .handlers.webhook import receive_quickly, receive_webhook
from .health.requests import OTHER
from .service import Service

Handler = Callable[[Service], bottle.HTTPResponse]

QUICK: dict[tuple[str, str], quick.Quick] = {
    ("POST", "/webhook"): receive_quickly,
    ("GET", "/access"): show_quickly,
}

ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "/checkout", start_checkout),
    ("POST", "/portal", open_portal),
    ("POST", "/webhook", receive_webhook),
    ("GET", "/return", come_back),
    ("GET", "/pricing", show_pricing),
    ("GET", "/account", show_account),
    ("GET", "/cancel", show_cancel),
    ("GET", "/refused", show_refusal),
    ("GET", "/style.css", show_style),
    ("GET", "/access", show_access),
    ("POST", "/use", count_use),
    ("GET", "/usage", show_usage),
    ("GET", ADMIN, show_admin),
    ("POST", ADMIN, act_as_admin),
    ("GET", "/health", show_health),
    ("GET", METRICS, show_metrics),
)


RULES = frozenset(rule for _, rule, _ in ROUTES)
COUNTED = frozenset({"GET", "HEAD", "OPTIONS", "POST"})


def create_app(config: Config, current_service: Callable[[], Service]) -> bottle.Bottle:
    """Return the WSGI app: every route, and an answer in our own shape for any other address.

    There is no operator's page and there are no metrics without a token that opens them.

    Shape   current_service: returns the Service of this process, which is another one after a fork
    """
    app = _App(current_service, counts=bool(config.metrics_token))
    app.install(ErrorsToResponses(current_service))
    closed = {rule for rule, token in ((ADMIN, config.admin_token), (METRICS, config.metrics_token)) if not token}
    routes = [each for each in ROUTES if each[1] not in closed]
    for method, rule, handler in routes:
        app.route(rule, method, functools.partial(_handle, current_service, handler), name=f"{method} {rule}")
    for rule in {rule for _, rule, _ in routes}:
        app.route(rule, "ANY", _refuse_method)
    for rule in ("/", r"/<path:re:[\s\S]+>"):  # a line break in an address is none of Bottle's business either
        app.route(rule, "ANY", _refuse_path)
    return app


class _App(bottle.Bottle):  # type: ignore[misc]  # Bottle ships no types, so mypy takes its class for Any
    """A Bottle app that answers some requests itself; see handlers/quick.py."""

    def __init__(self, current_service: Callable[[], Service], *, counts: bool) -> None:
        super().__init__()
        self._current_service = current_service
        self._counts = counts

    def wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if self._counts:
            method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
            kind = (method if method in COUNTED else OTHER, path if path in RULES else OTHER)
            start_response = self._current_service().requests.noting(*kind, start_response)
        act = QUICK.get((environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")))
        found = act and quick.answer(act, self._current_service(), environ, start_response)
        return super().wsgi(environ, start_response) if found is None else found


def _handle(current_service: Callable[[], Service], handler: Handler) -> bottle.HTTPResponse:
    service = current_service()
    service.start()
    if handler is not show_health:  # which must not wait for a database that is locked
        service.presence.say()
    check_query()
    quick.raise_failure(bottle.request.environ)
    return handler(service)


def _refuse_method() -> bottle.HTTPResponse:
    """Answer a browser's preflight; CORS headers come with it for those who may. Refuse any other method."""
    if bottle.request.method == "OPTIONS":
        return bottle.HTTPResponse(status=204, headers=PREFLIGHT)
    raise MethodNotAllowed(f"{bottle.request.method!r} {bottle.request.path!r}")


def _refuse_path(path: str = "") -> bottle.HTTPResponse:
    raise NotFound(f"no route for {path!r}")
