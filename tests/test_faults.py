"""The disk, the files, the clock, memory, file handles and threads fail under `corkage serve`, and are well again.

Meanwhile all is refused in words, `/health` and `doctor` say what it is, and afterwards all goes on without hands.
"""

import os
import re
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
from elsewhere import damaged, elsewhere, locked
from harness import DAY, until
from programs import missing
from served import served
from torture import size

from corkage.simulator import ApiFaults

pytestmark = [pytest.mark.slow, pytest.mark.torture("faults")]

ON_FILES = pytest.mark.one_engine("sqlite", "the file on disk")
OF_THE_PROCESS = pytest.mark.one_engine("sqlite", "what the process lacks, whatever the engine")


SUPPORT = Path(__file__).parent / "support"


@pytest.fixture
def environ(environ):
    path = os.pathsep.join([environ["PYTHONPATH"], str(SUPPORT)])
    return environ | {"BILLING_POLL_SECONDS": "0", "BILLING_APP": "app.example.com", "PYTHONPATH": path}


def is_refused(server, event):
    return server.deliver(event).status_code == 503


def is_taken(server, event):
    with suppress(requests.ConnectionError):
        return server.deliver(event).status_code == 200
    return False


def recovers(server, event, figures, answered=frozenset({200, 503})):
    """All goes on by itself: webhooks are taken and applied, nothing is said to be wrong, nothing is lost."""
    began = time.monotonic()
    until(lambda: is_taken(server, event))
    until(server.is_well)
    until(lambda: server.health()["backlog"] == 0)
    until(lambda: server.ask().json()["allowed"])
    counts = Counter(server.statuses)
    figures.note(taken=counts[200], refused=counts[503], well_again_after_s=round(time.monotonic() - began, 1), lost=0)
    assert set(counts) <= answered
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
        assert "Traceback" not in server.log()


# Other programs


def test_while_another_program_holds_the_write_lock_all_is_refused_soon(environ, tmp_path, event, figures):
    seconds, longest = size(3, long=30), 0.0
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


# The files

AS_OTHERS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search")


@ON_FILES
@pytest.mark.skipif(not shutil.which("setpriv"), reason="root may write everywhere, without setpriv")
def test_a_file_and_folder_that_become_read_only_lose_nothing_and_stop_the_next_start(
    environ, tmp_path, event, figures
):
    data = tmp_path / "data"
    data.mkdir()
    environ["BILLING_DATABASE"] = "data/corkage.db"
    through = AS_OTHERS if os.geteuid() == 0 else ()
    with served(environ, tmp_path, through=through) as server:
        assert server.deliver(event).status_code == 200
        with read_only(data):
            for _ in range(10):
                server.deliver(event)
            assert server.ask().status_code == 200
            assert "attempt to write a readonly database" in server.doctor()["write"]
        recovers(server, event, figures)

        server.stop()
        with read_only(data):
            server.start()
            assert server.process.wait(60) in (1, 2)
        assert "attempt to write a readonly database" in server.log()
        assert "Traceback" not in server.log()
        server.begin()
        recovers(server, event, figures)


@contextmanager
def read_only(folder):
    """Let nobody write to what is in the folder, nor make anything there."""
    paths = {path: path.stat().st_mode for path in (*folder.iterdir(), folder)}
    for path, mode in paths.items():
        path.chmod(mode & ~0o222)
    yield
    for path, mode in paths.items():
        if path.exists():
            path.chmod(mode)


@ON_FILES
def test_a_file_that_was_moved_away_is_made_by_nobody_and_used_when_it_is_back(environ, tmp_path, event, figures):
    data = tmp_path / "data"
    data.mkdir()
    environ["BILLING_DATABASE"] = "data/corkage.db"
    with served(environ, tmp_path) as server:
        assert server.deliver(event).status_code == 200
        (data / "corkage.db").rename(data / "away.db")
        assert is_refused(server, event)
        until(lambda: "was deleted or moved away" in server.problems())
        assert "was deleted or moved away" in server.doctor()["write"]
        assert not (data / "corkage.db").exists()

        (data / "away.db").rename(data / "corkage.db")

        recovers(server, event, figures)


@ON_FILES
def test_a_damaged_page_is_said_until_a_whole_file_is_in_its_place(environ, tmp_path, event, figures):
    with served(environ, tmp_path) as server:
        assert server.deliver(event).status_code == 200
        server.stop()
        with damaged(server.path, "corkage_stripe_event"):
            server.begin()
            assert is_refused(server, event)
            until(lambda: "malformed" in server.problems())
            assert "damaged" in server.doctor()["integrity"]
            server.stop()
        server.begin()
        recovers(server, event, figures)
        assert "Traceback" not in server.log()


