"""Input of another shape than wanted, from whoever may send it: signed by Stripe, signed in, or the operator's own."""

import itertools
import json
import random
import re
import socket
import time
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_network
from urllib.parse import urlencode

import pytest
from harness import ADMIN_TOKEN, AUTH_SECRET, running
from hypothesis import given
from hypothesis import strategies as st
from mutated import FORM, JSON, Sent, ask, bearer, mutate, signed
from samples import CLAIMS, FORMS, HEADS, every_event, is_let_in_rightly, is_stripes_word, minted_from
from shapes import TEXTS, as_json, playing, reshaped
from spending import PLANS
from torture import SEED, size

from corkage.admin.actions import ACTIONS
from corkage.admin.handlers import QUERY_NAMES, SHOWN
from corkage.admin.session import COOKIE_ON_PLAIN_HTTP, form_token, new_session
from corkage.cli import main
from corkage.errors import ConfigError
from corkage.identity import SERVER_AUDIENCE, mint_token
from corkage.models import AnswerRow, StripeEvent
from corkage.plans import read_plans

pytestmark = [pytest.mark.slow, pytest.mark.torture("input")]

WORK_EACH = size(50, long=500)  # cases
LONGEST_SAID = 2_000  # characters of a line
PART = (
    b'--b\r\nContent-Disposition: form-data; name="%s"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\npro\r\n--b--'
)
MULTIPART = "multipart/form-data"
CHARSETS = ("utf-7", "utf-16", "idna", "base64", "nope", "", "\0", "x" * 300)
KINDS = (
    *(JSON, f"{JSON}; charset=utf-16", FORM, f"{FORM}; charset=x", "", ";", "text/plain", MULTIPART),
    *(f"{MULTIPART}; boundary={more}" for more in ("", "b", "b", "b", "b; boundary=c", "b\xe9")),
    *(f"{MULTIPART}; boundary=b; charset={each}" for each in CHARSETS),
)
SENDERS = (
    {},
    {"HTTP_ACCEPT": b"text/html"},
    {"HTTP_HX_REQUEST": b"true"},
    {"HTTP_ACCEPT": b"text/vnd.turbo-stream.html"},
)
LENGTHS = (None,) * 8 + ("", "0", "-1", "abc", "1e3", "+5", "5_0", "\xb2", "9" * 30, "9" * 5000)
TYPED = ("ann", "pro", "sub_1", "1", "36500", "36501", "99999", *TEXTS)


@pytest.fixture
def settings(config):
    changes = {"plans": PLANS, "admin_token": ADMIN_TOKEN, "billing_url": "http://127.0.0.1", "payer_prefix": "org_"}
    return replace(config, frontend_urls=("http://127.0.0.1",), **changes)


@pytest.fixture
def app(settings, shop, caplog):
    """A Corkage where ann has a subscription. Whatever the test sends, no line of the log has a traceback."""
    with running(settings) as served:
        shop.subscribe(shop.customer())
        served.deliver(shop.event("customer.subscription.created"))
        served.work()
        caplog.clear()
        yield served
        assert [each.getMessage() for each in caplog.records if each.exc_info] == []


class Statuses:
    """Sends requests, and counts how they are answered."""

    def __init__(self, app):
        self.app, self.counts = app, {}

    def of(self, sent):
        """Return the answer, which is no fault of ours."""
        answer = ask(self.app.billing.wsgi, sent)
        assert answer.status < 500, (sent, answer)
        assert b"Traceback" not in answer.body
        self.counts[answer.status] = self.counts.get(answer.status, 0) + 1
        return answer

    def note(self, figures, **more):
        assert self.app.ask().status_code == 200
        counted = {f"of_{status}": count for status, count in sorted(self.counts.items())}
        figures.note(cases=sum(self.counts.values()), **more, **counted)


