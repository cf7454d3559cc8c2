"""Requests that a fuzzer plays. A target returns in a word how bytes were answered; a fault is an exception.

In bytes that become a request, a word such as @user@ stands for what nobody can guess: a token, a session, a signature.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import stripe
from fuzz_files import Opened, Target
from harness import ADMIN_TOKEN, AUTH_SECRET, WEBHOOK_SECRET, App, Shop, configured, open_shop, running, sdk
from mutated import FORM, JSON, PIECES, Answer, Sent, ask, bearer, signature_of, signed
from samples import CLAIMS, FORMS, HEADS, every_event, is_let_in_rightly, is_stripes_word, minted_from
from spending import PLANS
from waitress.task import ErrorTask, WSGITask

from corkage.admin.session import COOKIE_ON_PLAIN_HTTP, form_token, new_session
from corkage.errors import InvalidBody, InvalidSignature
from corkage.gateway.signature import verify_signature
from corkage.identity import SERVER_AUDIENCE, mint_token
from corkage.models import AnswerRow, StripeEvent
from corkage.server.request_limits import Parser
from corkage.simulator import Simulator

HERE = "http://127.0.0.1"
LARGEST_ANSWER = 200_000
EVENTS_AT_ONCE = 200
PAGES = ("/", "/pricing", "/account", "/cancel", "/refused", "/return", "/access", "/usage", "/health", "/style.css")


class _Served(logging.Handler):
    """A Corkage where ann has a subscription, which fails where it logs a traceback."""

    def __init__(self, app: App, shop: Shop) -> None:
        super().__init__()
        self.app, self.shop = app, shop
        self._failed: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Note a traceback, in whichever thread."""
        if record.exc_info:
            self._failed.append(record)

    def ask(self, sent: Sent) -> Answer:
        """Return the answer, which is no fault of ours."""
        answer = ask(self.app.billing.wsgi, sent)
        self.check_log()
        assert answer.status < 500, (sent, answer)
        assert b"Traceback" not in answer.body
        assert len(answer.body) < LARGEST_ANSWER
        assert not [each for each in answer.headers if "\r" in each[1] or "\n" in each[1]], answer
        return answer

    def check_log(self) -> None:
        """Raise what was logged with its traceback."""
        for record in self._failed:
            assert record.exc_info
            raise AssertionError(record.getMessage()) from record.exc_info[1]


@contextmanager
def _served(folder: Path) -> Iterator[_Served]:
    with Simulator(retry_seconds=(0.05,) * 100) as simulator:
        shop = open_shop(simulator, sdk(simulator))
        changes = {"plans": PLANS, "admin_token": ADMIN_TOKEN, "billing_url": HERE, "payer_prefix": "org_"}
        plain = configured(simulator, str(folder / "corkage.db"))
        with running(replace(plain, frontend_urls=(HERE,), **changes)) as app:
            shop.subscribe(shop.customer())
            app.deliver(shop.event("customer.subscription.created"))
            app.work()
            served = _Served(app, shop)
            logging.getLogger().addHandler(served)
            try:
                yield served
            finally:
                logging.getLogger().removeHandler(served)


class _Secrets:
    """What stands for the words in a request."""

    def __init__(self, app: App) -> None:
        now, config = time.time(), app.billing.service.config
        session = new_session(config, now)
        self.words = {
            b"@user@": mint_token(AUTH_SECRET, "ann", now=now, lifetime_seconds=80_000).encode(),
            b"@other@": mint_token(AUTH_SECRET, "bob", now=now, lifetime_seconds=80_000).encode(),
            b"@server@": mint_token(
                AUTH_SECRET, "ann", now=now, lifetime_seconds=80_000, audience=SERVER_AUDIENCE
            ).encode(),
            b"@session@": session.encode(),
            b"@form@": form_token(config, session).encode(),
        }

    def put_into(self, data: bytes) -> bytes:
        for word, secret in self.words.items():
            data = data.replace(word, secret)
        return data


def _with_signature(header: bytes, body: bytes) -> bytes:
    at = int(time.time())
    return header.replace(b"@t@", b"%d" % at).replace(b"@v1@", signature_of(body, at))


