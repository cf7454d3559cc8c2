"""The edge of the app: every answer leaves through here, and every error becomes one, in one shape."""

import functools
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import bottle

from ..config import Config
from ..errors import (
    BillingError,
    BodyTooLarge,
    InvalidBody,
    PaymentRequired,
    RequestRefused,
    ReturnAddressNamed,
    UntrustedProxy,
)
from .guards import cors_headers

VIEWS = Path(__file__).parent.parent / "views"
LARGEST_FORM = 16 * 1024
RETURN_ADDRESSES = frozenset({"success_url", "cancel_url", "return_url", "return_to"})  # Stripe's names, and the usual
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

log = logging.getLogger("corkage.http")


class ErrorsToResponses:
    """Bottle plugin: what a handler raises becomes a response, and a bug a 500 that explains nothing.

    A plugin, because in a mounted Bottle app hooks and error handlers never run.
    """

    name = "corkage-errors"
    api = 2

    def __init__(self, config: Config) -> None:
        self.config = config

    def apply(self, callback: Callable[..., Any], route: bottle.Route) -> Callable[..., Any]:
        def guarded(*args: Any, **kwargs: Any) -> Any:
            response = self._answer(functools.partial(callback, *args, **kwargs), route.rule)
            for name, value in cors_headers(bottle.request.environ, self.config).items():
                response.set_header(name, value)
            vary = response.get_header("Vary")
            response.set_header("Vary", f"{vary}, Origin" if vary else "Origin")
            return response

        return guarded

    def _answer(self, handle: Callable[[], bottle.HTTPResponse], rule: str) -> bottle.HTTPResponse:
        try:
            return handle()
        except BillingError as error:
            return refusal(error, rule, self.config.frontend_url)
        except Exception:  # the outermost edge: a bug must not print itself into the page
            log.exception("%s failed", rule)
            return error_response(BillingError("unexpected"), self.config.frontend_url)


def refusal(error: BillingError, rule: str, product_url: str) -> bottle.HTTPResponse:
    """Answer with the error, and tell the log its reason."""
    level = logging.INFO if isinstance(error, RequestRefused) else logging.ERROR
    if isinstance(error, UntrustedProxy):  # a forgery, or a proxy that the operator forgot: worth a look in any case
        level = logging.WARNING
    log.log(level, "%s answered %d %s: %s", rule, error.http_status, error.code, error)
    return error_response(error, product_url)


def error_response(error: BillingError, product_url: str) -> bottle.HTTPResponse:
    """Answer with the error's status: `{"error": {"code", "message"}}` to programs, a page to browsers.

    The page leads to the product; for somebody who has not paid, to where they can.
    """
    if wants_page():
        way_on = ("See the plans", error.pricing_url) if isinstance(error, PaymentRequired) else ("Back", product_url)
        body = _template("error").render(sentence=error.sentence, way_on=way_on)
        headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", **PAGE_HEADERS}
        response = bottle.HTTPResponse(body, error.http_status, headers)
    else:
        response = json_response(error.to_dict(), error.http_status)
    if error.retry_after_seconds is not None:
        response.set_header("Retry-After", str(error.retry_after_seconds))
    if error.http_status == 401:
        response.set_header("WWW-Authenticate", 'Bearer realm="corkage"')
    return response


def json_response(
    body: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None
) -> bottle.HTTPResponse:
    """Answer JSON; never cached unless the headers say otherwise."""
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} | (
        headers or {}
    )
    return bottle.HTTPResponse(json.dumps(body), status, headers)


def wants_page() -> bool:
    """Tell a browser, which names HTML among what it accepts, from a program."""
    return "text/html" in bottle.request.environ.get("HTTP_ACCEPT", "")


def lead_to(url: str) -> bottle.HTTPResponse:
    """Lead to an address of Stripe's: 303 for browsers, `{"url"}` for programs."""
    if wants_page():
        return bottle.HTTPResponse(status=303, headers={"Location": url, "Cache-Control": "no-store"})
    return json_response({"url": url})


def read_form() -> dict[str, str]:
    """Read a small body of form fields or JSON; each value a text.

    Errors  BodyTooLarge, InvalidBody; ReturnAddressNamed rather than leaving it out: who sends one expects it to count
    """
    body = read_body(LARGEST_FORM)
    kind = bottle.request.environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    try:
        text = body.decode("utf-8")
        if kind == "application/json":
            fields = json.loads(text)
        else:
            fields = {name: values[0] for name, values in parse_qs(text, max_num_fields=50).items()}
    except (ValueError, RecursionError) as error:
        raise InvalidBody(f"the body is no form and no JSON: {error}") from error
    if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
        raise InvalidBody("wanted form fields, or a JSON object of texts")
    if named := RETURN_ADDRESSES & fields.keys():
        raise ReturnAddressNamed(f"the body has {', '.join(sorted(named))}")
    return fields


@functools.cache
def _template(name: str) -> bottle.SimpleTemplate:
    return bottle.SimpleTemplate((VIEWS / f"{name}.html").read_text("utf-8"))


def read_body(limit: int) -> bytes:
    """Read the request's raw bytes.

    Errors  BodyTooLarge over `limit` bytes; InvalidBody when the connection ended before the whole body came
    """
    if bottle.request.content_length > limit:
        raise BodyTooLarge(f"{bottle.request.content_length} bytes announced, {limit} accepted")
    body: bytes = bottle.request.body.read(limit + 1)
    if len(body) > limit:
        raise BodyTooLarge(f"more than {limit} bytes")
    if len(body) < bottle.request.content_length:
        raise InvalidBody(f"the body ended after {len(body)} of {bottle.request.content_length} bytes")
    return body
