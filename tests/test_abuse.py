"""What strangers try: each is refused in its own words, writes nothing, asks Stripe nothing, and is not repeated."""

import json
import logging
import time
from dataclasses import replace
from ipaddress import ip_network

import jwt
import pytest
import requests
from buying import bearer, click
from harness import APP, AUTH_SECRET, running

from corkage.models import TABLES

pytestmark = pytest.mark.slow

FRONTEND, EVIL = f"https://{APP}", "https://evil.example"
POSTS = (("POST", "/checkout", {"plan": "pro"}), ("POST", "/portal", {}))
ROUTES = (*POSTS, ("GET", "/access", None))
NOWHERE = (EVIL, "//evil.example", "/\\evil.example", "javascript:alert(1)", "/\r\nSet-Cookie: evil=1")
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def served(config, shop):
    """A Corkage where ann has a subscription, so that there is something to steal."""
    with running(replace(config, billing_url="https://billing.example.com")) as app:
        shop.subscribe(shop.customer())
        app.deliver(shop.event("customer.subscription.created"))
        app.work()
        assert app.billing.access("ann").allowed
        yield app


def everything(shop):
    """Every row there is, and how often Stripe was asked."""
    return [list(table.select().dicts()) for table in TABLES], len(shop.simulator.requests)


@pytest.fixture
def app(served, shop, caplog):
    """Whatever the test sends, nothing may be written or asked, and no token may be logged."""
    caplog.set_level(logging.DEBUG, "corkage")
    before = everything(shop)
    yield served
    assert everything(shop) == before
    assert "eyJ" not in caplog.text


def token(secret=AUTH_SECRET, algorithm="HS256", **changes):
    claims = {"sub": "ann", "aud": "corkage", "exp": int(time.time()) + 600} | changes
    return jwt.encode(claims, secret, algorithm)


def cookie(minted):
    return {"Cookie": f"__Host-corkage={minted}"}


@pytest.mark.parametrize(("method", "path", "body"), POSTS)
@pytest.mark.parametrize("headers", [{}, {"Origin": EVIL}, {"Sec-Fetch-Site": "cross-site"}], ids=str)
def test_a_post_of_nobody_is_answered_401_whatever_its_origin(app, method, path, body, headers):
    answer = requests.request(method, app.url + path, data=body, headers=headers, timeout=30)

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_signed_in")


def send(app, method, path, body=None, **headers):
    return requests.request(method, f"{app.url}{path}", data=body, headers=headers, allow_redirects=False, timeout=30)


def is_refused(answer, status, code):
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert "evil" not in answer.text + str(answer.headers)
    assert "Location" not in answer.headers
    assert "Set-Cookie" not in answer.headers


FORGED = {
    "expired": lambda: token(exp=int(time.time()) - 61),
    "for ever": lambda: token(exp=int(time.time()) + 10**8),
    "alg=none": lambda: token(None, "none"),
    "alg=HS512": lambda: token(AUTH_SECRET * 2, "HS512"),
    "wrong audience": lambda: token(aud="another-product"),
    "other secret": lambda: token("a-secret-of-somebody-elses-thirty-two-bytes"),
    "cut": lambda: token()[:-5],
}


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_token_opens_nothing(app, forged):
    minted = FORGED[forged]()
    for method, path, body in ROUTES:
        is_refused(send(app, method, path, body, Origin=FRONTEND, **bearer(minted)), 401, "invalid_token")
        is_refused(send(app, method, path, body, Origin=FRONTEND, **cookie(minted)), 401, "invalid_token")


def test_tokens_of_two_users_in_one_request_are_refused(app):
    both = {"Cookie": f"__Host-corkage={token()}; __Host-corkage={token(sub='eve')}"}
    for method, path, body in ROUTES:
        is_refused(send(app, method, path, body, Origin=FRONTEND, **both), 401, "invalid_token")


@pytest.mark.parametrize("name", ["token", "access_token", "jwt", "corkage", "__Host-corkage", "Authorization"])
def test_a_token_in_the_url_or_the_body_is_ignored(app, name):
    for method, path, body in ROUTES:
        answer = send(app, method, f"{path}?{name}={token()}", (body or {}) | {name: token()}, Origin=FRONTEND)
        is_refused(answer, 401, "not_signed_in")


@pytest.mark.parametrize("name", ["Remote-User", "X-Forwarded-User", "X-User", "User", "From"])
def test_a_user_header_is_ignored_unless_configured(app, name):
    for method, path, body in ROUTES:
        is_refused(send(app, method, path, body, Origin=FRONTEND, **{name: "ann"}), 401, "not_signed_in")


