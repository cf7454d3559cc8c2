"""The operator's page over HTTP: who gets in, what it shows, what it does, and what never happens by itself."""

import html
import re
import time
from contextlib import closing
from dataclasses import replace
from urllib.parse import urlencode

import bottle
import pytest
import requests
from harness import ADMIN_TOKEN, APP, running, serving
from rows import fail, record_event

from corkage import Billing, Identity, storage
from corkage.admin import queries
from corkage.admin.session import ENDED, MOST_ENDED, end_session, form_token, is_ended, new_session, session_of
from corkage.config import Config
from corkage.errors import ConfigError, StripeUnavailable, TooManyGuesses
from corkage.models import (
    Customer,
    Grant,
    NoticeDelivery,
    NoticeRow,
    Refund,
    StripeEvent,
    Subscription,
    User,
    setting,
)
from corkage.notices import outbox
from corkage.pacing.rate_limit import RateLimit
from corkage.plans import Plan
from corkage.sync import inbox

pytestmark = pytest.mark.slow

SCRIPT = "<script>alert(1)</script>"
OUR_PAGE = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def settings(config):
    return replace(config, admin_token=ADMIN_TOKEN)


@pytest.fixture
def app(settings):
    with running(settings) as served:
        yield served


class Operator:
    """Somebody at the operator's page, who keeps the cookie as a browser would."""

    def __init__(self, url):
        self.url, self.cookie = f"{url}/admin", ""

    def get(self, query="", **headers):
        return self.ask("GET", query, None, headers)

    def post(self, form, query="", **headers):
        return self.ask("POST", query, form, OUR_PAGE | headers)

    def ask(self, method, query, form, headers):
        sent = {"Accept": "text/html", "Accept-Language": "en", "Cookie": self.cookie} | headers
        answer = requests.request(method, self.url + query, data=form, headers=sent, allow_redirects=False, timeout=30)
        if "Set-Cookie" in answer.headers:
            self.cookie = answer.headers["Set-Cookie"].split(";")[0]
        return answer

    def sign_in(self, token=ADMIN_TOKEN, query=""):
        return self.post({"do": "sign_in", "token": token}, query)

    def act(self, what, **to):
        """Go where it is asked first, and say yes."""
        asked = self.get("?" + urlencode({"do": what, **to}))
        return self.post(fields_of(asked) | {"do": what})


def fields_of(page):
    """What the page's last form holds."""
    form = page.text.rpartition("<form")[2]
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', form)
    return {name: html.unescape(value) for name, value in found}


def text_of(page):
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.text.split("<main", 1)[1])).split())


@pytest.fixture
def signed_in(app):
    someone = Operator(app.url)
    assert someone.sign_in().status_code == 303
    return someone


def subscribe(app, shop, user="ann", **params):
    customer = shop.customer(user, **params)
    subscription = shop.subscribe(customer, user=user)
    app.converge(customer)
    return customer, subscription


def rows():
    return [model.select().count() for model in (User, Customer, Subscription, StripeEvent, NoticeRow, NoticeDelivery)]


def test_without_an_admin_token_there_is_no_admin_page(config):
    with running(config) as served:
        for method in ("GET", "POST", "PUT", "OPTIONS"):
            asked = {"Accept": "application/json"} | OUR_PAGE
            answers = [
                requests.request(method, served.url + path, headers=asked, timeout=30)
                for path in ("/admin", "/nothing")
            ]
            assert [each.status_code for each in answers] == [404, 404]
            assert answers[0].content == answers[1].content


@pytest.mark.parametrize(("text", "fits"), [("x" * 32, True), ("x" * 31, False), ("x" * 16 + " " + "x" * 16, False)])
def test_a_guessable_admin_token_stops_startup_and_is_not_shown(environ, tmp_path, text, fits):
    said = environ | {"BILLING_ADMIN_TOKEN": text, "BILLING_PLANS": str(tmp_path / "plans.toml")}
    if fits:
        config = Config.from_env(said, None)
        assert config.admin_token == text
        assert text not in repr(config)
        return
    with pytest.raises(ConfigError, match="BILLING_ADMIN_TOKEN: wanted a token of 32 to 200") as refused:
        Config.from_env(said, None)
    assert text not in str(refused.value)


def test_a_stranger_sees_only_the_sign_in_form(app, shop):
    subscribe(app, shop, "ann-the-user")
    stranger = Operator(app.url)

    app.billing.grant("ann-the-user", "pro")
    parts = [f"?show={name}" for name in ("grants", "figures", "events", "health")]
    for query in ("", "?user=ann-the-user", *parts, "?do=sync&user=ann-the-user"):
        page = stranger.get(query)
        assert page.status_code == 401
        assert "Operator token" in page.text
        assert "active" not in page.text
        assert "granted" not in page.text
        assert "Set-Cookie" not in page.headers
    assert 'action="admin?user=ann-the-user"' in stranger.get("?user=ann-the-user").text


