"""Texts and numbers from outside that no database holds: NUL, half of a surrogate pair, more than 64 bits.

They are refused where they come in. What Stripe says is cleaned: a payment must not be lost for an odd name.
"""

import json
import math
import re
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from urllib.parse import quote

import jwt
import pytest
import requests
import responses
from buying import bearer, click, token
from harness import ADMIN_TOKEN, AUTH_SECRET, is_error, running, until
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from corkage import Identity
from corkage.errors import StripeError, UnknownFlow, UnknownPlan, UnknownSubscription
from corkage.gateway.gateway import Gateway
from corkage.identity import mint_token
from corkage.models import TABLES, Customer, Grant, NoticeDelivery, StripeEvent, User
from corkage.texts import is_text, storable

pytestmark = pytest.mark.slow

GENTLE = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ODD = ("\0", "a\0b", "\ud800", "a\udfffb")
BASE = "https://stripe.test"


def is_odd(value):
    """Return whether PostgreSQL refuses a value in any column, or SQLite does."""
    if isinstance(value, str):
        return not is_text(value)
    if isinstance(value, float):
        return not math.isfinite(value)
    return isinstance(value, int) and not -(2**63) <= value < 2**63


@pytest.fixture(autouse=True)
def reached_the_database(monkeypatch):
    """Fail every test in which a statement is given such a value, which SQLite itself often takes."""
    connect, found = sqlite3.connect, []

    class Watching(sqlite3.Cursor):
        def execute(self, sql, values=()):
            found.extend(each for each in (values.values() if isinstance(values, dict) else values) if is_odd(each))
            return super().execute(sql, values)

        def executemany(self, sql, rows):
            found.extend(each for row in rows for each in row if is_odd(each))
            return super().executemany(sql, rows)

    def watched(*args, factory=sqlite3.Connection, **options):
        class Connection(factory):
            def cursor(self):
                return super().cursor(Watching)

        return connect(*args, factory=Connection, **options)

    monkeypatch.setattr(sqlite3, "connect", watched)
    yield found
    assert ascii(found) == "[]"


@pytest.fixture
def app(config, shop):
    selling = {"promotion_codes": True, "billing_url": "https://billing.example.com", "admin_token": ADMIN_TOKEN}
    with running(replace(config, **selling)) as served:
        yield served


