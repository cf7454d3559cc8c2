"""Requests read and responses made, in one shape: every error becomes a response here."""

import functools
import json
import logging
import re
from collections.abc import Callable
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, unquote, urljoin

import bottle

from .. import storage
from ..config import origin_of
from ..cookies import BLANKS
from ..errors import (
    BillingError,
    BodyTooLarge,
    Busy,
    CrossSite,
    DatabaseUnavailable,
    InvalidBody,
    InvalidSignature,
    MaybeSubscribed,
    MethodNotAllowed,
    NotConfigured,
    NotFound,
    NotSignedIn,
    OutOfMemory,
    RequestRefused,
    ReturnAddressNamed,
    StripeUnavailable,
    TooManyGuesses,
    UntrustedProxy,
)
from ..logs.facts import about, logger
from ..pages.notes import NOTES
from ..service import Service
from ..texts import cut, is_text
from .origins import ADMIN, cors_headers, sign_in_url, warn_of_unknown_origin
from .quick import check_length
from .senders import Sender, sender_of, stream_that_leads_to

LARGEST_FORM = 16 * 1024
LARGEST_BODIES = {
    "/webhook": 1024 * 1024,
    "/checkout": LARGEST_FORM,
    "/portal": LARGEST_FORM,
    "/use": LARGEST_FORM,
    ADMIN: LARGEST_FORM,
}
LENGTH = re.compile("[0-9]{1,18}")
LARGEST_OTHER_BODY = 1024  # of routes that read no body, and of unknown addresses, so that they get their own answer
NUMBERS = ("quantity", "amount")  # fields that may be a number in JSON
RETURN_ADDRESSES = frozenset({"success_url", "cancel_url", "return_url", "return_to"})  # Stripe's names, and usual ones
JSON_HEADERS = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
OUR_PAGES = "pages"  # in the field `from` of our own pages' forms: the visitor returns to them

ANYBODYS = (
    *(NotFound, MethodNotAllowed, BodyTooLarge, InvalidBody, InvalidSignature, CrossSite),
    *(NotSignedIn, UntrustedProxy, TooManyGuesses),
    *(NotConfigured, Busy, OutOfMemory, StripeUnavailable),
)
"""What anybody can cause by the hundred, or everybody meets at once."""
FIRST_LINES = 5

log = logger("corkage.http")


class ErrorsToResponses:
    """Bottle plugin: an error of ours becomes its response, and a bug a 500 that explains nothing.

    A plugin, because in a mounted Bottle app hooks and error handlers never run.
    """

    name = "corkage-errors"
    api = 2

    def __init__(self, current_service: Callable[[], Service]) -> None:
        self._current_service = current_service

    def apply(self, callback: Callable[..., Any], route: bottle.Route) -> Callable[..., Any]:
        def guarded(*args: Any, **kwargs: Any) -> Any:
            response = self._answer(functools.partial(callback, *args, **kwargs), route.rule)
            environ, service = bottle.request.environ, self._current_service()
            warn_of_unknown_origin(environ, service.config, route.rule, service.repeats)
            for name, value in cors_headers(environ, service.config, route.rule).items():
                response.set_header(name, value)
            vary = response.get_header("Vary")
            response.set_header("Vary", f"{vary}, Origin" if vary else "Origin")
            response.set_header("X-Content-Type-Options", "nosniff")
            return response

        return guarded

    def _answer(self, handle: Callable[[], bottle.HTTPResponse], rule: str) -> bottle.HTTPResponse:
        try:
            return _called(handle)
        except BillingError as error:
            return self._refused(error, rule)
        except MemoryError:
            return self._refused(OutOfMemory("no memory is left for the request"), rule)
        except Exception:  # the outermost edge: no traceback may reach the page
            log.exception("%s failed", rule)
            bug, service = BillingError("unexpected"), self._current_service()
            return led_to_its_page(error_response(bug, service), bug, service)

    def _refused(self, error: BillingError, rule: str) -> bottle.HTTPResponse:
        service = self._current_service()
        return led_to_its_page(refusal(error, rule, service), error, service)


def _called(handle: Callable[[], bottle.HTTPResponse]) -> bottle.HTTPResponse:
    """Return the handler's response. What Bottle raises while it reads a request is the sender's fault, and no bug."""
    try:
        return handle()
    except bottle.HTTPError as error:
        kind = BodyTooLarge if error.status_code == 413 else RequestRefused
        raise kind(f"Bottle refuses the request: {error.status_code} {error.body}") from error