def test_the_right_token_redirects_to_the_page_and_sets_a_narrow_cookie(app):
    operator_ = Operator(app.url)

    answer = operator_.sign_in(query="?user=ann&lang=de")

    assert answer.status_code == 303
    assert answer.headers["Location"] == "admin?user=ann&lang=de"
    cookie = answer.headers["Set-Cookie"]
    assert re.fullmatch(
        r"__Host-corkage-admin=[0-9a-f.]+; Max-Age=28800; Path=/; Secure; HttpOnly; SameSite=Strict", cookie
    )
    assert ADMIN_TOKEN not in cookie
    assert "Nutzer" in operator_.get("?lang=de").text


@pytest.mark.parametrize(("billing_url", "is_plain"), [("http://127.0.0.1:8080", True), ("https://b.example", False)])
def test_on_plain_http_browsers_accept_the_cookie(settings, billing_url, is_plain):
    with running(replace(settings, billing_url=billing_url)) as served:
        someone = Operator(served.url)
        cookie = someone.sign_in().headers["Set-Cookie"]
        assert cookie.startswith("corkage-admin=") is is_plain
        assert ("Secure" in cookie, "Path" in cookie) == (not is_plain, not is_plain)
        assert someone.get().status_code == 200


@pytest.mark.parametrize("token", ["", "wrong", ADMIN_TOKEN[:-1], ADMIN_TOKEN + "x", ADMIN_TOKEN.upper(), "\u00e9"])
def test_a_wrong_token_opens_nothing_and_is_not_echoed(app, caplog, token):
    someone = Operator(app.url)

    answer = someone.sign_in(token)

    assert answer.status_code == 401
    assert "That is not the token." in answer.text
    assert "Set-Cookie" not in answer.headers
    assert "127.0.0.1 sent another token" in caplog.text
    assert not token or token not in answer.text + caplog.text.replace("another token than the operator's", "")
    assert someone.get().status_code == 401


def test_five_wrong_tokens_block_only_that_address_for_a_minute(app):
    guesser = Operator(app.url)

    answers = [guesser.sign_in(f"guess {number}").status_code for number in range(6)]
    shut = guesser.sign_in("another guess")

    assert answers == [401] * 5 + [429]
    assert (shut.status_code, shut.headers["Retry-After"]) == (429, "60")
    assert "Please wait a minute" in shut.text
    app.billing.service.sign_in_limit.note("192.0.2.1", time.monotonic())
    app.billing.service.sign_in_limit._tried["127.0.0.1"].clear()
    assert guesser.sign_in("guess").status_code == 401


def test_wrong_tokens_from_its_address_lock_the_right_one_out_at_no_time(app):
    guesser, operator_ = Operator(app.url), Operator(app.url)
    assert [guesser.sign_in(f"guess {number}").status_code for number in range(7)] == [401] * 5 + [429] * 2

    assert operator_.sign_in().status_code == 303

    assert operator_.get().status_code == 200
    assert guesser.get().status_code == 401


def test_a_minute_or_the_right_token_clears_wrong_attempts():
    guesses = RateLimit()
    for now in range(5):
        guesses.note("a", now)

    with pytest.raises(TooManyGuesses):
        guesses.note("a", 59.9)
    guesses.note("a", 60)
    guesses.forget("a")
    for _ in range(5):
        guesses.note("a", 61)


def test_a_session_ends_after_eight_hours_or_when_the_token_changes(settings):
    session = new_session(settings, 1000.5)

    def is_read(config, now, cookie=session):
        environ = {"HTTP_COOKIE": f"__Host-corkage-admin={cookie}", "wsgi.url_scheme": "https"}
        return session_of(config, environ, now) is not None

    assert is_read(settings, 1000 + 8 * 3600 - 1)
    assert is_read(settings, 1000 - 60)  # another host's clock, a minute behind
    assert not is_read(settings, 1000 - 61)
    assert not is_read(settings, 1000 + 8 * 3600)
    assert not is_read(replace(settings, admin_token=ADMIN_TOKEN[::-1]), 1001)
    begun, nonce, proof = session.split(".")
    for forged in (
        "",
        ".",
        "..",
        f"9{begun}.{nonce}.{proof}",
        f"{begun}.{nonce}.",
        f"{begun}.{nonce}",
        "x.y.z",
        "\xe9..",
    ):
        assert not is_read(settings, 1001, forged)


def test_an_expired_session_says_so_and_does_nothing(app, shop, settings):
    subscribe(app, shop)
    late, before = Operator(app.url), shop.calls()
    session = new_session(settings, time.time() - 9 * 3600)
    late.cookie = f"__Host-corkage-admin={session}"

    page = late.get()
    posted = late.post({"do": "sync", "user": "ann", "form_token": form_token(settings, session)})

    assert (page.status_code, posted.status_code) == (401, 401)
    assert "Your sign-in has ended." in page.text
    assert "Nothing was done." in posted.text
    assert shop.calls() == before


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "same-site", "Origin": f"https://{APP}"},
        {"Sec-Fetch-Site": None, "Origin": f"https://{APP}"},
        {"Sec-Fetch-Site": None, "Origin": "null"},
        {"Sec-Fetch-Site": None},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_a_post_from_any_other_page_even_the_products_does_nothing(app, shop, signed_in, headers):
    subscribe(app, shop)
    before, token = shop.calls(), fields_of(signed_in.get("?do=sync&user=ann"))

    for form in (token | {"do": "sync"}, {"do": "sign_in", "token": ADMIN_TOKEN}, token | {"do": "sign_out"}):
        answer = signed_in.post(form, **headers)
        assert answer.status_code == 403
        assert "Set-Cookie" not in answer.headers
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert shop.calls() == before


