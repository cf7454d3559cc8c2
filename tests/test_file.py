"""The file is deleted, moved or replaced while it is in use: nothing is acknowledged that is lost, nothing is mixed."""

import json
import os
import re
import shutil
import signal
import sqlite3
import threading
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import requests
import stripe
from harness import WEBHOOK_SECRET, started, until

from corkage import storage
from corkage.billing_app import Billing
from corkage.errors import DatabaseUnavailable
from corkage.models import StripeEvent, User

pytestmark = [pytest.mark.slow, pytest.mark.one_engine("sqlite", "the file on disk")]

SENTENCE = "We cannot reach our records at the moment. Please try again shortly."


@pytest.fixture
def event(shop):
    shop.subscribe(shop.customer())
    return json.loads(str(shop.event("customer.subscription.created")))


class Served:
    """`corkage serve`, and what is asked of it."""

    def __init__(self, process, said, event):
        self.process, self.said, self._event = process, said, event
        self.url = re.search(r"http://127\.0\.0\.1:\d+", said[-1])[0]

    def deliver(self, name):
        body = json.dumps(self._event | {"id": name})
        signature = stripe.WebhookSignature.generate_signature_header(body, WEBHOOK_SECRET, int(time.time()))
        return requests.post(f"{self.url}/webhook", body, headers={"Stripe-Signature": signature}, timeout=30)

    def refuses(self, name):
        """Whether it answers with 503 and the sentence, and says the same of its health; return the reason there."""
        answer = self.deliver(name)
        assert (answer.status_code, answer.json()["error"]["message"]) == (503, SENTENCE)
        health = requests.get(f"{self.url}/health", timeout=30)
        assert (health.status_code, health.json()["status"]) == (503, "failing")
        return health.json()["problems"][0]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


@pytest.fixture
def serving(environ, tmp_path, event):
    folder = tmp_path / "data"
    folder.mkdir()
    environ |= {"BILLING_POLL_SECONDS": "0", "BILLING_SETTLE_SECONDS": "60", "BILLING_DATABASE": "data/corkage.db"}

    @contextmanager
    def serve():
        with started(["serve", "--port", "0"], environ, tmp_path, "serving on") as (process, said):
            yield Served(process, said, event)

    return serve, folder


def events_in(path):
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {name for (name,) in file.execute("SELECT id FROM corkage_stripe_event")}


def test_a_deleted_database_is_not_recreated_and_webhooks_are_refused(serving):
    serve, folder = serving
    with serve() as served:
        assert served.deliver("evt_1").status_code == 200
        (folder / "corkage.db").unlink()

        assert "was deleted or moved away. Put it back, or restart Corkage" in served.refuses("evt_2")
        assert "was deleted or moved away" in served.refuses("evt_3")
        assert not (folder / "corkage.db").exists()
    assert not (folder / "corkage.db").exists()
    log = "".join(served.said)
    assert log.count("was deleted or moved away") == 1
    assert log.count("the database is unavailable") == 1  # nor does SQLite's own error hide the cause
    assert "Traceback" not in log


def test_a_deleted_file_is_the_reason_whatever_sqlite_says_of_it(app):
    for error in ("disk I/O error", "unable to open database file"):
        storage.note(DatabaseUnavailable(error))
        assert storage.current().trouble.reason == error
    Path(app.billing.config.database).unlink()

    storage.note(DatabaseUnavailable("disk I/O error"))

    assert "was deleted or moved away" in storage.current().trouble.reason


def test_a_restored_database_is_used_and_holds_all_acknowledged_events(serving):
    serve, folder = serving
    with serve() as served:
        assert served.deliver("evt_1").status_code == 200
        (folder / "corkage.db").rename(folder / "away.db")
        served.refuses("evt_2")

        (folder / "away.db").rename(folder / "corkage.db")

        assert served.deliver("evt_2").status_code == 200
        until(lambda: requests.get(f"{served.url}/health", timeout=30).json()["problems"] == [])
    assert events_in(folder / "corkage.db") == {"evt_1", "evt_2"}
    assert "the database is available again" in "".join(served.said)


@pytest.mark.parametrize("keeps", [True, False], ids=["moved aside", "overwritten"])
def test_a_replaced_database_is_used_only_after_a_restart(serving, keeps):
    serve, folder = serving
    with serve() as served:
        assert served.deliver("evt_in_the_backup").status_code == 200
        with closing(sqlite3.connect(folder / "corkage.db")) as file:
            file.execute("VACUUM INTO ?", (str(folder / "backup.db"),))
        assert served.deliver("evt_later").status_code == 200
        backup = (folder / "backup.db").read_bytes()
        if keeps:
            (folder / "corkage.db").rename(folder / "aside.db")
        (folder / "backup.db").replace(folder / "corkage.db")

        assert "another file is at BILLING_DATABASE" in served.refuses("evt_refused")
        assert (folder / "corkage.db").read_bytes() == backup
        served.stop()
        assert (folder / "corkage.db").read_bytes() == backup

    with serve() as served:
        assert requests.get(f"{served.url}/health", timeout=30).status_code == 200
        assert served.deliver("evt_refused").status_code == 200
    assert events_in(folder / "corkage.db") == {"evt_in_the_backup", "evt_refused"}
    if keeps:
        assert events_in(folder / "aside.db") == {"evt_in_the_backup", "evt_later"}


