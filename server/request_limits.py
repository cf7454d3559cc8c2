"""How large a request may be: waitress's parser, with a limit for each route and errors in our own JSON shape."""

import http
import json
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import Error

from ..errors import BillingError, BodyTooLarge, HeadersTooLarge, RequestRefused
from ..logs.facts import logger
from ..logs.repeats import Repeats
from ..texts import cut

LARGEST_HEADERS = 16 * 1024  # the request line and all headers together
FIRST_LINES = 5  # of a kind of refusal that are logged as they are
CHUNK_OVERHEAD = 32 * 1024  # for the sizes of chunks, beside as much again as the body: those are not part of it

ERRORS: Mapping[int, type[BillingError]] = {
    400: RequestRefused,
    413: BodyTooLarge,
    431: HeadersTooLarge,
    501: RequestRefused,  # a transfer coding that is not known; the fault is the client's
}
HEADERS = [("Content-Type", "application/json"), ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]

CODINGS = re.compile(rb"\r\nTransfer-Encoding:([^\r\n]*)", re.IGNORECASE)
FOLDED = re.compile(rb"\r\n[ \t]")

log = logger("corkage.http")


class Parser(HTTPRequestParser):
    """Reads one request, and refuses it by its Content-Length, or as soon as a chunked body exceeds its route's limit.

    Shape   largest_body: returns how many bytes the route at a path takes; repeats: counts refusals, for the log
    """

    def __init__(self, adj: Any, largest_body: Callable[[str], int], repeats: Repeats) -> None:
        super().__init__(adj)
        self._largest_body, self._repeats = largest_body, repeats

    def received(self, data: bytes) -> int:
        """Take what came, and return how many bytes of it belong to this request."""
        consumed = super().received(data)
        if self.error is None and self._has_large_body():
            self._refuse(BodyTooLarge("the body is larger than this route takes"))
        elif self.error is not None and self.error.code in ERRORS:
            self._refuse(ERRORS[self.error.code](self.error.body))
        return consumed

    def parse_header(self, header_plus: bytes) -> None:
        """Read the request line and the headers.

        Errors  ParsingError for what a proxy may read in another way: it would take another part for the body, and have
                the rest answered as somebody else's request
        Source  RFC 9112, sections 3.2, 5.2, 6.1 and 6.3
        """
        super().parse_header(header_plus)
        if problem := self._ambiguity(header_plus):
            raise ParsingError(problem)

    def _ambiguity(self, header_plus: bytes) -> str | None:
        if "TRANSFER_ENCODING" in self.headers:  # waitress takes it away in HTTP/1.1
            return "Transfer-Encoding in HTTP/1.0"
        if self.chunked and "CONTENT_LENGTH" in self.headers:
            return "Transfer-Encoding and Content-Length"
        if self.chunked and [each.strip(b" \t").lower() for each in CODINGS.findall(header_plus)] != [b"chunked"]:
            return "Transfer-Encoding more than once"
        if FOLDED.search(header_plus):
            return "a header that goes on in the next line"
        host = self.headers.get("HOST")
        is_one = "," not in host if host is not None else self.version != "1.1"
        return None if is_one else "not one Host"

    def _has_large_body(self) -> bool:
        if self.body_rcv is None:
            return False
        limit = self._largest_body(self._path())
        is_padded = self.body_bytes_received > 2 * limit + CHUNK_OVERHEAD
        return is_padded or max(self.content_length, len(self.body_rcv)) > limit

    def _path(self) -> str:
        """Return the path as waitress gives it to the app."""
        return "/" + str(getattr(self, "path", "")).lstrip("/")

    def _refuse(self, error: BillingError) -> None:
        said = (cut(repr(self._path()), 80), error.http_status, error.code, cut(str(error)))
        self._repeats.log(log, logging.INFO, error.code, "", "%s answered %d %s: %s", *said, first=FIRST_LINES)
        self.error = _JSONError(error)
        self.completed = True
        self.expect_continue = False  # or waitress would ask for the rest


class _JSONError(Error):
    def __init__(self, error: BillingError) -> None:
        super().__init__(error.sentence)
        self.code, self._answer = error.http_status, error.to_dict()

    def to_response(self, _ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:  # type: ignore[override]  # waitress's stubs are wrong: it sends bytes
        return f"{self.code} {http.HTTPStatus(self.code).phrase}", list(HEADERS), json.dumps(self._answer).encode()