def refusal(error: BillingError, rule: str, service: Service, base: str | None = None) -> bottle.HTTPResponse:
    """Log the reason, and return the error's response."""
    level = logging.INFO if isinstance(error, RequestRefused) else logging.ERROR
    if isinstance(error, DatabaseUnavailable):  # storage.note() logs it once, not for each request
        storage.note(error)
        level = logging.DEBUG
    if isinstance(error, UntrustedProxy):  # a forgery, or a proxy that is missing in the settings
        level = logging.WARNING
    _log_refusal(error, rule, service, level)
    return error_response(error, service, base)


def _log_refusal(error: BillingError, rule: str, service: Service, level: int) -> None:
    message, said = "%s answered %d %s: %s", (rule, error.http_status, error.code, cut(str(error)))
    with about(status=str(error.http_status)):
        if isinstance(error, ANYBODYS):
            service.repeats.log(log, level, f"{rule} {error.code}", "", message, *said, first=FIRST_LINES)
        else:
            log.log(level, message, *said)


def error_response(error: BillingError, service: Service, base: str | None = None) -> bottle.HTTPResponse:
    """Return the error's response: `{"error": {"code", "message"}}` for programs, a page for browsers.

    Shape   base: where our routes are, for a request to one of the host's own
    """
    if wants_page():
        environ = bottle.request.environ
        response = service.pages.error(error, environ, sign_in_url(environ, service.config), base)
    else:
        response = json_response(error.to_dict(), error.http_status)
    if error.retry_after_seconds is not None:
        response.set_header("Retry-After", str(error.retry_after_seconds))
    if error.http_status == 401:
        response.set_header("WWW-Authenticate", 'Bearer realm="corkage"')
    return response


def led_to_its_page(response: bottle.HTTPResponse, error: BillingError, service: Service) -> bottle.HTTPResponse:
    """Return what makes Turbo or htmx load the page of the error; for any other sender the response as it is.

    htmx shows nothing of an error's response, and Turbo shows nothing of it inside a frame. Turbo gets a relative
    address, because its fetch follows redirects within this origin only. htmx gets one from the root, or below
    BILLING_URL where that is set, because it resolves a relative one against the page that it is on.
    """
    fields = error.fields if isinstance(error, MaybeSubscribed) else {}
    return _led_to_page({"code": error.code} | fields, response, service)


def _led_to_page(query: dict[str, str], response: bottle.HTTPResponse, service: Service) -> bottle.HTTPResponse:
    environ, sender = bottle.request.environ, sender_of(bottle.request.environ)
    if sender is Sender.TURBO:
        page = service.pages.visit(environ).link("refused", **query)
        return bottle.HTTPResponse(status=303, headers={"Location": page, "Cache-Control": "no-store"})
    if sender is Sender.HTMX:
        page = service.pages.visit(environ, service.config.billing_url).link("refused", **query)
        here = "/" + bottle.request.fullpath.lstrip("/")  # two slashes would make a host's name of the path
        response.set_header("HX-Redirect", urljoin(here, page))
    return response


def json_response(
    body: dict[str, Any] | str, status: int = 200, headers: dict[str, str] | None = None
) -> bottle.HTTPResponse:
    """Return a JSON response; a body that is a text is JSON already. Not cached unless the headers say otherwise."""
    text = body if isinstance(body, str) else json.dumps(body)
    return bottle.HTTPResponse(text, status, JSON_HEADERS | (headers or {}))


def wants_page() -> bool:
    """Return whether the client shows pages: a browser, or Turbo in a browser's place."""
    return sender_of(bottle.request.environ) in (Sender.BROWSER, Sender.TURBO)


def lead_to(url: str, service: Service, note: str = "", values: dict[str, str] | None = None) -> bottle.HTTPResponse:
    """Return what leads to a page of Stripe's: 303 for browsers, `{"url"}` for programs, for Turbo and htmx their own.

    Where the visitor is to read a note first, browsers, Turbo and htmx get a page with it, programs a `"notice"`.

    Shape   note: a code of pages/notes.py; values: for its sentence, and for the form by which the page leads on

    A Stripe account may have a domain of its own for Checkout and the portal, and no list says which. Our pages' policy
    does not let a form be redirected there; a page that leads on at once may.
    """
    sender = sender_of(bottle.request.environ)
    if note and sender in (Sender.TURBO, Sender.HTMX):
        typed = {"typed": values["code"]} if values and "code" in values else {}
        kept = {name: text for name, text in (values or {}).items() if name != "code"}
        return _led_to_page({"code": note, **typed, **kept}, json_response({"url": url}), service)
    if sender is Sender.TURBO:
        return stream_that_leads_to(url)
    if sender is not Sender.BROWSER:
        notice = {"notice": {"code": note, "message": NOTES[note] % (values or {})}} if note else {}
        return json_response({"url": url} | notice, headers={"HX-Redirect": url} if sender is Sender.HTMX else None)
    if note:
        visit = service.pages.visit(bottle.request.environ)
        sentence = visit.words.gettext(NOTES[note], **values or {})
        return service.pages.page("leading", visit, {"url": url, "note": sentence, "action": None})
    if origin_of(url) in service.pages.stripe_origins:
        return bottle.HTTPResponse(status=303, headers={"Location": url, "Cache-Control": "no-store"})
    page = service.pages.page(
        "leading", service.pages.visit(bottle.request.environ), {"url": url, "note": "", "action": None}
    )
    page.set_header("Refresh", f"0; url={url}")
    return page


