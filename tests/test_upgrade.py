"""Files of schema 1, with users in every state, and of schema 2, with open attempts to buy, as the versions before made
them: what an upgrade keeps, and makes due.
"""

import json
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from buying import click, url_of
from harness import PRO, running
from mortal import Mortal, start
from torture import SEED, size

from corkage import schema, storage
from corkage.access import ENDED
from corkage.billing_app import Billing
from corkage.gateway.states import ItemState, PriceState, SubscriptionState
from corkage.models import (
    MADE_AT,
    MOVES_SINCE,
    AnswerRow,
    CheckoutAttempt,
    Grant,
    GrantMirror,
    NoticeRow,
    StripeEvent,
    Subscription,
    User,
    setting,
)
from corkage.plans import Plan
from corkage.replica import replica
from corkage.replica.timelines import waiting
from corkage.schema import SCHEMA_VERSION
from corkage.sync.converge import Fetched

pytestmark = pytest.mark.one_engine("sqlite", "files of earlier versions: there was no other engine")

DUMP = Path(__file__).parent / "support" / "schema_1.sql"
TEAM = Plan(
    key="team",
    name="Team",
    prices=("team_monthly",),
    features=("exports", "seats"),
    grace_days=7,
    pending="deny",
)
SAME = "user_id, allowed, reason, plan, price_id, quantity, features, until, status, cancel_at, stale"
FAR = 4_102_444_800  # in the year 2100, as in the dump
NOW = 1_800_000_000
GRACE = 7 * 86_400


def answers(path):
    with closing(sqlite3.connect(path)) as file:
        rows = file.execute(f"SELECT {SAME} FROM corkage_access").fetchall()
    return {user: [*rest[:5], json.loads(rest[5]), *rest[6:]] for user, *rest in rows}


def contents(path):
    with closing(sqlite3.connect(path)) as file:
        return list(file.iterdump())


def made_in(path):
    """Return the columns of each table, in any order, its indices with what they hold, and the views.

    To SQLite, VARCHAR is but a name of TEXT, and DEFAULT '0' of an integer is 0.
    """
    with closing(sqlite3.connect(path)) as file:
        found = file.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
        tables = [name for kind, name, _ in found if kind == "table" and not name.startswith("sqlite_")]
        columns = {
            name: sorted(
                (column, re.sub(r"VARCHAR\(\d+\)", "TEXT", kind), not_null, default and default.strip("'"), is_key)
                for _, column, kind, not_null, default, is_key in file.execute(f"PRAGMA table_info({name})")
            )
            for name in tables
        }
        indices = {
            (name, index, unique, partial): [row[2] for row in file.execute(f"PRAGMA index_info({index})")]
            for name in tables
            for _, index, unique, _, partial in file.execute(f"PRAGMA index_list({name})")
        }
        keys = {name: sorted(row[2:] for row in file.execute(f"PRAGMA foreign_key_list({name})")) for name in tables}
    return columns, indices, keys, {name: sql for kind, name, sql in found if kind == "view"}


def test_tables_that_tests_create_from_memory_are_those_that_the_program_creates(tmp_path):
    made = []
    for number, create in enumerate((schema._create_everything.__wrapped__, *[schema._create_everything] * 2)):
        path = str(tmp_path / f"{number}.db")
        storage.open_database(path)
        with storage.writing():
            create()
        storage.close_database()
        made.append((made_in(path), contents(path)))
    assert made[0] == made[1] == made[2]


@pytest.fixture
def old(config):
    """Return settings for the file of schema 1, not upgraded yet."""
    with closing(sqlite3.connect(config.database)) as file:
        file.executescript(DUMP.read_text())
    return replace(config, plans=(PRO, TEAM))


@pytest.fixture
def upgraded(old):
    billing = Billing(old)
    yield billing
    billing.close()


def test_the_schema_is_that_of_a_fresh_file(old, tmp_path):
    Billing(old).close()
    fresh = replace(old, database=str(tmp_path / "fresh.db"))
    Billing(fresh).close()

    for upgraded, made in zip(made_in(old.database), made_in(fresh.database), strict=True):
        assert upgraded == made


