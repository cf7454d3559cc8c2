"""BILLING_NOTIFY_URL: signed posts that the library of the other side verifies, again until they are taken."""

import base64
import datetime
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from email.utils import format_datetime
from pathlib import Path

import pytest
from harness import running, stop, until
from rows import pending_notices, write_notice
from standardwebhooks import Webhook, WebhookVerificationError
from waitress.server import create_server

from corkage import Billing, Config
from corkage.errors import ConfigError
from corkage.models import NoticeDelivery

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


SECRET, NEXT_SECRET = ("whsec_" + base64.b64encode(bytes(range(at, at + 32))).decode() for at in (0, 100))


class Product:
    """The product's side: verifies with the library, notes what it took, answers as it is set to."""

    def __init__(self):
        self.posts, self.answers, self.headers, self.secret, self.hangs = [], [], {}, SECRET, 0
        self.let_go = threading.Event()

    def __call__(self, environ, start_response):
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        names = ("webhook-id", "webhook-timestamp", "webhook-signature")
        headers = {name: environ["HTTP_" + name.upper().replace("-", "_")] for name in names}
        said = Webhook(self.secret).verify(body, headers)
        self.posts.append((headers["webhook-id"], said, dict(environ)))
        if self.hangs:
            self.hangs -= 1
            self.let_go.wait(30)
        start_response(self.answers.pop(0) if self.answers else "204 No Content", list(self.headers.items()))
        return [b""]

    @property
    def ids(self):
        return [message for message, _, _ in self.posts]


@pytest.fixture
def product():
    product = Product()
    server = create_server(product, host="127.0.0.1", port=0)
    product.url = f"http://127.0.0.1:{server.effective_port}/hook?code=the-codeword"
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield product
    product.let_go.set()
    stop(server, thread)


@pytest.fixture
def notified_app(config, product):
    with running(replace(config, notify_url=product.url, notify_secrets=(SECRET,))) as app:
        yield app


def deliver(app):
    return app.billing.service.receivers.deliver_due()


def due_again():
    NoticeDelivery.update(next_attempt_at=time.time() - 1).execute()


def test_a_purchase_is_posted_signed_with_what_changed(notified_app, shop, product):
    shop.subscribe(shop.customer())
    notified_app.deliver(shop.event("customer.subscription.created"))
    notified_app.billing.work()

    ((message, said, environ),) = product.posts
    assert re.fullmatch(r"ntc_[0-9a-f]{32}", message)
    assert (said["type"], said["data"]["user_id"]) == ("access_granted", "ann")
    assert (said["data"]["before"]["allowed"], said["data"]["after"]["plan"]) == (False, "pro")
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(said["timestamp"])
    assert abs(age.total_seconds()) < 60
    assert environ["CONTENT_TYPE"] == "application/json"
    assert environ["QUERY_STRING"] == "code=the-codeword"
    assert pending_notices() == 0


def test_a_changed_or_otherwise_signed_notice_does_not_verify(notified_app, product):
    write_notice()
    deliver(notified_app)
    (_, said, environ) = product.posts[0]
    headers = {name: environ["HTTP_WEBHOOK_" + name[8:].upper()] for name in ("webhook-id", "webhook-timestamp")}
    headers["webhook-signature"] = environ["HTTP_WEBHOOK_SIGNATURE"]

    for secret, body in ((SECRET, json.dumps(said | {"type": "x"})), (NEXT_SECRET, json.dumps(said))):
        with pytest.raises(WebhookVerificationError, match="No matching signature"):
            Webhook(secret).verify(body, headers)


@pytest.mark.parametrize("known", [SECRET, NEXT_SECRET])
def test_during_rotation_both_secrets_verify(config, product, known):
    product.secret = known
    with running(replace(config, notify_url=product.url, notify_secrets=(SECRET, NEXT_SECRET))) as app:
        write_notice()
        assert deliver(app) == 1


def test_any_2xx_accepts_and_all_else_is_retried_with_the_same_id(notified_app, product):
    refusals = ["500 Sorry", "404 Not Found", "400 Bad Request", "302 Found", "408 Request Timeout"]
    product.answers = [*refusals, "202 Accepted"]
    product.headers = {"Location": "/elsewhere"}
    message = write_notice()
    errors = []
    for _ in refusals:
        assert deliver(notified_app) == 0
        errors.append(NoticeDelivery.get().error)
        due_again()

    assert deliver(notified_app) == 1
    assert product.ids == [message] * 6
    assert [error.split(":")[0] for error in errors] == [f"answered {refusal[:3]}" for refusal in refusals]
    assert NoticeDelivery.get().outcome == "answered 202"
    assert {environ["PATH_INFO"] for _, _, environ in product.posts} == {"/hook"}


