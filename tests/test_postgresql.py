"""PostgreSQL: what it is told, how it fails, and how it comes back."""

import logging
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import peewee
import psycopg
import pytest
import requests
from elsewhere import be_impatient, elsewhere, locked
from harness import running, until
from postgres import pgbouncer, postgres, url

import corkage
from corkage import schema, storage
from corkage.billing_app import Billing
from corkage.errors import ConfigError, DatabaseUnavailable
from corkage.health import server as health_server
from corkage.models import StripeEvent, User
from corkage.storage import postgresql_errors

ROOT = Path(corkage.__file__).parent

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


@pytest.mark.parametrize(
    "broken",
    [
        "postgresql://corkage:geh#im@host:port/x",
        "postgresql://corkage:geh?im@host:port/x",
        "postgresql://corkage:geh/im@host/x",
        "postgresql://corkage:geh@im@host/x",
        "postgresql://host:port/x?password=geh@im",
        "postgresql://corkage:geh%im@host/x",
    ],
)
def test_no_part_of_a_password_with_signs_in_it_is_shown(config, broken):
    error = refused(replace(config, database=broken))

    assert "BILLING_DATABASE: " in error
    assert ("geh" in error, "im@" in error) == (False, False)


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


def test_tables_without_their_settings_are_a_configuration_error(config):
    Billing(config).close()
    with elsewhere(config.database) as other:
        other.execute("DROP TABLE corkage_setting")

    assert "some tables are there and others not" in refused(config)


def test_an_older_server_is_refused(config, monkeypatch):
    monkeypatch.setattr("corkage.storage.postgresql.OLDEST", 99)

    assert refused(config).endswith(": wanted PostgreSQL 99 or newer")


def test_without_psycopg_it_says_what_to_install(config, monkeypatch):
    monkeypatch.setitem(sys.modules, "corkage.storage.postgresql", None)
    monkeypatch.delattr(storage, "postgresql", raising=False)

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

        pool.submit(storage.write, add, ("bob",)).result(3)  # the other is given up after 5 seconds
        other.execute("ROLLBACK")
        waits.result(30)
    assert User.select().where(User.id << ["ann", "bob"]).count() == 2


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


# What the operator is told


def test_a_table_that_is_gone_is_a_problem_of_health(app, event):
    assert requests.get(f"{app.url}/health", timeout=30).status_code == 200
    storage.execute("ALTER TABLE corkage_stripe_event RENAME TO gone")

    answer = requests.get(f"{app.url}/health", timeout=30)

    assert answer.status_code == 503
    assert "a table is missing" in answer.json()["problems"][0]
    assert "SELECT" not in answer.text


@pytest.mark.parametrize(
    ("reason", "command"),
    [
        ("connection failed: Connection refused Is the server running on that host", "pg_isready -d {}"),
        ("connection timeout expired", "pg_isready -d {}"),
        ("no answer within 30 s", "pg_isready -d {}"),
        ('FATAL: password authentication failed for user "corkage"', "psql -U USER {}, as the user"),
        ('FATAL: database "shop" does not exist', "psql -U USER {}, as the user"),
        ("FATAL: unsupported startup parameter: options", "psql -U postgres {}: a pooler takes no options"),
        ("FATAL: sorry, too many clients already", 'psql -U postgres {} -c "SELECT usename'),
        (f"{postgresql_errors.WORDS['53300']} (...)", 'psql -U postgres {} -c "SELECT usename'),
        (f"{postgresql_errors.WORDS['53100']} (...)", "df -h, on the server"),
        (f"{postgresql_errors.WORDS['25006']} (...)", 'psql -U postgres {} -c "SELECT pg_is_in_recovery()'),
        (f"{postgresql_errors.WORDS['55P03']} (...)", 'psql -U postgres {} -c "SELECT pid'),
        (f"{postgresql_errors.WORDS['57014']} (...)", 'psql -U postgres {} -c "SELECT pid'),
        ("no standby has confirmed what was written: canceling", 'psql -U postgres {} -c "SELECT application_name'),
        ("something new", "psql -U USER {}, and the log of the server"),
    ],
)
def test_each_reason_has_its_next_command(reason, command):
    assert storage.repair(reason, "postgresql://db/shop").startswith(command.format("postgresql://db/shop"))


def test_the_queries_of_those_commands_run(own, server):
    queries = [re.search('-c "(.*)"', command) for command in postgresql_errors.REPAIRS.values()]

    assert [server.execute(query[1]) for query in queries if query]


def found(config, **options):
    with closing(Billing(config)):
        return list(health_server.examine(**options))


def test_nothing_is_said_of_a_server_that_is_as_it_should_be(config):
    assert found(config) == []


@pytest.mark.parametrize(("seconds", "says"), [(-70, "70 s ahead of"), (70, "70 s behind"), (4, None)])
def test_a_clock_that_is_apart_is_a_problem(config, seconds, says):
    told = found(config, clock=lambda: time.time() + seconds)

    assert [(says in what, repair.startswith("timedatectl")) for what, repair in told] == [(True, True)] * bool(says)


