"""Corkage inside a host's app: where the routes are mounted, access for the host's handlers, a guard for paid ones."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import bottle

from ..access import Access
from ..config import Config
from ..errors import BillingError, ConfigError, NotSignedIn
from ..identity import Identity
from ..plans import Requirement
from ..service import Service
from .responses import refusal

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

Callback = Callable[..., Any]
CurrentService = Callable[[], Service]
"""Returns the Service of this process, which is another one after a fork."""

STANDARD_PATH = "/billing"
NOBODY = Access("", allowed=False, reason="not_signed_in")


def mount_path(config: Config) -> str:
    """Return the path that a host mounts the routes at: BILLING_URL's, or /billing.

    Errors  ConfigError when BILLING_URL has no path: the routes would lie across the host's own
    """
    if config.billing_url is None:
        return STANDARD_PATH
    path = urlsplit(config.billing_url).path
    if not path:
        wanted = f"wanted an address with a path, such as {config.billing_url}{STANDARD_PATH}"
        raise ConfigError([f"BILLING_URL: {wanted}, since the routes are mounted there in the host's app"])
    return path


def middleware(routes: "WSGIApplication", app: "WSGIApplication", path: str) -> "WSGIApplication":
    """Return an app that answers below the path by our routes, and hands everything else on unchanged."""

    def dispatch(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        asked = environ.get("PATH_INFO", "")
        if asked != path and not asked.startswith(f"{path}/"):
            return app(environ, start_response)
        here = environ.get("SCRIPT_NAME", "") + path
        inner = {**environ, "SCRIPT_NAME": here, "PATH_INFO": asked.removeprefix(path)}
        answer: Iterable[bytes] = routes(inner, start_response)
        return answer

    return dispatch


def mount(config: Config, app: bottle.Bottle, routes: bottle.Bottle, mounted_by_host: bottle.Bottle) -> str | None:
    """Mount the routes in the host's app, and return the path; None where the host has mounted them itself.

    Errors  ConfigError when BILLING_URL has no path
    """
    if any(route.app is mounted_by_host for route in app.routes):
        return None
    path = mount_path(config)
    app.mount(f"{path}/", routes)
    return path


def give_access(current_service: CurrentService, callback: Callback) -> Callback:
    """Give a handler that names an `access` parameter the caller's, and answer the errors that Corkage raises in it."""
    wants_access = _names_access(callback)

    @functools.wraps(callback)
    def handle(*args: Any, **kwargs: Any) -> Any:
        service = current_service()
        try:
            service.start()
            if wants_access:
                kwargs["access"] = _access_of_caller(service)
            return callback(*args, **kwargs)
        except BillingError as error:
            return _refuse(service, error)

    return handle


def guard(current_service: CurrentService, wanted: Requirement, handler: Callback) -> Callback:
    """Call the handler only for users who meet the requirement: 401 when nobody is signed in, 402 for the others."""
    wants_access = _names_access(handler)

    @functools.wraps(handler)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        service = current_service()
        try:
            caller = _caller(service)
            access = service.admit(caller.payer_id, wanted, is_buyer=caller.is_buyer)
        except BillingError as error:
            return _refuse(service, error)
        if wants_access:
            kwargs["access"] = access
        return handler(*args, **kwargs)

    return guarded


def _refuse(service: Service, error: BillingError) -> bottle.HTTPResponse:
    return refusal(error, bottle.request.route.rule, service, service.base_url)


def _caller(service: Service) -> Identity:
    return service.signed_in(bottle.request.environ)


def _access_of_caller(service: Service) -> Access:
    try:
        return service.access(_caller(service).payer_id)
    except NotSignedIn:  # an invalid token, too: a public page is shown as to a visitor
        return NOBODY


def _names_access(callback: Callback) -> bool:
    """Return whether the function has an `access` parameter, also behind decorators that use functools.wraps.

    Bottle's own inspection takes a closure for the function that it wraps.
    """
    try:
        return "access" in inspect.signature(callback).parameters
    except ValueError:  # some builtins have no signature
        return False
