"""What is met by the hundred is logged a few times, then summed up, and then said to be over."""

import json
import logging
import threading
import time
from types import SimpleNamespace

import pytest
import requests
from harness import AUTH_SECRET, running

from corkage.health import tokens
from corkage.identity import mint_token
from corkage.logs.facts import logger
from corkage.logs.pace import Pace
from corkage.logs.repeats import MOST_VALUES, Repeats
from corkage.trouble import MOST_REASONS, Trouble

pytestmark = pytest.mark.slow

log = logger("corkage.of_the_test")
WRONG = "whsec_of_another_endpoint"


@pytest.fixture
def clock():
    """A clock that stands still at .now."""
    return SimpleNamespace(now=1000.0)


@pytest.fixture
def repeats(clock):
    made = Repeats(lambda: clock.now)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _all_levels(caplog):
    caplog.set_level(logging.INFO, "corkage")


def lines(caplog, level="WARNING"):
    return [each.message for each in caplog.records if each.levelname == level and each.name != "waitress.queue"]


def meet(repeats, times, value="", first=1):
    for number in range(times):
        repeats.log(log, logging.WARNING, "kind", value, "met %d of %s", number, value, first=first)


def test_a_line_is_logged_once_then_summed_up_after_a_minute_and_each_ten(repeats, clock, caplog):
    meet(repeats, 180)
    assert lines(caplog) == ["met 0 of "]

    repeats.sum_up(clock.now + 59)
    assert len(lines(caplog)) == 1
    clock.now += 60
    repeats.sum_up(clock.now)
    assert lines(caplog)[1:] == ["179 more in 60 s, the last: met 179 of "]

    meet(repeats, 5)
    repeats.sum_up(clock.now + 599)
    assert len(lines(caplog)) == 2
    repeats.sum_up(clock.now + 600)
    assert lines(caplog)[2:] == ["5 more in 600 s, the last: met 4 of "]


def test_the_end_is_logged_ten_minutes_after_the_last_and_then_it_begins_anew(repeats, clock, caplog):
    meet(repeats, 3)
    repeats.sum_up(clock.now + 60)
    repeats.sum_up(clock.now + 599)
    assert lines(caplog, "INFO") == []

    repeats.sum_up(clock.now + 600)
    assert lines(caplog, "INFO") == ["over, for 600 s by now; 3 times in all, the last: met 2 of "]
    assert repeats._cases == {}
    meet(repeats, 1)
    assert lines(caplog)[-1] == "met 0 of "


def test_what_came_once_ends_without_a_word(repeats, clock, caplog):
    meet(repeats, 1)
    repeats.sum_up(clock.now + 600)

    assert len(caplog.records) == 1
    assert repeats._cases == {}


def test_the_first_lines_are_logged_as_they_are(repeats, clock, caplog):
    meet(repeats, 7, first=5)
    repeats.sum_up(clock.now + 60)

    assert len(lines(caplog)) == 6
    assert lines(caplog)[5].startswith("2 more in 60 s")


def test_a_hundred_thousand_values_cost_no_memory_and_few_lines(repeats, clock, caplog):
    for number in range(100_000):
        repeats.log(log, logging.WARNING, "origin", f"https://{number}.example.com", "from %d %s", number, "x" * 1000)
    clock.now += 60
    repeats.sum_up(clock.now)

    assert len(repeats._cases) == MOST_VALUES + 1
    assert sum(len(case.text) for case in repeats._cases.values()) < (MOST_VALUES + 1) * 600
    assert len(lines(caplog)) == MOST_VALUES + 2
    others = 100_000 - MOST_VALUES - 1
    assert lines(caplog)[-1].startswith(f"{others} more in 60 s and others like it, the last: from 99999 x")


def test_one_kind_does_not_take_the_room_of_another(repeats, caplog):
    for number in range(100):
        repeats.log(log, logging.WARNING, "origin", str(number), "one")
    repeats.log(log, logging.WARNING, "other kind", "here", "another")

    assert lines(caplog)[-1] == "another"


def test_at_the_end_of_the_process_what_was_counted_is_logged(clock, caplog):
    repeats = Repeats(lambda: clock.now)
    meet(repeats, 4)
    repeats.close()

    assert lines(caplog)[1:] == ["3 more in 0 s, the last: met 3 of "]


def test_the_thread_that_sums_up_ends_with_what_it_sums_up(clock, caplog, monkeypatch):
    monkeypatch.setattr("corkage.logs.repeats.LOOK_SECONDS", 0.01)
    repeats = Repeats(lambda: clock.now)
    meet(repeats, 2)
    thread = repeats._thread
    clock.now += 600
    thread.join(30)

    assert not thread.is_alive()
    meet(repeats, 1)
    assert repeats._thread is not thread
    repeats.close()