def test_a_signed_event_of_any_shape_is_refused_or_applied_and_changes_nothing_by_itself(app, shop, simulator, figures):
    sent, numbers = Statuses(app), itertools.count()
    columns = [
        field for field in AnswerRow._meta.sorted_fields if field.name != "stale_at"
    ]  # by Stripe's clock, to 1 s
    answers = AnswerRow.select(*columns).where(AnswerRow.user_id == "ann").dicts()
    before = list(answers)
    events = every_event(shop, simulator)
    ids = [each["id"] for each in events]

    @playing(size(250, long=8_000))
    @given(reshaped(events), st.data())
    def play(value, data):
        number = next(numbers)
        if value.get("id") in ids:  # or all but the first would be repetitions of it
            value["id"] = f"evt_{number}"
        answer = sent.of(signed(as_json(data.draw, value).encode()))
        assert answer.status in (200, 400)
        if number % WORK_EACH == WORK_EACH - 1:
            app.work()

    play()
    app.work()

    assert all(is_stripes_word(each.error) for each in StripeEvent.select().where(StripeEvent.applied_at.is_null()))
    assert list(answers.clone()) == before
    sent.note(figures, events_stored=StripeEvent.select().count())


@pytest.mark.one_engine("sqlite", "the engine has no part in it")
def test_a_token_of_any_shape_is_refused_or_lets_in_whom_it_names(app, figures):
    sent, now, let_in = Statuses(app), int(time.time()), []
    claims = CLAIMS | {"exp": now + 40_000, "nbf": now, "iat": now}
    kinds = (claims, {name: claims[name] for name in ("sub", "aud", "exp")}, claims | {"aud": SERVER_AUDIENCE})
    asked = ("GET /access", "GET /access", "GET /usage", "GET /account", "GET /pricing", "GET /return", "POST /use")

    @playing(size(300, long=15_000))
    @given(reshaped(HEADS, 1), reshaped(kinds), st.sampled_from(asked), st.booleans(), st.data())
    def play(head, claims, asked, by_cookie, data):
        head, claims = (as_json(data.draw, each) for each in (head, claims))
        minted = minted_from(head.encode(), claims.encode())
        headers = {"HTTP_COOKIE": b"corkage=" + minted} if by_cookie else bearer(minted)
        if asked == "POST /use":
            del headers["HTTP_SEC_FETCH_SITE" if not by_cookie else "HTTP_COOKIE"]
        method, path = asked.split()
        body = b"name=exports" if method == "POST" else b""
        answer = sent.of(Sent(method, path, b"", headers | {"CONTENT_TYPE": FORM.encode()}, body))
        if path == "/access" and answer.status == 200:
            let_in.append(answer)
            is_let_in_rightly(json.loads(answer.body), json.loads(head), json.loads(claims), now)

    play()
    assert let_in
    sent.note(figures, let_in=len(let_in))


def test_a_form_of_any_shape_encoding_and_length_is_taken_or_refused(app, figures):
    sent, now = Statuses(app), time.time()
    user, server = (
        mint_token(AUTH_SECRET, "bob", now=now, lifetime_seconds=80_000, audience=each).encode()
        for each in ("corkage", SERVER_AUDIENCE)
    )

    @playing(size(120, long=8_000))
    @given(
        st.sampled_from(["/checkout", "/portal", "/use"]),
        *map(st.sampled_from, (KINDS, SENDERS, LENGTHS)),
        st.randoms(use_true_random=False),
        st.data(),
    )
    def play(path, kind, sender, length, chance, data):
        value = data.draw(reshaped([FORMS[path]]))
        if kind.startswith(JSON):
            body = as_json(data.draw, value).encode()
        elif kind.startswith(MULTIPART):
            body = mutate(chance, PART % chance.choice([*map(str.encode, FORMS[path])]))
        else:
            body = urlencode([(name, str(each)) for name, each in value.items()], errors="replace").encode()
        headers = bearer(server if path == "/use" else user) | sender | {"CONTENT_TYPE": kind.encode("latin-1")}
        if path == "/use":
            del headers["HTTP_SEC_FETCH_SITE"]
        if length is not None:
            headers["CONTENT_LENGTH"] = length.encode("latin-1")
        sent.of(Sent("POST", path, b"", headers, body))

    play()
    sent.note(figures)


