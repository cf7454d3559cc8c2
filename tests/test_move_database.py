"""`corkage move-database`: from a file to PostgreSQL and back. `database` is the old one, `target` the new one."""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import peewee
import pytest
import requests
import stripe
from elsewhere import elsewhere
from harness import AUTH_SECRET, WEBHOOK_SECRET, started, until
from mortal import Mortal, command
from repository import block
from sampling import todays
from torture import SEED, size

from corkage import models, schema, storage
from corkage.access import access_at
from corkage.commands.database.move_database import NothingMoved, move_all
from corkage.errors import ConfigError
from corkage.identity import mint_token
from corkage.models import TABLES, AnswerRow, Grant, NoticeRow, Setting, StripeEvent, User
from corkage.storage import move as moving
from corkage.storage.url import is_url

pytestmark = [pytest.mark.postgresql, pytest.mark.every_run]

NOW = 1_800_000_000


@pytest.fixture
def target(database, postgresql, tmp_path):
    if is_url(database):
        yield str(tmp_path / "target.db")
    else:
        with postgresql.schema() as url:
            yield url


@pytest.fixture
def third(database, postgresql, tmp_path):
    """A place to move back to."""
    if is_url(database):
        with postgresql.schema() as url:
            yield url
    else:
        yield str(tmp_path / "third.db")


@contextmanager
def opened(database, app="app.example.com"):
    storage.open_database(database)
    try:
        schema.bring_up_to_date(app)
        yield
    finally:
        storage.close_database()


def fill(database, count=3):
    """Fill every column of every table with what engines might store differently."""
    with opened(database), storage.writing():
        for table in TABLES:
            for number in range(count):
                table.insert({field: value(field, number) for field in table._meta.sorted_fields}).execute()


def value(field, number):
    if field.null and number == 0:
        return None
    if isinstance(field, peewee.ForeignKeyField):
        return value(field.rel_field, number)
    if field.name in ("starts_at", "ends_at"):
        return NOW * (field.name == "ends_at")
    return {
        "AUTO": 40 + number,
        "BOOL": number % 2 == 1,
        "FLOAT": (NOW + number) / 3,
        "INT": 2**40 + number,
    }.get(field.field_type, f"{field.name} {number}: é\U0001f377 \\N\t'\"\n%s")


def everything(database):
    """Return the rows of all tables."""
    with opened(database):
        return {table: sorted(map(repr, table.select().tuples())) for table in TABLES}


def is_usable(database):
    """Whether a process may start with it, and finds users there. An empty one stays empty."""
    engine = storage.engine_of(database)
    is_empty = not {"corkage_user", "corkage_moved"} & set(engine.get_tables())
    engine.close_all()
    with suppress(ConfigError):
        if not is_empty:
            with opened(database):
                return bool(User.select().count())
    return False


def test_moved_there_and_back_it_is_the_same_row_by_row(database, target, third, capsys):
    fill(database)
    rows = everything(database)

    move_all(database, target)
    there = everything(target)
    move_all(target, third)

    assert rows == there == everything(third)
    assert all(len(of_table) >= 3 for of_table in rows.values())
    assert [is_usable(each) for each in (database, target, third)] == [False, False, True]
    assert "password" not in capsys.readouterr().out.replace("user and password", "")


def test_the_views_answer_the_same_there(database, target):
    fill(database)
    with opened(database):
        before = [access_at(user.id, NOW - 1) for user in User.select()]

    move_all(database, target)

    with opened(target):
        assert [access_at(user.id, NOW - 1) for user in User.select()] == before
        assert AnswerRow.select().count() == 3
        assert storage.rows("SELECT count(*) FROM corkage_access") in ([(3,)], [(0,)])


def test_numbered_rows_go_on_after_the_last(database, target):
    fill(database)

    move_all(database, target)

    with opened(target), storage.writing():
        grant = Grant.create(user=User.get().id, plan="pro", reason="", given_by="", created_at=0)
        notice = NoticeRow.create(message_id="new", user=User.get().id, kind="", before="", after="", created_at=0)
        assert (grant.id, notice.id) == (43, 43)


def test_an_empty_database_moves_too(database, target):
    with opened(database):
        Setting.insert(name="account", value="acct_1").execute()

    move_all(database, target)

    with opened(target):
        assert models.setting("account") == "acct_1"


def test_what_was_not_copied_is_noticed_and_the_old_one_goes_on(database, target, monkeypatch):
    fill(database)
    rows, copy = everything(database), moving.copy

    def losing(old, new, table):
        read = copy(old, new, table)
        if table is Grant:
            Grant.update(ends_at=1).where(Grant.id == 41).execute()
        return read

    monkeypatch.setattr(moving, "copy", losing)
    with pytest.raises(NothingMoved, match="corkage_grant was not read from the copy as it was written"):
        move_all(database, target)

    assert everything(database) == rows
    monkeypatch.undo()
    move_all(database, target)
    assert everything(target) == rows