@contextmanager
def _signature(_folder: Path) -> Iterator[Target]:
    """The header in the first line, and the body. What is taken, Stripe's own library takes, too."""

    def play(data: bytes) -> str:
        header, _, body = data.partition(b"\n")
        text = _with_signature(header, body).decode("latin-1")
        try:
            taken = verify_signature(body, text, (WEBHOOK_SECRET, "whsec_other"), time.time())
        except InvalidBody:
            return "no_JSON"
        except InvalidSignature:
            return "refused"
        assert stripe.WebhookSignature.verify_header(body.decode(), text, WEBHOOK_SECRET, 300)
        assert isinstance(taken, dict)
        return "taken"

    headers = (b"t=@t@,v1=@v1@", b"t=@t@,v1=0,v1=@v1@,v0=@v1@", b"v1=@v1@,t=@t@", b"t=1,v1=@v1@", b"t=@t@")
    bodies = (b'{"id": "evt_1", "object": "event"}', b"[]", b"\xff")
    examples = tuple(header + b"\n" + body for header in headers for body in bodies)
    yield Target(play, examples, (b"@t@", b"@v1@", b"t=", b"v1=", b"v0=", *PIECES))


@contextmanager
def _events(folder: Path) -> Iterator[Target]:
    """The body of an event that Stripe has signed. Whatever it says, nobody's access is changed by it."""
    with _served(folder) as served:
        columns = [each for each in AnswerRow._meta.sorted_fields if each.name != "stale_at"]
        answers = AnswerRow.select(*columns).where(AnswerRow.user_id == "ann").dicts()
        before, count = list(answers.clone()), 0

        def play(data: bytes) -> str:
            nonlocal count
            count += 1
            answer = served.ask(signed(data.replace(b"evt_@", b"evt_%d" % count)))
            assert answer.status in (200, 400)
            if count % EVENTS_AT_ONCE == 0:
                served.app.work()
                served.check_log()
                waiting = StripeEvent.select().where(StripeEvent.applied_at.is_null())
                assert [each.error for each in waiting if not is_stripes_word(each.error)] == []
                assert list(answers.clone()) == before
            return f"of_{answer.status}"

        events = every_event(served.shop, served.shop.simulator)
        examples = tuple(json.dumps(each | {"id": "evt_@"}).encode() for each in events)
        served.app.work()
        yield Target(play, examples, (b"evt_@", *PIECES))


@contextmanager
def _forms(folder: Path) -> Iterator[Target]:
    """Who posts where, the kind of the body, and the body, in a line each."""
    with _served(folder) as served:
        secrets = _Secrets(served.app)
        same = {"HTTP_SEC_FETCH_SITE": b"same-origin"}
        of_sender = {name: bearer(secrets.words[b"@%s@" % name]) for name in (b"user", b"other")}
        of_sender |= {
            b"server": {"HTTP_AUTHORIZATION": b"Bearer " + secrets.words[b"@server@"]},
            b"operator": same | {"HTTP_COOKIE": COOKIE_ON_PLAIN_HTTP.encode() + b"=" + secrets.words[b"@session@"]},
        }

        def play(data: bytes) -> str:
            route, kind, body = (data + b"\n\n").split(b"\n", 2)
            sender, _, path = route.partition(b" ")
            headers = of_sender.get(sender, same) | {"CONTENT_TYPE": kind}
            sent = Sent("POST", path.decode("latin-1"), b"", headers, secrets.put_into(body[:-2]))
            return f"of_{served.ask(sent).status}"

        yield Target(play, tuple(_form_examples()), (b"user ", b"other ", b"server ", b"operator ", *PIECES))


def _form_examples() -> Iterator[bytes]:
    part = b'--b\r\nContent-Disposition: form-data; name="plan"\r\n\r\npro\r\n--b--'
    for path, fields in FORMS.items():
        for sender in ("server",) if path == "/use" else ("user", "other"):
            route = f"{sender} {path}".encode()
            yield b"\n".join((route, JSON.encode(), json.dumps(fields).encode()))
            yield b"\n".join((route, FORM.encode(), urlencode(fields).encode()))
            yield b"\n".join((route, b"multipart/form-data; boundary=b", part))
    for fields in ({"do": "converge", "user": "ann"}, {"do": "grant", "user": "ann", "plan": "pro", "days": "3"}):
        body = urlencode(fields).encode() + b"&form_token=@form@"
        yield b"\n".join((b"operator /admin", FORM.encode(), body))


