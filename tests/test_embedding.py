"""Corkage inside a host's own app."""

import threading
from dataclasses import replace

import bottle
import pytest
import requests
from harness import AUTH_SECRET, stop
from waitress.server import create_server

from corkage import Billing, Identity
from corkage.errors import NoBillingAccount, NotConfigured, UnknownPlan


def signed_in(environ):
    return Identity(environ["HTTP_X_USER"]) if "HTTP_X_USER" in environ else None


@pytest.fixture
def host(config, shop):
    """A Bottle app of somebody's, with billing mounted under a prefix, and its own idea of who is signed in."""
    app = bottle.Bottle()
    server = create_server(app, host="127.0.0.1", port=0)
    url = f"http://127.0.0.1:{server.effective_port}"
    config = replace(config, auth_secrets=(), frontend_urls=(url,))
    billing = Billing(config, authenticate=signed_in)
    app.mount("/pay/billing/", billing.wsgi)
    app.route("/webhook", "GET", lambda: "the host's own")
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield url, billing
    stop(server, thread)
    billing.close()


def test_the_routes_are_below_the_prefix_and_the_hosts_own_stay(host):
    url, _ = host

    assert requests.get(f"{url}/webhook", timeout=30).text == "the host's own"
    assert requests.get(f"{url}/pay/billing/health", timeout=30).json()["status"] == "ok"
    assert requests.post(f"{url}/pay/billing/webhook", timeout=30).json()["error"]["code"] == "invalid_signature"
    assert requests.get(f"{url}/pay/billing/nothing", timeout=30).json()["error"]["code"] == "not_found"
    assert requests.get(f"{url}/pay/billing/", timeout=30).json()["about"].startswith("Billing for ")
    assert requests.get(f"{url}/pay/billing/checkout", timeout=30).json()["error"]["code"] == "method_not_allowed"
    assert requests.get(f"{url}/pay/billing/access", timeout=30).json()["error"]["code"] == "not_signed_in"


def test_checkout_returns_to_the_mounted_path(host, shop):
    url, billing = host
    headers = {"X-User": "ann", "Sec-Fetch-Site": "same-origin", "Accept": "text/html"}

    options = {"headers": headers, "allow_redirects": False, "timeout": 30}
    answer = requests.post(f"{url}/pay/billing/checkout", {"plan": "pro"}, **options)
    card = {"number": "4242424242424242", "expiry": "12/40", "cvc": "123"}
    paid = requests.post(answer.headers["Location"], card, allow_redirects=False, timeout=30)

    assert paid.headers["Location"].startswith(f"{url}/pay/billing/return?session_id=cs_test_")
    assert requests.get(paid.headers["Location"], allow_redirects=False, timeout=30).headers["Location"] == url
    assert billing.access("ann").allowed


def test_a_host_can_get_the_urls_in_python(host, shop):
    _, billing = host

    with pytest.raises(NotConfigured, match="BILLING_URL"):
        billing.checkout_url(Identity("ann"), "pro")
    with pytest.raises(NoBillingAccount):
        billing.portal_url("ann")
    with pytest.raises(UnknownPlan):
        billing.checkout_url(Identity("ann"), "none", billing_url="https://a.example")
    assert "/c/pay/" in billing.checkout_url(Identity("ann"), "pro", billing_url="https://a.example")
    assert "/p/session/" in billing.portal_url("ann")
    assert len(AUTH_SECRET) >= 32