@pytest.mark.one_engine("sqlite", "only PostgreSQL refuses it")
def test_a_row_that_the_other_engine_does_not_take_is_named(database, postgresql, corkage):
    fill(database)
    with elsewhere(database) as connection:
        connection.execute("UPDATE corkage_grant SET created_at = 'soon' WHERE id = 41")

    with postgresql.schema() as url:
        refused = corkage("move-database", url)

    assert refused.returncode == 1
    assert refused.stderr.splitlines()[1].startswith(
        "Nothing was moved: corkage_grant holds what postgresql://127.0.0.1:"
    )
    assert 'column created_at: "soon"' in refused.stderr
    assert is_usable(database)


@pytest.mark.one_engine("sqlite", "only PostgreSQL refuses it")
def test_a_user_of_the_server_without_rights_is_told_so(database, postgresql, corkage):
    fill(database)
    with postgresql.schema() as url, elsewhere(url) as connection:
        schema = connection.info.user
        postgresql.execute(f"ALTER SCHEMA {schema} OWNER TO postgres")
        postgresql.execute(f"GRANT USAGE ON SCHEMA {schema} TO {schema}")
        refused = corkage("move-database", url)
        postgresql.execute(f"ALTER SCHEMA {schema} OWNER TO {schema}")

    assert refused.returncode == 1
    assert refused.stderr.splitlines()[1].startswith("Nothing was moved: postgresql://127.0.0.1:")
    assert "the user lacks a right" in refused.stderr
    assert is_usable(database)


# Killed


def killed_at(step, database, target):
    """Move in a process that is killed at this step; return whether it had ended before."""
    child = os.fork()
    if child == 0:
        _move_until(step, database, target)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _move_until(step, database, target):
    steps = iter(range(1000))
    write, copy = storage.engine.Engine.writing, moving.copy

    def pass_by():
        if next(steps) == step:
            os.kill(os.getpid(), 9)

    @contextmanager
    def writing(engine):
        pass_by()
        with write(engine):
            yield
            pass_by()
        pass_by()

    def copying(*args):
        pass_by()
        return copy(*args)

    storage.engine.Engine.writing, moving.copy = writing, copying
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        move_all(database, target)
        status = 0
    finally:
        os._exit(status)