def test_a_post_without_the_sessions_csrf_token_does_nothing(app, shop, signed_in):
    subscribe(app, shop)
    other = Operator(app.url)
    other.sign_in()
    before, foreign = shop.calls(), fields_of(other.get("?do=sync&user=ann"))["form_token"]

    for token in ("", "x", foreign, ADMIN_TOKEN):
        assert signed_in.post({"do": "sync", "user": "ann", "form_token": token}).status_code == 403
    assert shop.calls() == before


def test_the_origin_header_alone_identifies_our_page_in_old_browsers(app):
    someone = Operator(app.url)
    form = {"do": "sign_in", "token": ADMIN_TOKEN}

    assert someone.post(form, **{"Sec-Fetch-Site": None, "Origin": app.url}).status_code == 303


def test_signing_out_deletes_the_cookie(signed_in):
    form = fields_of(signed_in.get("?do=sync&user=ann"))

    answer = signed_in.post(form | {"do": "sign_out"})

    assert answer.status_code == 303
    assert answer.headers["Set-Cookie"].startswith("__Host-corkage-admin=; Max-Age=0;")
    assert signed_in.get().status_code == 401


def test_signing_out_ends_every_copy_of_the_cookie_and_no_other_session(app, signed_in, corkage):
    copy, other = Operator(app.url), Operator(app.url)
    copy.cookie = signed_in.cookie
    other.sign_in()
    form = fields_of(copy.get("?do=sync&user=ann"))

    signed_in.post(fields_of(signed_in.get("?do=sync&user=ann")) | {"do": "sign_out"})

    page, posted = copy.get(), copy.post(form | {"do": "sync"})
    assert (page.status_code, posted.status_code) == (401, 401)
    assert "Your sign-in has ended." in page.text
    assert "Nothing was done." in posted.text
    assert other.get().status_code == 200
    assert copy.sign_in().status_code == 303
    assert copy.get().status_code == 200


def test_sessions_that_were_ended_are_forgotten_when_they_would_end(app, settings):
    sessions = [new_session(settings, 1000.0 + number) for number in range(3)]
    for session in sessions[:2]:
        end_session(session, 2000.0)
    assert [is_ended(each) for each in sessions] == [True, True, False]

    end_session(sessions[2], 1000.0 + 8 * 3600)

    assert [is_ended(each) for each in sessions] == [False, True, True]  # the first ends by itself


def test_where_very_many_were_ended_all_that_have_begun_are_and_the_list_stays_short(app, settings):
    earlier, sessions = new_session(settings, 999.0), [new_session(settings, 1000.0) for _ in range(MOST_ENDED + 1)]
    for session in sessions[:-1]:
        end_session(session, 2000.0)
    assert not is_ended(earlier)

    end_session(sessions[-1], 2000.0)

    assert all(is_ended(each) for each in [earlier, *sessions])
    assert not is_ended(new_session(settings, 2000.0))
    assert len(setting(ENDED)) < 100


