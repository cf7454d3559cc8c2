"""Litestream: a continuous backup, a moment restored, and a follower at the edge that answers by itself."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from harness import started, until
from litestream import following, replicating, restore, target, users_at
from loading import events_in, go_on, loaded
from repository import block

from corkage.billing_app import Billing

pytestmark = [pytest.mark.slow, pytest.mark.one_engine("sqlite", "Litestream replicates files")]

A_GROUP, A_USER = 23_456, 23_457  # of nobody on the machine
BECOME_ANOTHER = f"import os; os.setgroups([{A_GROUP}]), os.setgid({A_USER}), os.setuid({A_USER})"


@pytest.fixture
def home(config):
    """The database of the primary; config names it."""
    return Path(config.database)


@pytest.fixture
def replica(tmp_path):
    return tmp_path / "replica"


@pytest.fixture
def edge(tmp_path):
    (tmp_path / "edge").mkdir()
    return tmp_path / "edge"


def give(config, *users):
    """Grant a plan, as an operator's command does: in a process's life from open to close."""
    with closing(Billing(config)) as billing:
        for each in users:
            billing.grant(each, "pro")


def has(edge, *users):
    until(lambda: users_at(edge / "corkage.db") == set(users))
    return True


def test_a_follower_answers_catches_up_and_goes_on_when_it_is_cut_off(config, home, replica, edge):
    way = replica.with_name("way")
    way.symlink_to(replica)
    give(config, "ann")
    with replicating(home, replica), following(way, edge) as follower:
        assert has(edge, "ann")
        give(config, "bob")
        assert has(edge, "ann", "bob")

        way.unlink()
        give(config, "carol")
        time.sleep(2)
        assert users_at(edge / "corkage.db") == {"ann", "bob"}
        assert follower.process.poll() is None

        way.symlink_to(replica)
        assert has(edge, "ann", "bob", "carol")
        give(config, "dave")
        assert has(edge, "ann", "bob", "carol", "dave")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restarted_follower_makes_a_new_copy_and_the_last_one_answers_until_then(config, home, replica, edge, number):
    give(config, "ann")
    with replicating(home, replica):
        with following(replica, edge) as follower:
            give(config, "bob")
            assert has(edge, "ann", "bob")
            follower.end(number)
        last = target(edge)
        give(config, "carol")
        assert users_at(edge / "corkage.db") == {"ann", "bob"}

        with following(replica, edge):
            assert has(edge, "ann", "bob", "carol")
            assert target(edge) != last
            until(lambda: len(list(edge.glob("copy.*"))) == 1)


def test_a_follower_that_starts_while_cut_off_leaves_the_last_copy(config, home, replica, edge):
    give(config, "ann")
    with replicating(home, replica), following(replica, edge):
        assert has(edge, "ann")
    shutil.rmtree(replica)

    with pytest.raises(AssertionError, match="the last one stays"), following(replica, edge):
        pass

    assert users_at(edge / "corkage.db") == {"ann"}
    assert len(list(edge.glob("copy.*"))) == 1


def test_a_follower_to_which_nothing_comes_ends_for_a_new_copy_to_be_made(config, home, replica, edge):
    give(config, "ann")
    with replicating(home, replica), following(replica, edge, FOLLOW_SILENCE="1") as follower:
        until(lambda: follower.process.poll() is not None)
        assert "a new copy is made" in follower.end()
    assert users_at(edge / "corkage.db") == {"ann"}


def test_the_primary_is_stopped_started_and_restored_and_the_follower_follows(
    config, environ, tmp_path, home, replica, edge, corkage
):
    give(config, "ann")
    assert corkage("backup", "made.db").returncode == 0
    with replicating(home, replica), following(replica, edge):
        for number in range(3):
            with started(["serve", "--port", "0"], environ, tmp_path, "serving on"):
                assert corkage("user", "grant", f"user_{number}", "pro").returncode == 0
        assert has(edge, "ann", "user_0", "user_1", "user_2")

        assert corkage("restore", "made.db", "--yes").returncode == 0

        assert has(edge, "ann")
        with closing(sqlite3.connect(f"file:{edge}/corkage.db?mode=ro", uri=True)) as file:
            assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_what_is_acknowledged_under_load_is_in_the_replica_and_no_webhook_is_refused(
    config, environ, tmp_path, home, replica, event
):
    give(config, "ann")
    restored = tmp_path / "restored.db"

    def has_all():
        restored.unlink(missing_ok=True)
        restore(replica, restored)
        return events_in(restored) == acknowledged

    with replicating(home, replica):
        with loaded(environ, tmp_path, json.loads(str(event))) as acknowledged:
            go_on(acknowledged, 500)  # more in all than SQLite's own checkpoint lets into the -wal
        until(has_all)


def test_a_moment_of_the_past_is_restored(config, home, replica, tmp_path, corkage, edge):
    give(config, "ann")
    with replicating(home, replica), following(replica, edge):
        give(config, "bob")
        assert has(edge, "ann", "bob")
        time.sleep(1.1)
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        time.sleep(1.1)
        give(config, "eve")
        assert has(edge, "ann", "bob", "eve")

        restore(replica, tmp_path / "then.db", "-timestamp", moment)
        assert corkage("restore", "then.db", "--yes").returncode == 0

        assert users_at(home) == {"ann", "bob"}
        assert has(edge, "ann", "bob")


def test_another_user_reads_the_copy_by_the_documents_recipe_without_a_right_to_write(config, home, replica, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("run as root to try it as a second system user")
    edge = Path(tempfile.mkdtemp())
    os.chown(edge, 0, A_GROUP)
    edge.chmod(0o2750)
    give(config, "ann")
    program = block("docs/edge.md", "edge-python").replace("/var/lib/corkage-edge", str(edge))
    before = os.umask(0o027)
    try:
        with replicating(home, replica), following(replica, edge):
            for users in (("ann",), ("ann", "bob")):
                give(config, *users)
                assert has(edge, *users)
                asked = f"print(access({users[-1]!r})['allowed'], access('eve')['reason'])"
                command = [sys.executable, "-c", "\n".join((program, BECOME_ANOTHER, asked))]
                said = subprocess.run(command, capture_output=True, text=True, cwd="/")
                assert (said.stdout, said.stderr) == ("True no_subscription\n", "")
            assert {path.name for path in edge.glob("copy.*/*")} == {"corkage.db", "corkage.db-txid"}
    finally:
        os.umask(before)
        shutil.rmtree(edge)
