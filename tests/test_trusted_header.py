"""The proxy's word for who is asking: believed from the proxy's address, one value at a time, and from nobody else."""

import re
import socket
from dataclasses import replace
from ipaddress import ip_network

import pytest
import requests
from harness import APP, is_error, running, started

from corkage.errors import InvalidUserHeader, UntrustedProxy
from corkage.identity import Identity, authenticator

pytestmark = pytest.mark.slow

FRONTEND = f"https://{APP}"


def behind(config, *proxies, **changes):
    """A configuration that believes Remote-User from these addresses."""
    networks = tuple(ip_network(each) for each in proxies)
    header = {"trusted_user_header": "Remote-User", "trusted_email_header": "Remote-Email"}
    return replace(config, auth_secrets=(), trusted_proxies=networks, **header | changes)


@pytest.fixture
def app(config, shop):
    """Behind a proxy on this machine."""
    with running(behind(config, "127.0.0.1", billing_url="https://billing.example.com")) as served:
        yield served


def ask(app, **headers):
    return requests.get(f"{app.url}/access", headers=headers, timeout=30)


def send_raw(app, *lines):
    """Send header lines that an HTTP library would not, and return status and body."""
    host, port = app.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as sock:
        sock.sendall("\r\n".join(["GET /access HTTP/1.0", *lines, "", ""]).encode())
        return b"".join(iter(lambda: sock.recv(65536), b"")).decode()


@pytest.mark.parametrize("name", ["Remote-User", "remote-user", "REMOTE-USER"])
def test_the_user_header_is_case_insensitive(app, name):
    assert ask(app, **{name: "ann "}).json()["user_id"] == "ann"


def test_the_user_header_is_read_as_utf_8(app):
    assert ask(app, **{"Remote-User": "jürgen".encode()}).json()["user_id"] == "jürgen"
    assert is_error(ask(app, **{"Remote-User": b"j\xfcrgen"}), 401, "invalid_user_header")


def test_the_email_header_reaches_stripe_with_the_purchase(app, shop):
    headers = {"Remote-User": "ann", "Remote-Email": "ann@example.com", "Origin": FRONTEND}

    assert requests.post(f"{app.url}/checkout", {"plan": "pro"}, headers=headers, timeout=30).status_code == 200

    assert [each.email for each in shop.client.v1.customers.list().data] == ["ann@example.com"]


@pytest.mark.parametrize("headers", [{}, {"Remote-User": ""}, {"Remote-Email": "ann@example.com"}, {"User": "ann"}])
def test_without_a_user_in_the_header_nobody_is_signed_in(app, headers):
    assert is_error(ask(app, **headers), 401, "not_signed_in")


@pytest.mark.parametrize(
    "value",
    ["ann, eve", ",", "ann,", "x" * 201, "x" * 321, "a\tb", "{http.reverse_proxy.header.Remote-User}"],
    ids=["two", "comma", "end", "long", "longer", "tab", "placeholder"],
)
def test_a_header_without_exactly_one_user_is_refused(app, value):
    assert is_error(ask(app, **{"Remote-User": value}), 401, "invalid_user_header")


def test_a_repeated_user_header_is_refused_in_either_order(app):
    for first, second in (("ann", "eve"), ("eve", "ann"), ("ann", "ann")):
        answer = send_raw(app, f"Remote-User: {first}", f"remote-user: {second}")
        assert " 401 " in answer.splitlines()[0]
        assert "invalid_user_header" in answer


def test_a_header_with_an_underscore_is_not_trusted(app):
    assert "not_signed_in" in send_raw(app, "Remote_User: eve")
    assert '"user_id": "ann"' in send_raw(app, "Remote-User: ann", "Remote_User: eve")


@pytest.mark.parametrize("email", ["a@example.com, b@example.com", "x" * 321])
def test_a_repeated_or_too_long_email_header_is_refused(app, email):
    assert is_error(ask(app, **{"Remote-User": "ann", "Remote-Email": email}), 401, "invalid_user_header")


