"""Requests and files that are nearly right: valid ones, with parts of them changed at random."""

import hmac
import io
import json
import random
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlencode

from harness import ADMIN_TOKEN, AUTH_SECRET, WEBHOOK_SECRET

from corkage.admin.session import COOKIE_ON_PLAIN_HTTP
from corkage.identity import SERVER_AUDIENCE, mint_token

FORM, JSON = "application/x-www-form-urlencoded", "application/json"
PIECES = tuple(
    piece.encode("utf-8", "surrogatepass")
    for piece in (
        "", "\0", "\ud800", "\\ud800", "%00", "%ED%A0%80", "%", "é", "\u202e", "\ufeff", "²", " ",
        "\t", "\n", "\r\nSet-Cookie: a=b", "\N{MATHEMATICAL DOUBLE-STRUCK DIGIT ONE}",
        "null", "true", "-1", "0", "1e999", "NaN", "9" * 30, "9" * 5000, "[" * 2000, '{"a":' * 2000, "{}", "[]",
        '""', '"',
        "'", "';--", "<script>alert(1)</script>", "{{1}}", "../", "//", "\\", "=", "&", ";", ",", ".", ":", "a=b",
        "#", "none",
        "id", "object", "type", "data", "created", "livemode", "v1", "evt_1", "cus_1", "sub_1", "admin", "x" * 20_000,
    )
)  # fmt: skip
"""What is put somewhere: what parsers, databases, pages and headers may stumble over."""


class Sent(NamedTuple):
    """A request. Shape: query as it stands in an address; headers by their names in WSGI"""

    method: str
    path: str
    query: bytes
    headers: dict[str, bytes]
    body: bytes


class Answer(NamedTuple):
    """Shape   headers: as the application gives them"""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def mutate(chance: random.Random, data: bytes) -> bytes:
    """Change some bytes: replace, cut out, say twice, cut off, or put a piece somewhere."""
    for _ in range(chance.randint(1, 3)):
        start = chance.randint(0, len(data))
        end = min(len(data), start + chance.choice((0, 1, 1, 2, 5, 20)))
        deed = chance.randrange(5)
        if deed == 0:
            data = data[:start] + bytes([chance.randrange(256)]) + data[end:]
        elif deed == 1:
            data = data[:start] + data[end:]
        elif deed == 2:
            data = data[:end] + data[start:]
        elif deed == 3:
            data = data[:start]
        else:
            data = data[:start] + chance.choice(PIECES) + data[end:]
    return data


def bearer(minted: bytes) -> dict[str, bytes]:
    """Return the headers with which one of our pages sends a token."""
    return {"HTTP_AUTHORIZATION": b"Bearer " + minted, "HTTP_SEC_FETCH_SITE": b"same-origin"}


def signature_of(body: bytes, at: int) -> bytes:
    """Return what Stripe writes as v1 for a body that it posts at this time."""
    return hmac.new(WEBHOOK_SECRET.encode(), b"%d." % at + body, "sha256").hexdigest().encode()


def signed(body: bytes) -> Sent:
    """Return an event as Stripe posts it, whatever its body is."""
    at = int(time.time())
    return Sent("POST", "/webhook", b"", {"HTTP_STRIPE_SIGNATURE": b"t=%d,v1=%s" % (at, signature_of(body, at))}, body)


