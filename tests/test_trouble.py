"""What keeps Corkage from its work shows: in /health, to the doctor, and once in the log, until it is over."""

import re
import resource
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest
import requests
from elsewhere import be_impatient
from harness import running, started, until

from corkage import storage
from corkage.gateway import events
from corkage.models import Setting, StripeEvent
from corkage.sync import inbox
from corkage.sync.threads import WorkerThread

pytestmark = [pytest.mark.slow, pytest.mark.one_engine("sqlite", "locks and space of the file")]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    be_impatient(monkeypatch)
    monkeypatch.setattr("corkage.health.writable.WAIT_SECONDS", 0.05)
    monkeypatch.setattr("corkage.health.writable.TRY_EVERY_SECONDS", 0)


def health(url):
    """Return the problems that /health reports; its status must agree with them."""
    answer = requests.get(f"{url}/health", timeout=30)
    facts = answer.json()
    expected = (503, "failing") if facts["problems"] else (200, "ok")
    assert (answer.status_code, facts["status"]) == expected
    return facts["problems"]


@contextmanager
def locked(config, begin="BEGIN EXCLUSIVE"):
    """Another program holds the file."""
    with closing(sqlite3.connect(config.database, isolation_level=None)) as other:
        other.execute(begin)
        yield
        other.execute("ROLLBACK")


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_health_shows_a_foreign_lock_while_it_lasts(app, config, begin):
    assert health(app.url) == []

    with locked(config, begin):
        assert health(app.url) == ["nothing can be written to the database: database is locked"]

    assert health(app.url) == []
    last = requests.get(f"{app.url}/health", timeout=30).json()["last_database_error"]
    assert last["reason"] == "database is locked"
    assert abs(last["at"] - time.time()) < 60
    assert storage.current().of_thread().execute("PRAGMA busy_timeout").fetchone() == (100,)


def test_health_leaves_every_row_unchanged(app):
    before = list(Setting.select().tuples())
    health(app.url)
    assert list(Setting.select().tuples()) == before


def test_health_shows_a_full_database_until_there_is_room(app, event):
    pages = storage.current().of_thread().execute("PRAGMA page_count").fetchone()[0]
    for connection in storage.current().open_connections():
        connection.execute(f"PRAGMA max_page_count={pages}")
    storage.current().pragma("max_page_count", pages, permanent=True)

    assert health(app.url) == ["nothing can be written to the database: database or disk is full"]

    for connection in storage.current().open_connections():
        connection.execute("PRAGMA max_page_count=1000000")
    assert health(app.url) == []
    assert app.deliver(event).status_code == 200


def test_a_full_disk_shows_in_health_once_in_the_log_and_recovers(environ, tmp_path, event):
    environ |= {"BILLING_POLL_SECONDS": "0", "BILLING_SETTLE_SECONDS": "60"}
    with started(["serve", "--port", "0"], environ, tmp_path, "serving on") as (process, said):
        url = re.search(r"http://127\.0\.0\.1:\d+", said[-1])[0]
        assert health(url) == []
        _, most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1024, most))

        until(lambda: health(url) == ["nothing can be written to the database: disk I/O error"])
        time.sleep(3)  # the worker tries again each second

        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))
        until(lambda: health(url) == [])
    log = "".join(said)
    # Not once a second. A write under way, that began before, may end well in between.
    assert 1 <= log.count("disk I/O error") == log.count("the database is available again") <= 2


def test_a_lasting_lock_and_its_end_are_each_logged_once(app, config, event, caplog):
    thread = WorkerThread(lambda: app.billing.service.worker)
    with locked(config):
        for _ in range(3):
            assert app.deliver(event).status_code == 503
            assert thread._pause() == 1.0
            assert health(app.url) != []
    assert app.deliver(event).status_code == 200
    assert app.deliver(event).status_code == 200

    said = [(each.levelname, each.message) for each in caplog.records if "database" in each.message]
    said = [each for each in said if each[0] != "DEBUG"]
    assert [level for level, _ in said] == ["ERROR", "WARNING"]
    assert said[0][1] == "the database is unavailable, trying again: database is locked"
    assert said[1][1].startswith("the database is available again, after ")


def test_doctor_reports_a_foreign_lock_and_its_holder(app, config, corkage):
    with locked(config):
        result = corkage("doctor", BILLING_DATABASE=config.database)

    assert result.returncode == 1
    assert "nothing can be written to the database: database is locked\n             > fuser -v " in result.stdout
    assert "all is well" not in result.stdout
    assert "Traceback" not in result.stderr


LIMITED = (
    "import os, resource, sys; most = resource.getrlimit(resource.RLIMIT_FSIZE)[1];"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (1024, most)); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