def test_every_page_is_uncached_unindexed_and_has_a_strict_policy(app, shop, signed_in):
    subscribe(app, shop)

    parts = [f"?show={name}" for name in ("grants", "figures", "events", "health")]
    for query in ("", "?user=ann", "?user=nobody", *parts, "?do=link"):
        page = signed_in.get(query, Origin=f"https://{APP}")
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["X-Robots-Tag"] == "noindex, nofollow"
        assert page.headers["Content-Security-Policy"] == (
            "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        assert "Access-Control-Allow-Origin" not in page.headers
        assert "<script" not in page.text
        assert not [secret for secret in (ADMIN_TOKEN, app.billing.config.stripe_secret_key) if secret in page.text]


def test_users_are_counted_by_reason_and_found_by_any_known_field(app, shop, signed_in):
    customer, subscription = subscribe(app, shop, "ann", email="ann@wonder.example", name="Ann 100% Land")
    subscribe(app, shop, "bob")
    User.insert(id="carl", created_at=1).execute()

    page = signed_in.get()
    assert "All 3 active 2 no_subscription 1 ann active ann@wonder.example pro until" in text_of(page)
    for wanted, found in {
        "ann": ["ann"],
        "AR": ["carl"],
        "wonder.": ["ann"],
        "100%": ["ann"],
        "_": [],
        customer: ["ann"],
        subscription: ["ann"],
        "' OR 1=1 --": [],
    }.items():
        listed = signed_in.get("?" + urlencode({"q": wanted}))
        assert re.findall(r'class="name" href="admin\?user=(\w+)"', listed.text) == found
    assert re.findall(r'class="name" href="admin\?user=(\w+)"', signed_in.get("?reason=active&q=b").text) == ["bob"]


def test_search_finds_an_unowned_customer_and_offers_to_link_it(app, shop, signed_in):
    customer = shop.customer(None)
    app.converge(customer)

    page = signed_in.get(f"?q={customer}")

    assert "This customer belongs to no user." in page.text
    assert f'href="admin?do=link&amp;customer={customer}"' in page.text


def test_a_thousand_users_are_paginated_each_once(app, signed_in):
    with storage.writing():
        User.insert_many([{"id": f"user {n:04}", "created_at": 1} for n in range(1000)]).execute()
    seen, address = [], "admin"

    for _ in range(20):
        page = signed_in.get(address.removeprefix("admin"))
        seen += re.findall(r'class="name" href="[^"]*">([^<]*)<', page.text)
        following = re.findall(r'href="(admin[^"]*)">Next page', page.text)
        assert len(page.content) < 30_000
        address = html.unescape(following[0]) if following else None

    assert address is None
    assert seen == [f"user {n:04}" for n in range(1000)]


def test_a_whole_e_mail_finds_its_user_and_no_other_that_contains_it(app, shop, signed_in):
    subscribe(app, shop, "ann", email="ann@wonder.example")
    subscribe(app, shop, "joann", email="joann@wonder.example")
    User.insert(id="carl", said_email="Carl@wonder.example", created_at=1).execute()

    for wanted, found in {"ANN@wonder.example": ["ann"], "carl@wonder.example": ["carl"]}.items():
        listed = signed_in.get("?" + urlencode({"q": wanted}))
        assert re.findall(r'class="name" href="admin\?user=(\w+)"', listed.text) == found


def test_an_e_mail_of_more_users_than_are_named_at_once_is_searched_for_page_by_page(app):
    User.insert_many([{"id": f"{n}", "email": "a@b.example", "created_at": 1} for n in range(10, 40)]).execute()

    assert len(queries.find_users("a@b.example").users) == 30


@pytest.mark.parametrize(("many", "counted"), [(1, "All 2 "), (2, "All 3 ")], ids=["many", "few"])
def test_users_are_counted_anew_for_each_page_unless_they_are_many(app, signed_in, monkeypatch, many, counted):
    monkeypatch.setattr("corkage.service.MANY_USERS", many)
    User.insert_many([{"id": f"{n}", "created_at": 1} for n in range(2)]).execute()
    assert "All 2 " in text_of(signed_in.get())

    User.insert(id="2", created_at=1).execute()

    assert counted in text_of(signed_in.get())


def test_a_search_scans_a_limited_number_of_rows_and_continues(app, monkeypatch):
    User.insert_many([{"id": f"{n}", "created_at": 1} for n in range(10, 30)]).execute()
    monkeypatch.setattr(queries, "MOST_SCANNED", 10)

    first = queries.find_users("9")
    second = queries.find_users("9", after=first.after)

    assert [access.user_id for access, _ in first.users] == ["19"]
    assert first.after == "19"
    assert [access.user_id for access, _ in second.users] == ["29"]
    assert queries.find_users("9", after=second.after) == ([], None)


def test_the_latest_events_of_a_user_come_first_whether_they_were_applied_or_not(app):
    for at, applied_at in ((1, 9), (2, None), (3, 9), (4, None), (5, None)):
        record_event(f"evt_{at}", f"cus_{at // 5}", at, applied_at=applied_at)

    found = [each.id for each in queries.events_of(["cus_0", "cus_2"], 3)]

    assert found == ["evt_4", "evt_3", "evt_2"]


def test_the_user_page_explains_access_and_shows_its_rows(app, shop, signed_in):
    outbox.register("url", time.time())
    customer, subscription = subscribe(app, shop, email="ann@example.com")
    app.deliver(shop.event("customer.subscription.created"))
    app.work()

    page = signed_in.get("?user=ann")

    said = text_of(page)
    for part in (
        "Let in active paid, and going on The user reads: Your plan renews on",
        "Plan pro Features exports, api Until",
        "E-mail ann@example.com",
        f"{customer} Used for checkout Fetched on",
        f"{subscription} active pro_monthly, $9.00 per month period ends on",
        "access_granted pending ntc_",
    ):
        assert part in said
    assert re.search(
        r"customer.subscription.created (known|converged) evt_\w+ cus_\w+ received \d+ seconds? ago Replay", said
    )
    for kind, id_ in (("customers", customer), ("subscriptions", subscription)):
        assert f'href="https://dashboard.stripe.com/test/{kind}/{id_}"' in page.text
    assert "https://dashboard.stripe.com/test/events/evt_" in page.text


def test_with_a_live_key_links_lead_to_the_live_dashboard(settings):
    live = replace(settings, stripe_secret_key="sk_live_x", stripe_api_base=None)
    with running(live) as served:
        User.insert(id="ann", created_at=1).execute()
        Customer.insert(id="cus_1", user="ann").execute()
        someone = Operator(served.url)
        someone.sign_in()
        assert 'href="https://dashboard.stripe.com/customers/cus_1"' in someone.get("?user=ann").text


def test_a_user_id_may_hold_any_printable_character(app, signed_in):
    for user_id in (" ann ", "a/b?c&d=e#f", "\U0001f600" * 200, "50%_!", '"><a'):
        User.insert(id=user_id, created_at=1).execute()
        address = "?" + urlencode({"user": user_id})

        page = signed_in.get(address)

        assert page.status_code == 200
        assert html.unescape(re.search(r"<h1[^>]*>(.*?)</h1>", page.text)[1]) == user_id
        assert html.escape(urlencode({"do": "sync", "user": user_id}), quote=True) in page.text
    assert len(re.findall('class="name"', signed_in.get("?q=!").text)) == 1


def test_an_unknown_user_is_a_404_that_offers_linking(signed_in):
    page = signed_in.get("?user=nobody")

    assert page.status_code == 404
    assert "No user of this id is known here." in page.text
    assert 'href="admin?do=link&amp;user=nobody"' in page.text


def test_user_data_is_escaped(app, shop, signed_in):
    customer, _ = subscribe(app, shop, SCRIPT, name=SCRIPT)
    User.update(email=f'"{SCRIPT}@example.com').where(User.id == SCRIPT).execute()
    now = time.time()
    StripeEvent.insert(
        id=f"evt_{SCRIPT}",
        type=SCRIPT,
        customer_id=customer,
        created=1,
        source=SCRIPT,
        received_at=now,
        next_attempt_at=now,
    ).execute()
    fail(f"evt_{SCRIPT}", SCRIPT, now)
    app.billing.grant(SCRIPT, "pro", reason=SCRIPT, given_by=SCRIPT)

    for query in (
        {},
        {"q": SCRIPT},
        {"reason": SCRIPT, "after": SCRIPT[:3]},
        {"user": SCRIPT},
        {"user": f'"{SCRIPT}'},
        {"show": "events"},
        {"show": "grants", "after": SCRIPT},
        {"show": "figures"},
        {"do": "link", "user": SCRIPT, "customer": f'"><{SCRIPT}'},
        {"do": "replay", "event": SCRIPT, "lang": SCRIPT},
    ):
        page = signed_in.get("?" + urlencode(query))
        assert page.status_code in (200, 404)
        assert "<script" not in page.text
        assert '"<' not in page.text
    assert "&lt;script&gt;" in page.text
    done = signed_in.act("replay", event=SCRIPT)
    assert "<script" not in done.text


def test_failing_and_pending_events_are_listed_applied_ones_on_demand(app, shop, signed_in):
    outbox.register("url", time.time())
    customer, _ = subscribe(app, shop)
    now = time.time()
    for id_ in ("evt_fails", "evt_waits", "evt_done"):
        record_event(id_, customer, now - 600, "customer.updated", next_attempt_at=now + 600)
    fail("evt_fails", "stripe_unavailable: no answer", now)
    with storage.writing():
        inbox.mark_applied(["evt_done"], "converged", now)

    said, applied = (text_of(signed_in.get(f"?show=events{more}")) for more in ("", "&state=applied"))

    assert "failing evt_fails ann received 10 minutes ago 1 try, the next in" in said
    assert "stripe_unavailable: no answer Replay" in said
    assert "pending evt_waits ann received 10 minutes ago" in said
    assert "access_granted pending" in said
    assert "evt_done" not in said
    assert "converged evt_done" in applied


def test_the_health_page_matches_the_route_and_runs_doctor_on_demand(app, shop, signed_in):
    _, subscription = subscribe(app, shop)
    record_event("evt_1", "cus_x", received_at=1.0)
    with storage.writing():
        Subscription.update(status="canceled").where(Subscription.id == subscription).execute()
        app.billing.service.catalogue.timelines.store(["ann"], time.time())
    before = shop.calls()

    page = signed_in.get("?show=health")

    assert "Worker off Events that wait 1 Events that fail 0" in text_of(page)
    assert shop.calls() == before
    examined = signed_in.post(fields_of(page))
    assert "2 problems to fix" in text_of(examined)
    assert "user ann: the replica says ended, Stripe says active" in text_of(examined)
    assert "corkage sync" in text_of(examined)
    assert app.billing.access("ann").reason == "ended"


def test_the_health_page_explains_each_problem(app, shop, signed_in):
    shop.subscribe(shop.customer())
    assert "All is well" in text_of(signed_in.get("?show=health"))
    for _ in range(3):
        assert app.deliver(shop.event("customer.subscription.created"), secret="whsec_other").status_code == 400

    shown = text_of(signed_in.get("?show=health"))

    assert "All is well" not in shown
    assert "every webhook is refused, the last 3 in a row" in shown


def test_viewing_pages_neither_writes_nor_calls_stripe(app, shop, simulator, signed_in):
    customer, _ = subscribe(app, shop)
    before, asked = rows(), len(simulator.requests)

    for query in (
        "",
        "?user=ann",
        "?user=zoe",
        *(f"?show={name}" for name in ("grants", "figures", "events", "health")),
        f"?do=link&user=zoe&customer={customer}",
    ):
        signed_in.get(query)

    assert rows() == before
    assert len(simulator.requests) == asked


def test_fetching_a_user_needs_confirmation_and_shows_the_difference(app, shop, signed_in):
    _, subscription = subscribe(app, shop)
    shop.client.v1.subscriptions.cancel(subscription)
    asked = signed_in.get("?do=sync&user=ann")
    assert app.billing.access("ann").reason == "active"
    before = rows()

    done, again = signed_in.post(fields_of(asked)), signed_in.post(fields_of(asked))

    assert done.status_code == 200
    assert "Done Access was active (pro), and now is ended (pro)." in text_of(done)
    assert "Nothing was different. Access: ended (pro)." in text_of(again)
    assert app.billing.access("ann").reason == "ended"
    assert [after - was for after, was in zip(rows(), before, strict=True)] == [0, 0, 0, 0, 1, 0]


def test_linking_a_customer_names_both_and_needs_confirmation(app, shop, signed_in, caplog):
    caplog.set_level("INFO")
    customer = shop.customer(None)
    shop.subscribe(customer, user=None)
    app.converge(customer)

    first = signed_in.get("?do=link&user=zoe")
    asked = signed_in.get(f"?do=link&user=zoe&customer={customer}")
    assert 'method="get"' in first.text
    assert "belongs to" not in asked.text
    assert User.get_or_none(User.id == "zoe") is None
    done = signed_in.post(fields_of(asked))

    assert "Access was no_subscription, and now is active (pro)." in text_of(done)
    assert Customer.get_by_id(customer).user_id == "zoe"
    assert app.billing.access("zoe").allowed
    assert f"the operator asks for link of {{'user': 'zoe', 'customer': '{customer}'}}" in caplog.text
    assert "The customer belongs to zoe at present." in signed_in.get(f"?do=link&user=ann&customer={customer}").text


def test_a_customer_unknown_to_stripe_is_not_linked(app, signed_in):
    before = rows()

    done = signed_in.act("link", user="zoe", customer="cus_nobody")
    odd = signed_in.act("link", user="z\toe", customer="cus_nobody")

    assert "That did not work" in text_of(done)
    assert "unknown_customer: " in text_of(done)
    assert "That is not a valid user id." in text_of(odd)
    assert rows() == before


def test_replaying_an_event_needs_confirmation(app, shop, signed_in):
    subscribe(app, shop)
    event = shop.event("customer.subscription.created")
    before = StripeEvent.select().count()

    done = signed_in.act("replay", event=event.id)

    assert "Done The event is applied: converged." in text_of(done)
    row = StripeEvent.get_by_id(event.id)
    assert (row.source, row.outcome) == ("replay", "converged")
    assert StripeEvent.select().count() == before + 1


def test_an_impossible_replay_says_so_and_a_failed_one_stays_pending(app, shop, signed_in, monkeypatch):
    def is_down(_):
        raise StripeUnavailable("no answer")

    shop.customer()
    record_event("evt_of_nobody", "cus_nobody", received_at=1.0)

    unknown = signed_in.act("replay", event="evt_typo")
    left = signed_in.act("replay", event=shop.event("customer.created").id)
    monkeypatch.setattr(app.billing.service.worker.gateway, "customer", is_down)
    failed = signed_in.act("replay", event="evt_of_nobody")

    assert "nor this database knows the event." in text_of(unknown)
    assert "The event concerns nothing that is stored here." in text_of(left)
    assert "It could not be applied yet. Corkage tries again by itself. stripe_unavailable" in text_of(failed)
    assert [(row.id, row.applied_at) for row in StripeEvent.select()] == [("evt_of_nobody", None)]


def test_resending_a_notice_needs_confirmation(app, shop, signed_in):
    outbox.register("url", time.time())
    subscribe(app, shop)
    NoticeDelivery.update(delivered_at=time.time(), outcome="200").execute()
    notice = NoticeRow.get().message_id

    done, unknown = signed_in.act("resend", notice=notice), signed_in.act("resend", notice="ntc_no")

    assert "It will be sent again in a moment." in text_of(done)
    assert "There is no such notice." in text_of(unknown)
    assert [row.delivered_at for row in NoticeDelivery.select()] == [None]


def test_resending_a_notice_without_receivers_says_so(app, shop, signed_in):
    subscribe(app, shop)

    assert "no receiver" in text_of(signed_in.get("?user=ann"))
    assert "There is no receiver" in text_of(signed_in.act("resend", notice=NoticeRow.get().message_id))


@pytest.mark.parametrize("what", ["forget", "", "sync", "link"])
def test_an_unknown_action_or_a_missing_target_is_refused(app, signed_in, what):
    token = fields_of(signed_in.get("?do=sync&user=ann"))["form_token"]
    before = rows()

    assert signed_in.post({"do": what, "form_token": token}).status_code == 404
    assert signed_in.get("?do=forget&user=ann").status_code == 404
    assert rows() == before


def test_the_admin_page_works_mounted_under_any_path(settings):
    host = bottle.Bottle()
    own = replace(settings, billing_url="https://b.example/pay/here", auth_secrets=())
    with closing(Billing(own, authenticate=lambda _: Identity("ann"))) as billing:
        host.install(billing)
        with serving(host) as url:
            someone = Operator(f"{url}/pay/here")
            assert someone.sign_in(query="?show=health").headers["Location"] == "admin?show=health"
            page = someone.get("?show=health", Origin=f"https://{APP}")

    assert page.status_code == 200
    assert 'href="style.css?v=' in page.text
    assert 'href="admin?show=events"' in page.text
    assert "Access-Control-Allow-Origin" not in page.headers


def test_a_token_with_a_lone_surrogate_opens_nothing(app):
    sent = OUR_PAGE | {"Content-Type": "application/json"}
    form = '{"do": "sign_in", "token": "\\ud83d"}'

    answer = requests.post(f"{app.url}/admin", form, headers=sent, timeout=30)

    assert answer.status_code == 400
    assert "Set-Cookie" not in answer.headers


def test_every_page_is_in_the_language_of_the_visitor(app, shop, signed_in):
    subscribe(app, shop)

    page = signed_in.get("?user=ann&lang=ja")

    assert '<html lang="ja" dir="ltr">' in page.text
    links = re.findall(r'(?:href|action)="(admin[^"]*)"', page.text)
    assert len(links) > 4
    assert all("lang=ja" in link for link in links)


def test_the_operator_grants_and_revokes_a_plan_after_being_asked(app, signed_in):
    first = signed_in.get("?do=grant&user=ann")
    assert re.findall(r'<input class="field" type="text" name="(\w+)" [^>]*?( required)? autocomplete', first.text) == [
        ("user", " required"),
        ("plan", " required"),
        ("days", ""),
        ("why", ""),
    ]
    asked = signed_in.get("?" + urlencode({"do": "grant", "user": "ann", "plan": "pro", "days": "30", "why": SCRIPT}))
    assert "Nobody pays for it" in text_of(asked)
    assert "<script" not in asked.text
    assert Grant.select().count() == User.select().count() == 0

    done = signed_in.post(fields_of(asked) | {"do": "grant"})

    assert "Access was no_subscription, and now is granted (pro)." in text_of(done)
    (row,) = Grant.select()
    assert (row.user_id, row.plan, row.reason, row.given_by) == ("ann", "pro", SCRIPT, "operator")
    assert abs(row.ends_at - time.time() - 30 * 86_400) < 60
    assert app.billing.access("ann").allowed

    user = signed_in.get("?user=ann")
    assert re.search(r"Grants pro granted given by operator on [^<]+ ends on [^<]+ <script>alert", text_of(user))
    assert 'href="admin?do=revoke&amp;user=ann&amp;plan=pro"' in user.text

    assert "and now is ended (pro)." in text_of(signed_in.act("revoke", user="ann", plan="pro"))
    assert not app.billing.access("ann").allowed
    assert re.search(r"Grants pro ended given by operator", text_of(signed_in.get("?user=ann")))
    assert "do=revoke" not in signed_in.get("?user=ann").text
    assert "There is no such grant." in text_of(signed_in.act("revoke", user="ann", plan="pro"))


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ({"user": "ann", "plan": "nothing"}, "There is no such plan."),
        ({"user": "ann", "plan": "pro", "days": "-1"}, "That is not a number of days."),
        ({"user": "ann", "plan": "pro", "days": "\u0663"}, "That is not a number of days."),
        ({"user": "x" * 201, "plan": "pro"}, "That is not a valid user id."),
        ({"user": "ann", "plan": "pro", "why": "x" * 501}, "That is not a valid text."),
    ],
)
def test_a_grant_that_does_not_fit_is_refused_on_the_page(app, signed_in, target, said):
    done = signed_in.act("grant", **target)

    assert said in text_of(done)
    assert Grant.select().count() == User.select().count() == 0


