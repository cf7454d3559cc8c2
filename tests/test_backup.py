"""`corkage backup` and `corkage restore`: while webhooks come, killed at any point, and what they refuse."""

import json
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from harness import started, until
from loading import THREADS, events_in, go_on, loaded
from sampling import todays

from corkage import storage
from corkage.billing_app import Billing
from corkage.commands.database import restore as restoring
from corkage.errors import DatabaseUnavailable
from corkage.models import Setting, User
from corkage.schema import SCHEMA_VERSION
from corkage.storage import backup as backups
from corkage.storage.backup import NotUsable
from corkage.storage.lock import FileLock

pytestmark = [pytest.mark.slow, pytest.mark.one_engine("sqlite", "a server has tools of its own")]

DUMP = Path(__file__).parent / "support" / "schema_1.sql"
TIMES = 1_000_000 if os.environ.get("ALL_ORDERS") == "true" else 8


def add(*users):
    with storage.writing():
        for each in users:
            User.insert(id=each, created_at=1).execute()


def users_of(path):
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {name for (name,) in file.execute("SELECT id FROM corkage_user")}


def settings_of(path):
    with closing(sqlite3.connect(path)) as file:
        return backups.settings_of(file)


def whole(path):
    """All rows and tables of a file but the marks of backups."""
    marks = re.compile(r"'(backup|backup_of)'")
    with closing(sqlite3.connect(path)) as file:
        return [line for line in file.iterdump() if not marks.search(line)]


def parts_of(folder):
    return [path.name for path in folder.glob(".corkage-*")]


@pytest.fixture
def path(config):
    return Path(config.database)


@pytest.fixture
def filled(config, path):
    """A database with ann and bob, which nobody has open."""
    with closing(Billing(config)):
        add("ann", "bob")
    return path


@pytest.fixture
def made(filled, corkage, tmp_path):
    """A backup of it."""
    assert corkage("backup", "made.db").returncode == 0
    return tmp_path / "made.db"


# Making one


def test_a_backup_is_one_private_file_that_equals_the_database(filled, corkage, tmp_path):
    before = int(time.time())

    said = corkage("backup", "made.db")

    copy = tmp_path / "made.db"
    assert (said.returncode, said.stderr) == (0, "")
    assert re.fullmatch(rf"{copy}\n2 users, 0\.\d MB, as of .* UTC; read back and found whole\n", said.stdout)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert whole(copy) == whole(filled)
    assert copy.read_bytes()[18:20] == b"\x01\x01"  # it needs no file beside it to be read
    note = json.loads(settings_of(filled)["backup"])
    assert (note["file"], before <= note["at"] <= time.time()) == (str(copy), True)
    assert (parts_of(tmp_path), list(tmp_path.glob("made.db-*"))) == ([], [])


def test_json_says_the_same(filled, corkage, tmp_path):
    said = json.loads(corkage("backup", "made.db", "--json").stdout)

    assert said.pop("at") == json.loads(settings_of(filled)["backup"])["at"]
    file = tmp_path / "made.db"
    wanted = {"file": str(file), "bytes": file.stat().st_size, "users": 2, "schema_version": SCHEMA_VERSION}
    assert said == wanted


def test_it_holds_what_is_still_in_the_wal(config, path, corkage, tmp_path):
    with closing(Billing(config)):
        add("ann")
        assert path.with_name("corkage.db-wal").stat().st_size > 0

        assert corkage("backup", "made.db").returncode == 0

        assert users_of(tmp_path / "made.db") == {"ann"}


def test_under_load_a_backup_is_of_one_moment_and_has_all_that_was_acknowledged_before(
    filled, environ, tmp_path, event, corkage
):
    moments = []
    with loaded(environ, tmp_path, json.loads(str(event))) as acknowledged:
        for number in range(4):
            go_on(acknowledged, 30)
            before = [set(each) for each in acknowledged]
            assert corkage("backup", f"{number}.db").returncode == 0
            moments.append((before, events_in(tmp_path / f"{number}.db"), [set(each) for each in acknowledged]))
            go_on(acknowledged)
        delivered = acknowledged

    for before, found, after in moments:
        for thread in range(THREADS):
            assert before[thread] <= found[thread] == set(range(len(found[thread])))  # no later one without an earlier
            assert len(found[thread]) <= len(after[thread]) + 1
    assert corkage("restore", "0.db", "--yes").returncode == 0
    assert events_in(filled) == moments[0][1] != delivered
    assert users_of(filled) == {"ann", "bob"}


