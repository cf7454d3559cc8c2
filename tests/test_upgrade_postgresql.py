"""A PostgreSQL database of schema 3, the first with such databases, as the version before made it."""

from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from elsewhere import elsewhere
from mortal import Mortal, start
from torture import SEED, size

from corkage import storage
from corkage.billing_app import Billing
from corkage.models import Grant, Subscription, User
from corkage.schema import SCHEMA_VERSION

pytestmark = [pytest.mark.postgresql, pytest.mark.one_engine("postgresql", "its own dump")]

DUMP = Path(__file__).parent / "support" / "schema_3_postgresql.sql"
FAR = 4_102_444_800  # in the year 2100: more than 31 bits
ROWS = f"""
INSERT INTO corkage_user (id, stripe_customer_id, created_at) VALUES ('ann', 'cus_1', 1), ('bob', NULL, 1);
INSERT INTO corkage_customer (id, user_id, revision, fetched_at) VALUES ('cus_1', 'ann', 1, 1);
INSERT INTO corkage_price (id, product_id, plan, sold) VALUES ('price_1', 'prod_1', 'pro', true);
INSERT INTO corkage_subscription (id, customer_id, status, currency, created, current_period_end, has_paid, ours)
    VALUES ('sub_1', 'cus_1', 'active', 'usd', 1, {FAR}, true, true);
INSERT INTO corkage_subscription_item (subscription_id, price_id, quantity) VALUES ('sub_1', 'price_1', 1);
INSERT INTO corkage_grant (user_id, plan, reason, given_by, created_at) VALUES ('bob', 'pro', 'a friend', 'me', 1);
INSERT INTO corkage_setting VALUES ('schema_version', '3'), ('access_version', '2'), ('app', 'app.example.com');
"""
COLUMNS = """
SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
WHERE table_schema = current_schema() ORDER BY 1, 2
"""
INDICES = """
SELECT tablename, indexname, replace(indexdef, current_schema() || '.', '') FROM pg_indexes
WHERE schemaname = current_schema() ORDER BY 1, 2
"""


def shape():
    """Return the columns and the indices of the open database."""
    columns = [(*row[:4], (row[4] or "").split("::")[0].strip("'")) for row in storage.rows(COLUMNS)]
    return columns, storage.rows(INDICES)


@pytest.fixture
def old(postgresql):
    with postgresql.schema() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(DUMP.read_text() + ROWS)
        yield url


def test_an_upgraded_database_has_the_tables_of_a_new_one_and_keeps_what_it_had(config, old, database):
    with_its_own = Billing(config)
    wanted = shape()
    with_its_own.close()

    billing = Billing(replace(config, database=old))

    try:
        for found, expected in zip(shape(), wanted, strict=True):
            assert set(found) ^ set(expected) == set()
        assert (billing.access("ann").reason, billing.access("ann").until) == ("active", FAR)
        assert billing.access("bob").reason == "granted"
        assert len({grant.uid for grant in Grant.select()}) == 1
        with storage.writing():
            Subscription.update(billed=FAR, trial_start=FAR).execute()
            User.update(usage_anchor=FAR).execute()
    finally:
        billing.close()


@pytest.mark.slow
@pytest.mark.torture("crash")
def test_an_upgrade_killed_at_any_moment_is_whole_or_has_changed_nothing(config, old, postgresql, figures):
    mortal, undone, whole = Mortal(SEED), 0, 0
    mortal.lives(start, replace(config, database=old))
    wanted = contents(old)
    while mortal.killed < size(3, long=150):
        with postgresql.schema() as url:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(DUMP.read_text() + ROWS)
            before = contents(url)
            if mortal.dies(start, replace(config, database=url)):
                is_undone = contents(url) == before
                undone, whole = undone + is_undone, whole + (not is_undone)
                assert is_undone or contents(url)[:3] == wanted[:3]
                mortal.dies(start, replace(config, database=url))
                mortal.lives(start, replace(config, database=url))
            assert contents(url) == wanted
    figures.note(kills=mortal.killed, killed_before_the_commit=undone, killed_after_it=whole)


def contents(url):
    """Return the columns, the indices, and what is known of the users and who is let in."""
    with elsewhere(url) as connection:
        columns, indices = (connection.execute(query).fetchall() for query in (COLUMNS, INDICES))
        known = (
            "SELECT name, value FROM corkage_setting WHERE name = 'schema_version'",
            "SELECT id, stripe_customer_id FROM corkage_user ORDER BY id",
            "SELECT id, status, current_period_end FROM corkage_subscription",
            "SELECT user_id, plan, created_at FROM corkage_grant",
        )
        rows = [connection.execute(query).fetchall() for query in known]
        is_upgraded = rows[0] == [("schema_version", str(SCHEMA_VERSION))]
        access = "SELECT user_id, allowed, reason, until FROM corkage_access ORDER BY user_id"
        return sorted(columns), sorted(indices), rows, connection.execute(access).fetchall() if is_upgraded else []
