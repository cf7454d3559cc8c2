"""What a log line is about: user, customer, event and request, as fields of the record beside its message.

A program finds lines by them, in the JSON of `corkage serve` or in a host's own log.
"""

import logging
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any

from .clean import cleaned_value, one_line

FIELDS = ("user", "customer", "event", "request_id", "method", "path", "status")
LONGEST_FIELD = 200
USER = "corkage.user"  # in the environ: whose request it is
REQUEST_ID = "corkage.request_id"

_PROXYS_ID = re.compile(r"[A-Za-z0-9_.:=-]{1,100}")
_about: ContextVar[dict[str, str]] = ContextVar("corkage_log_about")
_request: ContextVar[dict[str, Any] | None] = ContextVar("corkage_log_request", default=None)


def logger(name: str) -> logging.Logger:
    """Return the logger of this name, whose records have the fields, and arguments that are fit for a line.

    By a filter on the logger, so that it holds in a host that sets up logging by itself, too.
    """
    found = logging.getLogger(name)
    if not any(isinstance(each, _Facts) for each in found.filters):
        found.addFilter(_Facts())
    return found


@contextmanager
def about(**fields: str | None) -> Iterator[None]:
    """Have all that is logged within this block, in this thread, carry these fields."""
    known = {name: value for name, value in fields.items() if value is not None}
    token = _about.set({**_about.get({}), **known})
    try:
        yield
    finally:
        _about.reset(token)


def begin_request(environ: dict[str, Any]) -> Token[dict[str, Any] | None]:
    """Have all that is logged until end_request() carry the facts of this request."""
    return _request.set(environ)


def end_request(token: Token[dict[str, Any] | None]) -> None:
    _request.reset(token)


def facts_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields that the record has."""
    return {name: record.__dict__[name] for name in FIELDS if record.__dict__.get(name) is not None}


class _Facts(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(map(cleaned_value, record.args))
        for name, value in (_of_request() | _about.get({})).items():
            record.__dict__.setdefault(name, one_line(value, LONGEST_FIELD))
        return True


def _of_request() -> dict[str, str]:
    environ = _request.get()
    if environ is None:
        return {}
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    facts = {"request_id": _request_id(environ), "method": environ.get("REQUEST_METHOD", ""), "path": path}
    return facts | ({"user": environ[USER]} if USER in environ else {})


def _request_id(environ: dict[str, Any]) -> str:
    """Return the proxy's id for the request, from X-Request-Id, or one of our own."""
    given: str = environ.get("HTTP_X_REQUEST_ID", "")
    if _PROXYS_ID.fullmatch(given):
        return given
    return str(environ.setdefault(REQUEST_ID, secrets.token_hex(8)))
