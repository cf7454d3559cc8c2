"""Forms, whoever sends them: a browser, a script of the product's page, in any encoding, from any name of the host."""

import logging
from contextlib import closing
from dataclasses import replace
from string import ascii_letters, digits
from urllib.parse import urljoin

import bottle
import pytest
import requests
from buying import bearer, click, token, url_of
from harness import AUTH_SECRET, is_error, running, serving
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from corkage import Billing
from corkage.models import CheckoutAttempt

GENTLE = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
HTML = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"
TURBO = {"Accept": "text/vnd.turbo-stream.html, text/html, application/xhtml+xml"}
HTMX = {"Accept": "*/*", "HX-Request": "true"}
FETCH = {"Accept": HTML, "Sec-Fetch-Dest": "empty", "Sec-Fetch-Mode": "cors"}
BROWSERS = {
    "a page": {"Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate"},
    "a service worker passes it on": {"Sec-Fetch-Dest": "empty", "Sec-Fetch-Mode": "navigate"},
    "an old browser": {},
}
BILLING = "https://billing.example.com"


@pytest.fixture
def app(config, shop):
    with running(replace(config, billing_url=BILLING)) as served:
        yield served


def stripe_url(answer):
    assert answer.status_code == 303
    return answer.headers["Location"]


@pytest.mark.parametrize("sent", BROWSERS.values(), ids=BROWSERS)
def test_a_browsers_own_form_is_redirected(app, sent):
    assert stripe_url(click(app, Accept=HTML, **sent)) == url_of(click(app))


@pytest.mark.parametrize("sent", [FETCH, {"Accept": HTML, "Sec-Fetch-Dest": "empty"}], ids=str)
def test_a_form_sent_by_fetch_gets_json_whatever_it_accepts(app, sent):
    assert url_of(click(app, **sent)) == url_of(click(app))
    assert is_error(click(app, "/portal", user="bob", **sent), 409, "no_billing_account")


def test_htmx_gets_the_address_in_its_own_header(app):
    answer = click(app, **HTMX)

    assert answer.headers["HX-Redirect"] == url_of(answer) == url_of(click(app))


def test_turbo_gets_a_stream_that_leads_on_without_a_script(app):
    answer = click(app, **TURBO)

    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/vnd.turbo-stream.html; charset=utf-8")
    assert answer.headers["Cache-Control"] == "no-store"
    assert url_of(click(app)).replace("&", "&amp;") in answer.text
    assert "<script" not in answer.text


def led_to(answer):
    """Return where Turbo or htmx go, as a browser resolves it."""
    assert "Location" not in answer.headers or answer.status_code == 303
    return urljoin(answer.request.url, answer.headers.get("Location") or answer.headers["HX-Redirect"])


def test_a_refusal_is_led_to_its_page_where_a_script_would_show_nothing(app):
    by_turbo, by_htmx = (click(app, "/portal?lang=de", user="bob", **sent) for sent in (TURBO, HTMX))

    assert led_to(by_turbo) == f"{app.url}/refused?code=no_billing_account&lang=de"  # fetch follows to its own origin
    assert is_error(by_htmx, 409, "no_billing_account")
    assert by_htmx.headers["HX-Redirect"] == f"{BILLING}/refused?code=no_billing_account&lang=de"
    page = requests.get(led_to(by_turbo), timeout=30)
    assert page.status_code == 200
    assert "noch nichts abonniert" in page.text
    assert 'name="turbo-visit-control" content="reload"' in page.text


@pytest.mark.parametrize("path", ["/portal", "//evil.example/portal"])
@pytest.mark.parametrize("sent", [TURBO, HTMX], ids=["turbo", "htmx"])
def test_without_billing_url_the_page_of_a_refusal_is_on_the_host_of_the_click(config, path, sent):
    with running(config) as app:
        assert led_to(click(app, path, user="bob", **sent)).lstrip("/").startswith(f"{app.url}/")


@pytest.mark.parametrize("sent", [TURBO, HTMX, FETCH], ids=["turbo", "htmx", "fetch"])
def test_a_route_of_the_hosts_answers_a_refusal_itself(config, sent):
    host = bottle.Bottle()
    with serving(host) as url, closing(Billing(replace(config, billing_url=f"{url}/billing"))) as billing:
        host.install(billing)
        host.route("/export", "POST", billing.requires("pro")(lambda: ""))
        answer = requests.post(f"{url}/export", headers=bearer(token()) | sent, allow_redirects=False, timeout=30)

    assert answer.status_code == 402
    assert ("<title>This needs a plan" in answer.text) == (sent is TURBO)
    assert "HX-Redirect" not in answer.headers


