"""Corkage as a Bottle plugin: the routes in the host's app, Access for its handlers, and a guard for the paid ones."""

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import bottle

from ..access import Access
from ..errors import BillingError, ConfigError, NotSignedIn
from ..identity import Identity
from ..plans import Requirement
from .mounting import mount_path
from .responses import refusal

if TYPE_CHECKING:
    from ..billing_app import Billing

Callback = Callable[..., Any]

NOBODY = Access("", allowed=False, reason="not_signed_in")


def mount(billing: "Billing", app: bottle.Bottle, routes: bottle.Bottle) -> str | None:
    """Mount the routes in the host's app, and tell at which path; None where the host has mounted them itself.

    Errors  ConfigError when the plugin is in this app already, or BILLING_URL has no path
    """
    if billing in app.plugins:
        raise ConfigError(["app.install(billing): it is installed in this app already"])
    if any(route.app is billing.wsgi for route in app.routes):
        return None
    path = mount_path(billing.config)
    app.mount(f"{path}/", routes)
    return path


def give_access(billing: "Billing", callback: Callback) -> Callback:
    """Give a handler that names an `access` parameter the caller's, and answer what Corkage raises in it."""
    wants_access = _names_access(callback)

    @functools.wraps(callback)
    def handle(*args: Any, **kwargs: Any) -> Any:
        try:
            billing.start()
            if wants_access:
                kwargs["access"] = _access_of_caller(billing)
            return callback(*args, **kwargs)
        except BillingError as error:
            return _refuse(billing, error)

    return handle


def guard(billing: "Billing", wanted: Requirement, handler: Callback) -> Callback:
    """Let only those through who meet the requirement: 401 for nobody, 402 for whoever has not paid for it."""
    wants_access = _names_access(handler)

    @functools.wraps(handler)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            access = billing.admit(_caller(billing).user_id, *wanted.plans, feature=wanted.feature)
        except BillingError as error:
            return _refuse(billing, error)
        if wants_access:
            kwargs["access"] = access
        return handler(*args, **kwargs)

    return guarded


def _refuse(billing: "Billing", error: BillingError) -> bottle.HTTPResponse:
    return refusal(error, bottle.request.route.rule, billing, billing.base_url)


def _caller(billing: "Billing") -> Identity:
    return billing.signed_in(bottle.request.environ)


def _access_of_caller(billing: "Billing") -> Access:
    try:
        return billing.access(_caller(billing).user_id)
    except NotSignedIn:  # a token that proves nothing, too: a page for everybody is shown, as to nobody
        return NOBODY


def _names_access(callback: Callback) -> bool:
    """Look through decorators that tell what they wrap. Bottle's own way guesses, and takes a closure for one."""
    try:
        return "access" in inspect.signature(callback).parameters
    except ValueError:  # something built in, which tells no parameters
        return False
