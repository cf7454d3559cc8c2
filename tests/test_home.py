"""GET / says what this server is, and nothing that helps an attacker."""

from dataclasses import replace
from importlib.metadata import version

import bottle
import pytest
import requests
from harness import APP, AUTH_SECRET, WEBHOOK_SECRET, running, serving

from corkage.billing_app import Billing

BROWSER = {"Accept": "text/html", "Accept-Language": "en"}


@pytest.fixture
def named(config):
    with running(replace(config, name="Notes")) as app:
        yield app


def test_a_browser_gets_a_page_that_leads_to_the_plans_the_account_and_the_product(named):
    page = requests.get(f"{named.url}/", headers=BROWSER, timeout=30)

    assert page.status_code == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "This is where plans and payments for Notes are handled." in page.text
    for address in ("pricing", "account", f"https://{APP}"):
        assert f'href="{address}"' in page.text
    assert requests.get(f"{named.url}/pricing", headers=BROWSER, timeout=30).status_code == 200


@pytest.mark.parametrize(
    ("language", "words"), [("de", "Tarife"), ("es", "planes"), ("fr", "formules"), ("ja", "プラン")]
)
def test_the_page_speaks_the_visitors_language(named, language, words):
    page = requests.get(f"{named.url}/", headers=BROWSER | {"Accept-Language": language}, timeout=30)

    assert words in page.text


def test_a_program_gets_json_with_addresses(named, config):
    found = requests.get(f"{named.url}/", timeout=30)

    assert found.headers["Content-Type"] == "application/json"
    assert found.json() == {
        "about": "Billing for Notes. It runs Corkage.",
        "product": f"https://{APP}",
        "pricing": "/pricing",
        "account": "/account",
        "access": "/access",
    }


def test_the_addresses_are_those_of_the_settings(config):
    settings = replace(config, billing_url="https://pay.example.com/b", pricing_url="https://app.example.com/plans")
    with running(settings) as app:
        found = requests.get(f"{app.url}/", timeout=30).json()
        page = requests.get(f"{app.url}/", headers=BROWSER, timeout=30)

    assert found["pricing"] == "https://app.example.com/plans"
    assert found["account"] == "https://pay.example.com/b/account"
    assert 'href="https://app.example.com/plans"' in page.text


@pytest.mark.parametrize("headers", [{}, BROWSER])
def test_no_version_and_no_secret_is_said(named, config, headers):
    found = requests.get(f"{named.url}/", headers=headers, timeout=30)
    said = found.text + str(found.headers)

    for secret in (
        version("corkage"),
        config.stripe_secret_key,
        WEBHOOK_SECRET,
        AUTH_SECRET,
        config.database,
        "waitress",
    ):
        assert secret not in said
    assert "Set-Cookie" not in found.headers


def test_it_asks_neither_stripe_nor_for_a_sign_in(named, simulator):
    asked = len(simulator.requests)
    requests.get(f"{named.url}/", headers=BROWSER, timeout=30)
    requests.get(f"{named.url}/", timeout=30)

    assert len(simulator.requests) == asked


def test_other_methods_are_refused(named):
    assert requests.post(f"{named.url}/", timeout=30).status_code == 405
    assert requests.get(f"{named.url}/nothing", timeout=30).status_code == 404


@pytest.mark.parametrize("host", ["bottle", "middleware"])
def test_a_hosts_own_root_stays_the_hosts_and_the_mounted_root_is_ours(config, host):
    billing = Billing(replace(config, name="Notes"))
    app = bottle.Bottle()
    app.route("/", "GET", lambda: "the host's")
    if host == "bottle":
        app.install(billing)
    with serving(app if host == "bottle" else billing.middleware(app)) as url:
        own = requests.get(f"{url}/", timeout=30).text
        mounted = requests.get(f"{url}/billing/", headers=BROWSER, timeout=30)
        bare = requests.get(f"{url}/billing", headers=BROWSER, timeout=30)
    billing.close()

    assert own == "the host's"
    assert "plans and payments for Notes" in mounted.text
    assert 'href="pricing"' in mounted.text
    if host == "middleware":  # Bottle mounts nothing at the path without its slash
        assert 'href="billing/pricing"' in bare.text