@pytest.fixture
def of_2(config):
    """Return settings for the file of schema 2, not upgraded yet."""
    with closing(sqlite3.connect(config.database)) as file:
        file.executescript((DUMP.parent / "schema_2.sql").read_text())
    return config


def test_the_schema_of_a_file_of_2_is_that_of_a_fresh_one(of_2, tmp_path):
    Billing(of_2).close()
    fresh = replace(of_2, database=str(tmp_path / "fresh.db"))
    Billing(fresh).close()

    for upgraded, made in zip(made_in(of_2.database), made_in(fresh.database), strict=True):
        assert upgraded == made


def test_grants_of_2_get_names_and_are_mirrored_soon(of_2):
    with closing(sqlite3.connect(of_2.database)) as file:
        file.execute("INSERT OR IGNORE INTO corkage_user (id, rule, created_at) VALUES ('ann', 0, 1)")
        row = "INSERT INTO corkage_grant (user_id, plan, reason, given_by, created_at) VALUES ('ann', ?, '', '', 1)"
        file.executemany(row, [("pro",), ("team",)])
        file.commit()

    with closing(Billing(of_2)):
        assert len({row.uid for row in Grant.select()} - {None}) == 2
        assert [(row.user_id, row.due_at, row.text) for row in GrantMirror.select()] == [("ann", 0, None)]
        assert int(setting(MOVES_SINCE)) > int(setting(MADE_AT))


def test_attempts_of_2_are_kept_and_sell_nothing_twice(of_2, shop):
    """The page of ann's is of another Stripe, and gone; bob's click was cut off years ago."""
    shop.client.v1.customers.create(params={"metadata": {}})
    with running(replace(of_2, billing_url="https://b.example")) as app:
        found = [(each.user_id, each.group, each.plan) for each in CheckoutAttempt.select()]
        assert found == [("ann", "main", "pro"), ("bob", "main", "pro")]
        app.work()  # it learns the prices of this Stripe
        for user in ("ann", "bob"):
            assert "/c/pay/" in url_of(click(app, user=user))
        opened = shop.client.v1.checkout.sessions.list(params={"status": "open"}).data
        assert {each.client_reference_id for each in opened} == {"ann", "bob"}


def test_every_user_has_the_answer_of_the_old_view(old):
    before = answers(old.database)
    Billing(old).close()

    after = answers(old.database)
    assert len(before) == 27
    assert before["twice"][5] == ["exports", "seats"]
    before["twice"][5] = ["exports", "seats", "api"]  # the plan beside the best one gives what it gives, too
    assert after == before


def test_before_the_timelines_are_made_answers_stand_already(old, monkeypatch):
    before = answers(old.database)
    monkeypatch.setattr("corkage.replica.timelines.Timelines.renew", lambda *_: None)
    Billing(old).close()

    after = answers(old.database)
    assert {user: rest[:-1] for user, rest in after.items()} == {user: rest[:-1] for user, rest in before.items()}


def test_an_upgrade_that_fails_at_any_step_changes_nothing(old, monkeypatch):
    before = contents(old.database)
    run = storage.execute

    class Cut(Exception):
        pass

    for steps in range(0, 36, 5):
        left = [None] * steps

        def fail(*statement, left=left):
            if not left:
                raise Cut
            left.pop()
            return run(*statement)

        monkeypatch.setattr(storage, "execute", fail)
        with pytest.raises(Cut):
            Billing(old)
        monkeypatch.undo()
        assert contents(old.database) == before
    Billing(old).close()
    assert waiting_of(old.database) == 0


@pytest.mark.slow
@pytest.mark.torture("crash")
def test_an_upgrade_killed_at_any_moment_is_whole_or_has_changed_nothing(old, figures):
    path, mortal, undone, whole = Path(old.database), Mortal(SEED), 0, 0
    file, before = path.read_bytes(), contents(old.database)
    mortal.lives(start, old)
    wanted = answers(old.database), made_in(old.database)
    while mortal.killed < size(3, long=300):
        put_back(path, file)
        if mortal.dies(start, old):
            is_undone = contents(old.database) == before
            undone, whole = undone + is_undone, whole + (not is_undone)
            assert is_undone or version_of(old.database) == str(SCHEMA_VERSION)
            mortal.dies(start, old)
            mortal.lives(start, old)
        assert (answers(old.database), made_in(old.database)) == wanted
        assert waiting_of(old.database) == 0
    figures.note(kills=mortal.killed, killed_before_the_commit=undone, killed_after_it=whole)