@contextmanager
def _tokens(folder: Path) -> Iterator[Target]:
    """What is asked, the head and the claims of a token, in a line each; it is signed with the right secret."""
    with _served(folder) as served:
        now = int(time.time())

        def play(data: bytes) -> str:
            asked, head, claims = (data.replace(b'"@exp@"', b"%d" % (now + 40_000)) + b"\n\n").split(b"\n", 2)
            way, _, path = asked.partition(b" ")
            minted, claims = minted_from(head, claims[:-2]), claims[:-2]
            headers = {"HTTP_COOKIE": b"corkage=" + minted} if way == b"cookie" else bearer(minted)
            if way == b"server":
                headers = {"HTTP_AUTHORIZATION": b"Bearer " + minted, "CONTENT_TYPE": FORM.encode()}
            method, body = ("POST", b"name=exports") if way == b"server" else ("GET", b"")
            answer = served.ask(Sent(method, path.decode("latin-1"), b"", headers, body))
            if path == b"/access" and answer.status == 200:
                is_let_in_rightly(json.loads(answer.body), json.loads(head), json.loads(claims), now)
            return f"of_{answer.status}"

        claims = json.dumps(CLAIMS | {"exp": "@exp@", "nbf": 1, "iat": 1}).encode()
        lines = [(b"bearer /access", json.dumps(each).encode(), claims) for each in HEADS]
        lines += [(asked, lines[0][1], claims) for asked in (b"cookie /account", b"cookie /access", b"bearer /usage")]
        lines.append((b"bearer /access", lines[0][1], b'{"sub":"bob","aud":"corkage","exp":"@exp@"}'))
        lines.append((b"server /use", lines[0][1], claims.replace(b'"corkage"', b'"corkage-server"')))
        words = (b'"@exp@"', b"bearer ", b"cookie ", b"server ", *(f'"{each}":'.encode() for each in CLAIMS))
        yield Target(play, tuple(map(b"\n".join, lines)), (*words, *PIECES))


@contextmanager
def _cookies(folder: Path) -> Iterator[Target]:
    """A Cookie header. It lets in nobody but whose token or session stands in it."""
    with _served(folder) as served:
        secrets = _Secrets(served.app)

        def play(data: bytes) -> str:
            headers = {"HTTP_COOKIE": secrets.put_into(data), "HTTP_ACCEPT": b"text/html"}
            access, account, admin = (
                served.ask(Sent("GET", path, b"", headers, b"")) for path in ("/access", "/account", "/admin")
            )
            is_user = access.status == 200
            assert not is_user or secrets.words[b"@user@"] in headers["HTTP_COOKIE"]
            is_operator = admin.status == 200
            assert not is_operator or secrets.words[b"@session@"] in headers["HTTP_COOKIE"]
            return "let_in" if is_user or account.status == 200 or is_operator else "kept_out"

        names = (b"corkage", COOKIE_ON_PLAIN_HTTP.encode(), b"__Host-corkage")
        examples = (
            b"corkage=@user@",
            names[1] + b"=@session@",
            b"a=b; corkage=@user@; c",
            b"corkage=1; corkage=@user@",
        )
        yield Target(play, examples, (b"@user@", b"@session@", b"; ", *names, *PIECES))


class _Wire:
    """Stands for a connection of waitress's: it keeps what is sent."""

    addr = ("127.0.0.1", 1)

    def __init__(self, server: Any) -> None:
        self.server, self.adj, self.sent = server, server.adj, b""

    def write_soon(self, data: bytes) -> int:
        self.sent += data
        return len(data)

    def check_client_disconnected(self) -> bool:
        return False