def test_doctor_reports_a_full_disk_and_how_to_check_it(app, environ, tmp_path):
    command = [sys.executable, "-c", LIMITED, "-m", "corkage.cli", "doctor"]
    result = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60)

    assert result.returncode == 1
    assert f"nothing can be written to the database: disk I/O error\n             > df -h {tmp_path}" in result.stdout
    assert "Traceback" not in result.stderr


def refused(app, event, times):
    for _ in range(times):
        assert app.deliver(event, secret="whsec_of_another_endpoint").status_code == 400


def warnings(caplog):
    return [each.message for each in caplog.records if each.name == "corkage.webhook" and each.levelname == "WARNING"]


def test_health_shows_a_wrong_secret_from_the_third_webhook_on(app, event, caplog):
    refused(app, event, 2)
    assert health(app.url) == []
    assert warnings(caplog) == []

    refused(app, event, 20)

    (problem,) = health(app.url)
    assert problem.startswith("every webhook is refused, the last 22 in a row: none of the 1 webhook secrets made this")
    assert "set STRIPE_WEBHOOK_SECRET" in problem
    (warned,) = warnings(caplog)
    assert "webhooks are refused, 3 in a row" in warned
    assert app.deliver(event).status_code == 200
    assert health(app.url) == []
    assert len(warnings(caplog)) == 2
    assert requests.get(f"{app.url}/health", timeout=30).json()["last_refused_webhook"]["reason"].startswith("none of")


@pytest.mark.parametrize("header", ["", "t=1,v1=0", "garbage", f"t=1900000000,v0={'0' * 64}"])
def test_requests_unlike_stripes_do_not_affect_health(app, header):
    for _ in range(5):
        assert requests.post(f"{app.url}/webhook", b"{}", headers={"Stripe-Signature": header}, timeout=30).status_code
    assert health(app.url) == []
    assert requests.get(f"{app.url}/health", timeout=30).json()["last_refused_webhook"] is None


def test_only_stripes_own_refused_webhooks_make_health_fail(app, event):
    assert app.deliver(event).status_code == 200
    forged = str(event).replace(event.id, "evt_not_yet_known").encode()

    refused(app, forged, 5)
    assert health(app.url) == []

    ref = replace(events.read_event(event.to_dict()), id="evt_not_yet_known")
    inbox.record(ref, "poll", time.time(), time.time())
    assert len(health(app.url)) == 1


def test_refusals_expire_after_an_hour_and_acceptance_after_a_day(app, event):
    refused(app, event, 3)
    refusals = app.billing.service.refusals
    at = refusals.last[0]
    assert refusals.problem(at + 3600)
    assert refusals.problem(at + 3601) is None
    assert app.deliver(event).status_code == 200
    refused(app, event, 3)
    assert refusals.problem(time.time()) is None
    refusals._accepted_at -= 86_400
    StripeEvent.update(received_at=StripeEvent.received_at - 86_400).execute()
    assert refusals.problem(time.time())


def test_a_webhook_accepted_by_another_process_counts(app, event):
    refused(app, event, 3)
    assert len(health(app.url)) == 1

    inbox.record(events.read_event(event.to_dict()), "webhook", time.time() + 1, time.time())

    assert health(app.url) == []
    with storage.writing():
        inbox.mark_applied([event.id], "converged", time.time() + 1)
    assert health(app.url) == []
    StripeEvent.update(received_at=time.time() - 3600).execute()
    assert len(health(app.url)) == 1


def test_health_explains_a_wrong_clock(app, event):
    for _ in range(3):
        assert app.deliver(event, at=time.time() - 1000).status_code == 400
    assert "s old" in health(app.url)[0]


def test_doctor_reports_refused_webhooks_until_one_is_accepted(app, event, config, corkage):
    refused(app, event, 2)
    assert corkage("doctor").stdout.endswith("all is well\n")
    refused(app, event, 1)

    result = corkage("doctor")

    assert result.returncode == 1
    assert "webhooks: webhooks are refused, " in result.stdout
    assert (
        "none of the 1 webhook secrets made this signature\n             > set STRIPE_WEBHOOK_SECRET" in result.stdout
    )
    assert app.deliver(event).status_code == 200
    app.work()
    assert corkage("doctor").stdout.endswith("all is well\n")


def test_strangers_cause_one_write_a_minute(app, event, config):
    with closing(sqlite3.connect(config.database)) as other:
        refused(app, event, 3)
        before = other.execute("PRAGMA data_version").fetchone()
        refused(app, event, 20)
        assert other.execute("PRAGMA data_version").fetchone() == before


def test_after_a_restart_the_first_good_webhook_clears_the_problem(app, event, config):
    refused(app, event, 3)
    app.billing.close()
    with running(config) as again:
        assert Setting.select().where(Setting.name == "refused_webhooks").count() == 1
        assert again.deliver(event).status_code == 200
        assert Setting.select().where(Setting.name == "refused_webhooks").count() == 0