def test_a_writer_between_two_pieces_neither_waits_nor_comes_into_the_copy(config, filled, tmp_path, monkeypatch):
    monkeypatch.setattr(backups, "PAGES", 5)
    engine = storage.engine_of(config.database)
    writer = sqlite3.connect(filled, timeout=0)
    pieces = []

    def write(done, of):
        with writer:
            writer.execute("INSERT INTO corkage_user (id, rule, created_at) VALUES (?, 0, 1)", (f"user_{done}",))
        pieces.append((done, of))

    with closing(writer):
        content = backups.copy(engine.of_thread(), str(tmp_path / "made.db"), 7, write)
    engine.close_all()

    assert len(pieces) > 10
    assert [done for done, _ in pieces] == sorted({done for done, _ in pieces})  # it never began anew
    assert users_of(tmp_path / "made.db") == {"ann", "bob"}
    assert content.users == 2
    assert len(users_of(filled)) == 2 + len(pieces)


def test_an_older_schema_is_copied_as_it_is_and_not_upgraded(path, corkage, tmp_path):
    with closing(sqlite3.connect(path)) as file:
        file.executescript(DUMP.read_text())

    assert corkage("backup", "made.db").returncode == 0

    for each in (path, tmp_path / "made.db"):
        assert settings_of(each)["schema_version"] == "1"
    assert whole(path) == whole(tmp_path / "made.db")


def test_the_next_backup_overwrites_the_last(config, made, corkage):
    with closing(Billing(config)):
        add("carol")

    assert corkage("backup", "made.db").returncode == 0

    assert users_of(made) == {"ann", "bob", "carol"}


def refuses(corkage, *arguments, reason):
    said = corkage(*arguments)
    assert (said.returncode, said.stdout) == (1, "")
    assert reason in said.stderr
    assert "Traceback" not in said.stderr
    return said


@pytest.mark.parametrize("force", [False, True], ids=["", "--force"])
def test_another_file_is_overwritten_by_force_only(filled, corkage, tmp_path, force):
    (tmp_path / "letter.txt").write_text("Dear Ann")
    (tmp_path / "letter.txt-wal").write_text("of another database")

    if force:
        assert corkage("backup", "letter.txt", "--force").returncode == 0
        assert users_of(tmp_path / "letter.txt") == {"ann", "bob"}
        assert not (tmp_path / "letter.txt-wal").exists()
    else:
        refuses(corkage, "backup", "letter.txt", reason="or say --force to overwrite it")
        assert (tmp_path / "letter.txt").read_text() == "Dear Ann"
        assert "backup" not in settings_of(filled)


def test_a_backup_of_another_database_is_not_overwritten(made, filled, corkage):
    with closing(sqlite3.connect(filled)) as file, file:
        file.execute("UPDATE corkage_setting SET value = '17' WHERE name = 'made_at'")

    refuses(corkage, "backup", "made.db", reason="is a backup of another database")


def test_a_backup_of_a_time_to_come_is_not_overwritten(made, corkage):
    with closing(sqlite3.connect(made)) as file, file:
        file.execute("UPDATE corkage_setting SET value = '9999999999' WHERE name = 'backup_of'")

    refuses(corkage, "backup", "made.db", reason="which is still to come")


def test_a_database_that_no_backup_made_is_not_overwritten(filled, corkage, tmp_path):
    shutil.copy(filled, tmp_path / "twin.db")

    refuses(corkage, "backup", "twin.db", reason="is a database that no `corkage backup` made")


@pytest.mark.parametrize("name", ["corkage.db-wal", "corkage.db-shm"])
def test_a_part_of_the_database_is_never_overwritten(config, corkage, path, name):
    with closing(Billing(config)):
        add("ann")
        inode = path.with_name(name).stat().st_ino
        refuses(corkage, "backup", name, "--force", reason="is a part of the database")
        assert path.with_name(name).stat().st_ino == inode


def test_what_is_no_file_is_never_overwritten(filled, corkage, tmp_path):
    os.mkfifo(tmp_path / "pipe")

    refuses(corkage, "backup", "pipe", "--force", reason="is no file")

    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_the_database_is_not_restored_from_itself(filled, corkage):
    refuses(corkage, "restore", "corkage.db", "--yes", reason="is the database itself")


