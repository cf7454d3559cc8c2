"""The database cannot be used for a while: a 503 in words, /health says it, and it goes on without hands afterwards."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
import requests
from elsewhere import damaged
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


READ_ONLY = "attempt to write a readonly database"
AS_OTHERS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search")
needs_setpriv = pytest.mark.skipif(not shutil.which("setpriv"), reason="root may write everywhere, without setpriv")


def said_by(environ, folder, *arguments):
    """Run a command for which the permissions of files count, as they do for everybody but root."""
    command = [*(AS_OTHERS if os.geteuid() == 0 else ()), sys.executable, "-m", "corkage.cli", *arguments]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


@needs_setpriv
def test_a_file_that_is_read_only_is_said_until_it_is_not(environ, tmp_path):
    name, mode = "data/corkage.db", 0o444
    (tmp_path / "data").mkdir()
    environ |= {"BILLING_DATABASE": "data/corkage.db"}
    assert said_by(environ, tmp_path, "stats")[0] == 0
    before = (tmp_path / name).stat().st_mode
    (tmp_path / name).chmod(mode)

    shown, examined = said_by(environ, tmp_path, "stats"), said_by(environ, tmp_path, "doctor")

    assert shown[0] != 0
    assert READ_ONLY in shown[1]
    assert examined[0] != 0
    assert READ_ONLY in examined[1]
    (tmp_path / name).chmod(before)
    assert said_by(environ, tmp_path, "stats")[0] == 0


@needs_setpriv
def test_a_folder_in_which_no_file_can_be_made_stops_the_start_and_says_why(environ, tmp_path):
    (tmp_path / "data").mkdir(0o555)
    environ |= {"BILLING_DATABASE": "data/corkage.db"}

    code, said = said_by(environ, tmp_path, "serve")

    assert code == 2
    assert "BILLING_DATABASE: data/corkage.db cannot be opened as an SQLite file: [Errno 13] Permission denied" in said
    assert list((tmp_path / "data").iterdir()) == []