class Operator:
    """Somebody who is signed in to the operator's page."""

    def __init__(self, app):
        self.url, self.headers = f"{app.url}/admin", {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
        session = self.post({"do": "sign_in", "token": ADMIN_TOKEN}).headers["Set-Cookie"].split(";")[0]
        self.headers["Cookie"] = session
        self.form_token = re.search('name="form_token" value="([^"]*)"', self.get("").text)[1]

    def get(self, query):
        return requests.get(self.url + query, headers=self.headers, timeout=30)

    def post(self, form):
        return requests.post(self.url, form, headers=self.headers, allow_redirects=False, timeout=30)

    def act(self, **form):
        return self.post({"form_token": self.form_token} | form)


@pytest.fixture
def operator(app):
    return Operator(app)


def rows():
    return [table.select().count() for table in TABLES]


def test_what_is_storable():
    assert [is_text(each) for each in ("", "ann", "\n", "\U0001f600", "\ud7ff\ue000", *ODD)] == [True] * 5 + [False] * 4
    assert [is_text(each) for each in (None, 7, b"ann", ["ann"])] == [False] * 4
    assert [storable(each) for each in ODD] == ["\ufffd", "a\ufffdb", "\ufffd", "a\ufffdb"]
    assert storable("\U0001f600 \n") == "\U0001f600 \n"


# Queries


PAGES = ("/pricing", "/account", "/cancel", "/return", "/refused", "/style.css", "/access", "/health", "/admin")
NAMES = ("session_id", "again", "to", "lang", "plan", "interval", "code", "q", "after", "user", "user_id", "event", "v")


@pytest.mark.parametrize("path", PAGES)
def test_a_query_with_nul_is_refused_on_every_route(app, operator, path):
    for query in ("session_id=%00", "a=1&user=b%00c", "q=1&%00=x", "lang=%00", "%00"):
        asked = {"Cookie": operator.headers["Cookie"]} | bearer(token())
        answer = requests.get(f"{app.url}{path}?{query}", headers=asked, allow_redirects=False, timeout=30)
        assert is_error(answer, 400, "bad_request")
        page = requests.get(f"{app.url}{path}?{query}", headers=asked | {"Accept": "text/html"}, timeout=30)
        assert page.status_code == 400
        assert "This request cannot be understood." in page.text


@GENTLE
@example("/return", {"session_id": b"\xed\xa0\x80"})
@example("/admin", {"user": b"\xff"})
@example("/admin", {"user": b"x" * 201})
@example("/admin", {"after": b"\xed\xa0\x80", "q": b"\xc0\x80"})
@example("/admin", {"q": b"9" * 30})
@given(st.sampled_from(PAGES), st.dictionaries(st.sampled_from(NAMES), st.binary(max_size=12), max_size=3))
def test_no_query_is_a_bug(app, operator, path, query):
    asked = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    headers = {"Cookie": operator.headers["Cookie"]} | bearer(token())

    answer = requests.get(f"{app.url}{path}?{asked}", headers=headers, allow_redirects=False, timeout=30)

    assert answer.status_code in ((200, 303, 304, 404) if b"\0" not in b"".join(query.values()) else (400,))


# Bodies

FIELDS = ("plan", "quantity", "code", "from", "flow", "subscription", "lang", "x")


@pytest.mark.parametrize("path", ["/checkout", "/portal"])
@pytest.mark.parametrize("odd", ODD, ids=ascii)
def test_a_body_that_no_database_holds_is_refused_in_any_encoding(app, shop, path, odd):
    before = rows(), len(shop.simulator.requests)
    for name in ("plan", "code", "flow", "subscription", "x"):
        fields = {"plan": "pro", name: odd}
        for sent in (fields, {"plan": "pro", odd: "x"}):
            as_json = click(app, path, body=json.dumps(sent), **{"Content-Type": "application/json"})
            assert is_error(as_json, 400, "invalid_body")
        if "\0" in odd:
            assert is_error(click(app, path, body=fields), 400, "invalid_body")
        part = odd.encode("utf-16-le", "surrogatepass")
        head = f'--b\r\nContent-Disposition: form-data; name="{name}"\r\nContent-Type: text/plain; charset='
        for charset, raw in (("utf-16-le", part), ("utf-7", odd.encode("utf-7", "surrogatepass"))):
            body = f"{head}{charset}\r\n\r\n".encode() + raw + b"\r\n--b--\r\n"
            kind = {"Content-Type": "multipart/form-data; boundary=b"}
            assert is_error(click(app, path, body=body, **kind), 400, "invalid_body")
    assert (rows(), len(shop.simulator.requests)) == before


odd_texts = st.text(st.characters() | st.sampled_from("\0\ud800\udfff"), max_size=9)
odd_values = odd_texts | st.sampled_from([2**63, -(2**63) - 1, 10**400, 10**4000, math.nan, math.inf, 1e308, 0, -1])


@GENTLE
@example("/checkout", {"plan": "pro", "quantity": 2**63})
@example("/checkout", {"plan": "pro", "quantity": math.nan})
@example("/admin", {"do": "revoke", "user": "ann", "plan": "\0"})
@example("/admin", {"do": "revoke", "user": "ann", "plan": "pro"})
@example("/admin", {"do": "grant", "user": "ann", "plan": "pro", "days": "9" * 4000})
@given(
    st.sampled_from(["/checkout", "/portal", "/admin"]),
    st.dictionaries(st.sampled_from([*FIELDS, "user", "do", "days", "why", "event"]), odd_values, max_size=4),
)
def test_no_json_body_is_a_bug(app, operator, path, fields):
    headers = operator.headers | {"Content-Type": "application/json", "Accept": "*/*"}
    body = json.dumps(fields | {"form_token": operator.form_token})

    assert click(app, path, body=body, **headers).status_code in (200, 400, 404, 409)


def test_the_operators_actions_refuse_what_no_database_holds(operator):
    before = rows()
    for do in ("sync", "grant", "revoke", "link"):
        target = {"plan": "pro", "customer": "cus_1"}
        for user in ("x" * 201, "a\nb", "a\x7fb"):
            done = operator.act(do=do, user=user, **target)
            assert "That is not a valid user id." in done.text
        assert operator.act(do=do, user="a\0b", **target).status_code == 400
    assert operator.get(f"?user={'x' * 201}").status_code == 404
    assert operator.get("?user=nobody").status_code == 404
    assert rows() == before


# Who asks


@pytest.mark.parametrize("odd", ODD, ids=ascii)
@pytest.mark.parametrize("claim", ["sub", "email", "name", "payer"])
def test_a_token_with_such_a_text_opens_nothing(app, claim, odd):
    claims = {"sub": "ann", "aud": "corkage", "exp": int(time.time()) + 600, claim: odd}
    signed = jwt.api_jws.encode(json.dumps(claims).encode(), AUTH_SECRET, "HS256")

    answer = requests.get(f"{app.url}/access", headers=bearer(signed), timeout=30)

    assert is_error(answer, 401, "invalid_token")


@pytest.mark.parametrize("odd", [*ODD, 7, b"ann", ["ann"]], ids=ascii)
def test_an_identity_has_no_such_texts(odd):
    for field in ("user_id", "payer", "email", "name"):
        with pytest.raises(ValueError, match="text"):
            Identity(**{"user_id": "ann", field: odd})
    if isinstance(odd, str):
        with pytest.raises(ValueError, match="text"):
            mint_token(AUTH_SECRET, "ann", email=odd, now=time.time())


# The host's calls

CALLS = {
    "access": lambda billing, user: billing.access(user),
    "admit": lambda billing, user: billing.admit(user),
    "portal_url": lambda billing, user: billing.portal_url(user),
    "sync": lambda billing, user: billing.sync(user),
    "update_user": lambda billing, user: billing.update_user(user, name="Ann"),
    "grant": lambda billing, user: billing.grant(user, "pro"),
    "revoke": lambda billing, user: billing.revoke(user, "pro"),
    "forget": lambda billing, user: billing.forget(user),
}


@pytest.mark.parametrize("call", CALLS)
def test_no_call_takes_what_is_no_user_id(app, shop, call):
    before = rows(), len(shop.simulator.requests)

    for user in (*ODD, "x" * 201, "a\nb", 7, 2**64):
        with pytest.raises(ValueError, match="user id"):
            CALLS[call](app.billing, user)
    assert (rows(), len(shop.simulator.requests)) == before


@pytest.mark.parametrize("odd", ODD, ids=ascii)
def test_no_call_takes_another_text_that_no_database_holds(app, shop, odd):
    billing, ann = app.billing, Identity("ann")
    app.billing.grant("ann", "pro")
    before = rows(), len(shop.simulator.requests)

    for named in ("code", "locale", "return_url", "billing_url"):
        with pytest.raises(ValueError, match=named):
            billing.checkout_url(ann, "pro", **{named: odd})
    with pytest.raises(ValueError, match="return_url"):
        billing.portal_url("ann", return_url=odd)
    for call in (billing.checkout_url, lambda who, plan: billing.grant(who.user_id, plan)):
        with pytest.raises(UnknownPlan):
            call(ann, odd)
    with pytest.raises(UnknownPlan):
        billing.revoke("ann", odd)
    with pytest.raises(UnknownFlow):
        billing.portal_url("ann", odd)
    with pytest.raises(UnknownSubscription):
        billing.portal_url("ann", subscription=odd)
    for named in ("email", "name"):
        with pytest.raises(ValueError, match="text"):
            billing.update_user("ann", **{named: odd})
    for named in ("reason", "given_by"):
        with pytest.raises(ValueError, match="texts"):
            billing.grant("ann", "pro", **{named: odd})
    assert (rows(), len(shop.simulator.requests)) == before


@pytest.mark.parametrize("plan", [None, 7, ["pro"]])
def test_only_a_name_revokes(app, plan):
    app.billing.grant("ann", "pro")

    with pytest.raises(UnknownPlan):
        app.billing.revoke("ann", plan)
    assert Grant.get().ends_at is None


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**400, math.nan, math.inf, 1.5])
def test_no_call_takes_a_number_that_no_database_holds(app, number):
    with pytest.raises(ValueError, match="until"):
        app.billing.grant("ann", "pro", until=number)
    with pytest.raises(ValueError, match="quantity"):
        app.billing.grant("ann", "pro", quantity=number)
    assert Grant.select().count() == 0