def test_a_database_of_a_newer_version_stops_the_start_and_is_left_as_it_is(environ, tmp_path, event, figures):
    with served(environ, tmp_path) as server:
        assert server.deliver(event).status_code == 200
        version = set_version(server.path, "99")
        for _ in range(3):
            server.deliver(event)
        server.stop()

        server.start()

        assert server.process.wait(60) == 2
        assert "and this Corkage knows" in server.log()
        assert "Traceback" not in server.log()
        assert "newer" in " ".join(server.doctor().values())
        assert set_version(server.path, version) == "99"
        server.begin()
        recovers(server, event, figures)


def set_version(database, version):
    """Write the version of the tables; return the one before."""
    with elsewhere(database) as connection:
        ((before,),) = connection.execute("SELECT value FROM corkage_setting WHERE name = 'schema_version'").fetchall()
        connection.execute(f"UPDATE corkage_setting SET value = '{version}' WHERE name = 'schema_version'")
    return before


# The clock

LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/local/lib/faketime/libfaketimeMT.so.1")
INSTALL = "install libfaketime (Debian: `apt-get install faketime`) for the tests that set a process's clock"


@pytest.fixture
def clock(environ, tmp_path):
    """Set the clock of the processes to so many seconds ahead of the true one."""
    library = next((str(path) for each in LIBRARIES for path in Path("/").glob(each[1:])), None) or missing(INSTALL)
    ahead = tmp_path / "ahead"
    environ |= {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": str(ahead),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }

    def set_to(seconds):
        (tmp_path / "next").write_text(f"{seconds:+d}\n")
        (tmp_path / "next").replace(ahead)

    set_to(0)
    return set_to


@OF_THE_PROCESS
@pytest.mark.parametrize("ahead", [DAY, -DAY], ids=["forwards", "back"])
def test_a_clock_a_day_off_is_said_and_all_is_caught_up_when_it_is_right(
    clock, environ, tmp_path, event, shop, simulator, figures, ahead
):
    simulator.api_faults.date_ahead_seconds = 1  # so that its clock counts as Stripe's
    with served(environ | {"BILLING_POLL_SECONDS": "1"}, tmp_path, module="clocked") as server:
        assert server.deliver(event).status_code == 200
        until(lambda: server.ask().json()["allowed"])

        clock(ahead)

        refused = server.deliver(event)
        assert refused.status_code == 400  # the signature is a day old
        assert "Traceback" not in refused.text
        shop.subscribe(shop.customer("bob"), user="bob")
        side = "ahead of" if ahead > 0 else "behind"
        until(lambda: re.search(rf"this machine's clock is 86[34][09]\d s {side} Stripe's", server.problems()))
        assert any("clock" in each for each in server.doctor().values())

        clock(0)

        server.statuses.clear()
        until(lambda: server.ask("bob").json()["allowed"])  # Stripe's webhook was refused, too
        recovers(server, event, figures)
        assert "Traceback" not in server.log()


# What the process lacks


@contextmanager
def limited(server, what, most):
    """Let the process have so much of it."""
    soft, hard = resource.prlimit(server.process.pid, what)
    resource.prlimit(server.process.pid, what, (most, hard))
    yield
    resource.prlimit(server.process.pid, what, (soft, hard))


@OF_THE_PROCESS
@pytest.mark.parametrize("left", (0, 3)[: size(1, long=2)])
def test_out_of_file_handles_nobody_hangs_and_it_goes_on_afterwards(environ, tmp_path, event, figures, left):
    with served(environ, tmp_path) as server:
        is_open = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
        with limited(server, resource.RLIMIT_NOFILE, is_open + left):
            for _ in range(size(4, long=100)):
                server.deliver(event)
            refused = server.get("/health")
            assert refused.status_code == 503
        assert set(server.statuses) <= {200, 503}
        recovers(server, event, figures)
        assert "Traceback" not in server.log()


@OF_THE_PROCESS
@pytest.mark.parametrize("spare", [0, 4_000_000], ids=["none", "4 MB"])
def test_out_of_memory_it_refuses_or_does_what_is_asked_and_goes_on_afterwards(
    environ, tmp_path, event, figures, spare
):
    one_heap = {"MALLOC_ARENA_MAX": "1", "MALLOC_TOP_PAD_": "0"}  # or the library has much in reserve
    with served(environ | one_heap, tmp_path) as server:
        assert server.deliver(event).status_code == 200
        used = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[0]) * resource.getpagesize()
        with limited(server, resource.RLIMIT_AS, used + spare), ThreadPoolExecutor(8) as pool:
            for _ in range(size(2, long=50)):
                list(pool.map(lambda _: tried(server, event), range(size(8, long=24))))
        recovers(server, event, figures, answered={200, 503, 500})  # by waitress, where there is none for our answer


