"""Where a request comes from: behind a trusted proxy the address that it names, and else the socket's."""

from dataclasses import replace
from ipaddress import ip_network

import pytest
import requests
from harness import ADMIN_TOKEN, running
from hosted import by_wsgiref

from corkage.addresses import address_of, client_of, is_among, subscriber_of
from corkage.billing_app import Billing
from corkage.errors import TooManyGuesses
from corkage.pacing.rate_limit import RateLimit

PROXIES = tuple(map(ip_network, ("10.0.0.1", "10.0.1.0/24", "2001:db8:ffff::/64")))
OUR_PAGE = {"Sec-Fetch-Site": "same-origin"}


def client(peer, named=None):
    return client_of({"REMOTE_ADDR": peer} | ({} if named is None else {"HTTP_X_FORWARDED_FOR": named}), PROXIES)


@pytest.mark.parametrize("peer", ["10.0.0.1", "10.0.1.255", "2001:db8:ffff::7", "::ffff:10.0.0.1"])
@pytest.mark.parametrize(
    ("named", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("  192.0.2.7\t", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("2001:DB8:0::7", "2001:db8::7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("203.0.113.9, 192.0.2.7", "192.0.2.7"),
        ("10.0.0.1, 192.0.2.7", "192.0.2.7"),
        ("unknown, [::1], 192.0.2.7", "192.0.2.7"),
        (", 192.0.2.7", "192.0.2.7"),
    ],
)
def test_behind_a_trusted_proxy_the_client_is_the_last_address_that_it_names(peer, named, address):
    assert client(peer, named) == address


@pytest.mark.parametrize(
    ("named", "address"),
    [
        ("192.0.2.7, 10.0.1.2", "192.0.2.7"),
        ("203.0.113.9, 192.0.2.7, 10.0.1.2", "192.0.2.7"),
        ("192.0.2.7, 10.0.1.2, 2001:db8:ffff::3, 10.0.1.4", "192.0.2.7"),
        ("192.0.2.7, 10.0.2.2", "10.0.2.2"),  # a proxy that is not trusted is a client as any other
        ("10.0.1.3, 10.0.1.2", "10.0.1.3"),  # the first of the chain asked for itself
    ],
)
def test_of_several_trusted_proxies_each_is_believed_about_who_asked_it(named, address):
    assert client("10.0.0.1", named) == address


@pytest.mark.parametrize(
    "peer", ["192.0.2.1", "10.0.0.2", "::1", "127.0.0.1", "fe80::1%eth0", "", "localhost", "unix:"]
)
@pytest.mark.parametrize("named", [None, "203.0.113.9", "10.0.0.1", "203.0.113.9, 10.0.0.1"])
def test_a_stranger_names_no_address(peer, named):
    assert client(peer, named) == peer


@pytest.mark.parametrize(
    "odd",
    [
        *("", " ", ",", "192.0.2.7,", "192.0.2.7:80", "[2001:db8::7]", "[2001:db8::7]:80", "unknown", "_hidden"),
        *("192.0.2.7 ; x", "192.0.2", "192.0.2.07", "192.0.2.256", "192.0.2.7/32", "0xc0000207", "3221225991"),
        *("2001:db8::7::", '"192.0.2.7"', "for=192.0.2.7", "192.0.2.\xb2", "\u0661.0.2.7", "192.0.2.7\x00"),
        *("x" * 9000, "," * 9000),
    ],
    ids=range(24),
)
def test_what_is_no_plain_address_counts_as_the_proxys(odd):
    assert client("10.0.0.1", odd) == "10.0.0.1"
    assert client("10.0.0.1", f"192.0.2.7, {odd}") == "10.0.0.1"


def test_without_an_address_or_a_header_there_is_nothing_to_read():
    assert client_of({}, PROXIES) == ""
    assert client_of({"HTTP_X_FORWARDED_FOR": "192.0.2.7"}, PROXIES) == ""
    assert client_of({"REMOTE_ADDR": "10.0.0.1"}, ()) == "10.0.0.1"
    assert not is_among(address_of("no address"), PROXIES)


def test_in_ipv6_a_client_is_the_network_of_a_subscriber():
    one = {"2001:db8:0:1::7", "2001:db8:0:1::", "2001:db8:0:1:ffff:ffff:ffff:ffff"}
    assert set(map(subscriber_of, one)) == {"2001:db8:0:1::/64"}
    assert subscriber_of("2001:db8:0:2::7") == "2001:db8:0:2::/64"
    assert subscriber_of("fe80::1%eth0") == "fe80::/64"
    assert subscriber_of("::ffff:192.0.2.7") == subscriber_of("192.0.2.7") == "192.0.2.7"
    assert [subscriber_of(each) for each in ("", "localhost")] == ["", "localhost"]


def test_wrong_tokens_from_one_ipv6_network_are_counted_together_and_forgotten_together():
    guesses = RateLimit()
    for number in range(5):
        guesses.note(f"2001:db8::{number:x}:1", 0)

    with pytest.raises(TooManyGuesses):
        guesses.note("2001:db8::9", 1)
    guesses.note("2001:db8:0:1::9", 1)
    guesses.forget("2001:db8::a:b")
    guesses.note("2001:db8::9", 1)


# Over HTTP


def guess(url, named, token="a guess"):
    headers = {"Accept": "text/html", **OUR_PAGE} | ({"X-Forwarded-For": named} if named else {})
    form = {"do": "sign_in", "token": token}
    return requests.post(f"{url}/admin", form, headers=headers, allow_redirects=False, timeout=30).status_code


def test_behind_a_trusted_proxy_wrong_tokens_count_by_visitor(config):
    with running(replace(config, admin_token=ADMIN_TOKEN, trusted_proxies=(ip_network("127.0.0.0/8"),))) as app:
        assert [guess(app.url, f"203.0.113.{number}, 192.0.2.7") for number in range(6)] == [401] * 5 + [429]
        assert guess(app.url, "192.0.2.8") == 401
        assert guess(app.url, "192.0.2.7, 192.0.2.8, 127.0.0.9") == 401
        assert guess(app.url, "192.0.2.7, 127.0.0.9") == 429
        assert guess(app.url, "192.0.2.7", ADMIN_TOKEN) == 303
        assert guess(app.url, "192.0.2.7") == 401


def test_without_a_trusted_proxy_they_count_by_the_sockets_address_whatever_the_header_says(config):
    for proxies in ((), (ip_network("192.0.2.0/24"),)):
        with running(replace(config, admin_token=ADMIN_TOKEN, trusted_proxies=proxies)) as app:
            assert [guess(app.url, f"192.0.2.{number}") for number in range(6)] == [401] * 5 + [429]
            assert set(app.billing.service.sign_in_limit._tried) == {"127.0.0.1"}


@pytest.mark.parametrize(("proxies", "others"), [("127.0.0.1", 401), ("192.0.2.7", 429)])
def test_under_a_hosts_own_server_the_same_is_read(config, proxies, others):
    billing = Billing(replace(config, admin_token=ADMIN_TOKEN, trusted_proxies=(ip_network(proxies),)))
    with by_wsgiref(billing.wsgi) as url:
        assert [guess(url, "203.0.113.1, 192.0.2.7") for _ in range(6)] == [401] * 5 + [429]
        assert guess(url, "192.0.2.7, 192.0.2.8") == others
    billing.close()


def test_serve_hands_on_nothing_else_that_a_proxy_says_of_our_address(config):
    names = ["X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-By", "Forwarded"]
    seen = []

    def authenticate(environ):
        seen.extend(name for name in environ if "FORWARDED" in name)

    proxies = (ip_network("127.0.0.1"),)
    with running(replace(config, auth_secrets=(), trusted_proxies=proxies), authenticate=authenticate) as app:
        headers = dict.fromkeys([*names, "X-Forwarded-For"], "evil.example")
        assert requests.get(f"{app.url}/access", headers=headers, timeout=30).status_code == 401

    assert seen == ["HTTP_X_FORWARDED_FOR"]