def test_whatever_the_operator_types_is_answered(app, figures):
    sent, config = Statuses(app), app.billing.service.config
    session = new_session(config, time.time())
    headers = {"HTTP_COOKIE": f"{COOKIE_ON_PLAIN_HTTP}={session}".encode(), "HTTP_SEC_FETCH_SITE": b"same-origin"}
    headers |= {"CONTENT_TYPE": FORM.encode()}
    names = st.sampled_from(sorted({*QUERY_NAMES, "lang"} - {"do", "show"}))

    @playing(size(50, long=1_000))
    @given(
        st.sampled_from([*ACTIONS, "examine", "", "x"]),
        st.sampled_from([*SHOWN, "", "x"]),
        st.dictionaries(names, st.sampled_from(TYPED) | st.text(max_size=20)),
        st.booleans(),
    )
    def play(act, show, fields, posts):
        whole = dict.fromkeys(ACTIONS[act].fields, "1") | {"user": "ann"} if act in ACTIONS and posts else {}
        fields = whole | fields | ({"do": act} if act else {"show": show})
        if posts:
            fields["form_token"] = form_token(config, session)
        text = urlencode(fields, errors="replace").encode()
        sent.of(Sent("POST", "/admin", b"", headers, text) if posts else Sent("GET", "/admin", text, headers, b""))

    play()
    sent.note(figures)


@pytest.mark.one_engine("sqlite", "the engine has no part in it")
def test_what_a_proxy_says_of_a_user_is_refused_or_is_that_user(settings, figures):
    header = {"trusted_user_header": "Remote-User", "trusted_email_header": "Remote-Email"}
    cases, let_in = size(100, long=8_000), []
    behind = replace(settings, auth_secrets=(), trusted_proxies=(ip_network("10.0.0.0/8"),), **header)
    peers = st.sampled_from(["10.0.0.1", "10.0.0.1", "::ffff:10.0.0.1", "11.0.0.1", "", "unix:", "10.0.0.1, 11.0.0.1"])
    texts = st.sampled_from(["ann", *TEXTS]) | st.text(max_size=20)
    values = texts.map(lambda each: each.encode("utf-8", "replace").decode())
    with running(behind) as served:

        @playing(cases)
        @given(values, values, peers)
        def play(user, email, peer):
            headers = {"HTTP_REMOTE_USER": user, "HTTP_REMOTE_EMAIL": email, "REMOTE_ADDR": peer}
            headers = {name: each.encode() for name, each in headers.items()}
            answer = ask(served.billing.wsgi, Sent("GET", "/access", b"", headers, b""))
            assert answer.status in (200, 401, 403)
            if answer.status == 200:
                let_in.append(user)
                assert peer in ("10.0.0.1", "::ffff:10.0.0.1")
                assert json.loads(answer.body)["user_id"] in (user.strip(" \t"), held_by_a_header(user))

        play()
    assert let_in
    figures.note(cases=cases, let_in=len(let_in))


def held_by_a_header(text):
    """Return what is left of a text that a server hands on."""
    return "".join(each for each in text if each >= " " and each != "\x7f").strip(" \t")


PLANS_FILE = """[pro]
name = "Pro"
prices = ["pro_monthly", { lookup_key = "yearly", unit_amount = 9000, currency = "usd", interval = "year" }]
limits = { notes = 50, exports = { limit = 100, every = "month" } }
[more]
adds_to = ["pro"]
prices = [{ lookup_key = "more", unit_amount = 100, currency = "usd", interval = "month" }]
"""
TABLES = {
    "own": {"free": True, "features": ["notes"], "limits": {"notes": 50}},
    "pro": {
        "name": "Pro",
        "prices": ["pro_monthly", {"lookup_key": "a", "unit_amount": 9, "currency": "usd", "interval": "month"}],
        "limits": {"notes": 5000, "exports": {"limit": 100, "every": "month"}, "calls": {"meter": "api_calls"}},
        "seats": {"minimum": 1, "maximum": 50},
        "trial_days": 14,
        "retired": ["price_1"],
        "refunded": "keep",
    },
    "more": {"adds_to": ["pro"], "prices": ["more_monthly"], "limits": {"notes": 100}},
    "pack": {"prices": [{"lookup_key": "pack", "unit_amount": 5, "currency": "usd"}], "adds": {"exports": 100}},
}
FILES = {
    "import --yes map.csv": ("map.csv", "user_id,customer_id\nann,cus_1\nbob,cus_2\n"),
    "import --dry-run map.csv": ("map.csv", "user_id;customer_id\nann;cus_1\n"),
    "import --yes --granted map.csv": ("map.csv", "user_id,plan,until\nann,pro,2099-01-01\nbob,pro,\n"),
    "import --propose map.csv": ("map.csv", "user_id,email\nann,ann@example.com\n"),
    "push --dry-run": ("plans.toml", PLANS_FILE),
    "user show ann": (".env", "BILLING_POLL_SECONDS=300\nBILLING_SALES=on\nBILLING_APP_NAME='Shop'\n"),
}