def check_query() -> None:
    """Refuse a query with NUL, whatever its name: a database has no place for it.

    Errors  RequestRefused
    """
    if not is_text(unquote(bottle.request.query_string)):
        raise RequestRefused("the query holds NUL")


def read_form() -> dict[str, str]:
    """Return the fields of a small form, in either encoding, or of a JSON body; each value is a text, and null absent.

    Errors  BodyTooLarge, InvalidBody; ReturnAddressNamed instead of ignoring it: its sender expects it to count
    """
    body = read_body()
    kind, _, options = bottle.request.environ.get("CONTENT_TYPE", "").partition(";")
    kind = kind.strip(BLANKS).lower()
    try:
        if kind == "application/json":
            fields = _without_null(json.loads(body.decode("utf-8")))
        elif kind == "multipart/form-data":
            fields = _read_multipart(body, options)
        else:
            fields = {name: values[0] for name, values in parse_qs(body.decode("utf-8"), max_num_fields=50).items()}
    except (ValueError, LookupError, RecursionError, bottle.HTTPError) as error:
        raise InvalidBody(f"the body is neither form data nor JSON: {error}") from error
    if not isinstance(fields, dict) or not all(_is_readable(*field) for field in fields.items()):
        raise InvalidBody(
            f"wanted form fields, or a JSON object, of texts without NUL; {' and '.join(NUMBERS)} may be numbers"
        )
    fields = {name: str(value) for name, value in fields.items()}
    if named := RETURN_ADDRESSES & fields.keys():
        raise ReturnAddressNamed(f"the body has {', '.join(sorted(named))}")
    return fields


def _without_null(fields: Any) -> Any:
    """Return JSON's fields without those that are null: many languages write so what is absent."""
    return {name: each for name, each in fields.items() if each is not None} if isinstance(fields, dict) else fields


def _read_multipart(body: bytes, options: str) -> dict[str, str]:
    """Return the fields of a multipart form, as of any other: the first of a name, and none that is empty.

    Shape   options: of the Content-Type, with the boundary
    Errors  InvalidBody for a file; bottle.HTTPError, ValueError and LookupError (an unknown charset) for a broken body
    """
    environ = {"CONTENT_TYPE": f"multipart/form-data;{options}", "CONTENT_LENGTH": str(len(body))}
    form = bottle.BaseRequest(environ | {"wsgi.input": BytesIO(body)}).POST
    if files := [name for name, value in form.allitems() if not isinstance(value, str)]:
        raise InvalidBody(f"wanted form fields, and these are files: {', '.join(map(repr, files))}")
    if None in form:
        raise InvalidBody("a part of the form has no name")
    return {name: form.getall(name)[0] for name in form if form.getall(name)[0]}


def _is_readable(name: str, value: object) -> bool:
    return is_text(name) and (is_text(value) or (name in NUMBERS and type(value) is int))


def largest_body(path: str) -> int:
    """Return how many bytes of body the route takes. `corkage serve` reads no more than that.

    Shape   path: of the route, also where it is mounted: Bottle puts the host's path in front of a mounted app's routes
    """
    return LARGEST_BODIES.get(f"/{path.rpartition('/')[2]}", LARGEST_OTHER_BODY)


def read_body() -> bytes:
    """Return the request's raw body.

    Errors  BodyTooLarge over what the route takes; InvalidBody for a length that is no number, and when the connection
            ended before the whole body came
    """
    limit, announced = largest_body(bottle.request.route.rule), bottle.request.environ.get("CONTENT_LENGTH", "")
    if announced and not LENGTH.fullmatch(announced):  # not every server looks at what it hands on
        raise InvalidBody("the Content-Length is no number")
    if bottle.request.content_length > limit:
        raise BodyTooLarge(f"{bottle.request.content_length} bytes announced, {limit} accepted")
    body: bytes = bottle.request.body.read(limit + 1)
    if len(body) > limit:
        raise BodyTooLarge(f"more than {limit} bytes")
    check_length(body, bottle.request.content_length)
    return body