def test_the_page_of_grants_lists_those_that_run_of_all_users(app, shop, signed_in):
    subscribe(app, shop)
    app.billing.grant("ann", "pro", until=int(time.time()) + 86_400, reason="a friend", given_by="support")
    app.billing.grant("bob", "pro", quantity=3)
    app.billing.grant("eve", "pro")
    app.billing.revoke("eve", "pro")
    assert "to be copied to Stripe" in text_of(signed_in.get("?show=grants"))
    app.work(time.time() + 300)

    page = signed_in.get("?show=grants")

    said = text_of(page)
    assert re.search(r"pro copied to Stripe ann given by support on .* ends on .* a friend End the grant", said)
    assert re.search(r"pro only here: no customer bob given by your product on .* x 3 without an end End the", said)
    assert "eve" not in said
    assert 'href="admin?user=ann"' in page.text
    assert 'href="admin?do=revoke&amp;user=bob&amp;plan=pro"' in page.text
    assert "Next page" not in said


def test_grants_beyond_fifty_are_on_the_next_page(app, signed_in):
    with storage.writing():
        for number in range(51):
            User.insert(id=f"user-{number:02}", created_at=1).execute()
            facts = {"uid": str(number), "plan": "pro", "reason": "", "given_by": "", "created_at": 1}
            Grant.insert(user=f"user-{number:02}", **facts).execute()

    first = signed_in.get("?show=grants")
    (address,) = re.findall(r'href="admin(\?show=grants&amp;after=[0-9]+)"', first.text)
    last = signed_in.get(html.unescape(address))

    assert re.findall(r"user=(user-[0-9]+)&amp;plan", first.text) == [f"user-{number:02}" for number in range(50)]
    assert re.findall(r"user=(user-[0-9]+)&amp;plan", last.text) == ["user-50"]
    assert "Next page" not in text_of(last)
    assert signed_in.get("?show=grants&after=x").text.count("user-00") == first.text.count("user-00")