# Webhooks


@pytest.mark.parametrize("field", ["id", "type", "created", "account", "customer", "object_id", "context", "related"])
def test_a_signed_event_with_such_a_value_stores_nothing_odd(app, field):
    for odd in (*ODD, 2**63, -(2**70), math.nan, math.inf, 1e400, "x" * 300):
        assert app.deliver(json.dumps(event_with(field, odd)).encode()).status_code in (200, 400)
    assert all(each.customer_id == "cus_1" for each in StripeEvent.select())


def event_with(field, odd):
    if field in ("context", "related"):
        related = {"type": "customer", "id": odd if field == "related" else "cus_1"}
        event = {"object": "v2.core.event", "id": "evt_1", "type": "v1.customer.updated", "related_object": related}
        return event | {"created": "2026-11-01T12:00:00Z", "context": odd if field == "context" else None}
    subject = {"object": "subscription", "id": "sub_1", "customer": "cus_1"}
    event = {"object": "event", "id": "evt_1", "type": "customer.subscription.updated", "created": 1, "livemode": False}
    if field in ("customer", "object_id"):
        return event | {"data": {"object": subject | {"id" if field == "object_id" else field: odd}}}
    return event | {"data": {"object": subject}, field: odd}


# Stripe's answers


def test_a_payment_counts_whatever_the_customers_name_is(app, shop):
    customer = shop.customer(email="ann\0@example.com", name="A\0nn")
    shop.subscribe(customer)
    app.deliver(shop.event("customer.subscription.created"))
    app.work()

    assert app.billing.access("ann").allowed
    user = User.get()
    assert (user.email, user.name) == ("ann\ufffd@example.com", "A\ufffdnn")