@pytest.mark.parametrize("name", ["corkage.db", "link.db", "hard.db"])
def test_the_database_itself_is_never_overwritten(filled, corkage, tmp_path, name):
    if name == "link.db":
        (tmp_path / name).symlink_to(filled)
    if name == "hard.db":
        (tmp_path / name).hardlink_to(filled)

    refuses(corkage, "backup", name, "--force", reason="is a database in use")

    assert users_of(filled) == {"ann", "bob"}


def test_a_database_that_another_process_uses_is_never_overwritten(config, filled, corkage, tmp_path):
    with closing(Billing(replace(config, database=str(tmp_path / "other.db")))):
        add("eve")
        refuses(corkage, "backup", "other.db", "--force", reason="is a database in use")

    assert users_of(tmp_path / "other.db") == {"eve"}


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [("no/such/folder.db", 1, "No such file or directory"), ("folder", 2, "is a directory")],
)
def test_a_place_that_is_none_is_named(filled, corkage, tmp_path, name, status, reason):
    (tmp_path / "folder").mkdir()

    said = corkage("backup", name)

    assert (said.returncode, said.stdout) == (status, "")
    assert reason in said.stderr


def test_without_a_database_there_is_no_backup_and_no_database_after(corkage, path):
    refuses(corkage, "backup", "made.db", reason="and there is no such file")

    assert not path.exists()


def test_a_damaged_database_makes_no_backup_and_leaves_the_last_one(made, filled, corkage):
    with filled.open("r+b") as file:
        file.seek(4096 * 5)
        file.write(b"\xff" * 4096 * 20)
    before = made.read_bytes()

    refuses(corkage, "backup", "made.db", reason="No backup was made")

    assert made.read_bytes() == before
    assert parts_of(made.parent) == []


def test_what_does_not_fit_on_the_disk_leaves_the_last_backup(made, environ, tmp_path):
    """By the limit of a file's size, which a full disk is like."""
    before = made.read_bytes()
    program = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000,) * 2)\n"
    program += "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    program += "from corkage.cli import main; sys.exit(main(sys.argv[1:]))"
    said = subprocess.run(
        [sys.executable, "-c", program, "backup", "made.db"], cwd=tmp_path, env=environ, capture_output=True, text=True
    )

    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith("No backup was made: ")
    assert made.read_bytes() == before
    assert parts_of(tmp_path) == []


@pytest.mark.parametrize(("command", "tool"), [("backup", "pg_dump "), ("restore", "pg_restore ")])
def test_on_postgresql_its_own_tools_are_named(corkage, tmp_path, command, tool):
    url = "postgresql://corkage:a-secret-password@127.0.0.1:1/corkage"

    said = corkage(command, "made.db", BILLING_DATABASE=url)

    assert (said.returncode, said.stdout) == (2, "")
    assert tool in said.stderr
    assert "a-secret-password" not in said.stderr
    assert not (tmp_path / "made.db").exists()


# Restoring one


@pytest.fixture
def later(config, made):
    """The database after the backup: carol came, and bob is gone."""
    with closing(Billing(config)):
        add("carol")
        User.delete().where(User.id == "bob").execute()
    return Path(config.database)


def kept(folder):
    return [path for path in folder.glob("corkage.db.replaced-*") if not path.name.endswith(("-wal", "-shm"))]


def test_a_restored_database_equals_the_backup_and_what_was_there_is_kept(made, later, corkage, config):
    before, inode = whole(later), later.stat().st_ino

    said = corkage("restore", "made.db", "--yes")

    assert said.returncode == 0
    assert "Run `corkage sync`" in said.stdout
    assert "1. Start Corkage." in said.stdout
    assert "made.db: 2 users, made " in said.stderr
    assert whole(later) == whole(made)
    assert later.stat().st_ino == inode  # who has it open reads the restored one
    assert "backup_of" not in settings_of(later)
    (aside,) = kept(later.parent)
    assert whole(aside) == before
    assert stat.S_IMODE(aside.stat().st_mode) == 0o600
    with closing(Billing(config)):
        add("dave")
    assert users_of(later) == {"ann", "bob", "dave"}


def test_what_was_kept_can_be_restored_itself(made, later, corkage):
    before = whole(later)
    assert corkage("restore", "made.db", "--yes").returncode == 0
    (aside,) = kept(later.parent)
    time.sleep(1)  # the next is kept under another name

    assert corkage("restore", str(aside), "--yes").returncode == 0

    assert whole(later) == before


