"""The disk, the files, the clock, memory, file handles and threads fail under `corkage serve`, and are well again.

Meanwhile all is refused in words, `/health` and `doctor` say what it is, and afterwards all goes on without hands.
"""

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import requests
from elsewhere import elsewhere, locked
from harness import DAY, until
from programs import missing
from served import served
from torture import size

pytestmark = [pytest.mark.slow, pytest.mark.torture("faults")]

ON_FILES = pytest.mark.one_engine("sqlite", "the file on disk")
OF_THE_PROCESS = pytest.mark.one_engine("sqlite", "what the process lacks, whatever the engine")


@pytest.fixture
def environ(environ):
    return environ | {"BILLING_POLL_SECONDS": "0", "BILLING_APP": "app.example.com"}


def is_refused(server, event):
    return server.deliver(event).status_code == 503


def is_taken(server, event):
    with suppress(requests.ConnectionError):
        return server.deliver(event).status_code == 200
    return False


def recovers(server, event, figures):
    """All goes on by itself: webhooks are taken and applied, nothing is said to be wrong, nothing is lost."""
    began = time.monotonic()
    until(lambda: is_taken(server, event))
    until(server.is_well)
    until(lambda: server.health()["backlog"] == 0)
    until(lambda: server.ask().json()["allowed"])
    counts = Counter(server.statuses)
    figures.note(taken=counts[200], refused=counts[503], well_again_after_s=round(time.monotonic() - began, 1), lost=0)
    assert set(counts) <= {200, 503}
    assert server.lost() == set()


# The disk


@contextmanager
def small_disk(folder, megabytes=3):
    """Mount a disk of so many megabytes at the folder."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("needs root's right to mount; test_trouble.py fills a file up to the limit of its process")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk):
    """Write until no byte is free."""
    with (disk / "filler").open("ab", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))
    with (disk / "filler").open("ab", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(b"0")


@ON_FILES
def test_a_full_disk_is_said_and_what_was_acknowledged_is_on_it(environ, tmp_path, event, figures):
    disk = tmp_path / "disk"
    environ["BILLING_DATABASE"] = "disk/corkage.db"
    with small_disk(disk), served(environ, tmp_path) as server:
        assert server.deliver(event).status_code == 200
        fill(disk)
        for _ in range(size(30, long=2000)):
            server.deliver(event)
        until(lambda: is_refused(server, event))
        assert server.ask().status_code == 200  # who has paid is let in
        until(lambda: "nothing can be written to the database: database or disk is full" in server.problems())
        assert "is full" in server.doctor()["write"]

        (disk / "filler").unlink()

        recovers(server, event, figures)
        assert "write" not in server.doctor()
        assert "Traceback" not in server.log()


# Other programs


def test_while_another_program_holds_the_write_lock_all_is_refused_soon(environ, tmp_path, event, figures):
    seconds, longest = size(7, long=30), 0.0
    with served(environ, tmp_path) as server, ThreadPoolExecutor(4) as pool:
        assert server.deliver(event).status_code == 200
        until(lambda: server.ask().json()["allowed"])
        with locked(server.path):
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                began = time.monotonic()
                answers = list(pool.map(server.deliver, [event] * 4))
                assert {answer.status_code for answer in answers} == {503}
                longest = max(longest, time.monotonic() - began)
                assert server.ask().json()["allowed"]
            assert "nothing can be written" in server.problems()
            assert "write" in server.doctor()
        figures.note(held_for_s=seconds, slowest_refusal_s=round(longest, 1))
        recovers(server, event, figures)
        assert "Traceback" not in server.log()


@ON_FILES
def test_a_log_that_a_reader_kept_from_being_emptied_is_said_while_it_is_large(environ, tmp_path, event, figures):
    with served(environ, tmp_path) as server, closing(sqlite3.connect(server.path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM corkage_setting").fetchone()
        write_much(server.path)
        wal = Path(f"{server.path}-wal")
        assert wal.stat().st_size > 64_000_000
        assert server.deliver(event).status_code == 200
        until(lambda: any("the write-ahead log has" in each for each in server.health()["warnings"]))
        assert "a reader that does not end" in server.doctor()["log size"]
        figures.note(log_MB=round(wal.stat().st_size / 1e6))

        reader.execute("ROLLBACK")

        recovers(server, event, figures)
        until(lambda: server.deliver(event).ok and wal.stat().st_size < 64_000_000)
        until(lambda: not any("write-ahead" in each for each in server.health()["warnings"]))
        assert "log size" not in server.doctor()


def write_much(path):
    with closing(sqlite3.connect(path)) as other:
        for number in range(70):
            other.execute("INSERT INTO corkage_setting VALUES (?, zeroblob(1000000))", (f"fill{number}",))
        other.commit()
        other.execute("DELETE FROM corkage_setting WHERE name LIKE 'fill%'")
        other.commit()