def test_the_page_of_figures_shows_those_of_the_command(app, shop, signed_in):
    subscribe(app, shop)
    subscribe(app, shop, "bob")

    page = signed_in.get("?show=figures")

    said = text_of(page)
    assert "Monthly recurring revenue, USD" in said
    assert "Agreed $18 Charged $18 Subscriptions 2" in said
    assert re.search(r"Month New Came back Lost \w+ 20\d\d 2 0 0 ", said)
    assert "Trials that ended None." in said
    assert "Plan State Users pro active 2" in said
    assert "`corkage sync` has not run" in said
    assert page.text.count("<svg") == 2
    assert re.search(r"<title>\w+ 20\d\d, Agreed: \$18</title>", page.text)
    assert "Disputes lost" not in said


def test_the_page_of_figures_has_a_section_of_lost_disputes_where_there_are_any(app, shop, signed_in):
    subscribe(app, shop)
    lost = {"kind": "dispute", "status": "lost", "amount": 900, "currency": "usd", "created": int(time.time())}
    Refund.create(
        id="du_1", payment_intent="pi_1", customer=Customer.get(), subscription_id=Subscription.get().id, **lost
    )

    (section,) = re.findall("Disputes lost, USD.*?Users by plan", text_of(signed_in.get("?show=figures")))

    assert "$9 (1)" in section