def test_a_replaced_database_unnoticed_until_stop_is_not_mixed(serving):
    serve, folder = serving
    with serve() as served:
        with closing(sqlite3.connect(folder / "corkage.db")) as file:
            file.execute("VACUUM INTO ?", (str(folder / "backup.db"),))
        for number in range(20):
            assert served.deliver(f"evt_{number}").status_code == 200
        (folder / "backup.db").replace(folder / "corkage.db")
        served.stop()
    with serve():
        pass
    assert events_in(folder / "corkage.db") == set()


@pytest.mark.parametrize("name", ["corkage.db-wal", "corkage.db-shm"])
def test_a_deleted_wal_or_shm_ends_writing_and_a_restart_loses_none(serving, name):
    serve, folder = serving
    with serve() as served:
        assert served.deliver("evt_1").status_code == 200
        (folder / name).unlink()

        assert f"{name[-4:]} beside the file at BILLING_DATABASE was deleted" in served.refuses("evt_2")
        served.stop()

    with serve() as served:
        assert served.deliver("evt_3").status_code == 200
    assert events_in(folder / "corkage.db") == {"evt_1", "evt_3"}


@pytest.mark.parametrize("name", ["corkage.db-wal", "corkage.db-shm"])
def test_who_still_reads_at_the_end_costs_nothing_of_what_a_deleted_wal_held(config, tmp_path, name):
    """A statement that is not at its end keeps its connection half open, and that of none is the last to close."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            billing = Billing(config)
            add("ann")
            add("bob")
            reading = storage.current().of_thread().execute("SELECT id FROM corkage_user")
            assert reading.fetchone()
            (tmp_path / name).unlink()
            billing.close()
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7

    with closing(sqlite3.connect(tmp_path / "corkage.db")) as file:
        assert sorted(file.execute("SELECT id FROM corkage_user")) == [("ann",), ("bob",)]


def add(user_id):
    with storage.writing():
        User.insert(id=user_id, created_at=1).execute()


def failure_in_a_thread(act):
    """What this raises in a thread that has no connection yet."""
    raised = []

    def run():
        try:
            act()
        except DatabaseUnavailable as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised


def repoint(link, folder):
    link.unlink()
    shutil.copy(folder / "real.db", folder / "other.db")
    link.symlink_to(folder / "other.db")


def new_folder(link, folder):
    folder.rename(folder.parent / "moved")
    folder.mkdir()


@pytest.mark.parametrize("change", [repoint, new_folder])
def test_a_path_that_leads_to_another_database_is_detected(config, tmp_path, change):
    folder = tmp_path / "data"
    folder.mkdir()
    link = folder / "link.db"
    link.symlink_to(folder / "real.db")
    (folder / "real.db").touch()
    billing = Billing(replace(config, database=str(link)))
    add("before")

    change(link, folder)

    there = sorted(os.listdir(folder))
    with pytest.raises(DatabaseUnavailable, match="BILLING_DATABASE"):
        add("after")
    assert failure_in_a_thread(lambda: User.select().count())
    assert sorted(os.listdir(folder)) == there
    billing.close()


def test_a_database_replaced_within_a_transaction_is_not_committed(config, tmp_path):
    billing = Billing(config)
    path = tmp_path / "corkage.db"

    def add_while_it_goes():
        with storage.writing():
            User.insert(id="ann", created_at=1).execute()
            path.rename(tmp_path / "away.db")

    with pytest.raises(DatabaseUnavailable):
        add_while_it_goes()
    (tmp_path / "away.db").rename(path)

    add("bob")
    assert [user.id for user in User.select()] == ["bob"]
    billing.close()


def test_a_child_forked_later_detects_the_replaced_database(config, tmp_path):
    billing = Billing(config)
    path = tmp_path / "corkage.db"
    shutil.copy(path, tmp_path / "other.db")
    (tmp_path / "other.db").replace(path)
    before = path.read_bytes()
    child = os.fork()
    if child == 0:
        try:
            add("ann")
        except DatabaseUnavailable:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert path.read_bytes() == before
    billing.close()


@pytest.mark.parametrize("name", ["corkage.db", "50% of it?mode=ro#1 é.db"])
def test_a_relative_path_is_resolved_once_at_startup(config, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    billing = Billing(replace(config, database=name))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert failure_in_a_thread(lambda: add("ann")) == []
    assert StripeEvent.select().count() == 0
    assert User.get().id == "ann"
    assert os.listdir(tmp_path / "elsewhere") == []
    assert (tmp_path / name).exists()
    billing.close()
