"""Requests that no client of ours sends: each is the sender's fault, 4xx, and its log line is short."""

import json
import logging
import socket
import time

import bottle
import pytest
import requests
from buying import bearer, token
from harness import AUTH_SECRET, is_error, serving

from corkage.identity import SERVER_AUDIENCE, mint_token
from corkage.texts import LONGEST_LOGGED, cut

LONG = 15_000  # near the limit of all headers
ROUTES = ("/checkout", "/portal", "/webhook", "/admin", "/use", "/pricing", "/access", "/nowhere")


def send(url, *lines, body=b""):
    """Send a request as it is written; return its status."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 30) as connection:
        connection.sendall(b"\r\n".join([*lines, b"Host: x", b"Connection: close", b"", body]))
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    return int(received.split()[1])


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "headers", [[b"Transfer-Encoding: chunked"], [b"Transfer-Encoding: gzip", b"Content-Length: 3"]]
)
def test_http_1_0_with_a_transfer_coding_is_refused(app, path, headers):
    authorization = f"Authorization: Bearer {token()}".encode()
    assert (
        send(app.url, f"POST {path} HTTP/1.0".encode(), authorization, *headers, body=b"3\r\na=b\r\n0\r\n\r\n") == 400
    )


def test_http_1_0_without_one_is_answered(app):
    authorization = f"Authorization: Bearer {token()}".encode()
    assert send(app.url, b"GET /access HTTP/1.0", authorization) == 200


def test_an_unknown_transfer_coding_is_the_senders_fault(app):
    assert send(app.url, b"POST /checkout HTTP/1.1", b"Transfer-Encoding: gzip") == 400


def test_a_chunked_body_that_another_server_hands_on_is_refused_where_it_is_broken(app):
    def handing_on(environ, start_response):
        environ |= {"HTTP_TRANSFER_ENCODING": "chunked"}
        return app.billing.wsgi(environ, start_response)

    with serving(handing_on) as url:
        answer = requests.post(f"{url}/checkout", b"no chunk", headers=bearer(token()), timeout=30)

    assert is_error(answer, 400, "bad_request")


@pytest.mark.parametrize("length", ["abc", "-1", "+4", "\xb2", "4, 4", "9" * 5000], ids=lambda each: each[:9])
@pytest.mark.parametrize("path", ["/checkout", "/use", "/webhook"])
def test_a_length_that_is_none_is_refused_where_another_server_hands_it_on(app, path, length):
    def handing_on(environ, start_response):
        environ |= {"CONTENT_LENGTH": length}
        return app.billing.wsgi(environ, start_response)

    server = mint_token(AUTH_SECRET, "ann", now=time.time(), audience=SERVER_AUDIENCE)
    with serving(handing_on) as url:
        headers = bearer(server if path == "/use" else token())
        answer = requests.post(f"{url}{path}", {"plan": "pro"}, headers=headers, timeout=30)

    assert is_error(answer, 400, "invalid_body")


@pytest.mark.parametrize(("raised", "status"), [(413, 413), (400, 400), (404, 400)])
def test_what_bottle_raises_for_a_request_is_the_senders_fault(app, monkeypatch, raised, status):
    def refuse():
        raise bottle.HTTPError(raised, "by Bottle")

    monkeypatch.setattr("corkage.handlers.clicks.read_form", refuse)
    answer = requests.post(f"{app.url}/checkout", {"plan": "pro"}, headers=bearer(token()), timeout=30)

    assert answer.status_code == status
    assert "by Bottle" not in answer.text


@pytest.mark.parametrize("path", ROUTES[:5])
@pytest.mark.parametrize("text", ["\ud800", "a\udc00b", "\0"])
@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_a_text_that_is_none_is_refused_in_a_value_and_in_a_name(app, path, text, accept):
    headers = bearer(token()) | {"Content-Type": "application/json", "Accept": accept, "Sec-Fetch-Site": "same-origin"}
    for form in ({"plan": text}, {text: "pro"}, {"plan": "pro", "code": text, "name": text, "token": text}):
        answer = requests.post(f"{app.url}{path}", json.dumps(form), headers=headers, allow_redirects=False, timeout=30)
        assert 400 <= answer.status_code < 500 or answer.json()["error"]["code"] == "not_configured"


@pytest.mark.parametrize("name", ["Origin", "Sec-Fetch-Site", "Host", "Stripe-Signature", "Authorization", "Cookie"])
@pytest.mark.parametrize("start", ["", "http://app.example.com:", "https://app.example.com:8/", "Bearer "])
@pytest.mark.parametrize("piece", [b"\\", b"\xff", b"a"])
def test_a_long_header_makes_no_long_line_in_the_log(app, caplog, name, start, piece):
    caplog.set_level(logging.DEBUG, "corkage")
    begun = time.process_time()
    for path in ("POST /checkout", "POST /webhook", "POST /admin", "POST /use", "GET /access"):
        status = send(app.url, f"{path} HTTP/1.1".encode(), f"{name}: {start}".encode() + piece * LONG)
        assert 400 <= status < 500 or status == 503  # not configured
    assert max((len(each.getMessage()) for each in caplog.records), default=0) <= 2 * LONGEST_LOGGED
    assert time.process_time() - begun < 5  # of this process, in which other threads run, too


def test_a_long_path_makes_no_long_line_in_the_log(app, caplog):
    caplog.set_level(logging.DEBUG, "corkage")
    send(app.url, b"POST /" + b"%ff" * 4000 + b" HTTP/1.0", b"Transfer-Encoding: chunked")
    assert max((len(each.getMessage()) for each in caplog.records), default=0) <= 2 * LONGEST_LOGGED


def test_what_is_logged_is_cut_beyond_its_limit():
    assert cut("a" * LONGEST_LOGGED) == "a" * LONGEST_LOGGED
    assert cut("a" * (LONGEST_LOGGED + 1)) == "a" * LONGEST_LOGGED + "... (501 characters)"
