"""What an attacker tries on the wire, and with names of their choice; docs/security.md lists what else is tried."""

import ast
import base64
import hmac
import re
import socket
import time
from dataclasses import replace

import pytest
import requests
from buying import bearer, token
from harness import ADMIN_TOKEN, AUTH_SECRET, WEBHOOK_SECRET, is_error, running
from repository import ROOT, tracked

from corkage.admin.session import form_token, new_session
from corkage.identity import mint_token
from corkage.routes import ROUTES

METRICS_TOKEN = "a-token-for-the-metrics-of-at-least-32"
OUR_PAGE = {"Sec-Fetch-Site": "same-origin"}


def said(url, sent, patience=2.0):
    """Send bytes as they are; return all that is answered until the server closes, or has been silent for so long."""
    host, port = url.removeprefix("http://").split(":")
    answered = b""
    with socket.create_connection((host, int(port)), 30) as connection:
        connection.sendall(sent)
        connection.settimeout(patience)
        try:
            while piece := connection.recv(65536):
                answered += piece
        except TimeoutError:
            return answered, False
        except ConnectionResetError:
            pass
    return answered, True


# The wire

ON_THE_WIRE = pytest.mark.one_engine("sqlite", "the server reads a request before it reads the database")


def asking(user, *headers):
    signed = mint_token(AUTH_SECRET, user, now=time.time()).encode()
    return b"\r\n".join([b"GET /access HTTP/1.1", b"Host: x", b"Authorization: Bearer " + signed, *headers, b"", b""])


HIDDEN = asking("hidden")
END = b"0\r\n\r\n"
WHOLE = b"Content-Length: %d" % len(END + HIDDEN)
TWO_READINGS = {
    "a length and a coding": ([WHOLE, b"Transfer-Encoding: chunked"], END),
    "a coding and a short length": ([b"Transfer-Encoding: chunked", b"Content-Length: 4"], END),
    "two lengths": ([b"Content-Length: 0", b"Content-Length: %d" % len(HIDDEN)], b""),
    "two lengths that are one": ([b"Content-Length: 0", b"Content-Length: 0"], b""),
    "a list of lengths": ([b"Content-Length: 0, 0"], b""),
    "a length with a sign": ([b"Content-Length: +0"], b""),
    "a length below zero": ([b"Content-Length: -1"], b""),
    "a length in another script": (["Content-Length: \u0660".encode()], b""),
    "a blank before the colon": ([b"Content-Length : 0"], b""),
    "a coding that is none": ([b"Transfer-Encoding: xchunked"], END),
    "a coding after another": ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"], END),
    "a coding twice": ([b"Transfer-Encoding: chunked, chunked"], END),
    "a coding in two headers": ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"], END),
    "a coding with a control": ([b"Transfer-Encoding: \x0bchunked"], END),
    "a coding in the next line": ([b"Transfer-Encoding:\r\n chunked"], END),
    "a length in the next line": ([b"X: y\r\n\tContent-Length: 0"], b""),
    "a line feed alone": ([b"X: y\nContent-Length: %d" % len(HIDDEN), b"Content-Length: 0"], b""),
    "a carriage return alone": ([b"X: y\rContent-Length: %d" % len(HIDDEN), b"Content-Length: 0"], b""),
    "NUL in a header": ([b"X: a\x00b", b"Content-Length: 0"], b""),
    "a chunk's size below zero": ([b"Transfer-Encoding: chunked"], b"-0\r\n\r\n"),
    "a chunk's size as a program writes it": ([b"Transfer-Encoding: chunked"], b"0x0\r\n\r\n"),
    "a chunk that is longer than its size": ([b"Transfer-Encoding: chunked"], b"2\r\nabX\r\n0\r\n\r\n"),
    "a line feed in a chunk's extension": ([b"Transfer-Encoding: chunked"], b"0;a=\n\r\n\r\n"),
    "two hosts": ([b"Host: evil.example", b"Content-Length: 0"], b""),
}


