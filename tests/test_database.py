"""The file: its settings, its one writer, forks, upgrades, and what it refuses."""

import errno
import fcntl
import os
import sqlite3
import threading
import time
from dataclasses import replace

import pytest
import requests
from elsewhere import be_impatient, elsewhere
from harness import running

from corkage import models, schema, storage
from corkage.billing_app import Billing
from corkage.errors import ConfigError, DatabaseUnavailable
from corkage.models import Setting, User


def add_user(user_id):
    User.insert(id=user_id, created_at=1).execute()


@pytest.mark.one_engine("sqlite", "its settings")
def test_the_file_is_durable_and_strict(app):
    names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    asked = {name: storage.current().of_thread().execute(f"PRAGMA {name}").fetchone()[0] for name in names}

    assert asked == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}


def test_a_failed_write_leaves_nothing_and_the_connection_is_good(app):
    def fail():
        with storage.writing():
            add_user("ann")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert User.select().count() == 0
    with storage.writing():
        add_user("bob")
    assert User.select().count() == 1


def test_writing_transactions_do_not_nest(app):
    with pytest.raises(RuntimeError, match="must not nest"), storage.writing(), storage.writing():
        pass


def test_a_bug_in_a_statement_is_no_unavailable_database(app):
    import peewee

    with storage.writing():
        add_user("ann")
    with pytest.raises(peewee.IntegrityError), storage.writing():
        add_user("ann")


def test_writers_of_one_process_wait_for_each_other(app):
    def write(number):
        for each in range(20):
            with storage.writing():
                add_user(f"{number}-{each}")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert User.select().count() == 160


def test_a_thread_that_ends_takes_its_connection_along(app):
    import gc

    thread = threading.Thread(target=lambda: User.select().count())
    thread.start()
    thread.join()
    gc.collect()
    before = len(storage.current().open_connections())
    for _ in range(5):
        thread = threading.Thread(target=lambda: User.select().count())
        thread.start()
        thread.join()
    gc.collect()

    assert len(storage.current().open_connections()) <= before


def test_a_forked_child_opens_its_own_connection(app):
    parents = storage.current().of_thread()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with storage.writing():
                add_user("child")
            fresh = storage.current().of_thread() is not parents
            os.write(writing, b"fresh" if fresh else b"shared")
        finally:
            os._exit(0)
    os.waitpid(child, 0)

    assert os.read(reading, 9) == b"fresh"
    assert storage.current().of_thread() is parents
    assert User.get().id == "child"
    with storage.writing():
        add_user("parent")


def test_a_file_of_a_newer_corkage_is_refused_and_left_as_it_is(config):
    Billing(config).close()
    with elsewhere(config.database) as other:
        other.execute("UPDATE corkage_setting SET value = '99' WHERE name = 'schema_version'")

    with pytest.raises(ConfigError, match="schema version 99"):
        Billing(config)

    with elsewhere(config.database) as other:
        stored = other.execute("SELECT value FROM corkage_setting WHERE name = 'schema_version'").fetchone()
    assert stored == ("99",)


def test_an_upgrade_runs_once_in_a_transaction_and_renews_the_view(config, monkeypatch):
    Billing(config).close()

    def add_column():
        storage.execute("ALTER TABLE corkage_user ADD COLUMN nickname TEXT")

    newest = schema.SCHEMA_VERSION
    monkeypatch.setitem(schema.UPGRADES, newest, add_column)
    monkeypatch.setattr(schema, "SCHEMA_VERSION", newest + 1)
    monkeypatch.setitem(schema.VIEWS, "corkage_access", schema.VIEWS["corkage_access"] + " AND plan <> 'hidden'")
    for _ in range(2):
        billing = Billing(config)
        assert Setting.get_by_id("schema_version").value == str(newest + 1)
        (view,) = [view.sql for view in storage.current().get_views() if view.name == "corkage_access"]
        billing.close()
    assert "'hidden'" in view


def test_an_upgrade_that_fails_changes_nothing(config, monkeypatch):
    Billing(config).close()

    def fail():
        storage.execute("ALTER TABLE corkage_user ADD COLUMN nickname VARCHAR")
        raise ZeroDivisionError

    monkeypatch.setitem(schema.UPGRADES, schema.SCHEMA_VERSION, fail)
    monkeypatch.setattr(schema, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 1)
    with pytest.raises(ZeroDivisionError):
        Billing(config)
    monkeypatch.undo()

    billing = Billing(config)
    assert "nickname" not in [column.name for column in storage.current().get_columns("corkage_user")]
    assert not billing.access("ann").allowed
    billing.close()


def test_one_file_mirrors_one_mode(config):
    Billing(config).close()

    with pytest.raises(ConfigError, match="test mode"):
        Billing(replace(config, stripe_secret_key="sk_live_x"))


def test_a_second_billing_in_one_process_is_told_why_not(app, config):
    with pytest.raises(ConfigError, match="close that Billing"):
        Billing(config)


def test_after_close_another_may_open(app, config):
    app.billing.close()
    Billing(config).close()
    Billing(config).close()


@pytest.mark.one_engine("sqlite", "paths of files")
def test_a_path_that_cannot_be_opened_stops_the_start(config, tmp_path):
    with pytest.raises(ConfigError, match="BILLING_DATABASE"):
        Billing(replace(config, database=str(tmp_path / "no" / "such" / "folder.db")))
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"this is no database" * 100)
    with pytest.raises(ConfigError, match="BILLING_DATABASE"):
        Billing(replace(config, database=str(broken)))


@pytest.mark.one_engine("sqlite", "it damages the file")
def test_reading_a_damaged_file_is_a_503(app):
    class Damaged:
        def execute(self, *_):
            raise sqlite3.DatabaseError("database disk image is malformed")

    with pytest.raises(DatabaseUnavailable), storage.reading():
        Damaged().execute()


@pytest.mark.one_engine("sqlite", "it damages the file")
def test_a_read_that_the_file_refuses_is_a_503_wherever_it_is_made(app):
    with storage.writing():
        add_user("ann")
    storage.release()
    with open(app.billing.config.database, "r+b") as file:
        file.write(b"no database" * 10)

    answer = requests.get(f"{app.url}/return?session_id=cs_test_1", allow_redirects=False, timeout=30)
    assert answer.status_code == 303
    with pytest.raises(DatabaseUnavailable, match="not a database"):
        list(models.CheckoutAttempt.select())


@pytest.mark.one_engine("sqlite", "it locks the file")
def test_the_write_lock_is_free_after_a_locked_file(config, monkeypatch):
    be_impatient(monkeypatch, 0.05)
    billing = Billing(config)
    other = sqlite3.connect(config.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable), storage.writing():
        pass
    other.execute("COMMIT")
    other.close()
    with storage.writing():
        add_user("ann")
    assert User.get().id == "ann"
    billing.close()
    assert time.time() > 0


@pytest.mark.one_engine("sqlite", "locks of the file")
def test_a_system_without_locks_of_open_files_serves_all_the_same(config, monkeypatch):
    def without(_descriptor, command, _place):
        assert command == fcntl.F_OFD_SETLK
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(fcntl, "fcntl", without)

    with running(config) as app:
        assert app.ask().status_code == 200


@pytest.mark.one_engine("sqlite", "locks of the file")
def test_a_lock_that_cannot_be_kept_stops_the_start(config, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "fcntl", full)

    with pytest.raises(ConfigError, match="cannot be opened"):
        Billing(config)
