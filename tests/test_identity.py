"""Who is asking: every claim of a token is checked, and nothing that proves nothing lets in."""

import base64
import json
import math
import time
from dataclasses import replace

import jwt
import pytest
import requests
from harness import AUTH_SECRET, running

from corkage.errors import ConfigError, InvalidToken, NotConfigured
from corkage.identity import Identity, authenticator, identity_from_token, mint_token

NOW = 1_800_000_000
OLD_SECRET = "an-older-secret-of-thirty-two-bytes!"
CLAIMS = {"sub": "ann", "aud": "corkage", "exp": NOW + 600}


def token(claims=CLAIMS, secret=AUTH_SECRET, algorithm="HS256", **changes):
    return jwt.encode({k: v for k, v in (claims | changes).items() if v is not ...}, secret, algorithm)


def ask(authorization=None, cookie=None, scheme="https", now=NOW, secrets=(AUTH_SECRET, OLD_SECRET)):
    environ = {"wsgi.url_scheme": scheme}
    if authorization is not None:
        environ["HTTP_AUTHORIZATION"] = authorization
    if cookie is not None:
        environ["HTTP_COOKIE"] = cookie
    return identity_from_token(environ, secrets, now)


def test_a_token_names_the_user():
    minted = mint_token(AUTH_SECRET, "ann", email="ann@example.com", name="Ann", now=NOW, lifetime_seconds=600)

    assert ask(f"Bearer {minted}") == Identity("ann", "ann@example.com", "Ann")
    assert ask(f"bEaReR   {minted}") == Identity("ann", "ann@example.com", "Ann")


def test_an_older_secret_still_verifies_and_a_foreign_one_does_not():
    assert ask(f"Bearer {token(secret=OLD_SECRET)}") == Identity("ann")
    with pytest.raises(InvalidToken):
        ask(f"Bearer {token(secret='a-foreign-secret-of-thirty-two-bytes')}")


@pytest.mark.parametrize("now", [NOW + 599, NOW + 600 - 86_400])
def test_a_token_within_its_lifetime_passes(now):
    assert ask(f"Bearer {token()}", now=now)


@pytest.mark.parametrize("now", [NOW + 660, NOW + 10**6, NOW + 600 - 86_461])
def test_a_token_expired_or_too_far_ahead_is_refused(now):
    with pytest.raises(InvalidToken):
        ask(f"Bearer {token()}", now=now)


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": ...},
        {"exp": None},
        {"exp": True},
        {"exp": "soon"},
        {"exp": math.nan},
        {"exp": math.inf},
        {"exp": 10**400},
        {"aud": ...},
        {"aud": "another"},
        {"aud": ["another"]},
        {"aud": 7},
        {"sub": ...},
        {"sub": ""},
        {"sub": 7},
        {"sub": ["ann"]},
        {"sub": "x" * 201},
        {"sub": "a\nb"},
        {"sub": "a\x00b"},
        {"email": 7},
        {"email": "x" * 321},
        {"name": ["Ann"]},
        {"nbf": NOW + 61},
        {"nbf": "now"},
        {"iat": NOW + 61},
        {"iat": "now"},
        {"email": "a@example.com\nX: y"},
    ],
    ids=str,
)
def test_a_token_with_a_claim_missing_or_wrong_is_refused(changes):
    forged = json.dumps({k: v for k, v in (CLAIMS | changes).items() if v is not ...}).encode()
    signed = jwt.api_jws.encode(forged, AUTH_SECRET, "HS256")

    with pytest.raises(InvalidToken) as refused:
        ask(f"Bearer {signed}")
    assert signed not in str(refused.value)


def test_a_user_id_of_200_characters_passes():
    assert ask(f"Bearer {token(sub='x' * 200)}") == Identity("x" * 200)


def test_an_audience_list_with_ours_passes():
    assert ask(f"Bearer {token(aud=['other', 'corkage'])}") == Identity("ann")


def unsigned(header):
    parts = [json.dumps(part).encode() for part in (header, CLAIMS)]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."