@pytest.fixture
def seats(app, settings, shop, simulator):
    """An operator's page of a product that sells seats too, and the id of ann's subscription."""
    app.billing.close()
    simulator.add_price("team_monthly", 1_000)
    team = Plan("team", "Team", ("team_monthly",), seats=(2, 50))
    with running(replace(settings, plans=(*settings.plans, team))) as served:
        served.billing.service.catalogue.refresh(served.billing.service.gateway)
        _, subscription = subscribe(served, shop)
        someone = Operator(served.url)
        someone.sign_in()
        yield served, someone, subscription


def test_the_operator_changes_a_subscription_after_reading_what_it_costs(seats, simulator):
    app, someone, subscription = seats
    buttons = re.findall(rf'do=(\w+)&amp;user=ann&amp;subscription={subscription}"', someone.get("?user=ann").text)
    assert buttons == ["change", "change_later", "cancel", "cancel_now"]
    first = someone.get(f"?do=change&user=ann&subscription={subscription}")
    assert 'name="plan" value="" maxlength="255" required' in first.text
    target = {"user": "ann", "subscription": subscription, "plan": "team", "quantity": "3"}
    asked = someone.get("?" + urlencode({"do": "change"} | target))
    assert re.search(r"Charged now: \$0\.00\. The next payment: \$51\.00\.", text_of(asked))
    assert app.billing.access("ann").plan == "pro"

    done = someone.post(fields_of(asked) | {"do": "change"})

    assert "Access was active (pro), and now is active (team)." in text_of(done)
    assert app.billing.access("ann").quantity == 3
    later = someone.act("change_later", **target | {"quantity": "2"})
    assert "Nothing was different. Access: active (team)." in text_of(later)
    assert simulator.world.get("subscription", subscription)["schedule"]