def test_without_yes_and_a_terminal_nothing_is_restored(made, later, corkage):
    before = later.read_bytes()

    said = corkage("restore", "made.db")

    assert (said.returncode, said.stdout) == (1, "")
    assert "--yes" in said.stderr
    assert (later.read_bytes(), kept(later.parent)) == (before, [])


def test_a_database_in_use_is_not_restored(made, config, corkage, path):
    with closing(Billing(config)):
        add("carol")
        refuses(corkage, "restore", "made.db", "--yes", reason="is in use. Stop Corkage")

        add("dave")
    assert users_of(path) == {"ann", "bob", "carol", "dave"}


def test_a_server_that_was_killed_holds_nothing_back(made, environ, tmp_path, corkage, path):
    with started(["serve", "--port", "0"], environ, tmp_path, "serving on") as (process, _):
        refuses(corkage, "restore", "made.db", "--yes", reason="is in use. Stop Corkage")
        process.kill()
        process.wait()

        assert corkage("restore", "made.db", "--yes").returncode == 0
    assert users_of(path) == {"ann", "bob"}


def test_a_child_of_a_server_that_forks_holds_the_database_for_itself(config, made, corkage):
    with closing(Billing(config)) as billing:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(write)
            billing.access("ann")
            os.read(read, 1)
            os._exit(0)
    try:
        until(lambda: corkage("restore", "made.db", "--yes").returncode == 1)
    finally:
        os.close(write)
        os.waitpid(child, 0)
        os.close(read)
    assert corkage("restore", "made.db", "--yes").returncode == 0


def test_nobody_opens_the_database_while_a_backup_is_written_into_it(config, filled):
    with closing(FileLock(str(filled))) as lock:
        assert lock.exclude()
        with pytest.raises(DatabaseUnavailable, match="is writing a backup into it"):
            Billing(config)
    Billing(config).close()


def test_a_readers_open_file_shows_what_was_restored(made, later, corkage):
    with closing(sqlite3.connect(f"file:{later}?mode=ro", uri=True)) as reader:
        ask = "SELECT id FROM corkage_user ORDER BY id"
        assert reader.execute(ask).fetchall() == [("ann",), ("carol",)]

        assert corkage("restore", "made.db", "--yes").returncode == 0

        assert reader.execute(ask).fetchall() == [("ann",), ("bob",)]


def test_a_lost_database_is_restored_and_not_mixed_with_a_wal_that_stayed(made, later, corkage):
    with closing(sqlite3.connect(later)) as file:  # one that SQLite would apply to whatever comes into its place
        file.execute("PRAGMA wal_autocheckpoint = 0")
        file.execute("UPDATE corkage_user SET email = 'x@example.com'")
        file.commit()
        wal = later.with_name("corkage.db-wal").read_bytes()
    later.unlink()
    later.with_name("corkage.db-wal").write_bytes(wal)

    assert corkage("restore", "made.db", "--yes").returncode == 0

    assert whole(later) == whole(made)
    assert stat.S_IMODE(later.stat().st_mode) == 0o640


@pytest.mark.parametrize("damage", ["letter", "middle", "empty"])
def test_a_damaged_database_is_put_aside_and_replaced(made, later, corkage, damage):
    content = later.read_bytes()
    broken = {
        "letter": b"Dear Ann",
        "middle": content[: 4096 * 5] + b"\xff" * 4096 * 20 + content[4096 * 25 :],
        "empty": b"",
    }[damage]
    later.write_bytes(broken)
    later.chmod(0o600)

    assert corkage("restore", "made.db", "--yes").returncode == 0

    assert whole(later) == whole(made)
    assert stat.S_IMODE(later.stat().st_mode) == 0o600
    (aside,) = kept(later.parent)
    assert aside.read_bytes() == broken