@pytest.mark.parametrize(
    "forged",
    [
        unsigned({"alg": "none", "typ": "JWT"}),
        unsigned({"alg": "None"}),
        token(secret=AUTH_SECRET * 3, algorithm="HS512"),
        token(secret=AUTH_SECRET * 3, algorithm="HS384"),
        unsigned({"alg": "RS256"}) + "AAAA",
        "not.a.token",
        "....",
        "é.é.é",
        "x" * 5000,
        token()[:-2],
        token() + "x",
    ],
)
def test_a_forged_token_is_refused_and_not_logged(forged):
    with pytest.raises(InvalidToken) as refused:
        ask(f"Bearer {forged}")
    assert forged not in str(refused.value)


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Basic YTpi", "Token x"])
def test_without_a_token_nobody_is_signed_in(authorization):
    assert ask(authorization) is None


def test_the_cookie_signs_in_under_its_plain_name_only_on_plain_http():
    assert ask(cookie=f"a=b; __Host-corkage={token()}; c=d") == Identity("ann")
    assert ask(cookie=f"corkage={token()}", scheme="http") == Identity("ann")
    assert ask(cookie=f"corkage={token()}", scheme="https") is None
    assert ask(cookie=f'odd[name]="; x y"; __Host-corkage={token()}') == Identity("ann")


def test_clocks_may_differ_by_a_minute():
    assert ask(f"Bearer {token(nbf=NOW + 60, iat=NOW + 60)}") == Identity("ann")
    assert ask(f"Bearer {token(exp=NOW - 59)}") == Identity("ann")
    assert ask(f"Bearer {token(exp=NOW + 86_460)}") == Identity("ann")


def test_empty_claims_are_absent_and_blanks_around_them_are_cut_off():
    assert ask(f"Bearer {token(email='', name='')}") == Identity("ann")
    assert ask(f"Bearer {token(email=' ann@example.com ', name='   ')}") == Identity("ann", "ann@example.com")


def test_a_number_as_user_id_is_refused_with_what_to_write():
    with pytest.raises(ValueError, match=r"so write str\(7\)"):
        Identity(7)


@pytest.mark.parametrize("scheme", ["https", "wss", ""])
def test_the_plain_cookie_signs_in_only_on_plain_http(scheme):
    assert ask(cookie=f"corkage={token()}", scheme=scheme) is None


@pytest.mark.parametrize(
    ("frontend_urls", "user"),
    [
        (("http://localhost:3000",), Identity("ann")),
        (("https://app.example.com",), None),
        (("http://localhost:3000", "https://app.example.com"), None),
    ],
)
def test_behind_a_tls_proxy_the_plain_cookie_signs_nobody_in(config, frontend_urls, user):
    minted = mint_token(AUTH_SECRET, "ann", now=time.time())
    authenticate = authenticator(replace(config, frontend_urls=frontend_urls), None)

    assert authenticate({"wsgi.url_scheme": "http", "HTTP_COOKIE": f"corkage={minted}"}) == user
    assert authenticate({"wsgi.url_scheme": "http", "HTTP_COOKIE": f"__Host-corkage={minted}"}) == Identity("ann")


@pytest.mark.parametrize("name", ["__Host-corkage", "corkage"])
def test_two_different_cookies_of_one_name_are_refused_in_any_order(name):
    mine, planted = token(), token(sub="mallory")

    for first, second in ((mine, planted), (planted, mine)):
        with pytest.raises(InvalidToken, match="2 different cookies"):
            ask(cookie=f"{name}={first}; {name}={second}", scheme="http")
    assert ask(cookie=f"{name}={mine}; {name}={mine}", scheme="http") == Identity("ann")


def test_the_host_cookie_wins_over_the_plain_one():
    assert ask(cookie=f"corkage={token(sub='bob')}; __Host-corkage={token()}", scheme="http") == Identity("ann")


def test_the_header_of_a_forged_token_is_not_logged():
    forged = jwt.encode(CLAIMS, AUTH_SECRET, "HS256", headers={"crit": ["planted\nline"], "planted\nline": 1})

    with pytest.raises(InvalidToken) as refused:
        ask(f"Bearer {forged}")
    assert "planted" not in str(refused.value)