class Requests:
    """Makes requests to every route, each nearly right.

    Shape   events: bodies that Stripe would post
    """

    def __init__(self, chance: random.Random, events: list[bytes], session: str) -> None:
        self._chance, self._events = chance, events
        self._session = session.encode()
        user = mint_token(AUTH_SECRET, "ann", email="ann@example.com", now=time.time(), lifetime_seconds=80_000)
        server = mint_token(AUTH_SECRET, "ann", now=time.time(), lifetime_seconds=80_000, audience=SERVER_AUDIENCE)
        self._user, self._server = (f"Bearer {each}".encode() for each in (user, server))
        self._makers: tuple[Callable[[], Sent], ...] = (
            self._webhook, self._webhook, self._checkout, self._portal, self._use, self._page, self._page, self._admin,
        )  # fmt: skip

    def __next__(self) -> Sent:
        sent = self._chance.choice(self._makers)()
        headers = {name: self._perhaps(value, 6) for name, value in sent.headers.items()}
        if not self._chance.randrange(8):
            name = self._chance.choice(
                ("HTTP_COOKIE", "HTTP_HOST", "HTTP_ORIGIN", "HTTP_ACCEPT_LANGUAGE", "HTTP_X_FORWARDED_FOR")
            )
            headers[name] = mutate(self._chance, b"corkage=a; corkage-admin=b.c")
        return sent._replace(headers=headers, query=self._perhaps(sent.query, 3))

    def _perhaps(self, data: bytes, times: int) -> bytes:
        """Change the data, once in so many times."""
        return data if self._chance.randrange(times) else mutate(self._chance, data)

    def _webhook(self) -> Sent:
        """An event that Stripe has signed, whatever it holds; or one whose signature is nearly right."""
        return signed(self._perhaps(self._chance.choice(self._events), 2))

    def _checkout(self) -> Sent:
        fields = {"plan": self._chance.choice(("pro", "none", "pro:pro_monthly")), "quantity": "1", "code": "CORKS"}
        return self._click("/checkout", fields)

    def _portal(self) -> Sent:
        return self._click("/portal", {"flow": "subscription_cancel", "subscription": "sub_1"})

    def _click(self, path: str, fields: dict[str, str]) -> Sent:
        is_form = bool(self._chance.randrange(2))
        body = urlencode(fields) if is_form else json.dumps(fields)
        headers = {"HTTP_AUTHORIZATION": self._user, "CONTENT_TYPE": (FORM if is_form else JSON).encode()}
        return Sent("POST", path, b"", headers, mutate(self._chance, body.encode()))

    def _use(self) -> Sent:
        body = json.dumps({"name": "exports", "amount": 1, "key": "a"}).encode()
        headers = {"HTTP_AUTHORIZATION": self._server, "CONTENT_TYPE": JSON.encode()}
        return Sent("POST", "/use", b"", headers, self._perhaps(body, 1))

    def _page(self) -> Sent:
        paths = "/ /pricing /account /cancel /refused /return /style.css /access /usage /nowhere /static/../x".split()
        query = b"code=refused&interval=month&session_id=cs_1&subscription=sub_1&lang=de"
        headers = {"HTTP_AUTHORIZATION": self._user, "HTTP_ACCEPT": b"text/html"}
        method = self._chance.choice(("GET", "GET", "GET", "HEAD", "OPTIONS", "POST", "PUT"))
        path = self._perhaps(self._chance.choice(paths).encode(), 4).decode("latin-1")
        return Sent(method, path, mutate(self._chance, query), headers, b"")

    def _admin(self) -> Sent:
        headers = {
            "HTTP_COOKIE": COOKIE_ON_PLAIN_HTTP.encode() + b"=" + self._session,
            "HTTP_SEC_FETCH_SITE": b"same-origin",
        }
        if self._chance.randrange(2):
            return Sent(
                "GET", "/admin", mutate(self._chance, b"user=ann&state=active&page=2&view=events&q=ann"), headers, b""
            )
        fields = self._chance.choice(({"token": ADMIN_TOKEN[:-1]}, {"act": "converge", "user": "ann", "form": "a"}))
        headers["CONTENT_TYPE"] = FORM.encode()
        return Sent("POST", "/admin", b"", headers, mutate(self._chance, urlencode(fields).encode()))


def ask(app: Any, sent: Sent) -> Answer:
    """Ask a WSGI application, as the server hands it a request."""
    begun: list[Any] = []
    headers = {name: _as_header(value) for name, value in sent.headers.items()}
    environ = {
        "REQUEST_METHOD": sent.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": sent.path if sent.path.startswith("/") else f"/{sent.path}",
        "QUERY_STRING": _as_header(sent.query),
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1",
        "CONTENT_LENGTH": str(len(sent.body)),
        "wsgi.input": io.BytesIO(sent.body),
        "wsgi.errors": io.StringIO(),
        "wsgi.url_scheme": "http",
        "wsgi.version": (1, 0),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    } | headers
    answer = app(environ, lambda status, headers, *_: begun.append((int(status.split()[0]), headers)))
    body = b"".join(answer)
    if hasattr(answer, "close"):
        answer.close()
    status, given = begun[-1]
    return Answer(status, given, body)


def _as_header(value: bytes) -> str:
    """A server refuses control characters in a header, and gives it as Latin-1."""
    return "".join(each for each in value.decode("latin-1") if each >= " " and each != "\x7f")