def change(path, name, value):
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("INSERT OR REPLACE INTO corkage_setting VALUES (?, ?)", (name, value))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("schema_version", str(SCHEMA_VERSION + 1), "install the newer Corkage that wrote it"),
        ("schema_version", "one", "has 'one' as its schema_version"),
        ("backup_of", "9" * 20, f"has '{'9' * 20}' as its backup_of"),
        ("account", "acct_\x1b[2J", r"mirrors the Stripe account 'acct_\x1b[2J'"),
        ("app", "other.example.com", "is of 'other.example.com', and BILLING_APP is 'app.example.com'"),
        ("mode", "live", "is of 'live', and STRIPE_SECRET_KEY's mode is 'test'"),
        ("account", "acct_other", "mirrors the Stripe account 'acct_other', and the database 'acct_ours'"),
    ],
)
def test_a_backup_that_does_not_fit_is_refused(made, later, corkage, name, value, reason):
    change(later, "account", "acct_ours")
    change(made, name, value)
    before = whole(later)

    refuses(corkage, "restore", "made.db", "--yes", reason=reason)

    assert (whole(later), kept(later.parent)) == (before, [])


@pytest.mark.parametrize("what", ["torn", "letter", "other tables", "missing"])
def test_a_file_that_is_no_sound_backup_is_refused(made, later, corkage, what):
    content, before = made.read_bytes(), whole(later)
    made.unlink()
    if what == "torn":
        made.write_bytes(content[: len(content) // 2])
    if what == "letter":
        made.write_bytes(b"Dear Ann")
    if what == "other tables":
        with closing(sqlite3.connect(made)) as file:
            file.execute("CREATE TABLE letter (text)")

    refuses(corkage, "restore", "made.db", "--yes", reason="Nothing was restored: ")

    assert (whole(later), kept(later.parent)) == (before, [])
    assert made.exists() == (what != "missing")


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        (
            "CREATE TRIGGER later AFTER UPDATE ON corkage_user BEGIN DELETE FROM corkage_grant; END",
            "has a trigger, and Corkage makes none: 'later'",
        ),
        (
            "DROP VIEW corkage_access; CREATE VIEW corkage_access AS WITH RECURSIVE up (x) AS (SELECT 1 UNION ALL"
            " SELECT x + 1 FROM up) SELECT x AS user_id, 1 AS allowed, '' AS reason, '' AS plan FROM up",
            "has more answers than rows",
        ),
    ],
)
def test_a_file_that_somebody_has_prepared_is_refused(made, later, corkage, statements, reason):
    before = whole(later)
    with closing(sqlite3.connect(made)) as file:
        file.executescript(statements)

    refuses(corkage, "restore", "made.db", "--yes", reason=reason)

    assert (whole(later), kept(later.parent)) == (before, [])


def test_a_pipe_is_not_waited_for(later, corkage, tmp_path):
    os.mkfifo(tmp_path / "pipe.db")

    refuses(corkage, "restore", "pipe.db", "--yes", reason="pipe.db is no file")


def test_a_database_that_was_put_back_by_hand_is_restored_too(made, later, corkage):
    later.write_bytes(made.read_bytes())  # without WAL, as a backup is

    assert corkage("restore", "made.db", "--yes").returncode == 0

    assert whole(later) == whole(made)


def test_a_lost_database_may_be_restored_twice(made, later, corkage):
    later.unlink()

    assert [corkage("restore", "made.db", "--yes").returncode for _ in range(2)] == [0, 0]

    assert whole(later) == whole(made)


