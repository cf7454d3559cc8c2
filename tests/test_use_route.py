"""POST /use and GET /usage: a product beside Corkage counts as one that embeds it, and no visitor does."""

import time
from dataclasses import replace

import pytest
import requests
from harness import AUTH_SECRET, is_error, running
from spending import PLANS

from corkage.identity import SERVER_AUDIENCE, mint_token
from corkage.models import Usage, UsageKey, User
from corkage.settings import parse_networks

PAYERS = "org_"


@pytest.fixture
def app(config):
    with running(replace(config, plans=PLANS, payer_prefix=PAYERS)) as served:
        yield served


def bearer(user="ann", audience=SERVER_AUDIENCE, secret=AUTH_SECRET, **claims):
    token = mint_token(secret, user, now=time.time(), audience=audience, **claims)
    return {"Authorization": f"Bearer {token}"}


def use(app, headers=None, **body):
    headers = bearer() if headers is None else headers
    return requests.post(f"{app.url}/use", json={"name": "exports"} | body, headers=headers, timeout=30)


def usage(app, **headers):
    return requests.get(f"{app.url}/usage", headers=bearer(audience="corkage") | headers, timeout=30)


def test_a_use_that_fits_is_200_with_what_is_left(app):
    answer = use(app, amount=2)

    assert answer.status_code == 200
    assert answer.json() == app.billing.usage("ann", "exports")._asdict() | {"allowed": True, "repeated": False}
    assert (answer.json()["used"], answer.json()["left"]) == (2, 1)
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_use_that_does_not_fit_is_402_with_what_is_left_and_counts_nothing(app):
    use(app, amount=2)

    refused = use(app, amount=2)

    assert is_error(refused, 402, "limit_reached")
    assert refused.json().items() >= {"allowed": False, "used": 2, "left": 1, "limit": 3}.items()
    assert use(app, amount=1).status_code == 200
    assert is_error(use(app), 402, "limit_reached")


def test_a_form_will_do_and_the_amount_is_one_without_a_word(app):
    answer = requests.post(f"{app.url}/use", {"name": "exports"}, headers=bearer(), timeout=30)

    assert (answer.status_code, answer.json()["used"]) == (200, 1)


def test_a_key_counts_once_and_for_something_else_is_409(app):
    first, again = use(app, key="export-7"), use(app, key="export-7")

    assert (first.json()["repeated"], again.json()["repeated"], again.json()["used"]) == (False, True, 1)
    assert is_error(use(app, key="export-7", amount=2), 409, "key_reused")
    assert app.billing.usage("ann", "exports").used == 1


@pytest.mark.parametrize("name", ["exprots", "notes"])
def test_a_name_that_is_not_counted_is_400_and_the_log_says_why(app, name, caplog):
    caplog.set_level("INFO")

    assert is_error(use(app, name=name), 400, "unknown_limit")
    assert f"{name!r}" in caplog.text


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"amount": 0},
        {"amount": -1},
        {"amount": "1.5"},
        {"amount": 1.5},
        {"amount": True},
        {"amount": 1_000_000_001},
        {"amount": 10**30},
        {"amount": "\u0661"},
        {"key": ""},
        {"key": "x" * 201},
        {"key": "a\nb"},
        {"key": 7},
    ],
)
def test_a_body_that_makes_no_sense_is_400_and_counts_nothing(app, body):
    assert is_error(use(app, **body), 400, "invalid_body")
    assert (User.select().count(), Usage.select().count(), UsageKey.select().count()) == (0, 0, 0)


def test_null_is_absent_and_a_name_is_wanted_all_the_same(app):
    assert use(app, amount=None, key=None).json()["used"] == 1
    assert UsageKey.select().count() == 0
    assert is_error(use(app, name=None), 400, "invalid_body")
    assert is_error(use(app, key=[None]), 400, "invalid_body")


def test_a_visitors_own_token_may_not_use_and_a_servers_opens_nothing_else(app):
    assert is_error(use(app, bearer(audience="corkage")), 401, "invalid_token")
    assert is_error(requests.get(f"{app.url}/access", headers=bearer(), timeout=30), 401, "invalid_token")
    assert Usage.select().count() == 0


def test_a_cookie_may_not_use(app):
    token = bearer()["Authorization"].removeprefix("Bearer ")

    assert is_error(use(app, {"Cookie": f"corkage={token}"}), 401, "not_signed_in")
    assert is_error(use(app, {}), 401, "not_signed_in")


def test_a_forged_or_expired_token_may_not_use(app):
    assert is_error(use(app, bearer(secret="x" * 40)), 401, "invalid_token")
    assert is_error(use(app, bearer(lifetime_seconds=-120)), 401, "invalid_token")


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://app.example.com"}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}]
)
def test_no_page_may_use_whosever_it_is(app, headers):
    assert is_error(use(app, bearer() | headers), 403, "cross_site")
    assert Usage.select().count() == 0


def test_behind_a_proxy_that_signs_visitors_in_nobody_may_use(config):
    header = {"trusted_user_header": "Remote-User", "trusted_proxies": parse_networks("127.0.0.1"), "auth_secrets": ()}
    with running(replace(config, plans=PLANS, **header)) as app:
        assert is_error(use(app, {"Remote-User": "ann"} | bearer()), 503, "not_configured")
        answer = requests.get(f"{app.url}/usage", headers={"Remote-User": "ann"}, timeout=30)

    assert (answer.status_code, answer.json()["user_id"]) == (200, "ann")


def test_what_a_member_uses_is_counted_for_who_pays(app):
    members = bearer("bob", payer="org_7")

    assert use(app, members, amount=2).json()["used"] == 2
    assert use(app, bearer("cid", payer="org_7")).json()["used"] == 3
    assert use(app, bearer("bob")).json()["used"] == 1
    seen = requests.get(f"{app.url}/usage", headers=bearer("bob", "corkage", payer="org_7"), timeout=30).json()
    assert (seen["user_id"], seen["usage"]["exports"]["used"]) == ("org_7", 3)


def test_usage_is_shown_to_the_signed_in_user_and_to_nobody_else(app):
    use(app, amount=2)

    answer = usage(app)

    assert answer.json() == {"user_id": "ann", "usage": {n: u._asdict() for n, u in app.billing.usage("ann").items()}}
    assert answer.json()["usage"]["exports"]["used"] == 2
    assert is_error(requests.get(f"{app.url}/usage", timeout=30), 401, "not_signed_in")
    other = requests.get(f"{app.url}/usage", headers=bearer("bob", "corkage"), timeout=30).json()
    assert other["usage"]["exports"]["used"] == 0


def test_usage_that_is_known_is_304_until_it_changes(app):
    tag = usage(app).headers["ETag"]

    assert usage(app, **{"If-None-Match": tag}).status_code == 304
    use(app)
    assert usage(app, **{"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize(("method", "path"), [("GET", "/use"), ("POST", "/usage")])
def test_other_methods_are_refused(app, method, path):
    assert is_error(requests.request(method, app.url + path, timeout=30), 405, "method_not_allowed")


def test_a_body_that_is_too_large_is_413(app):
    assert is_error(use(app, key="x" * 20_000), 413, "body_too_large")


@pytest.mark.slow
def test_the_token_command_makes_a_servers_token_too(app, corkage):
    token = corkage("token", "ann", "--server").stdout.strip()

    assert use(app, {"Authorization": f"Bearer {token}"}).status_code == 200
    assert is_error(
        use(app, {"Authorization": f"Bearer {corkage('token', 'ann').stdout.strip()}"}), 401, "invalid_token"
    )