@pytest.mark.slow
def test_killed_at_any_step_one_of_them_goes_on_and_the_next_move_ends_it(database, postgresql, tmp_path):
    seen = set()
    tables = range(4, len(TABLES))  # one copied after another
    for step in (step for step in range(1000) if step not in tables or step in todays(tables)):
        with places(database, postgresql, tmp_path / str(step)) as (old, new):
            fill(old, 2)
            rows = everything(old)
            if killed_at(step, old, new):
                break
            was_moved = not is_usable(old)
            assert was_moved or not is_usable(new)
            seen.add((was_moved, not was_moved and everything(old) == rows, is_usable(new)))
            killed_at(step // 2, old, new)  # and again
            assert not is_usable(old) or not is_usable(new)
            with suppress(NothingMoved):  # it had ended
                move_all(old, new)
            assert (is_usable(old), everything(new)) == (False, rows)

    assert step > len(TABLES) + 7
    # Before the mark the old one goes on; after it the copy is complete, and is first opened by the next move.
    assert seen == {(False, True, False), (True, False, False), (True, False, True)}


@pytest.mark.slow
@pytest.mark.torture("crash")
def test_killed_at_any_moment_and_run_again_it_ends_as_an_undisturbed_move(
    database, postgresql, environ, tmp_path, figures
):
    mortal, moves, past_the_mark = Mortal(SEED), 0, 0
    with places(database, postgresql, tmp_path / "undisturbed") as (old, new):
        fill(old, 2)
        mortal.lives(command, tmp_path, environ | {"BILLING_DATABASE": old}, "move-database", new)
    while mortal.killed < size(1, long=80):
        moves += 1
        with places(database, postgresql, tmp_path / str(moves)) as (old, new):
            fill(old, 2)
            rows = everything(old)
            move = command, tmp_path, environ | {"BILLING_DATABASE": old}, "move-database", new
            while mortal.dies(*move) and is_usable(old):
                assert not is_usable(new)
                assert everything(old) == rows
            past_the_mark += not is_usable(new)
            with suppress(NothingMoved):  # it had ended
                move_all(old, new)
            assert (is_usable(old), everything(new)) == (False, rows)
    figures.note(kills=mortal.killed, moves=moves, killed_between_the_mark_and_the_end=past_the_mark)


@contextmanager
def places(database, postgresql, folder):
    folder.mkdir()
    with postgresql.schema() as url:
        yield (url, str(folder / "new.db")) if is_url(database) else (str(folder / "old.db"), url)


def test_what_an_unfinished_move_left_is_no_database_to_start_with(database, target, third, corkage):
    fill(database)
    steps = len(TABLES) + 4  # the target has committed, and the old one has not
    assert not killed_at(steps, database, target)

    refused = corkage("doctor", BILLING_DATABASE=target)

    assert refused.returncode == 2
    assert refused.stderr.strip().endswith(
        f"- BILLING_DATABASE: {storage.label(target)} is a copy that `corkage move-database` has not finished: run it "
        "again with BILLING_DATABASE as it was"
    )
    with pytest.raises(NothingMoved, match="is itself the copy of a move that is not finished"):
        move_all(target, third)


def test_a_copy_of_another_move_is_not_overwritten(database, target, tmp_path):
    fill(database)
    assert not killed_at(len(TABLES) + 4, database, target)
    fill(other := str(tmp_path / "other.db"))

    with pytest.raises(NothingMoved, match="is the copy of another move, from"):
        move_all(other, target)
    assert is_usable(other)
    move_all(database, target)
    assert is_usable(target)


@pytest.mark.one_engine("postgresql", "a file is deleted with rm")
def test_what_is_left_is_deleted_as_the_docs_say_and_makes_room(database, target):
    fill(database)
    rows = everything(database)
    move_all(database, target)

    with elsewhere(database) as connection:
        connection.execute(block("docs/postgresql.md", "delete"))
    move_all(target, database)

    assert everything(database) == rows


# Refused


def test_a_target_that_is_in_use_is_refused(database, target):
    fill(database)
    fill(target, 2)

    with pytest.raises(NothingMoved, match="is a database of Corkage, with 2 users: name a file that is not there yet"):
        move_all(database, target)
    assert is_usable(database)
    assert is_usable(target)


def test_a_target_that_a_server_was_once_started_with_is_refused(database, target):
    fill(database)
    with opened(target):
        pass

    with pytest.raises(NothingMoved, match="with 0 users"):
        move_all(database, target)


def test_another_version_on_either_side_is_refused(database, target):
    fill(database)
    with opened(target):
        models.remember("schema_version", "2")
    with pytest.raises(NothingMoved, match="holds tables of another version of Corkage"):
        move_all(database, target)
    with elsewhere(database) as connection:
        connection.execute("UPDATE corkage_setting SET value = '2' WHERE name = 'schema_version'")
    with pytest.raises(NothingMoved, match="has schema version 2, and this Corkage needs"):
        move_all(database, target)


def test_the_same_database_is_refused(database, tmp_path):
    fill(database)
    (tmp_path / "link.db").symlink_to(tmp_path / "corkage.db")
    same = [database] if is_url(database) else [database, str(tmp_path / "link.db"), f"{tmp_path}/./corkage.db"]

    for each in same:
        with pytest.raises(NothingMoved, match="is what BILLING_DATABASE names already"):
            move_all(database, each)
    assert is_usable(database)


def test_what_was_moved_is_neither_moved_again_nor_moved_to(database, target, tmp_path):
    fill(database)
    move_all(database, target)

    for again in (target, str(tmp_path / "elsewhere.db")):
        with pytest.raises(NothingMoved, match=r"is not in use any more: it was moved to .* Set BILLING_DATABASE to"):
            move_all(database, again)
    with pytest.raises(NothingMoved, match="were moved away themselves"):
        move_all(target, database)
    assert not (tmp_path / "elsewhere.db").exists()
    assert is_usable(target)


def test_the_command_says_what_is_wrong(corkage, tmp_path, database, target):
    fill(database)
    (tmp_path / "text").write_text("no database" * 1000)
    said = {
        BAD: (run.returncode, [line for line in run.stderr.splitlines() if line[:1] != " "][-1])
        for BAD, run in {
            "text": corkage("move-database", str(tmp_path / "text")),
            "missing": corkage("move-database", target, BILLING_DATABASE=str(tmp_path / "missing.db")),
            "memory": corkage("move-database", ":memory:"),
            "password": corkage("move-database", "postgresql://me:a-secret@127.0.0.1:9/name"),
        }.items()
    }

    assert said["text"][0] == said["missing"][0] == said["password"][0] == 1
    assert said["text"][1].startswith(f"Nothing was moved: {tmp_path}/text cannot be opened as an SQLite file")
    assert said["missing"][1].endswith("missing.db, and there is no such file.")
    assert said["memory"] == (2, "Error: Invalid value for URL: wanted the path of a file")
    assert said["password"][1].startswith("Nothing was moved: postgresql://127.0.0.1:9/name cannot be opened:")
    assert "a-secret" not in str(said)
    assert not (tmp_path / "missing.db").exists()
    assert is_usable(database)


# Served


class Served:
    """`corkage serve` in a process of its own."""

    def __init__(self, said, event):
        self.said, self.event = said, event
        self.url = "http://" + said[-1].split("http://")[1].split()[0].strip("/,.")
        token = mint_token(AUTH_SECRET, "ann", now=time.time(), lifetime_seconds=600)
        self.headers = {"Authorization": f"Bearer {token}"}

    def deliver(self, name):
        body = json.dumps(self.event | {"id": name})
        signature = stripe.WebhookSignature.generate_signature_header(body, WEBHOOK_SECRET, int(time.time()))
        return requests.post(f"{self.url}/webhook", body, headers={"Stripe-Signature": signature}, timeout=30)

    def access(self):
        return requests.get(f"{self.url}/access", headers=self.headers, timeout=30)


@pytest.fixture
def served(environ, tmp_path, event):
    environ = environ | {"BILLING_POLL_SECONDS": "0"}
    with started(["serve", "--port", "0"], environ, tmp_path, "http://") as (_, said):
        yield Served(said, json.loads(str(event)))


@pytest.mark.slow
def test_webhooks_during_a_move_are_refused_or_in_the_new_database(served, database, target, monkeypatch, capsys):
    ends, taken, statuses, answers, copy = threading.Event(), set(), set(), [], moving.copy

    def slowly(*args):
        time.sleep(0.05)
        return copy(*args)

    def deliver(thread):
        for number in range(10_000):
            status = served.deliver(name := f"evt_{thread}_{number}").status_code
            statuses.add(status)
            if status == 200:
                taken.add(name)
            if ends.is_set():
                return

    def ask():
        while not ends.is_set():
            answers.append(served.access().status_code)

    monkeypatch.setattr(moving, "copy", slowly)
    with ThreadPoolExecutor(8) as pool:
        work = [*(pool.submit(deliver, thread) for thread in range(6)), pool.submit(ask)]
        until(lambda: len(taken) > 20)
        move_all(database, target)
        time.sleep(0.5)
        ends.set()
        for each in work:
            each.result()

    assert statuses == {200, 503}
    with opened(target):
        kept = {row.id for row in StripeEvent.select()}
    assert taken <= kept
    asked = answers.index(503)  # answered until the move is complete, and by nobody afterwards
    assert asked > 20
    assert set(answers[asked:]) == {503}


@pytest.mark.slow
def test_a_webhook_that_waited_for_the_move_is_refused_and_the_server_says_what_to_do(
    served, database, target, monkeypatch, corkage
):
    copy, waiting, answers = moving.copy, [], []
    for number in range(5):  # by now the statement is prepared
        assert served.deliver(f"evt_before_{number}").status_code == 200

    def act(done, *work):  # in a thread of its own, as this one is in a transaction
        thread = threading.Thread(target=lambda: done.append(work[0](*work[1:])))
        thread.start()
        return thread

    def copying(old, new, table):
        if table is StripeEvent:
            for number in range(3):  # several at once share a commit
                thread = threading.Thread(
                    target=lambda name: waiting.append(served.deliver(name)), args=[f"evt_{number}"]
                )
                thread.start()
            time.sleep(1)
            assert waiting == []
            act(answers, served.access).join()
            assert [each.status_code for each in answers] == [200]
        return copy(old, new, table)

    monkeypatch.setattr(moving, "copy", copying)
    move_all(database, target)
    until(lambda: len(waiting) == 3)

    assert [(each.status_code, each.json()["error"]["code"]) for each in waiting] == [(503, "database_unavailable")] * 3
    assert served.access().status_code == 503
    moved = f"it was moved to {storage.label(target)} on "
    health = requests.get(f"{served.url}/health", timeout=30)
    assert health.status_code == 503
    assert moved in health.json()["problems"][0]
    doctor = corkage("doctor")
    assert doctor.returncode == 2
    assert moved in doctor.stderr
    assert doctor.stderr.strip().endswith("Set BILLING_DATABASE to that, and restart Corkage")
    shown = corkage("events", "--state", "pending", "--state", "applied", BILLING_DATABASE=target)
    assert (shown.returncode, "evt_before_4" in shown.stdout) == (0, True)
    with opened(target):
        assert sorted(row.id for row in StripeEvent.select()) == [f"evt_before_{n}" for n in range(5)]
