"""Another program keeps the database's write lock: each request is answered within one wait, however many there are."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace

import pytest
from buying import click
from elsewhere import be_impatient, locked
from harness import is_error

from corkage import storage
from corkage.errors import DatabaseUnavailable
from corkage.models import CheckoutAttempt, StripeEvent, User
from corkage.storage.group_commit import GroupCommit

pytestmark = pytest.mark.slow

WAIT_SECONDS = 2.0
AT_ONCE = 6  # of each kind: in turn they would wait for twelve times as long
SOON_SECONDS = 4 * WAIT_SECONDS  # generous: the machine may be slow


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    be_impatient(monkeypatch, WAIT_SECONDS)


@pytest.fixture
def config(config):
    return replace(config, billing_url="https://billing.example.com")


def write_row():
    with storage.writing():
        User.insert(id="ann", created_at=1).execute()


def write_statement():
    storage.write("INSERT INTO corkage_user (id, created_at) VALUES {rows}", ("ann", 1))


def act():
    storage.act(lambda execute: execute("INSERT INTO corkage_user (id, created_at) VALUES (?, 1)", ("ann",)), "ann")


def refused(write):
    with pytest.raises(DatabaseUnavailable) as caught:
        write()
    return caught.value


def timed(call, *given):
    begun = time.monotonic()
    return call(*given), time.monotonic() - begun


def copy(event, number):
    return json.dumps(json.loads(str(event)) | {"id": f"evt_copy_{number}"}).encode()


def test_webhooks_and_clicks_at_once_wait_for_a_foreign_lock_as_long_as_one(app, event, config):
    with ThreadPoolExecutor(2 * AT_ONCE) as pool, locked(config.database):
        clicks = [pool.submit(timed, click, app, "/checkout", f"user{each}") for each in range(AT_ONCE)]
        webhooks = [pool.submit(timed, app.deliver, copy(event, each)) for each in range(AT_ONCE)]
        answered = [each.result() for each in clicks + webhooks]

    assert all(is_error(answer, 503, "database_unavailable") for answer, _ in answered)
    assert all(answer.json()["error"]["message"] and answer.headers["Retry-After"] for answer, _ in answered)
    assert max(seconds for _, seconds in answered) < SOON_SECONDS
    assert not StripeEvent.select().exists()
    assert not CheckoutAttempt.select().exists()


def test_what_was_refused_for_a_foreign_lock_is_taken_once_it_is_gone(app, event, config):
    with locked(config.database):
        assert is_error(app.deliver(event), 503, "database_unavailable")
    assert app.deliver(event).status_code == 200
    assert click(app).ok


@pytest.mark.parametrize("write", [write_row, write_statement, act])
def test_a_writer_that_waited_for_another_thread_waits_less_for_another_program(app, config, write):
    with ThreadPoolExecutor(1) as pool, locked(config.database):
        with storage.current()._write_lock:
            waiting = pool.submit(timed, refused, write)
            time.sleep(0.9 * WAIT_SECONDS)
        _, seconds = waiting.result()

    assert seconds < 1.7 * WAIT_SECONDS


@pytest.mark.one_engine("sqlite", "single statements wait for no other thread on PostgreSQL")
@pytest.mark.parametrize("write", [write_row, write_statement, act])
def test_a_writer_gives_up_while_another_thread_writes_on_and_the_next_writes(app, write):
    with ThreadPoolExecutor(4) as pool:
        with storage.current()._write_lock:
            waiting = [pool.submit(refused, write) for _ in range(4)]
            assert [str(each.result(30)) for each in waiting] == [storage.current().LOCKED] * 4
        assert not User.select().exists()
        pool.submit(write).result(30)

    assert User.get().id == "ann"
    assert storage.current().trouble.reason == ""


@pytest.mark.one_engine("sqlite", "PostgreSQL itself lets commits share an fsync")
def test_who_waits_for_a_commit_that_takes_long_gives_up_and_is_not_committed_later():
    begun, goes_on, committed = threading.Event(), threading.Event(), []

    def commit(group, _):
        begun.set()
        goes_on.wait(30)
        committed.extend(each.sql for each in group)

    group_commit = GroupCommit(lambda _: nullcontext(), commit, "locked")
    with ThreadPoolExecutor(2) as pool:
        leads = pool.submit(group_commit.write, "first", ())
        begun.wait(30)
        follows = pool.submit(group_commit.write, "second", ())
        assert str(follows.exception(30)) == "locked"
        goes_on.set()
        assert leads.exception(30) is None

    assert committed == ["first"]
    group_commit.write("third", ())
    assert committed == ["first", "third"]