def test_gone_and_retry_after_are_honored_for_an_hour_at_most(notified_app, product, caplog):
    date = format_datetime(datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=300))
    cases = [("429 Slow", "120", 120), ("503 Later", date, 300), ("503 Later", "soon", 5), ("503 Later", "99999", 3600)]
    no_zone_is_so_far = "Mon, 01 Jan 2024 00:00:00 +99999999999999"
    cases += [("503 Later", "\xa0120", 5), ("503 Later", "\xb2", 5), ("503 Later", no_zone_is_so_far, 5)]
    for number, (answer, said, seconds) in enumerate([*cases, ("410 Gone", "", 3600)]):
        product.answers, product.headers = [answer], {"Retry-After": said} if said else {}
        write_notice(f"user{number}")
        deliverer = notified_app.billing.service.receivers._deliverers["url"]
        deliverer.paused_until = deliverer._times_down = 0
        deliver(notified_app)
        assert abs(deliverer.paused_until - time.time() - seconds) < 3, answer
    assert "410 Gone: nothing is sent for an hour" in caplog.text
    assert pending_notices() == 8


def test_a_notice_refused_alone_waits_for_its_retry_after(notified_app, product):
    product.answers, product.headers = ["409 Not Yet"], {"Retry-After": "900"}
    write_notice("ann")
    write_notice("bob")
    deliver(notified_app)

    assert len(product.posts) == 2
    assert pending_notices() == 1
    assert NoticeDelivery.get(NoticeDelivery.delivered_at.is_null()).next_attempt_at > time.time() + 890


