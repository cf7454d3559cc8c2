"""The one reader of cookies: what a stranger may plant counts for nothing, and locks nobody out."""

import time
from dataclasses import replace

import pytest
import requests
from buying import token
from harness import ADMIN_TOKEN, running
from hypothesis import example, given
from hypothesis import strategies as st

from corkage.admin.session import new_session, session_of
from corkage.cookies import values_of

NAME = "__Host-corkage"
ADMIN = "__Host-corkage-admin"
SENT_BY_BROWSERS = ["\xa0", "\x85"]  # blanks to str.strip(), not to browsers
NOT_BLANKS = [*SENT_BY_BROWSERS, "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1f"]  # the others waitress refuses
PRODUCTS_OWN = ['theme={"theme":"dark"}', "name=José", "flag", 'a="', "\\" * 1000, "=", "a=b=c", "$Version=1", "x y=z"]


@pytest.fixture
def settings(config):
    return replace(config, admin_token=ADMIN_TOKEN)


@pytest.fixture
def app(settings):
    with running(settings) as served:
        yield served


def ask(app, cookie, path="/access", **headers):
    headers = {"Cookie": cookie.encode("latin-1")} | headers
    return requests.get(f"{app.url}{path}", headers=headers, allow_redirects=False, timeout=30)


def admin(app, cookie):
    return ask(app, cookie, "/admin", Accept="text/html")


@pytest.mark.parametrize("blank", SENT_BY_BROWSERS, ids=ascii)
def test_a_cookie_with_a_similar_name_signs_nobody_in(app, blank):
    for planted in (f"a=b; {blank}{NAME}={token()}", f"a=b; {NAME}{blank}={token()}", f"a=b; {NAME}={blank}{token()}"):
        answer = ask(app, planted)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_signed_in")
    assert ask(app, f"{NAME}={token()}; {blank}{NAME}={token('mallory')}").json()["user_id"] == "ann"


@pytest.mark.parametrize("other", PRODUCTS_OWN)
def test_the_products_cookies_lock_out_neither_users_nor_operator(app, settings, other):
    session = new_session(settings, time.time())

    for cookie in ("{other}; {ours}", "{ours}; {other}", "{other};{ours};{other}", ";;\t{other}\t;\t{ours}\t;"):
        user = ask(app, cookie.format(other=other, ours=f"{NAME}={token()}"))
        assert (user.status_code, user.json().get("user_id")) == (200, "ann")
        assert admin(app, cookie.format(other=other, ours=f"{ADMIN}={session}")).status_code == 200
    assert admin(app, other).status_code == 401
    assert "Your sign-in has ended" not in admin(app, other).text


@pytest.mark.parametrize("blank", SENT_BY_BROWSERS, ids=ascii)
def test_a_cookie_with_a_name_like_the_admins_opens_nothing(app, settings, blank):
    session = new_session(settings, time.time())

    assert admin(app, f"a=b; {blank}{ADMIN}={session}").status_code == 401
    assert admin(app, f"{ADMIN}={session}").status_code == 200


def test_a_planted_cookie_neither_opens_nor_blocks_the_admin_page(app, settings):
    session = new_session(settings, time.time())
    ended = new_session(settings, time.time() - 9 * 3600)

    for planted in ("x", ended, session[:-1], session[:-1] + "x", f"9{session}", "9" * 5000 + ".a.b", '"x"', "é"):
        assert admin(app, f"{ADMIN}={planted}").status_code == 401
        assert admin(app, f"{ADMIN}={planted}; {ADMIN}={session}").status_code == 200
        assert admin(app, f"{ADMIN}={session}; {ADMIN}={planted}").status_code == 200
    assert "Your sign-in has ended" in admin(app, f"{ADMIN}={ended}").text
    assert "Your sign-in has ended" not in admin(app, f"{ADMIN}=").text


@pytest.mark.parametrize("blank", NOT_BLANKS, ids=ascii)
def test_only_spaces_and_tabs_are_trimmed(blank):
    for planted in (f"{blank}n=v", f"n{blank}=v", f"n={blank}v", f"n=v{blank}", f" {blank} n=v"):
        assert values_of("n", {"HTTP_COOKIE": f"a=b; {planted}; c=d"}) == ()
    assert values_of("n", {"HTTP_COOKIE": "a=b;\t n=v \t; c=d"}) == ("v",)


def reference(name, header):
    """What RFC 6265 calls a cookie-pair, written out byte by byte."""
    octets = {0x21, *range(0x23, 0x2C), *range(0x2D, 0x3B), *range(0x3C, 0x5C), *range(0x5D, 0x7F)}
    found = []
    for part in header.split(b";"):
        begin, end = 0, len(part)
        while begin < end and part[begin] in (0x20, 0x09):
            begin += 1
        while begin < end and part[end - 1] in (0x20, 0x09):
            end -= 1
        pair = part[begin:end]
        value = pair[len(name) + 1 :]
        if pair[: len(name) + 1] == name + b"=" and value and set(value) <= octets and value not in found:
            found.append(value)
    return tuple(each.decode("ascii") for each in found)


pieces = st.sampled_from([b"n", b"=", b";", b" ", b"\t", b"\xa0", b"\\", b'"', b",", b"v", b"n=v", b"; n=", b"\x85"])
headers = st.one_of(st.binary(max_size=200), st.lists(pieces, max_size=40).map(b"".join))


@pytest.mark.slow
@given(headers)
@example(b" \tn=v\t ;n=w;n=v; n = v; n=\xa0v; \x85n=v; n=; n")
def test_any_cookie_header_is_parsed_like_the_reference(header):
    assert values_of("n", {"HTTP_COOKIE": header.decode("latin-1")}) == reference(b"n", header)


@pytest.mark.slow
@given(st.text(max_size=50))
def test_a_cookie_header_beyond_latin_1_is_parsed_too(text):
    assert all(value.isascii() for value in values_of("n", {"HTTP_COOKIE": f"n={text}; n=v"}))


def test_without_the_cookie_the_value_is_none():
    assert values_of("n", {}) == ()


@pytest.mark.parametrize("piece", ["\\", '"', ";", "=", "n=", "n=v;", " ", 'n="\\', "n=a\\", "\xa0n=", f"{ADMIN}=x;"])
def test_a_megabyte_of_cookies_is_parsed_in_linear_time(settings, piece):
    environ = {"HTTP_COOKIE": f'n="{piece * (1_000_000 // len(piece))}"', "wsgi.url_scheme": "https"}

    began = time.thread_time()
    values_of("n", environ)
    session_of(settings, environ, 0.0)

    assert time.thread_time() - began < 20  # linear: under a second; quadratic: an hour