@pytest.mark.one_engine("sqlite", "reads files")
@pytest.mark.parametrize("command", FILES)
def test_a_command_reads_any_file_or_says_in_words_why_not(command, environ, tmp_path, monkeypatch, capfd, figures):
    name, text = FILES[command]
    monkeypatch.chdir(tmp_path)
    for setting, value in environ.items():
        monkeypatch.setenv(setting, value)
    statuses, chance, cases = {}, random.Random(SEED), size(6, long=60)
    for _ in range(cases):
        (tmp_path / name).write_bytes(mutate(chance, text.encode()))
        status = main(command.split())
        said, problems = capfd.readouterr()
        assert status in (0, 1, 2)
        assert status == 0 or problems.strip() or command == "push --dry-run"  # it ends with 2 where Stripe differs
        assert "Traceback" not in said + problems
        assert max(map(len, problems.splitlines()), default=0) < LONGEST_SAID
        statuses[status] = statuses.get(status, 0) + 1
    figures.note(cases=cases, **{f"ended_with_{status}": count for status, count in sorted(statuses.items())})


REQUEST = (
    b"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\n"
    b"Stripe-Signature: t=1,v1=0\r\nCookie: corkage=a; corkage-admin=1.0.0\r\nSec-Fetch-Site: same-origin\r\n"
    b"Content-Length: 8\r\n\r\nplan=pro"
)


@pytest.mark.one_engine("sqlite", "the engine has no part in it")
def test_bytes_that_are_nearly_a_request_never_end_the_server_or_blame_it(app, figures):
    cases, chance, statuses = size(200, long=8_000), random.Random(SEED), {}
    user = mint_token(AUTH_SECRET, "bob", now=time.time(), lifetime_seconds=80_000).encode()
    for _ in range(cases):
        path = chance.choice((b"/checkout", b"/webhook", b"/admin", b"/portal", b"/use", b"/access", b"/nowhere"))
        status = answered(app.url, mutate(chance, REQUEST % (path, user, chance.choice((FORM, JSON)).encode())))
        assert status < 500
        statuses[status] = statuses.get(status, 0) + 1
    assert app.ask().status_code == 200
    figures.note(cases=cases, **{f"of_{status}": count for status, count in sorted(statuses.items())})


def answered(url, data):
    """Send bytes and end; return the worst status that comes, 0 for none."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 30) as connection, suppress(ConnectionError, BrokenPipeError):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
        return max(map(int, re.findall(rb"^HTTP/1\.[01] ([0-9]{3}) ", received, re.MULTILINE)), default=0)
    return 0


def as_toml(value):
    """Return a value as TOML writes it in a line, without what it has no word for."""
    if isinstance(value, dict):
        pairs = (f"{json.dumps(name)} = {as_toml(each)}" for name, each in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(as_toml, value))}]"
    return '""' if value is None else json.dumps(value).replace("Infinity", "inf").replace("NaN", "nan")


@pytest.mark.one_engine("sqlite", "reads files alone")
def test_a_plans_toml_of_any_shape_is_read_or_refused_in_words(tmp_path, figures):
    path, cases, read = tmp_path / "plans.toml", size(300, long=10_000), []

    @playing(cases)
    @given(reshaped([TABLES]))
    def play(tables):
        path.write_text("\n".join(f"{json.dumps(name)} = {as_toml(each)}" for name, each in tables.items()))
        with suppress(ConfigError):
            read.append(read_plans(path))

    play()
    assert read
    figures.note(cases=cases, read=len(read))