@contextmanager
def _requests(folder: Path) -> Iterator[Target]:
    """What a client sends, with paths, headers and bodies, one request after another, to where waitress sends on."""
    with _served(folder) as served:
        secrets = _Secrets(served.app)

        def play(data: bytes) -> str:
            if b"@v1@" in data:
                data = _with_signature(data, data.partition(b"\r\n\r\n")[2])
            answers = list(_answers(served.app, secrets.put_into(data)))
            served.check_log()
            for sent in answers:
                head, _, body = sent.partition(b"\r\n\r\n")
                assert head.startswith((b"HTTP/1.0 ", b"HTTP/1.1 ")), sent
                assert int(head[9:12]) < 500, (data, sent)
                assert b"\nset-cookie: a=b" not in head.lower()
                assert b"Traceback" not in body
                assert len(body) < LARGEST_ANSWER
            return f"of_{answers[0][9:12].decode()}" if answers else "not_whole"

        yield Target(play, tuple(_request_examples()), (*_HEADERS, b"\r\n", b"\r\n\r\n", *PIECES))


def _answers(app: App, data: bytes) -> Iterator[bytes]:
    """Return the answer to each request, until the connection would be closed."""
    while data:
        wire, request = _Wire(app.server), Parser(app.server.adj, app.server.largest_body, app.server.repeats)
        while data and not request.completed:
            data = data[request.received(data) :]
        if not request.completed:
            return
        if request.empty:
            continue
        task = (ErrorTask if request.error else WSGITask)(wire, request)
        task.service()
        request.close()
        yield wire.sent
        if task.close_on_finish:
            return


_HEADERS = tuple(
    line.encode()
    for line in (
        "Accept: text/html\r\n", "Accept-Language: de, en;q=0.5\r\n", "Authorization: Bearer @user@\r\n",
        "Connection: close\r\n", "Content-Type: application/json\r\n", f"Content-Type: {FORM}\r\n",
        "Content-Length: 8\r\n", "Cookie: corkage=@user@\r\n", f"Cookie: {COOKIE_ON_PLAIN_HTTP}=@session@\r\n",
        "Expect: 100-continue\r\n", "HX-Request: true\r\n", "Host: x\r\n", "Origin: http://127.0.0.1\r\n",
        "Referer: http://127.0.0.1/a\r\n", "Sec-Fetch-Site: same-origin\r\n", "Stripe-Signature: t=@t@,v1=@v1@\r\n",
        "Transfer-Encoding: chunked\r\n", "Turbo-Frame: a\r\n", "X-Forwarded-For: 10.0.0.1\r\n",
        "X-Forwarded-Proto: https\r\n", "Remote-User: ann\r\n",
    )
)  # fmt: skip


def _request_examples() -> Iterator[bytes]:
    host, user, same = b"Host: x\r\n", b"Authorization: Bearer @user@\r\n", b"Sec-Fetch-Site: same-origin\r\n"
    page = host + user + b"Accept: text/html\r\nAccept-Language: de, en;q=0.5\r\n"
    for path in PAGES:
        yield b"GET %s?code=refused&interval=month&session_id=cs_1&lang=fr HTTP/1.1\r\n%s\r\n" % (path.encode(), page)
    session = f"Cookie: {COOKIE_ON_PLAIN_HTTP}=@session@\r\n".encode()
    yield b"GET /admin?show=users&user=ann&q=ann&page=2 HTTP/1.1\r\n%s%s\r\n" % (page, session)
    yield b"OPTIONS /access HTTP/1.1\r\n%sOrigin: http://127.0.0.1\r\n\r\n" % host
    yield b"HEAD /access HTTP/1.0\r\n%s\r\n" % user
    post = b"POST /checkout HTTP/1.1\r\n" + host + user + same + b"Content-Type: " + FORM.encode() + b"\r\n"
    yield post + b"Content-Length: 8\r\n\r\nplan=pro"
    yield post + b"Transfer-Encoding: chunked\r\n\r\n4;a=b\r\nplan\r\n4\r\n=pro\r\n0\r\n\r\n"
    yield post + b"Expect: 100-continue\r\nContent-Length: 8\r\n\r\nplan=proGET /access HTTP/1.1\r\n" + host + b"\r\n"
    body = b'{"id": "evt_1", "object": "event", "type": "price.created", "created": 1, "data": {"object": {"id": "a"}}}'
    head = b"POST /webhook HTTP/1.1\r\n%sStripe-Signature: t=@t@,v1=@v1@\r\nContent-Length: %d\r\n\r\n"
    yield head % (host, len(body)) + body


REQUESTS: dict[str, Opened] = {
    "signature": _signature,
    "events": _events,
    "forms": _forms,
    "tokens": _tokens,
    "cookies": _cookies,
    "requests": _requests,
}