@ON_THE_WIRE
@pytest.mark.parametrize("reading", TWO_READINGS)
def test_a_request_with_two_readings_is_refused_and_what_follows_is_not_read(app, reading):
    headers, body = TWO_READINGS[reading]
    lines = [b"POST /portal HTTP/1.1", b"Host: x", b"Authorization: Bearer " + token().encode(), *headers, b"", body]

    answer, is_closed = said(app.url, b"\r\n".join(lines) + HIDDEN)

    assert answer.split(b" ", 2)[1] == b"400"
    assert is_closed
    assert answer.count(b"HTTP/1.") == 1
    assert b"hidden" not in answer


@ON_THE_WIRE
def test_http_1_1_without_a_host_is_refused_and_http_1_0_without_one_is_answered(app):
    refused, is_closed = said(app.url, HIDDEN.replace(b"Host: x\r\n", b""))
    old, _ = said(app.url, HIDDEN.replace(b"Host: x\r\n", b"").replace(b"/1.1", b"/1.0"))

    assert (refused.split(b" ", 2)[1], is_closed) == (b"400", True)
    assert old.split(b" ", 2)[1] == b"200"


@ON_THE_WIRE
def test_a_body_after_a_get_is_read_as_one(app):
    get = b"GET /pricing HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN)

    answer, is_closed = said(app.url, get + HIDDEN)

    assert (answer.count(b"HTTP/1."), is_closed) == (1, True)
    assert b"hidden" not in answer


@ON_THE_WIRE
def test_of_requests_sent_at_once_each_is_answered_for_its_own_user(app):
    users = [f"user-{number}" for number in range(20)]
    nobody = b"GET /access HTTP/1.1\r\nHost: x\r\n\r\n"
    sent = nobody.join(asking(each) for each in users) + asking("last", b"Connection: close")

    answer, is_closed = said(app.url, sent, patience=30)

    bodies = [each.partition(b"\r\n\r\n") for each in answer.split(b"HTTP/1.1 ")[1:]]
    named = [body.partition(b'"user_id": "')[2].partition(b'"')[0].decode() for _, _, body in bodies]
    assert named == [*[name for each in users for name in (each, "")][:-1], "last"]
    assert [head[:3] for head, _, body in bodies if b"user_id" not in body] == [b"401"] * 19
    assert is_closed


# Every answer


@pytest.fixture
def whole(config):
    """A Corkage with every route."""
    with running(replace(config, admin_token=ADMIN_TOKEN, metrics_token=METRICS_TOKEN)) as served:
        yield served


def as_operator(app):
    """Return the headers of the operator's browser, and the fields of a form on the page."""
    session = new_session(app.billing.config, time.time())
    token = form_token(app.billing.config, session)
    return {"Cookie": f"__Host-corkage-admin={session}", "Accept": "text/html"} | OUR_PAGE, {"form_token": token}


def signed_in(app, rule):
    """Return the headers of somebody who may use a route."""
    if rule == "/admin":
        return as_operator(app)[0]
    return bearer(METRICS_TOKEN if rule == "/metrics" else token()) | OUR_PAGE


@pytest.mark.parametrize("rule", [*dict.fromkeys(rule for _, rule, _ in ROUTES), "/nowhere", "/access%0d%0ax"])
@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_every_answer_has_the_headers_that_keep_it_safe_and_private(whole, rule, accept):
    for method in ("GET", "HEAD", "POST", "OPTIONS", "PUT", "TRACE"):
        for who in ({}, signed_in(whole, rule)):
            headers = who | {"Accept": accept}
            answer = requests.request(method, whole.url + rule, headers=headers, allow_redirects=False, timeout=30)

            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.status_code < 500
            kept = answer.headers.get("Cache-Control", "")
            is_public = rule == "/style.css" and answer.status_code == 200
            assert ("no-store" in kept or "private" in kept) != (is_public or answer.status_code == 204)
            if "html" in answer.headers.get("Content-Type", "") and answer.status_code != 303:
                policy = answer.headers["Content-Security-Policy"]
                assert policy.startswith("default-src 'none'; ")
                assert "unsafe" not in policy
                assert "frame-ancestors 'none'" in policy
                assert answer.headers["Referrer-Policy"] == "same-origin"
            assert "Set-Cookie" not in answer.headers
            assert answer.headers["Server"] == "corkage"


