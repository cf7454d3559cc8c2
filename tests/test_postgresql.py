"""PostgreSQL: what it is told, how it fails, and how it comes back."""

import logging
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import peewee
import pytest
import requests
from elsewhere import be_impatient, elsewhere
from harness import running, until
from postgres import pgbouncer, postgres, url

from corkage import models, storage
from corkage.billing_app import Billing
from corkage.errors import ConfigError, DatabaseUnavailable
from corkage.models import StripeEvent, User

pytestmark = [pytest.mark.one_engine("postgresql", "its own ways"), pytest.mark.postgresql]


@pytest.fixture
def server():
    """A server of the test's own."""
    with postgres() as started:
        yield started


@pytest.fixture
def own(config, server):
    """A configuration whose database is on that server."""
    return replace(config, database=server.url())


def refused(config):
    with pytest.raises(ConfigError) as error:
        Billing(config)
    return str(error.value)


# What stops the start, in words


def test_the_password_is_in_no_log_error_or_repr(config, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    away = config.database.replace("127.0.0.1", "127.0.0.2")
    broken = [f"postgresql://corkage:p{sign}ss@127.0.0.1:1/x" for sign in "#/?@%: ["]
    with running(config) as app:
        app.ask()
        app.deliver(b"{}")
    said = [
        repr(config),
        refused(replace(config, database=away)),
        *[refused(replace(config, database=each)) for each in broken],
        refused(replace(config, database=config.database.replace("a%2Fpassword", "wrong"))),
        caplog.text,
        *capfd.readouterr(),
    ]

    assert [each for each in said if re.search("password(@|%40)of|ss@", each)] == []


def test_a_server_that_cannot_be_reached_is_a_configuration_error(config):
    error = refused(replace(config, database="postgresql://corkage:secret@127.0.0.1:1/shop"))

    assert error.startswith("- BILLING_DATABASE: postgresql://127.0.0.1:1/shop cannot be opened: ")
    assert "Connection refused" in error


def test_a_wrong_password_is_a_configuration_error(config):
    assert "password authentication failed" in refused(
        replace(config, database=config.database.replace("a%2Fpassword", "wrong"))
    )


def test_a_database_that_is_not_there_is_a_configuration_error(own):
    assert 'database "corkage_nowhere" does not exist' in refused(replace(own, database=own.database + "_nowhere"))


def test_a_user_without_the_right_to_make_tables_is_told_so(own, server):
    server.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    guests = f"postgresql://guest:guest@127.0.0.1:{server.port}/corkage"

    assert "the user lacks a right" in refused(replace(own, database=guests))


def test_a_missing_schema_is_named(config):
    error = refused(replace(config, database=f"{config.database}?options=-csearch_path%3Dnowhere"))

    assert "there is no schema to work in" in error


def test_a_table_that_is_gone_is_named_in_the_log(app, caplog):
    storage.execute("ALTER TABLE corkage_stripe_event RENAME TO gone")

    with pytest.raises(ConfigError, match="a table is missing"):
        StripeEvent.select().count()


def test_without_psycopg_it_says_what_to_install(config, monkeypatch):
    monkeypatch.setitem(sys.modules, "corkage.storage.postgresql", None)
    monkeypatch.delattr(storage, "postgresql")

    assert "pip install 'corkage[postgresql]'" in refused(config)


# Connections


def end_connections(server):
    server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'corkage'")


def test_a_connection_that_was_ended_while_idle_is_replaced_unseen(own, server, event):
    with running(own) as app:
        for _ in range(3):
            assert app.ask().status_code == 200
            assert app.deliver(event).status_code == 200
            app.work()
            end_connections(server)
        assert app.ask().json()["allowed"]


def test_a_webhook_that_waits_for_another_process_holds_up_no_other_thread(app, config):
    add = "INSERT INTO corkage_user (id, created_at) VALUES (?, 1) ON CONFLICT DO NOTHING"
    with elsewhere(config.database) as other, ThreadPoolExecutor(2) as pool:
        other.execute("BEGIN; INSERT INTO corkage_user (id, rule, created_at) VALUES ('ann', 0, 1)")
        waits = pool.submit(storage.write, add, ("ann",))
        until(lambda: storage.row("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'")[0])

        assert pool.submit(storage.write, add, ("bob",)).result(3) == 1  # the other is given up after 5 seconds
        other.execute("ROLLBACK")
        assert waits.result(30) == 1


def test_a_transaction_whose_connection_is_lost_writes_nothing(own, server):
    def write():
        with storage.writing():
            User.insert(id="ann", created_at=1).execute()
            end_connections(server)
            for name in ("bob", "cem"):
                with suppress(DatabaseUnavailable):
                    User.insert(id=name, created_at=1).execute()

    with running(own):
        with pytest.raises(DatabaseUnavailable):
            write()
        assert User.select().count() == 0
        with storage.writing():
            User.insert(id="dan", created_at=1).execute()
        assert User.get().id == "dan"


def test_a_transaction_in_which_a_failure_was_ignored_is_an_error(app):
    def write():
        with storage.writing():
            User.insert(id="ann", created_at=1).execute()
            with suppress(peewee.IntegrityError):
                User.insert(id="ann", created_at=1).execute()

    with pytest.raises(RuntimeError, match="nothing was written"):
        write()
    assert User.select().count() == 0


@pytest.mark.parametrize("stop", ["fast", "immediate"])
def test_while_the_server_is_away_webhooks_get_503_and_afterwards_200(own, server, event, stop):
    with running(own) as app:
        assert app.ask().status_code == 200
        server.stop(stop)
        assert [app.ask().status_code, app.deliver(event).status_code] == [503, 503]
        assert requests.get(f"{app.url}/health", timeout=30).status_code == 503
        server.start()
        assert [app.ask().status_code, app.deliver(event).status_code] == [200, 200]
        assert requests.get(f"{app.url}/health", timeout=30).json()["problems"] == []


def test_a_server_that_does_not_answer_is_given_up(own, server, event, monkeypatch):
    monkeypatch.setattr("corkage.storage.postgresql._Connection.limit_seconds", 0.3)
    monkeypatch.setattr("corkage.storage.postgresql.ANSWER_SECONDS", 0.3)
    monkeypatch.setattr("corkage.storage.postgresql.END_SECONDS", 0.3)
    be_impatient(monkeypatch, 0.3)
    with running(own) as app:
        assert app.ask().status_code == 200
        server.freeze()
        assert app.deliver(event).status_code == 503
        server.thaw()
        assert app.deliver(event).status_code == 200


def test_a_direct_connection_prepares_what_it_often_asks(app):
    for number in range(5):
        app.billing.access(f"user{number}")

    prepared = "".join(row[0] for row in storage.rows("SELECT statement FROM pg_prepared_statements"))
    assert "FROM corkage_answer" in prepared
    assert storage.row("SHOW plan_cache_mode") == ("force_generic_plan",)
    assert storage.row("SHOW application_name") == ("corkage",)


def test_behind_a_pooler_nothing_outlives_a_transaction(own, server, shop):
    customers = [shop.customer(f"user{number}") for number in range(4)]
    for number, customer in enumerate(customers):
        shop.subscribe(customer, user=f"user{number}")
    with pgbouncer(server, default_pool_size=2) as pooler, running(replace(own, database=pooler.url())) as app:
        for _ in range(5):
            app.work()
        with ThreadPoolExecutor(8) as pool:
            asked = list(pool.map(lambda number: app.ask(f"user{number % 4}"), range(40)))
            events = shop.client.v1.events.list(params={"limit": 100}).data
            delivered = list(pool.map(lambda event: app.deliver(event).status_code, events))
        app.work(time.time() + 10)

        assert {each.status_code for each in asked} | set(delivered) == {200}
        assert all(app.billing.access(f"user{number}").allowed for number in range(4))
        assert storage.row("SELECT count(*) FROM pg_prepared_statements") == (0,)
        assert storage.row("SHOW plan_cache_mode") == ("auto",)


def test_of_several_hosts_the_primary_is_taken(own, server):
    with server.standby() as standby, running(replace(own, database=url(standby, server))) as app:
        with storage.writing():
            User.insert(id="ann", created_at=1).execute()
        assert app.ask().status_code == 200


# Standbys


@pytest.fixture
def frozen_standby(server):
    """A standby that every commit waits for, and that does not answer until it is thawed."""
    with server.standby() as standby:
        server.wait_for()
        yield standby


def test_what_no_standby_confirms_is_not_acknowledged_even_when_it_comes_again(
    own, server, event, frozen_standby, monkeypatch
):
    be_impatient(monkeypatch, 0.5)
    with running(own) as app:
        frozen_standby.freeze()
        assert [app.deliver(event).status_code for _ in range(2)] == [503, 503]
        assert app.ask().status_code == 200
        assert requests.get(f"{app.url}/health", timeout=30).status_code == 503

        frozen_standby.thaw()
        assert app.deliver(event).status_code == 200
        assert StripeEvent.select().count() == 1


def test_a_wait_that_somebody_cancels_is_no_success(own, server, event, frozen_standby):
    waiting = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    with running(own) as app, ThreadPoolExecutor(1) as pool:
        frozen_standby.freeze()
        delivered = pool.submit(app.deliver, event)
        until(lambda: server.execute(waiting))
        assert delivered.result(30).status_code == 503
        frozen_standby.thaw()


def test_a_transaction_that_no_standby_confirms_is_an_error_and_a_clean_stop_stays_possible(
    own, frozen_standby, monkeypatch
):
    be_impatient(monkeypatch, 0.5)
    with running(own):
        frozen_standby.freeze()
        with pytest.raises(DatabaseUnavailable, match="no standby has confirmed"), storage.writing():
            User.insert(id="ann", created_at=1).execute()
    frozen_standby.thaw()


# What readers in other languages find


def test_the_view_has_booleans_and_whole_numbers(app):
    query = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'corkage_access'"
    types = dict(storage.rows(f"{query} AND table_schema = current_schema()"))

    assert {name for name, kind in types.items() if kind == "boolean"} == {"allowed", "stale"}
    assert {name for name, kind in types.items() if kind == "bigint"} == {"quantity", "until", "cancel_at"}
    assert set(types.values()) == {"boolean", "bigint", "text"}


def test_a_new_view_keeps_the_grants_and_the_hosts_own_views(config, monkeypatch):
    Billing(config).close()
    with elsewhere(config.database) as other:
        other.execute("CREATE VIEW may_export AS SELECT user_id FROM corkage_access WHERE allowed")
        other.execute("GRANT SELECT ON corkage_access TO pg_read_all_data")
    monkeypatch.setitem(models.UPGRADES, models.SCHEMA_VERSION, lambda: None)
    monkeypatch.setattr(models, "SCHEMA_VERSION", models.SCHEMA_VERSION + 1)
    monkeypatch.setitem(models.VIEWS, "corkage_access", models.VIEWS["corkage_access"] + " AND plan <> 'hidden'")

    Billing(config).close()

    with elsewhere(config.database) as other:
        assert other.execute("SELECT count(*) FROM may_export").fetchone() == (0,)
        granted = other.execute("SELECT relacl::text FROM pg_class WHERE oid = 'corkage_access'::regclass").fetchone()
    assert "pg_read_all_data=r" in granted[0]


def test_the_present_second_is_not_rounded_up(app):
    query = f"SELECT {storage.current().PRESENT}, floor(extract(epoch FROM statement_timestamp()))::bigint"

    assert all(row[0] == row[1] for row in (storage.row(query) for _ in range(50)))