def test_the_operator_cancels_and_resumes_a_subscription_after_a_question(seats, simulator):
    app, someone, subscription = seats
    target = {"user": "ann", "subscription": subscription}
    assert "and it can be undone" in text_of(someone.get("?" + urlencode({"do": "cancel"} | target)))
    assert app.billing.access("ann").reason == "active"

    assert "and now is canceling (pro)" in text_of(someone.act("cancel", **target))
    assert "do=resume&amp;" in someone.get("?user=ann").text
    assert "and now is active (pro)" in text_of(someone.act("resume", **target))
    assert "and now is ended (pro)" in text_of(someone.act("cancel_now", **target))
    assert "do=cancel_now" not in someone.get("?user=ann").text


def test_the_operator_extends_a_trial(app, signed_in, shop):
    customer = shop.customer()
    subscription = shop.subscribe(customer, trial_period_days=3)
    app.converge(customer)
    target = {"user": "ann", "subscription": subscription}

    assert "That is not a number of days." in text_of(signed_in.act("extend_trial", **target, days="soon"))
    assert "Access was trialing (pro)" in text_of(signed_in.act("extend_trial", **target, days="20"))

    assert abs(app.billing.access("ann").until - time.time() - 20 * 86_400) < 60


@pytest.mark.parametrize(
    ("action", "target", "said"),
    [
        ("change", {"plan": "nothing"}, "There is no such plan."),
        ("change", {"plan": "team", "quantity": "60"}, "This plan cannot be bought for that number."),
        ("change", {"plan": "team", "quantity": "many"}, "That is not a number."),
        ("change", {"plan": "team", "subscription": "sub_of_another"}, "You have no such subscription."),
        ("resume", {"user": "bob"}, "You have no such subscription."),
        ("extend_trial", {"days": "9"}, "Your subscription cannot be changed like this at the moment."),
    ],
)
def test_a_change_that_does_not_fit_is_refused_on_the_page(seats, simulator, action, target, said):
    app, someone, subscription = seats

    done = someone.act(action, **{"user": "ann", "subscription": subscription} | target)

    assert said in text_of(done)
    assert app.billing.sync("ann").plan == "pro"
    assert not any(each.method == "POST" and "subscriptions/sub_" in each.path for each in simulator.requests)
