"""The quick answers of POST /webhook and GET /access are those of the ordinary routes, and errors are made once."""

import json
import time

import pytest
import requests
import stripe
from harness import APP, WEBHOOK_SECRET

from corkage import routes
from corkage.models import StripeEvent


@pytest.fixture
def body(shop):
    shop.subscribe(shop.customer())
    return json.dumps(json.loads(str(shop.event("customer.subscription.created")))).encode()


@pytest.fixture
def ordinary(monkeypatch):
    """Leave every request to its ordinary route."""
    return lambda: monkeypatch.setattr(routes, "QUICK", {})


@pytest.fixture
def is_ordinary(monkeypatch):
    """Which route of Bottle's was asked."""
    asked, handle = [], routes._handle

    def noted(current_service, handler):
        asked.append(handler.__name__)
        return handle(current_service, handler)

    monkeypatch.setattr(routes, "_handle", noted)
    return asked


def signed(body, **headers):
    signature = stripe.WebhookSignature.generate_signature_header(body.decode(), WEBHOOK_SECRET, int(time.time()))
    return {"Stripe-Signature": signature, "Content-Type": "application/json", **headers}


def told(answer):
    """All that a client sees of it."""
    return answer.status_code, {name: text for name, text in answer.headers.items() if name != "Date"}, answer.content


def test_a_webhook_is_answered_as_by_the_ordinary_route(app, body, ordinary):
    quick = requests.post(f"{app.url}/webhook", body, headers=signed(body), timeout=30)
    assert StripeEvent.select().count() == 1
    ordinary()
    slow = requests.post(f"{app.url}/webhook", body, headers=signed(body), timeout=30)

    assert told(quick) == told(slow)
    assert quick.json() == {"received": True}


def test_access_is_answered_as_by_the_ordinary_route(app, ordinary):
    quick = app.ask()
    ordinary()

    assert told(quick) == told(app.ask())
    assert quick.json()["allowed"] is False


def test_what_comes_plain_is_quick_and_the_rest_ordinary(is_ordinary, app, body):
    url = f"{app.url}/webhook"
    plain = requests.post(url, body, headers=signed(body), timeout=30)
    asked = app.ask()
    assert (plain.status_code, asked.status_code, is_ordinary) == (200, 200, [])

    from_a_page = requests.post(url, body, headers=signed(body, Origin=f"https://{APP}"), timeout=30)
    with_a_query = requests.post(f"{url}?x=1", body, headers=signed(body), timeout=30)
    known = app.ask(**{"If-None-Match": asked.headers["ETag"]})

    assert [each.status_code for each in (from_a_page, with_a_query, known)] == [200, 200, 304]
    assert from_a_page.headers["Access-Control-Allow-Origin"] == f"https://{APP}"
    assert is_ordinary == ["receive_webhook"] * 2 + ["show_access"]


@pytest.mark.parametrize(
    ("headers", "times", "status", "code"),
    [
        ({"Stripe-Signature": "t=1,v1=0"}, 1, 400, "invalid_signature"),
        ({}, 1, 400, "invalid_signature"),
        ({}, 500, 413, "body_too_large"),
    ],
)
def test_an_error_is_what_the_ordinary_route_makes_of_it(app, body, headers, times, status, code):
    answer = requests.post(f"{app.url}/webhook", body * times, headers=headers, timeout=30)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_refused_webhook_is_counted_once_and_a_failed_one_tried_once(is_ordinary, app, body, monkeypatch, caplog):
    forged = {"Stripe-Signature": f"t={time.time():.0f},v1={'0' * 64}"}
    assert requests.post(f"{app.url}/webhook", body, headers=forged, timeout=30).status_code == 400
    assert app.billing.service.refusals._in_a_row == 1

    tried = []
    monkeypatch.setattr("corkage.sync.inbox.record", lambda *_, **__: tried.append(1) or 1 / 0)
    answer = requests.post(f"{app.url}/webhook", body, headers=signed(body), timeout=30)

    assert (answer.status_code, answer.json()["error"]["code"], tried) == (500, "internal_error", [1])
    assert "ZeroDivisionError" in caplog.text
    assert StripeEvent.select().count() == 0
    assert is_ordinary == ["receive_webhook"] * 2


@pytest.mark.parametrize("path", ["/access", "/account"])
def test_a_request_for_which_no_memory_is_left_is_a_503_that_is_logged_once(app, caplog, monkeypatch, path):
    def use_too_much(*_):
        raise MemoryError

    monkeypatch.setattr(app.billing.service, "signed_in", use_too_much)
    answers = [requests.get(f"{app.url}{path}", timeout=30) for _ in range(20)]

    assert {(each.status_code, each.headers["Retry-After"]) for each in answers} == {(503, "5")}
    assert all("Traceback" not in each.text for each in answers)
    assert 1 <= caplog.text.count("503 out_of_memory: no memory is left for the request") <= 5
    assert "Traceback" not in caplog.text