def put_back(path, file):
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()
    path.write_bytes(file)


def version_of(path):
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return file.execute("SELECT value FROM corkage_setting WHERE name = 'schema_version'").fetchone()[0]


def waiting_of(path):
    with closing(sqlite3.connect(path)) as file:
        return file.execute("SELECT count(*) FROM corkage_user WHERE rule = 0").fetchone()[0]


def test_what_was_true_before_is_no_news(upgraded):
    before = NoticeRow.select().count()
    upgraded.service.catalogue.timelines.renew(NOW)
    upgraded.service.catalogue.timelines.follow_time(NOW)

    assert waiting() == 0
    assert NoticeRow.select().count() == before


def test_grace_still_ends_by_the_clock_of_its_subscription(upgraded):
    ends = {
        row.user_id: row.ends_at
        for row in AnswerRow.select().where(AnswerRow.user_id.startswith("grace"), AnswerRow.reason == "grace")
    }
    changes = {user.id: user.next_change_at for user in User.select().where(User.id.startswith("grace"))}

    assert ends == changes == {"grace": FAR + GRACE, "grace_by_clock": FAR + 500 - 1000 + GRACE}
    upgraded.service.catalogue.timelines.follow_time(FAR + GRACE + 1)
    kinds = [row.kind for row in NoticeRow.select().where(NoticeRow.user == "grace")]
    assert kinds[-1] == "access_revoked"


def test_what_goes_on_is_due_to_be_fetched_and_what_ended_is_not(upgraded):
    due = {row.id for row in Subscription.select().where(Subscription.ask_at <= NOW)}
    going_on = {row.id for row in Subscription.select().where(Subscription.status.not_in(ENDED))}

    assert due == going_on
    assert len(going_on) == 26
    assert StripeEvent.get_by_id("evt_1").applied_at is None


def test_what_belongs_to_no_user_is_not_asked_for_each_minute(old):
    with closing(sqlite3.connect(old.database)) as file, file:
        columns = "id, customer_id, subscription_status, created"
        values = ("sub_unowned", "cus_unowned", "active", NOW)
        file.execute(f"INSERT INTO corkage_subscription ({columns}) VALUES (?, ?, ?, ?)", values)
    billing = Billing(old)
    try:
        assert Subscription.get_by_id("sub_unowned").ask_at is None
    finally:
        billing.close()


def item(id_, key):
    return ItemState(id_, PriceState(f"price_{key}", f"prod_{key}", f"{key}_monthly", 900, "usd", "month", 1), 1)


def fetched(row, *items):
    """Return the subscription as Stripe shows it now, with these items."""
    facts = {name: getattr(row, name) for name in ("id", "customer_id", "status", "cancel_at", "trial_end", "created")}
    facts |= {name: getattr(row, name) for name in ("current_period_end", "ended_at", "unpaid_since")}
    facts |= dict.fromkeys(("pause_behavior", "resumes_at", "paid_until", "billed", "charged", "test_clock", "sold"))
    facts |= {"currency": "usd", "trial_start": None, "latest_invoice": None, "app": None, "user_id": None}
    facts |= {"lacks_card": False, "has_card": True, "buyer_id": None}
    has_paid = {"has_paid": not row.payment_pending, "payment_pending": bool(row.payment_pending)}
    state = SubscriptionState(items=items, **facts, **has_paid)
    return Fetched(None, (state,), NOW)


def test_the_fetch_that_reveals_a_second_item_is_no_news(upgraded):
    before = NoticeRow.select().count()
    service = upgraded.service
    row = Subscription.get_by_id("sub_active_1")
    held = replica.read(row.customer_id)

    with storage.writing():
        state = fetched(row, item("si_1", "pro"), item("si_2", "team"))
        assert service.converger.compare_and_set(held, state, (), NOW) == "converged"

    access = upgraded.access("active")
    assert (access.plans, access.plan) == (("pro", "team"), "team")
    assert NoticeRow.select().count() == before