@pytest.mark.parametrize("code", ["", "nonsense", "<script>", "config_error", "x" * 900])
def test_the_page_of_an_unknown_refusal_says_nothing_of_what_was_asked(app, code):
    page = requests.get(f"{app.url}/refused", {"code": code}, timeout=30)

    assert page.status_code == 200
    assert "Something went wrong on our side." in page.text
    assert "nonsense" not in page.text
    assert "<script" not in page.text


@pytest.mark.parametrize("sent", [TURBO, HTMX, FETCH], ids=["turbo", "htmx", "fetch"])
def test_a_bug_and_a_busy_stripe_are_said_to_scripts_too(app, monkeypatch, sent):
    monkeypatch.setattr("corkage.pacing.line.WAIT_SECONDS", 0.01)
    line = app.billing.service.line
    for _ in range(line.places):
        line._at_stripe.acquire()
    busy = click(app, **sent)
    monkeypatch.setattr("corkage.handlers.clicks.read_form", lambda: 1 / 0)
    broken = click(app, **sent)

    for answer, status, code in ((busy, 503, "busy"), (broken, 500, "internal_error")):
        assert sent is FETCH or led_to(answer).endswith(f"/refused?code={code}")
        assert answer.status_code == 303 if sent is TURBO else is_error(answer, status, code)
    assert busy.headers.get("Retry-After") == (None if sent is TURBO else "2")


def test_htmx_may_ask_from_the_products_origin_and_read_where_to_go(app, config):
    origin = {"Origin": config.frontend_url}
    asked = requests.options(f"{app.url}/checkout", headers=origin, timeout=30).headers["Access-Control-Allow-Headers"]
    answer = click(app, **HTMX, **origin)

    assert {"HX-Request", "HX-Current-URL", "HX-Target", "HX-Trigger", "HX-Trigger-Name"} <= set(asked.split(", "))
    assert "HX-Redirect" in answer.headers["Access-Control-Expose-Headers"]


def multipart(app, path="/checkout", **files):
    """Post a form as multipart; each part is a text, or a file as (name, content)."""
    parts = {name: part if isinstance(part, tuple) else (None, part) for name, part in files.items()}
    return requests.post(f"{app.url}{path}", files=parts, headers=bearer(token()), timeout=30)


def raw(app, body, kind="multipart/form-data; boundary=b"):
    return click(app, body=body, **{"Content-Type": kind})


def part(header, value=b"pro", end=b"\r\n--b--\r\n"):
    return b"--b\r\n" + header + b"\r\n\r\n" + value + end


NAMED = b'Content-Disposition: form-data; name="plan"'


def test_a_multipart_form_is_read(app):
    assert is_error(multipart(app, "/portal", flow=""), 409, "no_billing_account")  # empty, as if it were absent
    assert url_of(multipart(app, plan="pro")) == url_of(click(app))
    assert url_of(raw(app, part(NAMED), 'Multipart/Form-Data; charset=utf-8; boundary="b"')) == url_of(click(app))
    assert is_error(multipart(app, plan="gold"), 400, "unknown_plan")
    assert is_error(multipart(app, plan="pro", success_url="https://evil.example"), 400, "return_address_named")
    assert is_error(multipart(app, "/portal", flow="sell"), 400, "unknown_flow")


def test_a_file_in_a_form_is_refused(app):
    assert is_error(multipart(app, plan=("plan.txt", "pro")), 400, "invalid_body")
    assert is_error(multipart(app, plan="pro", more=("a.txt", "")), 400, "invalid_body")
    assert CheckoutAttempt.select().count() == 0


BROKEN = [
    b"",
    b"plan=pro",
    part(NAMED, end=b""),
    part(NAMED, end=b"\r\n--b"),
    part(b"Content-Type: text/plain"),
    part(b"no colon"),
    part(NAMED, b"\xff"),
    part(NAMED + b"\r\nContent-Length: x"),
    part(NAMED + b"\r\nContent-Length: 1"),
    part(NAMED + b"\r\nContent-Type: text/plain; charset=klingon"),
    part(NAMED + b"\r\nContent-Type: text/plain; charset=hex", b"00"),
    part(NAMED + b"\r\nContent-Type: ;"),
    part(b"Content-Disposition: form-data; name"),
    part(b"Content-Disposition: form-data", b"pro"),
    part(b'Content-Disposition: "', b"pro"),
]


