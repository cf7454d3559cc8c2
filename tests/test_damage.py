"""The database cannot be used for a while: a 503 in words, /health says it, and it goes on without hands afterwards."""

import os
import sqlite3
import time
from contextlib import closing, contextmanager

import pytest
import requests
from harness import running

from corkage import storage
from corkage.errors import DatabaseUnavailable

FILL = "INSERT INTO corkage_setting (name, value) VALUES {rows}"

pytestmark = [pytest.mark.slow, pytest.mark.one_engine("sqlite", "the file on disk")]


def events_in(path):
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {name for (name,) in file.execute("SELECT id FROM corkage_stripe_event")}


def health(url):
    answer = requests.get(f"{url}/health", timeout=30)
    facts = answer.json()
    assert (answer.status_code, facts["status"]) == ((503, "failing") if facts["problems"] else (200, "ok"))
    return facts["problems"]


@contextmanager
def damaged(path, table):
    """Overwrite the first page of a table, which nobody has open; mend it afterwards."""
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = file.execute("PRAGMA page_size").fetchone()[0]
        (page,) = file.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    with open(path, "r+b") as file:
        file.seek((page - 1) * size)
        whole = file.read(size)
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
        file.flush()
        yield
        file.seek((page - 1) * size)
        file.write(whole)


@pytest.mark.parametrize(("table", "is_written"), [("corkage_stripe_event", True), ("corkage_answer", False)])
def test_a_damaged_page_is_a_503_that_health_goes_on_to_say(config, event, caplog, monkeypatch, table, is_written):
    monkeypatch.setattr("corkage.health.writable.TRY_EVERY_SECONDS", 0)
    with running(config):
        pass
    with damaged(config.database, table), running(config) as app:
        for _ in range(3):
            assert (app.deliver(event) if is_written else app.ask()).status_code == 503
            assert any("malformed" in each for each in health(app.url))  # although its own write goes well
    assert caplog.text.count("the database is unavailable") == 1
    assert "the database is available again" not in caplog.text

    with running(config) as app:
        assert app.deliver(event).status_code == 200
        assert app.ask().status_code == 200
        assert health(app.url) == []
    assert events_in(config.database) == {event.id}


def test_damage_that_was_met_is_over_when_all_went_well_for_a_while(app, monkeypatch):
    monkeypatch.setattr("corkage.storage.sqlite.DAMAGE_SECONDS", 0.5)
    storage.note(DatabaseUnavailable("database disk image is malformed"))
    storage.write(FILL, ("a", "b"))
    assert storage.current().trouble.reason

    time.sleep(0.5)
    storage.write(FILL, ("c", "d"))

    assert not storage.current().trouble.reason


def test_a_long_reader_holds_up_nobody_and_the_wal_is_emptied_after_it(app, config, event):
    wal = f"{config.database}-wal"
    with closing(sqlite3.connect(config.database, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM corkage_stripe_event").fetchone()
        for number in range(300):
            storage.write(FILL, (f"fill{number}", "x" * 8000))
        assert app.deliver(event).status_code == 200
        assert health(app.url) == []
        grown = os.stat(wal).st_size
        assert grown > 1_000_000

    for number in range(300):
        storage.write(FILL, (f"more{number}", "x" * 8000))
    assert os.stat(wal).st_size <= grown + 1_000_000  # it is used anew, and grows no more
    assert events_in(config.database) == {event.id}