def test_a_commit_that_is_not_on_disk_is_a_problem(config):
    with elsewhere(config.database) as other:
        other.execute("ALTER ROLE CURRENT_USER SET synchronous_commit = off")

    ((what, repair),) = found(config)

    assert "events that were acknowledged are lost" in what
    with elsewhere(config.database) as other:
        other.execute(re.search('-c "(.*)"', repair)[1])
    assert found(config) == []


def test_several_hosts_without_synchronous_replication_are_noted(own, server):
    with server.standby() as standby:
        both = replace(own, database=url(standby, server))
        ((what, repair),) = found(both)
        assert ("no standby confirms a write" in what, repair) == (True, None)

        server.wait_for()
        assert found(both) == []


def test_a_pooler_is_noted(own, server):
    with pgbouncer(server) as pooler:
        ((what, repair),) = found(replace(own, database=pooler.url()))

    assert ("goes through a pooler" in what, repair) == (True, None)


def test_a_version_that_was_not_tried_is_noted(config, monkeypatch):
    monkeypatch.setattr("corkage.health.server.TRIED", (98, 99))

    ((what, repair),) = found(config)

    assert (what.startswith("Corkage was tried with PostgreSQL 98 and 99, and this is "), repair) == (True, None)


def test_a_standby_alone_takes_no_writes_and_the_doctor_says_so(own, server):
    Billing(own).close()
    with server.standby() as standby, pytest.raises(DatabaseUnavailable, match="it is a standby"):
        Billing(replace(own, database=standby.url()))


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
    monkeypatch.setitem(schema.UPGRADES, schema.SCHEMA_VERSION, lambda: None)
    monkeypatch.setattr(schema, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 1)
    monkeypatch.setitem(schema.VIEWS, "corkage_access", schema.VIEWS["corkage_access"] + " AND plan <> 'hidden'")

    Billing(config).close()

    with elsewhere(config.database) as other:
        assert other.execute("SELECT count(*) FROM may_export").fetchone() == (0,)
        granted = other.execute("SELECT relacl::text FROM pg_class WHERE oid = 'corkage_access'::regclass").fetchone()
    assert "pg_read_all_data=r" in granted[0]


def documented(page, name):
    """Return what the fenced block under this mark holds."""
    return re.search(rf"<!-- {name} -->\n```\w+\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)[1]


def test_the_documented_role_schema_rights_and_recipes_work(own, server, monkeypatch):
    server.execute(documented("postgresql.md", "postgresql-role"))
    server.execute("CREATE ROLE product LOGIN PASSWORD 'product'")
    billing = f"postgresql://billing:a-long-random-password@127.0.0.1:{server.port}/corkage"
    with running(replace(own, database=billing)) as app:
        app.billing.service.grant("ann", "pro")
        with elsewhere(billing) as other:
            other.execute(documented("access-view.md", "view-postgresql-rights"))
        product = f"postgresql://product:product@127.0.0.1:{server.port}/corkage"
        with elsewhere(product) as reader:
            row = reader.execute(documented("access-view.md", "view-postgresql-sql")).fetchone()
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute("SELECT * FROM billing.corkage_user")
        monkeypatch.setenv("PRODUCT_DATABASE", product)
        recipe = {}
        exec(documented("access-view.md", "view-postgresql-python"), recipe)
        with recipe["product"]:
            ann, nobody = recipe["access"]("ann"), recipe["access"]("nobody")

    assert row[:3] == (True, "granted", "pro")
    assert (ann["allowed"], ann["features"]) == (True, ["exports", "api"])
    assert (nobody["allowed"], nobody["reason"], nobody["features"]) == (False, "no_subscription", [])


def test_the_view_can_be_read_on_a_standby(own, server):
    with server.standby() as standby, running(own) as app:
        app.billing.service.grant("ann", "pro")
        with elsewhere(standby.url()) as reader:
            is_there = "SELECT to_regclass('corkage_access') IS NOT NULL"  # the standby is some moments behind
            until(lambda: reader.execute(is_there).fetchone() == (True,))
            query = "SELECT allowed FROM corkage_access WHERE user_id = 'ann'"
            until(lambda: reader.execute(query).fetchone() == (True,))


def test_another_schema_of_the_same_server_does_not_wait(own, server):
    server.execute("CREATE ROLE other LOGIN PASSWORD 'other'; CREATE SCHEMA AUTHORIZATION other")
    Billing(own).close()
    with (
        locked(own.database),
        running(replace(own, database=f"postgresql://other:other@127.0.0.1:{server.port}/corkage")),
    ):
        with storage.writing():
            User.insert(id="ann", created_at=1).execute()
        assert User.get().id == "ann"


def test_the_present_second_is_not_rounded_up(app):
    query = f"SELECT {storage.current().PRESENT}, floor(extract(epoch FROM statement_timestamp()))::bigint"

    assert all(row[0] == row[1] for row in (storage.row(query) for _ in range(50)))