def test_a_trusted_header_from_an_unknown_address_is_refused(config, shop):
    header = {"trusted_user_header": "Remote-User", "trusted_proxies": (ip_network("192.0.2.1"),)}
    claims = {"X-Forwarded-For": "192.0.2.1", "X-Real-IP": "192.0.2.1", "Origin": FRONTEND}
    with running(replace(config, auth_secrets=(), billing_url=FRONTEND, **header)) as app:
        before = everything(shop)
        for method, path, body in ROUTES:
            is_refused(send(app, method, path, body, **{"Remote-User": "ann"}, **claims), 403, "untrusted_proxy")
        assert everything(shop) == before


def test_bobs_token_opens_nothing_of_anns_even_when_it_names_her(app, shop):
    customer = shop.client.v1.customers.list().data[0].id
    names = {"user": "ann", "user_id": "ann", "sub": "ann", "customer": customer, "stripe_customer_id": customer}
    query = "&".join(f"{name}={value}" for name, value in names.items())

    answer = send(app, "GET", f"/access?{query}", **bearer(token(sub="eve")))
    assert (answer.json()["user_id"], answer.json()["allowed"]) == ("eve", False)
    shop.simulator.requests.pop()  # the one of ours, above
    refused = send(app, "POST", f"/portal?{query}", names, **bearer(token(sub="eve")))
    is_refused(refused, 409, "no_billing_account")


HOSTILE = (
    {"Origin": EVIL},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": f"{FRONTEND}.evil.example"},
    {"Origin": f"https://other.{APP}"},
    {"Origin": f"https://evil-{APP}"},
    {"Origin": f"{FRONTEND}/"},
    {"Origin": f"{FRONTEND}, {EVIL}"},
    {"Origin": f"http://{APP}"},
    {"Origin": f"{FRONTEND}:8443"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "cross-site", "Origin": EVIL, "Content-Type": "text/plain"},
    {"Sec-Fetch-Site": "same-site", "Origin": f"https://other.{APP}"},
)


@pytest.mark.parametrize("headers", HOSTILE, ids=str)
def test_a_form_on_another_site_is_refused_even_when_signed_in(app, headers):
    for method, path, body in POSTS:
        for signed_in in (bearer(token()), cookie(token())):
            answer = send(app, method, path, body, **headers, **signed_in)
            is_refused(answer, 403, "cross_site")
            assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_browser_form_without_origin_is_refused(app):
    for method, path, body in POSTS:
        is_refused(send(app, method, path, body, Referer=f"{FRONTEND}/", **cookie(token())), 403, "cross_site")


def test_pages_of_another_site_cannot_read_the_response(app):
    for headers in HOSTILE[:10]:
        assert "Access-Control-Allow-Origin" not in send(app, "OPTIONS", "/access", **headers).headers
        answer = send(app, "GET", "/access", **headers, **cookie(token()))
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ["success_url", "cancel_url", "return_url", "return_to"])
def test_a_return_url_in_the_body_is_refused(app, name):
    for address in (*NOWHERE, FRONTEND):
        for method, path, body in POSTS:
            answer = send(app, method, path, json.dumps(body | {name: address}), **JSON, **bearer(token()))
            is_refused(answer, 400, "return_address_named")
    as_form = send(app, "POST", "/checkout", {"plan": "pro", name: EVIL}, **bearer(token()))
    is_refused(as_form, 400, "return_address_named")


def test_a_url_in_place_of_a_plan_or_a_flow_is_refused(app):
    for address in NOWHERE:
        is_refused(send(app, "POST", "/checkout", {"plan": address}, **bearer(token())), 400, "unknown_plan")
        is_refused(send(app, "POST", "/portal", {"flow": address}, **bearer(token())), 400, "unknown_flow")


@pytest.mark.parametrize("address", NOWHERE)
def test_return_redirects_only_to_the_product(app, address):
    names = ("session_id", "next", "return_to", "to", "url")
    answer = requests.get(f"{app.url}/return", params=dict.fromkeys(names, address), allow_redirects=False, timeout=30)

    assert (answer.status_code, answer.headers["Location"]) == (303, FRONTEND)
    assert "evil" not in str(answer.headers)
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("path", ["//evil.example/checkout", "/checkout/..//evil.example", "/%0d%0aSet-Cookie:evil=1"])
def test_a_url_in_the_path_is_not_found(app, path):
    answer = send(app, "POST", path, {"plan": "pro"}, **bearer(token()))

    is_refused(answer, 404, "not_found")


def test_no_address_is_built_from_a_forged_host(config, shop):
    with running(replace(config, billing_url="https://billing.example.com/b")) as app:
        answer = click(app, Host="evil.example")

    assert answer.status_code in (200, 303)
    (session,) = shop.client.v1.checkout.sessions.list().data
    assert "evil.example" not in f"{session.success_url} {session.cancel_url} {answer.headers}"
    assert session.success_url.startswith("https://billing.example.com/b/return")