def test_an_absent_or_hanging_endpoint_is_retried_and_no_secret_logged(config, product, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("corkage.notices.webhook.TIMEOUT_SECONDS", (0.3, 0.3))
    product.hangs = 1
    for url, wanted in ((product.url, "ReadTimeout"), ("http://127.0.0.1:1/hook?code=the-codeword", "ConnectionError")):
        with running(replace(config, notify_url=url, notify_secrets=(SECRET,))) as app:
            write_notice(url[-30:-20])
            deliver(app)
            assert NoticeDelivery.get(NoticeDelivery.delivered_at.is_null()).error.startswith(wanted)
            NoticeDelivery.delete().execute()
            assert SECRET not in repr(app.billing.config)
            assert "codeword" not in repr(app.billing.config)

    ours = [record.getMessage() for record in caplog.records if record.name.startswith("corkage")]
    assert [line for line in ours if "codeword" in line or SECRET[:20] in line] == []
    assert "Connection refused" in "".join(ours)


def test_the_operators_netrc_is_not_sent(notified_app, product, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    write_notice()
    deliver(notified_app)

    assert "HTTP_AUTHORIZATION" not in product.posts[0][2]


def test_a_hanging_endpoint_delays_no_callback(config, product, monkeypatch):
    monkeypatch.setattr("corkage.notices.notice.QUIET_SECONDS", 0)
    product.hangs = 1
    heard = []
    config = replace(config, worker="thread", notify_url=product.url, notify_secrets=(SECRET,))
    with running(config) as app:
        app.billing.on("*", heard.append)
        write_notice()
        until(lambda: heard)
        assert pending_notices() >= 1
        product.let_go.set()
        until(lambda: pending_notices() == 0)

    assert product.ids == [heard[0].id]


# Processes


@pytest.fixture
def setting(environ, tmp_path, product):
    changes = {
        "BILLING_NOTIFY_URL": product.url,
        "BILLING_NOTIFY_SECRET": SECRET,
        "BILLING_POLL_SECONDS": "0",
    }
    return environ | changes


@contextmanager
def working(setting, folder, *arguments):
    """Run `corkage work` beside; it is stopped, or killed where the test fails."""
    command = [sys.executable, "-m", "corkage.cli", "work", *arguments]
    options = {"cwd": folder, "env": setting, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        finally:
            process.kill()


def test_a_notice_stored_before_a_kill_is_sent_after_restart(setting, tmp_path, product, notified_app):
    """The notice is on disk, and the process ends by SIGKILL before anybody was notified."""
    code = "import os, rows; from corkage import Billing, Config; b = Billing(Config.from_env()); "
    code += "rows.write_notice('bob'); os.kill(os.getpid(), 9)"
    path = {"PYTHONPATH": os.pathsep.join([str(HERE / "support"), *sys.path])}
    killed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=setting | path | {"BILLING_WORKER": "off"})
    assert killed.returncode == -signal.SIGKILL
    assert (product.ids, pending_notices()) == ([], 1)

    with working(setting, tmp_path, "--once") as once:
        assert once.wait(60) == 0

    assert [said["data"]["user_id"] for _, said, _ in product.posts] == ["bob"]
    assert pending_notices() == 0


def test_a_notice_sent_before_a_kill_is_sent_again_with_the_same_id(setting, tmp_path, product, notified_app):
    product.hangs = 1
    message = write_notice()
    with working(setting, tmp_path) as killed:
        until(lambda: product.posts)
        killed.kill()
    assert pending_notices() == 1

    due_again()  # as if the claim of the killed were over
    with working(setting, tmp_path):
        until(lambda: pending_notices() == 0)

    assert product.ids == [message, message]


def test_two_workers_send_each_notice_once(setting, tmp_path, product, notified_app):
    wanted = [write_notice(f"user{number % 4}") for number in range(24)]
    with working(setting, tmp_path), working(setting, tmp_path):
        until(lambda: pending_notices() == 0)

    assert sorted(product.ids) == sorted(wanted)
    for number in range(4):
        mine = [message for message, said, _ in product.posts if said["data"]["user_id"] == f"user{number}"]
        assert mine == wanted[number::4]


@contextmanager
def heard_by(host, options):
    """Run a host until it listens; it is killed in the end."""
    with subprocess.Popen(host, **options) as process:
        try:
            assert process.stdout.readline() == "listening\n"
            yield process
        finally:
            process.kill()


def test_a_host_killed_in_a_callback_gets_the_same_id_after_restart(setting, tmp_path, notified_app):
    host = [sys.executable, str(HERE / "support/host_that_listens.py")]
    options = {"cwd": tmp_path, "env": setting | {"BILLING_WORKER": "off"}, "stdout": subprocess.PIPE, "text": True}
    with heard_by([*host, "100"], options) as first:
        message = write_notice()
        heard = first.stdout.readline()
    due_again()
    with heard_by([*host, "0"], options) as second:
        heard_again = second.stdout.readline()
        until(lambda: NoticeDelivery.get(NoticeDelivery.receiver == "callbacks").delivered_at)

    assert heard == heard_again == f"{message} access_granted ann\n"


# Settings


def read(tmp_path, url=None, secret=None):
    (tmp_path / "plans.toml").write_text('[pro]\nname = "Pro"\nprices = ["pro_monthly"]\n')
    environ = {
        "STRIPE_SECRET_KEY": "sk_test_1",
        "FRONTEND_URL": "https://app.example.com",
        "BILLING_PLANS": str(tmp_path / "plans.toml"),
        "BILLING_NOTIFY_URL": url or "",
        "BILLING_NOTIFY_SECRET": secret or "",
    }
    return Config.from_env(environ, dotenv_path=None)


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example.com/hooks?code=1",
        "http://127.0.0.1:9/x",
        "http://[::1]:9/x",
        "http://10.1.2.3/x",
        "http://192.168.1.2/x",
        "http://localhost/x",
        "http://app:3000/x",
        "http://app.internal/x",
    ],
)
def test_https_anywhere_and_http_on_private_networks_is_accepted(tmp_path, url):
    config = read(tmp_path, url, f"{SECRET}, {NEXT_SECRET}")

    assert (config.notify_url, config.notify_secrets) == (url, (SECRET, NEXT_SECRET))


@pytest.mark.parametrize("url", ["http://app.example.com/x", "http://8.8.8.8/x", "ftp://app/x", "https://me:pw@app/x"])
def test_an_unencrypted_notify_url_is_refused_without_showing_secrets(tmp_path, url):
    with pytest.raises(ConfigError, match="BILLING_NOTIFY_URL") as refused:
        read(tmp_path, url, SECRET)

    assert "me:pw" not in str(refused.value)


@pytest.mark.parametrize(
    "secret", [None, "whsec_short", "whsec_" + "A" * 28, "whsec_" + "!" * 40, SECRET[6:], f"{SECRET},whsec_AAAA", ","]
)
def test_notices_are_never_posted_unsigned_or_with_a_weak_secret(tmp_path, secret):
    with pytest.raises(ConfigError, match="BILLING_NOTIFY_SECRET: wanted whsec_ and 24 to 64 bytes") as refused:
        read(tmp_path, "https://app.example.com/hooks", secret)

    assert not secret or len(secret) < 12 or secret not in str(refused.value)


def test_a_config_made_by_hand_cannot_send_unsigned_notices(config):
    with pytest.raises(ConfigError, match="BILLING_NOTIFY_SECRET"):
        Billing(replace(config, notify_url="https://app.example.com"))
    Billing(config).close()


def test_without_notify_url_its_libraries_are_not_loaded():
    names = ("stripe", "requests", "standardwebhooks")
    code = f"import sys, corkage; print([name for name in {names} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert loaded.stdout == "[]\n"