def tried(server, event):
    """Deliver a large webhook: a connection that is closed without an answer is a refusal, too."""
    with suppress(requests.ConnectionError):
        server.deliver(event, padding=300_000)


# Threads

THREADS = {"worker": "corkage-worker", "all that answer": "waitress-*", "the one that listens": "MainThread"}


@OF_THE_PROCESS
@pytest.mark.parametrize("name", THREADS.values(), ids=THREADS)
def test_a_thread_that_is_struck_down_goes_on(environ, tmp_path, event, shop, figures, name):
    struck = tmp_path / "struck"
    with served(environ | {"STRUCK": str(struck)}, tmp_path, module="struck") as server:
        assert server.deliver(event).status_code == 200
        until(lambda: server.ask().json()["allowed"])
        struck.write_text(name)
        for _ in range(size(1, long=20)):
            server.process.send_signal(signal.SIGUSR1)
            time.sleep(0.05)
            tried(server, event)
        recovers(server, event, figures, answered={200, 503, 500})
        said = Counter(re.findall("goes on after|waiting for connections again|no memory is left", server.log()))
        assert said.total() > 0
        figures.note(struck_and_said=said.total())


# Much to do


def fill_inbox(database, rows):
    """Put events into the inbox, as rows of (type, customer, received at, attempts, error)."""
    names = "id, type, customer_id, created, source, received_at, next_attempt_at, attempts, error"
    insert = f"INSERT INTO corkage_stripe_event ({names}) VALUES {{}}"
    values = [
        f"('evt_old_{number}', '{kind}', '{customer}', 1, 'webhook', {at}, {at}, {attempts}, {error})"
        for number, (kind, customer, at, attempts, error) in enumerate(rows)
    ]
    with elsewhere(database) as connection:
        for start in range(0, len(values), 5000):
            connection.execute(insert.format(", ".join(values[start : start + 5000])))


def test_a_hundred_thousand_events_at_the_start_delay_nobody_and_are_applied(
    environ, tmp_path, event, shop, simulator, figures
):
    many, customers, now = size(2000, long=100_000), [], int(time.time())
    for number in range(20):
        customers.append(shop.customer(f"user{number}"))
        shop.subscribe(customers[-1], user=f"user{number}")
    with served(environ, tmp_path) as server:
        server.stop()
        kinds = ("invoice.paid", "customer.subscription.updated", "customer.updated")
        fill_inbox(
            server.path, ((kinds[number % 3], customers[number % 20], now - 600, 0, "NULL") for number in range(many))
        )
        asked, began = len(simulator.requests), time.monotonic()
        server.begin()
        started = time.monotonic() - began
        longest = 0.0
        while server.health()["backlog"]:
            began_one = time.monotonic()
            server.deliver(event)
            server.ask()
            longest = max(longest, time.monotonic() - began_one)
        figures.note(
            events=many,
            start_in_s=round(started, 1),
            applied_in_s=round(time.monotonic() - began, 1),
            slowest_webhook_and_access_in_s=round(longest, 2),
            calls_of_Stripe=len(simulator.requests) - asked,
        )
        assert all(server.ask(f"user{number}").json()["allowed"] for number in range(20))
        recovers(server, event, figures)


def test_events_that_fail_for_months_are_said_kept_and_applied_when_they_can_be(
    environ, tmp_path, event, shop, simulator, figures
):
    now, lost = int(time.time()), shop.customer("lost")
    shop.subscribe(lost, user="lost")
    with served(environ, tmp_path) as server:
        assert server.deliver(event).status_code == 200
        with elsewhere(server.path) as connection:  # so that it is fetched by itself, before its subscriptions
            connection.execute(f"INSERT INTO corkage_customer (id, revision, missing_at) VALUES ('{lost}', 0, 1)")
        simulator.api_faults = ApiFaults("error", f"/v1/customers/{lost}")
        error = "'stripe_failed: x'"
        fill_inbox(
            server.path, [("invoice.paid", lost, now - 200 * DAY, 5000, error) for _ in range(size(50, long=5000))]
        )
        until(lambda: server.ask().json()["allowed"])  # it stops no other
        until(lambda: any("fail, and the oldest" in each for each in server.health()["warnings"]))
        assert "events fail, the oldest since 200 d:" in server.doctor()["events"]
        assert not server.ask("lost").json()["allowed"]

        simulator.api_faults = ApiFaults()
        with elsewhere(server.path) as connection:  # the hour is over after which it is tried again
            connection.execute("UPDATE corkage_stripe_event SET next_attempt_at = 0 WHERE applied_at IS NULL")

        assert server.deliver(event).status_code == 200
        until(lambda: server.ask("lost").json()["allowed"])
        recovers(server, event, figures)