def test_a_lock_of_another_program_is_not_waited_for_for_ever(made, later, monkeypatch):
    monkeypatch.setattr(backups, "BUSY_SECONDS", 0.05)
    with closing(sqlite3.connect(later)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked by another program"):
            backups.write_into(str(made), str(later))


def test_a_table_of_any_name_is_counted(made):
    with closing(sqlite3.connect(made)) as file:
        file.execute("""CREATE TABLE "a"" b" (x)""")

    assert backups.read(str(made)).rows['a" b'] == 0


def test_a_backup_of_an_older_schema_is_upgraded_by_the_next_start(path, corkage, config):
    with closing(sqlite3.connect(path)) as file:
        file.executescript(DUMP.read_text())
    assert corkage("backup", "made.db").returncode == 0
    with closing(Billing(config)):
        assert Setting.get_by_id("schema_version").value == str(SCHEMA_VERSION)

    assert corkage("restore", "made.db", "--yes").returncode == 0

    assert settings_of(path)["schema_version"] == "1"
    with closing(Billing(config)) as billing:
        assert billing.access("active").allowed


def test_the_way_back_from_a_newer_program_is_the_backup_of_before(made, later, corkage, config):
    change(later, "schema_version", str(SCHEMA_VERSION + 1))  # as a newer program leaves it
    refused = corkage("stats")
    assert (refused.returncode, "or `corkage restore` a backup of before" in refused.stderr) == (2, True)

    assert corkage("restore", "made.db", "--yes").returncode == 0

    assert corkage("stats").returncode == 0
    assert users_of(later) == {"ann", "bob"}


def test_a_copy_that_sqlite3_made_is_restored_too(later, corkage, tmp_path):
    with closing(sqlite3.connect(later)) as file, closing(sqlite3.connect(tmp_path / "plain.db")) as plain:
        file.backup(plain)

    assert corkage("restore", "plain.db", "--yes").returncode == 0

    assert users_of(later) == {"ann", "carol"}
    assert list(tmp_path.glob("plain.db-*")) == []


def killed_at(step, act):
    """Call it in a process that is killed at the n-th step in backup.py; return whether it was killed.

    A step is a line, each of the first times that it is come to: loops go over tables and rows, each like the next.
    """
    child = os.fork()
    if child == 0:
        left, times = [step], Counter()

        def trace(frame, event, _):
            if frame.f_code.co_filename != backups.__file__:
                return None
            if event == "line":
                times[frame.f_lineno] += 1
                left[0] -= times[frame.f_lineno] <= TIMES
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        try:
            act()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("is_damaged", [False, True], ids=["sound", "damaged"])
def test_killed_at_any_line_a_restore_leaves_the_database_as_before_or_as_in_the_backup(
    made, later, config, is_damaged, capfd
):
    if is_damaged:
        later.write_bytes(b"Dear Ann")
    before, after = None if is_damaged else whole(later), whole(made)
    original = later.read_bytes()
    seen = []
    for step in todays(range(1, 10_000)):
        later.write_bytes(original)
        for each in later.parent.glob("*.replaced-*"):
            each.unlink()
        is_over = not killed_at(step, lambda: restoring._restore(config, str(made), str(later), yes=True))
        try:
            seen.append(whole(later))
        except sqlite3.DatabaseError:
            seen.append(None)
            assert later.read_bytes() == b"Dear Ann"
        assert seen[-1] in (before, after), step
        if is_over:
            break
    assert step > 30
    assert seen == sorted(seen, key=lambda each: each == after)  # once restored, it stays so
    assert seen[0] == before != seen[-1] == after


def test_a_file_without_its_tables_is_not_read(tmp_path):
    (tmp_path / "empty.db").touch()
    with pytest.raises(NotUsable, match="holds no tables of Corkage"):
        backups.read(str(tmp_path / "empty.db"))


def test_a_copy_of_a_move_that_is_not_finished_is_refused(made, later, corkage):
    change(made, "unfinished_copy", '["/elsewhere.db", "token"]')

    refuses(corkage, "restore", "made.db", "--yes", reason="`corkage move-database` has not finished")


def test_who_has_the_file_open_in_the_same_process_keeps_the_locks_of_sqlite(config, filled):
    """To close a file drops all locks of the process on it; another process could then take its -wal away."""
    with closing(sqlite3.connect(f"file:{filled}?mode=ro", uri=True)) as hosts_own:
        assert hosts_own.execute("SELECT count(*) FROM corkage_user").fetchone() == (2,)
        with closing(Billing(config)):
            add("carol")
        program = "import sqlite3, sys; file = sqlite3.connect(sys.argv[1]); file.execute('SELECT 1 FROM corkage_user')"
        subprocess.run([sys.executable, "-c", f"{program}; file.close()", str(filled)], check=True)
        assert filled.with_name("corkage.db-shm").exists()

        with closing(Billing(config)):
            add("dave")
        assert hosts_own.execute("SELECT count(*) FROM corkage_user").fetchone() == (4,)


def test_a_backup_that_is_broken_off_leaves_the_last_one(made, environ, tmp_path):
    before = made.read_bytes()
    program = "import sys, corkage.storage.backup as backups, corkage.cli as cli\n"
    program += "def broken_off(*_): raise KeyboardInterrupt\n"
    program += "backups._check = broken_off; sys.exit(cli.main(['backup', 'made.db', '--force']))"

    said = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environ, capture_output=True, text=True)

    assert (said.returncode, said.stderr) == (1, "Broken off. What was at that path before is still there.\n")
    assert (made.read_bytes(), parts_of(tmp_path)) == (before, [])