@pytest.mark.parametrize("body", BROKEN)
def test_a_broken_multipart_form_is_refused_in_words(app, body):
    assert is_error(raw(app, body), 400, "invalid_body")


@pytest.mark.parametrize("kind", ["", "; boundary", "; boundary=", '; boundary="', "; charset=x; boundary=b", ";;"])
def test_a_multipart_form_without_a_boundary_is_refused_in_words(app, kind):
    assert is_error(raw(app, part(NAMED), f"multipart/form-data{kind}"), 400, "invalid_body")


def test_a_multipart_form_has_the_size_limit_of_every_form(app):
    room = 16 * 1024 - len(part(NAMED, b""))

    assert is_error(raw(app, part(NAMED, b"x" * room)), 400, "unknown_plan")
    assert is_error(raw(app, part(NAMED, b"x" * (room + 1))), 413, "body_too_large")


pieces = st.sampled_from(
    [b"--b\r\n", b"--b--", b"\r\n", b"\r\n\r\n", NAMED, b'; filename="', b"Content-Type: ", b"; charset=", b":", b";"]
)


@GENTLE
@example([part(NAMED)])
@given(st.lists(pieces | st.binary(max_size=20), max_size=12))
def test_no_multipart_form_is_a_bug(app, body):
    assert raw(app, b"".join(body)).status_code in (200, 400)


@GENTLE
@given(st.text(ascii_letters + digits + '=;,"/ \t\\', max_size=40))
def test_no_content_type_is_a_bug(app, kind):
    assert raw(app, part(NAMED), f"multipart/form-data;{kind}x").status_code in (200, 400)


def warnings(caplog):
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name == "corkage.http"
    ]


NEAR = [
    ("http://127.0.0.1:8000", "http://localhost:8000"),
    ("http://localhost:8000", "http://127.0.0.1:8000"),
    ("http://localhost:8000", "http://[::1]:8000"),
    ("http://[::1]:8000", "http://localhost:3000"),
    ("https://app.example.com", "http://app.example.com"),
    ("https://app.example.com", "https://app.example.com:8443"),
]


@pytest.mark.parametrize(("known", "origin"), NEAR)
def test_a_refused_origin_of_the_same_host_is_said_with_both_names(config, caplog, known, origin):
    with running(replace(config, frontend_urls=(known,))) as app:
        assert is_error(click(app, Origin=origin), 403, "cross_site")
        asked = requests.options(f"{app.url}/checkout", headers={"Origin": origin}, timeout=30)
    warned = warnings(caplog)

    assert "Access-Control-Allow-Origin" not in asked.headers
    assert len(warned) == 2  # the click and, counted, the preflight after which a browser sends none
    assert all(known in each and origin in each and "FRONTEND_URL" in each for each in warned)


def test_a_page_at_another_name_of_this_machine_is_served_and_warned_about(config, shop, caplog):
    with running(replace(config, frontend_urls=("http://127.0.0.1:8000",), billing_url=BILLING)) as app:
        click(app, Origin="http://localhost:8000", **{"Sec-Fetch-Site": "same-origin"})
        click(app, Origin="http://localhost:9000", **{"Sec-Fetch-Site": "same-origin"})  # a page of ours
    (warned,) = warnings(caplog)

    assert "http://localhost:8000" in warned


@pytest.mark.parametrize(
    ("origin", "advice"),
    [
        ("https://evil.example", "if it is a page of your product, add it there"),
        ("null", "with Referrer-Policy: no-referrer: have your product's pages send it"),
    ],
)
def test_a_foreign_or_hidden_origin_is_one_warning_with_what_to_do(app, caplog, origin, advice):
    for _ in range(10):
        assert is_error(click(app, Origin=origin), 403, "cross_site")

    (warned,) = warnings(caplog)
    assert advice in warned


@pytest.mark.parametrize("origin", ["", "http://[", "https://x:y", "https://app.example.com:99999"])
def test_a_broken_origin_is_no_warning(app, caplog, origin):
    assert is_error(click(app, Origin=origin), 403, "cross_site")

    assert AUTH_SECRET not in caplog.text
    assert warnings(caplog) == []