def test_what_is_known_already_is_answered_with_the_same_headers(whole):
    first = requests.get(f"{whole.url}/access", headers=bearer(token()), timeout=30)
    again = bearer(token()) | {"If-None-Match": first.headers["ETag"]}
    same = requests.get(f"{whole.url}/access", headers=again, timeout=30)
    others = requests.get(f"{whole.url}/access", headers=again | bearer(token("eve")), timeout=30)

    assert (same.status_code, same.content) == (304, b"")
    assert (same.headers["X-Content-Type-Options"], same.headers["Cache-Control"]) == ("nosniff", "private, no-cache")
    assert (others.status_code, others.json()["user_id"]) == (200, "eve")


EVIL = "evil.example"
BROKEN = "a\r\nEvil: yes\r\n\r\n<b>"
FIELDS = (
    "code",
    "lang",
    "to",
    "session_id",
    "again",
    "typed",
    "plan",
    "quantity",
    "flow",
    "from",
    "user",
    "q",
    "after",
)
CHOSEN = {"Host": EVIL, "X-Forwarded-Host": EVIL, "X-Forwarded-Server": EVIL, "Forwarded": f"host={EVIL}"}


@pytest.mark.parametrize("billing_url", [None, "https://billing.example.com"])
def test_no_answer_of_any_route_names_a_host_that_the_sender_chose(config, shop, billing_url):
    everything = {"admin_token": ADMIN_TOKEN, "metrics_token": METRICS_TOKEN, "billing_url": billing_url}
    with running(replace(config, **everything)) as app:
        for method, rule, _ in ROUTES:
            for accept in ("text/html", "application/json", "text/vnd.turbo-stream.html"):
                headers = signed_in(app, rule) | CHOSEN | {"Accept": accept, "Referer": f"https://{EVIL}/page"}
                answer = requests.request(method, app.url + rule, headers=headers, allow_redirects=False, timeout=30)
                assert EVIL not in answer.text + str(answer.headers)
        requests.post(f"{app.url}/checkout", {"plan": "pro"}, headers=signed_in(app, "/checkout") | CHOSEN, timeout=30)
    assert EVIL not in str(shop.client.v1.checkout.sessions.list().data)


@pytest.mark.parametrize("sender", [{}, {"HX-Request": "true"}, {"Accept": "text/vnd.turbo-stream.html"}], ids=str)
def test_no_line_break_of_the_senders_makes_a_header(whole, sender):
    said = dict.fromkeys(FIELDS, BROKEN)
    for method, rule, _ in ROUTES:
        headers = {"Accept": "text/html"} | signed_in(whole, rule) | sender
        for form in (None, said, {"plan": "pro"}, {"do": "sign_in", "token": ADMIN_TOKEN}):
            sent = {"params": said, "data": form, "headers": headers, "allow_redirects": False, "timeout": 30}
            answer = requests.request(method, whole.url + rule, **sent)
            assert "Evil" not in answer.headers
            assert not any(re.search(r"[\r\n<>]", value) for value in answer.headers.values())
            assert "<b>" not in answer.text.replace("<b>0</b>", "")


# Secrets