def test_where_no_thread_can_be_started_lines_are_logged_all_the_same(clock, caplog, monkeypatch):
    def no_thread(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    repeats = Repeats(lambda: clock.now)
    meet(repeats, 3)
    repeats.close()

    assert lines(caplog) == ["met 0 of ", "2 more in 0 s, the last: met 2 of "]


def test_many_threads_lose_no_count(repeats, clock, caplog):
    threads = [threading.Thread(target=meet, args=(repeats, 500)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    repeats.sum_up(clock.now + 60)

    assert len(lines(caplog)) == 2
    assert lines(caplog)[1].startswith("3999 more")


def test_a_pace_is_due_after_a_minute_only_if_it_was_met_again():
    pace = Pace(0)
    assert pace.summary(1000) is None
    pace.meet(30)
    assert pace.summary(59.9) is None
    assert pace.summary(60) == (1, 60)
    assert pace.summary(60) is None


def test_a_trouble_that_lasts_is_logged_again_after_a_minute(caplog, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("corkage.trouble.time.time", lambda: now[0])
    trouble = Trouble(log, logging.WARNING, "wrong: %s", "well after %.0f s")
    for at in (1000, 1030, 1059, 1060, 1061, 1700):
        now[0] = at
        trouble.begin("a reason")
    trouble.end()

    assert lines(caplog) == [
        "wrong: a reason",
        "wrong: a reason; 3 more in 60 s",
        "wrong: a reason; 2 more in 640 s",
        "well after 700 s",
    ]


def test_a_trouble_whose_reason_changes_all_the_time_is_not_logged_all_the_time(caplog):
    trouble = Trouble(log, logging.WARNING, "wrong: %s", "well after %.0f s")
    for number in range(1000):
        trouble.begin(f"reason {number}")

    assert len(lines(caplog)) == MOST_REASONS


# Webhooks


def refused(app, event, times, **options):
    for _ in range(times):
        assert app.deliver(event, **{"secret": WRONG, **options}).status_code == 400


def of(caplog, name, level="WARNING"):
    return [each.message for each in caplog.records if (each.name, each.levelname) == (name, level)]


def test_180_refused_webhooks_are_one_warning_with_the_cause_and_what_to_do(app, event, caplog):
    refused(app, event, 180)

    (warned,) = of(caplog, "corkage.webhook")
    assert warned == (
        "webhooks are refused, 3 in a row by now: none of the 1 webhook secrets made this signature. If Stripe sends "
        "them, set STRIPE_WEBHOOK_SECRET to the signing secret that Stripe shows for this endpoint, and restart"
    )
    assert len(of(caplog, "corkage.http", "INFO")) == 5
    app.billing.service.repeats.sum_up(time.monotonic() + 60)
    assert of(caplog, "corkage.http", "INFO")[5].startswith("175 more in ")
    assert "/webhook answered 400 invalid_signature: none of" in of(caplog, "corkage.http", "INFO")[5]


def test_a_clock_that_is_wrong_is_said_to_be_that(app, event, caplog):
    refused(app, event, 3, at=time.time() - 4000)

    assert "s old. If Stripe sends them, compare `date -u`" in of(caplog, "corkage.webhook")[0]
    assert "STRIPE_WEBHOOK_SECRET" not in of(caplog, "corkage.webhook")[0]


def test_a_body_that_a_proxy_wrote_anew_is_said_to_be_that(app, event, caplog):
    refused(app, json.dumps(json.loads(str(event))).encode(), 3)

    assert "the body is not written as Stripe writes it: have the proxy" in of(caplog, "corkage.webhook")[0]


def test_forged_webhooks_between_genuine_ones_are_not_a_warning_each_time(app, event, caplog):
    for _ in range(20):
        refused(app, event, 3)
        assert app.deliver(event).status_code == 200

    assert len(of(caplog, "corkage.webhook")) == 2  # that it began, and that it is over


def test_what_begins_again_within_ten_minutes_is_logged_once_it_lasts_a_minute(caplog, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("corkage.trouble.time.time", lambda: now[0])
    trouble = Trouble(log, logging.WARNING, "wrong: %s", "well after %.0f s", 600)
    for begins, meets, ends in ((1000, 1001, 1002), (1100, 1159, 1159), (1200, 1260, 1261), (1860, 1860, 1861)):
        for at in (begins, meets):
            now[0] = at
            trouble.begin("a reason")
        now[0] = ends
        trouble.end()

    assert lines(caplog) == [
        "wrong: a reason",
        "well after 2 s",
        "wrong: a reason; 1 more in 60 s",
        "well after 61 s",
        "wrong: a reason",
        "well after 1 s",
    ]


# Tokens


def ask(app, user, **claims):
    token = mint_token(claims.pop("secret", AUTH_SECRET), user, now=claims.pop("now", time.time()), **claims)
    return requests.get(f"{app.url}/access", headers={"Authorization": f"Bearer {token}"}, timeout=30)


def test_the_expired_token_of_a_single_user_is_no_warning(app, caplog):
    for _ in range(50):
        assert ask(app, "ann", now=time.time() - 10_000).status_code == 401

    assert lines(caplog) == []
    assert len(of(caplog, "corkage.http", "INFO")) == 5


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"now": -10_000}, "they are expired. The clock of your product is behind, or ours is ahead"),
        ({"now": 100_000}, "their exp is too far ahead"),
        (
            {"secret": "another-secret-of-at-least-thirty-two-bytes"},
            "another secret signed them. Set BILLING_AUTH",
        ),
        ({"audience": "elsewhere"}, "their claims are not as wanted"),
    ],
)
def test_the_tokens_of_a_whole_fleet_are_one_warning_with_the_cause_until_one_is_accepted(app, caplog, claims, words):
    claims = claims | {"now": time.time() + claims.get("now", 0)}
    for number in range(9):
        ask(app, f"user {number}", **claims)
    assert lines(caplog) == []
    for number in range(9, 180):
        ask(app, f"user {number}", **claims)

    (warned,) = lines(caplog)
    assert warned.startswith("all tokens are refused, 10 in a row by now, of several users: ")
    assert words in warned
    assert ask(app, "ann").status_code == 200
    assert ask(app, "ann").status_code == 200
    assert lines(caplog)[1:] == [lines(caplog)[1]]
    assert lines(caplog)[1].startswith("a token is accepted again, after ")


@pytest.mark.parametrize(("users", "warnings"), [(tokens.SEVERAL - 1, 0), (tokens.SEVERAL, 1)])
def test_several_are_three(app, caplog, users, warnings):
    for number in range(tokens.MOST_IN_A_ROW):
        ask(app, f"user {number % users}", now=time.time() - 10_000)

    assert len(lines(caplog)) == warnings


def test_one_accepted_token_in_between_is_no_fleet(app, caplog):
    for number in range(30):
        ask(app, f"user {number}", now=time.time() - 10_000)
        if number % 5 == 4:
            ask(app, "ann")

    assert lines(caplog) == []


def test_expired_tokens_of_the_products_server_count_too(app, caplog):
    for number in range(10):
        token = mint_token(AUTH_SECRET, f"u{number}", now=time.time() - 10_000, audience="corkage-server")
        requests.post(f"{app.url}/use", {"name": "x"}, headers={"Authorization": f"Bearer {token}"}, timeout=30)

    assert "they are expired" in lines(caplog)[0]


# Origins


def test_180_requests_from_an_unknown_page_are_one_warning(app, caplog):
    elsewhere = {"Origin": "https://shop.example.net"}
    for _ in range(90):
        requests.get(f"{app.url}/access", headers=elsewhere, timeout=30)
        requests.post(f"{app.url}/checkout", {"plan": "pro"}, headers=elsewhere, timeout=30)

    (warned,) = lines(caplog)
    assert warned == (
        "/access: the page is on https://shop.example.net, and FRONTEND_URL does not name it: if it is a page of your "
        "product, add it there, after a comma; if not, another site makes requests in your visitors' names, and gets "
        "nothing"
    )


def test_pages_of_ours_and_routes_that_serve_anybody_are_no_warning(app, caplog):
    asked = {"Origin": "https://elsewhere.example.net"}
    for path in ("/health", "/style.css"):
        requests.get(f"{app.url}{path}", headers=asked, timeout=30)
    requests.get(f"{app.url}/pricing", headers=asked | {"Sec-Fetch-Site": "same-origin"}, timeout=30)
    requests.get(f"{app.url}/pricing", headers={"Origin": "https://app.example.com"}, timeout=30)

    assert of(caplog, "corkage.http") == []


def test_an_origin_of_any_length_is_cut(app, caplog):
    requests.get(f"{app.url}/access", headers={"Origin": "https://" + "x" * 5000}, timeout=30)

    assert len(lines(caplog)[0]) < 600


def test_a_closed_billing_leaves_no_thread_behind(config):
    with running(config) as app:
        requests.get(f"{app.url}/nothing", timeout=30)
        thread = app.billing.service.repeats._thread
        assert thread.is_alive()
    thread.join(30)

    assert not thread.is_alive()


def test_requests_that_the_server_itself_refuses_are_counted_too(app, caplog):
    for _ in range(30):
        requests.post(f"{app.url}/portal", b"x" * 20_000, timeout=30)

    assert len(of(caplog, "corkage.http", "INFO")) == 5
    app.billing.service.repeats.sum_up(time.monotonic() + 60)
    assert of(caplog, "corkage.http", "INFO")[5].startswith("25 more in ")
