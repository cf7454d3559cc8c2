"""The log: one line a thing, for people or for programs. Nothing from outside forges a line; nothing secret shows."""

import io
import json
import logging
import re
import subprocess
import sys
import time

import pytest
import requests
from harness import ADMIN_TOKEN, AUTH_SECRET, WEBHOOK_SECRET, started, until
from repository import ROOT, block, tracked

from corkage.health.tokens import CAUSES
from corkage.identity import mint_token
from corkage.logs.clean import LONGEST_MESSAGE, LONGEST_VALUE
from corkage.logs.facts import FIELDS, about, begin_request, end_request, logger
from corkage.logs.lines import FORMATS, set_up

FORGED = "evil\n2026-11-27T01:00:00.000Z INFO corkage.admin: the operator signed in from 127.0.0.1"
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) [\w.]+: ")


@pytest.fixture
def written(request):
    """A logger of ours, and what a handler with one of the formatters wrote."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(FORMATS[request.param]())
    log = logger("corkage.of_the_test")
    log.setLevel(logging.DEBUG)
    log.addHandler(handler)
    log.propagate = False
    yield log, stream
    log.removeHandler(handler)
    log.propagate = True


text = pytest.mark.parametrize("written", ["text"], indirect=True)
as_json = pytest.mark.parametrize("written", ["json"], indirect=True)
both = pytest.mark.parametrize("written", ["text", "json"], indirect=True)


@both
@pytest.mark.parametrize("break_", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_no_value_begins_a_line_of_its_own(written, break_):
    log, stream = written
    log.info("%s answered", FORGED.replace("\n", break_))
    log.info("%s", ValueError(FORGED.replace("\n", break_)))
    log.info(FORGED.replace("\n", break_))

    assert len(stream.getvalue().splitlines()) == 3


@text
def test_an_escape_sequence_or_a_reversed_text_does_not_reach_the_terminal(written):
    log, stream = written
    log.info("%s", "\x1b[2Jgone\u202e")

    assert stream.getvalue().endswith("\\x1b[2Jgone\\u202e\n")


@text
def test_a_traceback_follows_indented_and_cannot_forge_a_line_either(written):
    log, stream = written
    try:
        raise ValueError(FORGED + "\x85" + FORGED)
    except ValueError:
        log.exception("it failed")

    first, *more = stream.getvalue().splitlines()
    assert LINE.match(first)
    assert len(more) >= 4
    assert all(line.startswith("    ") for line in more)


@as_json
def test_a_json_line_has_its_time_its_level_and_what_it_is_about(written):
    log, stream = written
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/access", "HTTP_X_REQUEST_ID": "of-the-proxy"}
    token = begin_request(environ)
    with about(user="ann", customer="cus_1", event=None):
        log.warning("said to %s", "ann")
    end_request(token)
    log.info("after")

    first, after = map(json.loads, stream.getvalue().splitlines())
    at = first.pop("time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", at)
    assert first == {
        "level": "warning", "logger": "corkage.of_the_test", "message": "said to ann", "request_id": "of-the-proxy",
        "method": "GET", "path": "/access", "user": "ann", "customer": "cus_1",
    }  # fmt: skip
    assert set(after) == {"time", "level", "logger", "message"}


@as_json
def test_an_exception_is_a_field(written):
    log, stream = written
    try:
        raise ValueError("of the test")
    except ValueError:
        log.exception("it failed")

    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["exception"].endswith("ValueError: of the test")


@as_json
@pytest.mark.parametrize("given", ["", "with blank", "x" * 101, "line\nbreak", 'quo"te'])
def test_a_request_id_that_is_none_is_replaced(written, given):
    log, stream = written
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_X_REQUEST_ID": given}
    token = begin_request(environ)
    log.info("first")
    log.info("second")
    end_request(token)

    first, second = (json.loads(line)["request_id"] for line in stream.getvalue().splitlines())
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert first == second


@both
def test_what_is_long_is_cut(written):
    log, stream = written
    log.info("%s %s", "x" * 100_000, ValueError("y" * 100_000))
    log.info("z" * 100_000)

    first, second = stream.getvalue().splitlines()
    assert len(first) < 2 * LONGEST_VALUE + 400
    assert "(100000 characters)" in first
    assert len(second) < LONGEST_MESSAGE + 400


@both
def test_an_error_that_quotes_an_e_mail_is_logged_without_it(written):
    log, stream = written
    try:
        raise ValueError("Invalid email address: ann@example.org.")
    except ValueError as error:
        log.exception("refused: %s", error)

    assert "ann@" not in stream.getvalue()
    assert "Invalid email address: (an e-mail)" in stream.getvalue()


def test_an_embedding_hosts_own_log_gets_clean_values_and_the_fields(caplog):
    with about(user="ann"):
        logger("corkage.of_the_test").warning("%s and %r and %d", FORGED, FORGED, 3)

    (record,) = caplog.records
    assert "\n" not in record.message
    assert record.message.count("\\n") == 2
    assert record.user == "ann"
    assert record.msg == "%s and %r and %d"  # by which error trackers group


def test_a_program_is_not_given_two_filters():
    assert logger("corkage.of_the_test") is logger("corkage.of_the_test")
    assert len(logger("corkage.of_the_test").filters) == 1


PAGE = (ROOT / "docs/logs.md").read_text()


def test_the_page_on_the_log_names_every_field():
    first_cells = re.findall(r"^\| (`.*?) \|", PAGE.split("## What is not")[0], re.MULTILINE)

    assert re.findall(r"`(\w+)`", "".join(first_cells)) == ["time", "level", "logger", "message", "exception", *FIELDS]


def test_the_page_on_the_log_quotes_the_warnings_as_they_are():
    assert all(CAUSES[cause].split(".")[0] in PAGE for cause in ("expired", "secret"))
    for path, words in (
        ("health/tokens.py", "all tokens are refused, "),
        ("handlers/origins.py", "FRONTEND_URL does not name it"),
        ("health/refusals.py", "the body is not written as Stripe writes it"),
    ):
        assert words in (ROOT / path).read_text()
        assert words in PAGE


def test_a_host_can_use_the_formatter_of_the_page(capsys):
    code = block("docs/logs.md", "run: logging") + 'logging.getLogger("corkage.of_the_test").warning("said")'
    log = logging.getLogger("corkage")
    try:
        exec(code, {})
    finally:
        log.handlers.clear()
        log.setLevel(logging.NOTSET)

    assert json.loads(capsys.readouterr().err)["message"] == "said"


def test_every_logger_of_ours_is_made_in_one_place():
    """A logger that is made elsewhere would log what comes from outside as it is, in a host's own log."""
    for path in tracked():
        if path.parts[0] not in ("tests", "bench", "docs", "simulator", "logs"):
            assert not re.search(r'= logging\.getLogger\("corkage', (ROOT / path).read_text()), path