def test_a_bad_header_is_refused_even_with_a_good_cookie():
    with pytest.raises(InvalidToken):
        ask("Bearer x.y.z", cookie=f"__Host-corkage={token()}")


def test_no_token_is_minted_for_an_invalid_user_id():
    with pytest.raises(ValueError, match="1 to 200"):
        mint_token(AUTH_SECRET, "", now=NOW)


def test_the_header_wins_over_the_cookie():
    assert ask(f"Bearer {token(sub='bob')}", cookie=f"__Host-corkage={token()}") == Identity("bob")


@pytest.mark.parametrize("user_id", ["", "x" * 201, "a\tb", 7, None, b"ann"])
def test_an_identity_refuses_an_invalid_user_id(user_id):
    with pytest.raises(ValueError, match="1 to 200"):
        Identity(user_id)


def test_without_sign_in_configured_requests_fail_naming_the_setting(config):
    nobody = authenticator(replace(config, auth_secrets=()), None)

    with pytest.raises(NotConfigured, match="BILLING_AUTH_SECRET"):
        nobody({})


@pytest.mark.parametrize("ways", [("secret", "callback"), ("secret", "header"), ("callback", "header"), "all"])
def test_several_ways_to_sign_in_stop_startup(config, ways):
    def has(way):
        return way in ways or ways == "all"

    changes = {
        "auth_secrets": (AUTH_SECRET,) if has("secret") else (),
        "trusted_user_header": "Remote-User" if has("header") else None,
    }

    with pytest.raises(ConfigError, match="exactly one"):
        authenticator(replace(config, **changes), (lambda _: None) if has("callback") else None)


def test_an_authenticate_callback_with_a_wrong_result_raises(config):
    authenticate = authenticator(replace(config, auth_secrets=()), lambda _: {"user_id": "ann"})

    with pytest.raises(TypeError, match="wanted an Identity"):
        authenticate({})


def test_over_http_no_token_and_a_bad_token_get_401(app):
    for headers, code in (({}, "not_signed_in"), ({"Authorization": "Bearer x.y.z"}, "invalid_token")):
        answer = requests.get(f"{app.url}/access", headers=headers, timeout=30)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, code)
        assert "Bearer" in answer.headers["WWW-Authenticate"]


def test_a_header_that_is_not_utf8_is_refused_without_a_crash(app):
    answer = requests.get(f"{app.url}/access", headers={"Authorization": b"Bearer \xff\xfe"}, timeout=30)

    assert answer.status_code == 401


def test_over_http_no_sign_in_configured_is_503_without_details(config):
    with running(replace(config, auth_secrets=())) as app:
        answer = app.ask()

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_configured")
    assert "BILLING_AUTH_SECRET" not in answer.text


def test_an_authenticate_callback_signs_the_user_in(config):
    with running(
        replace(config, auth_secrets=()), authenticate=lambda environ: Identity(environ["HTTP_X_TEST_USER"])
    ) as app:
        answer = requests.get(f"{app.url}/access", headers={"X-Test-User": "bob"}, timeout=30)

    assert answer.json()["user_id"] == "bob"


@pytest.mark.parametrize(("length", "passes"), [(4096, True), (4097, False)])
def test_a_token_of_4096_characters_passes_and_a_longer_one_fails(length, passes):
    padded = (token(pad="x" * number) for number in range(2900, 3000))
    (long,) = (each for each in padded if len(each) == length)

    if passes:
        assert ask(f"Bearer {long}").user_id == "ann"
    else:
        with pytest.raises(InvalidToken, match="4097 characters, more than 4096"):
            ask(f"Bearer {long}")


@pytest.mark.parametrize("blank", ["\xa0", "\x85", "\x0b", "\x1f"], ids=ascii)
def test_a_token_surrounded_by_unicode_spaces_is_refused(blank):
    assert ask(f"\t Bearer \t {token()} \t") == Identity("ann")
    assert ask(f"{blank}Bearer {token()}") is None
    for authorization in (f"Bearer {blank}{token()}", f"Bearer {token()}{blank}", f"Bearer {blank}"):
        with pytest.raises(InvalidToken):
            ask(authorization, cookie=f"__Host-corkage={token()}")