def test_our_own_notice_is_no_webhook_even_with_the_same_secret(config, shop, receiver):
    secret = "whsec_" + base64.b64encode(b"one secret for both, of 32 bytes and more").decode()
    notified = {"notify_url": receiver.url, "notify_secrets": (secret,), "webhook_secrets": (secret,)}
    with running(replace(config, **notified)) as app:
        shop.subscribe(shop.customer())
        app.deliver(shop.event("customer.subscription.created"), secret=secret)
        app.billing.work()
        body, id_, now = receiver.got[0][0], receiver.ids[0], int(time.time())
        key = base64.b64decode(secret.removeprefix("whsec_"))
        made = hmac.new(key, f"{id_}.{now}.".encode() + body, "sha256")
        for shown in (made.hexdigest(), base64.b64encode(made.digest()).decode()):
            for header in (f"t={now},v1={shown}", f"t={id_}.{now},v1={shown}", f"v1,{shown}", f"t={id_},v1={shown}"):
                answer = requests.post(f"{app.url}/webhook", body, headers={"Stripe-Signature": header}, timeout=30)
                assert is_error(answer, 400, "invalid_signature")


def test_whatever_is_secret_is_compared_in_constant_time(whole, event, monkeypatch):
    compared, compare = [], hmac.compare_digest

    def noted(one, other):
        compared.append({each if isinstance(each, bytes) else each.encode() for each in (one, other)})
        return compare(one, other)

    monkeypatch.setattr("hmac.compare_digest", noted)
    operator, form = as_operator(whole)
    session = operator["Cookie"].partition("=")[2]
    requests.post(f"{whole.url}/admin", {"do": "sign_in", "token": "a guess"}, headers=operator, timeout=30)
    requests.post(f"{whole.url}/admin", form | {"do": "sign_out", "form_token": "forged"}, headers=operator, timeout=30)
    requests.get(f"{whole.url}/metrics", headers=bearer("guessed"), timeout=30)
    requests.get(f"{whole.url}/access", headers=bearer(token()), timeout=30)
    whole.deliver(event, secret=f"{WEBHOOK_SECRET}x")

    shown = {b"a guess", b"forged", b"guessed", session.rpartition(".")[2].encode()}
    assert all(any(each in pair for pair in compared) for each in shown)
    assert {b"a guess", ADMIN_TOKEN.encode()} in compared
    assert {b"guessed", METRICS_TOKEN.encode()} in compared
    assert sum(len(each) == 32 for pair in compared for each in pair) >= 1  # a token's signature
    assert sum(len(each) == 64 for pair in compared for each in pair) >= 4  # a webhook's, and the session's


CALLED_SECRET = re.compile(r"(^|_)(secret|token|signature|password|hexdigest|proof|mac)s?$")
OF_NO_REQUEST = {  # both sides are ours, or Stripe's: nobody can try one after the other
    "commands/database/move_database.py: _unfinished()[1:] != [moved.token]",
    "health/checks/endpoint.py: known not in map(fingerprint, config.webhook_secrets)",
    "setup/endpoint.py: endpoint['metadata'].get(SECRET) in {fingerprint(each) for each in config.webhook_secrets}",
}


def compared_by_equals(path):
    """Return the comparisons of a file, with anything but a constant, in which a name is that of a secret."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq | ast.In | ast.NotIn):
            sides = [node.left, *node.comparators]
            names = [getattr(each, "attr", getattr(each, "id", "")) for side in sides for each in ast.walk(side)]
            if any(map(CALLED_SECRET.search, names)) and not any(isinstance(side, ast.Constant) for side in sides):
                yield f"{path}: {ast.unparse(node)}"


def test_no_secret_of_a_request_is_compared_by_equals_anywhere():
    ours = [path for path in tracked() if path.parts[0] not in ("tests", "bench", "simulator")]

    assert {line for path in ours for line in compared_by_equals(path)} == OF_NO_REQUEST
    in_constant_time = {str(path) for path in ours if "compare_digest" in (ROOT / path).read_text()}
    assert in_constant_time >= {"admin/session.py", "gateway/signature.py", "handlers/metrics.py"}