@pytest.mark.slow
@pytest.mark.parametrize("style", ["text", "json"])
def test_every_line_of_a_server_is_of_its_format(environ, tmp_path, event, style):
    environ |= {"BILLING_LOG": "debug", "BILLING_LOG_FORMAT": style, "BILLING_TYPO": "1"}
    with started(["serve", "--port", "0"], environ, tmp_path, "serving on") as (_, said):
        url = re.search(r"http://127\.0\.0\.1:\d+", said[-1])[0]
        requests.post(f"{url}/webhook", b"{}", headers={"Stripe-Signature": "t=1,v1=0"}, timeout=30)
        requests.get(f"{url}/a%0Ab%0D%E2%80%A8c", headers={"X-Request-Id": "of-the-proxy"}, timeout=30)
        requests.get(f"{url}/access", headers={"Authorization": "Bearer x"}, timeout=30)
    lines = "".join(said).splitlines()

    assert len(lines) > 5
    if style == "text":
        assert [line for line in lines if not LINE.match(line)] == []
        return
    parsed = [json.loads(line) for line in lines]
    assert {"time", "level", "logger", "message"} <= set.intersection(*map(set, parsed))
    (unknown,) = [each for each in parsed if each.get("request_id") == "of-the-proxy"]
    assert (unknown["status"], unknown["path"]) == ("404", "/a\\nb\\r\\u2028c")


SECRET_ADDRESS = "secret-of-the-path"
EMAILS = ("ann@example.org", "new-address@example.org")