@pytest.mark.parametrize(("user", "fits"), [("x" * 200, True), ("x" * 201, False), ("a\nb", False), ("a\ufffd", True)])
def test_a_customer_marked_for_what_is_no_user_id_belongs_to_nobody(app, shop, user, fits):
    customer = shop.customer(user)
    shop.subscribe(customer)
    app.deliver(shop.event("customer.subscription.created"))
    app.work()

    assert Customer.get().user_id == (user if fits else None)
    assert [each.outcome for each in StripeEvent.select()] == ["converged" if fits else "unowned"]


SAID = [
    (rb"Ann", "Ann"),
    (rb"\u0000", "\ufffd"),
    (rb"\\u0000", "\\u0000"),
    (rb"\\\u0000", "\\\ufffd"),
    (rb"\ud83d\ude00", "\U0001f600"),
    (rb"\uD83D\uDE00\ud83d", "\U0001f600\ufffd"),
    (rb"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
    (rb"\ude00\ud83d", "\ufffd\ufffd"),
    (rb"\ud83dx\\ude00\"", '\ufffdx\\ude00"'),
]


@pytest.mark.parametrize(("written", "read"), SAID)
def test_what_stripe_says_is_cleaned(written, read):
    body = b'{"object": "customer", "id": "cus_1", "email": null, "name": "%b", "metadata": {"corkage_user": "%b"}}'
    with responses.RequestsMock() as stripe_says:
        stripe_says.get(f"{BASE}/v1/customers/cus_1", body=body % (written, written))
        found = Gateway("sk_test_1", BASE).customer("cus_1")

    assert (found.name, found.user_id) == (read, read)


@GENTLE
@given(odd_texts)
def test_any_text_of_stripes_can_be_stored_and_others_stay_as_they_are(text):
    said = {"object": "customer", "id": "cus_1", "email": None, "name": text, "metadata": {}}
    with responses.RequestsMock() as stripe_says:
        stripe_says.get(f"{BASE}/v1/customers/cus_1", body=json.dumps(said))
        found = Gateway("sk_test_1", BASE).customer("cus_1").name

    assert is_text(found)
    assert found == storable(json.loads(json.dumps(text)))


def test_stripes_error_is_stored_without_what_cannot_be(app, shop, monkeypatch):
    shop.subscribe(shop.customer())
    app.deliver(shop.event("customer.subscription.created"))
    refused = {"error": {"type": "invalid_request_error", "message": "No\0 such \ud800thing"}}
    with responses.RequestsMock(assert_all_requests_are_fired=False) as stripe_says:
        stripe_says.get(f"{shop.simulator.url}/v1/subscriptions", status=400, json=refused)
        app.work()

    assert "No\ufffd such \ufffdthing" in StripeEvent.get().error


@pytest.mark.parametrize("number", ["1e400", "NaN", "Infinity", str(2**63), str(-(2**70)), "1.5", str(2**53)])
def test_a_number_of_stripes_that_no_database_holds_is_no_answer(app, shop, number):
    customer = shop.customer()
    shop.subscribe(customer)
    app.deliver(shop.event("customer.subscription.created"))
    (subscription,) = shop.client.v1.subscriptions.list(params={"expand": ["data.latest_invoice"]}).data
    body = json.dumps({"object": "list", "has_more": False, "data": [json.loads(str(subscription))]})
    created = f'"created": {subscription.created}'
    with responses.RequestsMock(assert_all_requests_are_fired=False) as stripe_says:
        stripe_says.get(f"{shop.simulator.url}/v1/subscriptions", body=body.replace(created, f'"created": {number}'))
        stripe_says.add_passthru(f"{shop.simulator.url}/v1/c")
        with pytest.raises(StripeError, match="expected shape"):
            Gateway("sk_test_1", shop.simulator.url).subscriptions_of(customer)
        app.work()

    assert StripeEvent.get().error.startswith("stripe_error: ")


def test_the_text_of_a_callbacks_error_is_stored_without_what_cannot_be(app):
    def fails(_notice):
        raise RuntimeError("a\0b")

    app.billing.on("*", fails)
    app.billing.service.receivers._callbacks.ready_at = 0
    app.billing.grant("ann", "pro")
    app.billing.service.receivers.deliver_due()

    until(lambda: NoticeDelivery.get().error == "RuntimeError: a\ufffdb")  # stored by the thread that called it


# The command line

COMMANDS = (
    ("user", "show", "{odd}"),
    ("user", "forget", "{odd}"),
    ("user", "grant", "{odd}", "pro"),
    ("user", "grant", "ann", "{odd}"),
    ("user", "grant", "ann", "pro", "--reason", "{odd}"),
    ("user", "revoke", "{odd}", "pro"),
    ("user", "revoke", "ann", "{odd}"),
    ("user", "link", "{odd}", "cus_1"),
    ("user", "link", "ann", "{odd}"),
    ("events", "replay", "{odd}"),
    ("notices", "resend", "{odd}"),
    ("token", "ann", "--email", "{odd}"),
    ("events", "--limit", str(10**30)),
    ("events", "--limit", "-1"),
    ("notices", "--limit", str(10**30)),
)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_argument_is_a_bug(environ, tmp_path, words):
    arguments = [b"\xff" if word == "{odd}" else word.encode() for word in words]
    command = [sys.executable.encode(), b"-m", b"corkage.cli", *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, timeout=60)

    assert done.returncode in (1, 2), done.stdout
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["BILLING_APP", "BILLING_AUTH_SECRET", "FRONTEND_URL", "BILLING_NAME"])
def test_no_setting_is_a_bug(environ, tmp_path, name):
    changed = {key.encode(): value.encode() for key, value in environ.items()} | {name.encode(): b"x" * 40 + b"\xff"}
    command = [sys.executable, "-m", "corkage.cli", "doctor"]
    done = subprocess.run(command, cwd=tmp_path, env=changed, capture_output=True, timeout=60)

    assert done.returncode == 2
    assert name.encode() in done.stderr
    assert b"Traceback" not in done.stderr