@pytest.mark.parametrize(
    ("address", "is_proxy"),
    [
        ("192.0.2.1", True),
        ("192.0.2.2", False),
        ("10.1.255.255", True),
        ("10.2.0.0", False),
        ("::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.2", False),
        ("2001:db8::7", True),
        ("2001:db9::7", False),
        ("fe80::1%eth0", False),
        ("", False),
        ("localhost", False),
        ("192.0.2.1, 192.0.2.2", False),
    ],
)
def test_only_trusted_addresses_may_name_the_user(config, address, is_proxy):
    authenticate = authenticator(behind(config, "192.0.2.1", "10.1.0.0/16", "2001:db8::/64"), None)
    environ = {"HTTP_REMOTE_USER": "ann", "REMOTE_ADDR": address}

    if is_proxy:
        assert authenticate(environ) == Identity("ann")
    else:
        with pytest.raises(UntrustedProxy, match="not in BILLING_TRUSTED_PROXIES"):
            authenticate(environ)


def test_remote_user_of_the_wsgi_server_is_ignored(config):
    authenticate = authenticator(behind(config, "192.0.2.1"), None)

    assert authenticate({"REMOTE_USER": "eve", "REMOTE_ADDR": "192.0.2.1"}) is None
    with pytest.raises(InvalidUserHeader):
        authenticate({"HTTP_REMOTE_USER": "\u20ac", "REMOTE_ADDR": "192.0.2.1"})


def test_serve_trusts_the_address_of_the_socket_and_no_header(environ, tmp_path):
    settings = {"BILLING_TRUSTED_USER_HEADER": "Remote-User", "BILLING_TRUSTED_PROXIES": "192.0.2.1"}
    environ = environ | settings | {"BILLING_AUTH_SECRET": ""}
    with started(["serve", "--port", "0"], environ, tmp_path, "serving on") as (_, said):
        url = re.search(r"http://127\.0\.0\.1:\d+", said[-1])[0]
        for named, claim in (
            ("X-Forwarded-For", "192.0.2.1"),
            ("X-Forwarded-By", "192.0.2.1"),
            ("X-Real-IP", "192.0.2.1"),
            ("Forwarded", "for=192.0.2.1"),
        ):
            answer = requests.get(f"{url}/access", headers={"Remote-User": "eve", named: claim}, timeout=30)
            assert is_error(answer, 403, "untrusted_proxy")
    (first, *_) = [line for line in "".join(said).splitlines() if "untrusted_proxy" in line]
    assert "WARNING" in first
    assert "Remote-User came from 127.0.0.1, which is not in BILLING_TRUSTED_PROXIES" in first


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"Origin": FRONTEND}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({}, False),
    ],
    ids=str,
)
def test_a_cross_site_post_is_refused_even_when_the_proxy_signed_it_in(app, shop, headers, passes):
    answer = requests.post(f"{app.url}/checkout", {"plan": "pro"}, headers={"Remote-User": "ann"} | headers, timeout=30)

    assert answer.status_code == 200 if passes else is_error(answer, 403, "cross_site")
    assert len(shop.client.v1.customers.list().data) == passes


def test_tokens_are_ignored_when_the_proxy_signs_in(app):
    assert is_error(app.ask(), 401, "not_signed_in")
    assert app.ask(**{"Remote-User": "bob"}).json()["user_id"] == "bob"


@pytest.mark.parametrize("blank", ["\u00a0", "\u0085", "\u2003", "\u3000"], ids=ascii)
def test_a_name_with_a_unicode_space_is_another_name(app, blank):
    for name in (f"{blank}ann", f"ann{blank}"):
        assert is_error(ask(app, **{"Remote-User": name.encode()}), 401, "invalid_user_header")
    assert ask(app, **{"Remote-User": "ann \t"}).json()["user_id"] == "ann"