@pytest.mark.slow
def test_a_whole_story_at_debug_shows_no_secret_no_token_and_no_e_mail(environ, tmp_path, shop, receiver):
    """Buying, paying, notices that fail, wrong secrets, wrong tokens, another e-mail, and forgetting."""
    notify = f"{receiver.url}/{SECRET_ADDRESS}?key=secret-of-the-query"
    notify_secret = "whsec_c2VjcmV0LW9mLXRoZS1ub3RpY2VzLW9mLXRoZS10ZXN0"
    receiver.answers = ["500 No", "307 Elsewhere"]
    environ |= {
        "BILLING_LOG": "debug", "BILLING_ADMIN_TOKEN": ADMIN_TOKEN, "BILLING_NOTIFY_URL": notify,
        "BILLING_NOTIFY_SECRET": notify_secret, "BILLING_POLL_SECONDS": "1", "BILLING_URL": "http://127.0.0.1:9",
        "BILLING_APP": "app.example.com",
    }  # fmt: skip
    old = mint_token(AUTH_SECRET, "ann", email=EMAILS[0], now=time.time() - 90_000)
    good = mint_token(AUTH_SECRET, "ann", email=EMAILS[0], name="Ann Bonny", now=time.time())
    with started(["serve", "--port", "0"], environ, tmp_path, "serving on") as (_, said):
        url = re.search(r"http://127\.0\.0\.1:\d+", said[-1])[0]
        origin = {"Origin": "https://app.example.com"}
        for token in (old, good, "x" + good):
            headers = {"Authorization": f"Bearer {token}"} | origin
            requests.get(f"{url}/access", headers=headers, timeout=30)
            requests.post(f"{url}/checkout", {"plan": "pro"}, headers=headers, timeout=30)
            requests.post(f"{url}/checkout", {"plan": "pro", "code": "SECRETCODE"}, headers=headers, timeout=30)
        customer = shop.customer(email=EMAILS[0], name="Ann Bonny")
        shop.subscribe(customer)
        for guess in (ADMIN_TOKEN + "x", ADMIN_TOKEN):
            form = {"do": "sign_in", "token": guess}
            requests.post(f"{url}/admin", form, headers={"Sec-Fetch-Site": "same-origin"}, timeout=30)
        for _ in range(4):
            signature = f"t={time.time():.0f},v1={'0' * 64}"
            requests.post(f"{url}/webhook", b"{}", headers={"Stripe-Signature": signature}, timeout=30)
        receiver.has_got(1)
        signed_in = {"Authorization": f"Bearer {good}"}
        until(lambda: requests.get(f"{url}/access", headers=signed_in, timeout=30).json()["allowed"])
        shop.client.v1.customers.update(customer, params={"email": EMAILS[1]})
        receiver.has_got(3)
    log = "".join(said)

    assert "DEBUG" in log
    assert "ann" in log
    for secret in (
        SECRET_ADDRESS, "secret-of-the-query", notify_secret, AUTH_SECRET, WEBHOOK_SECRET, ADMIN_TOKEN,
        environ["STRIPE_SECRET_KEY"], old, good, good.split(".")[2], *EMAILS, "Ann Bonny", "SECRETCODE",
    ):  # fmt: skip
        assert secret not in log, secret


def test_a_program_of_ours_logs_a_thread_that_ended_and_no_librarys_details():
    program = (
        "import logging, threading; from corkage.logs.lines import set_up; set_up('debug', 'json');"
        "logging.getLogger('peewee').debug('SELECT secret'); logging.getLogger('urllib3').info('secret');"
        "logging.getLogger('corkage.x').debug('ours'); import warnings; warnings.warn('two\\nlines');"
        "it = threading.Thread(target=lambda: 1 / 0, name='of the test'); it.start(); it.join()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)

    ours, warned, ended = map(json.loads, done.stderr.splitlines())
    assert (ours["message"], ours["level"]) == ("ours", "debug")
    assert "two\\nlines" in warned["message"]
    assert ended["message"] == "the thread of the test ended by a bug"
    assert "ZeroDivisionError" in ended["exception"]


def test_logging_that_is_set_up_already_stays_as_it_is():
    before = (logging.getLogger().handlers[:], logging.getLogger().level, logging.getLogger("corkage").level)

    set_up("debug", "json")

    assert (logging.getLogger().handlers, logging.getLogger().level, logging.getLogger("corkage").level) == before
