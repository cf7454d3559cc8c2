"""How the tables of a database are made, and the steps that upgrade an older one."""

import time
from collections.abc import Callable

from . import storage
from .access import ACCESS_VERSION, VIEWS
from .errors import ConfigError
from .models import (
    APP,
    IS_PURCHASE,
    MADE_AT,
    MOVES_SINCE,
    TABLES,
    UNFINISHED,
    AnswerRow,
    ChangeRow,
    CheckoutAttempt,
    Credit,
    GrantMirror,
    MeterEvent,
    Move,
    PlanRow,
    Purchase,
    Refund,
    RevenueRow,
    Setting,
    Usage,
    UsageKey,
    new_uid,
    number,
    setting,
    store_setting,
)
from .storage.engine import MOVED


def _create_everything() -> None:
    storage.current().create_tables(TABLES)
    # An index costs a write for each row, so these hold only the few rows that are searched for.
    storage.execute(
        "CREATE INDEX corkage_event_pending ON corkage_stripe_event (customer_id, next_attempt_at) "
        "WHERE applied_at IS NULL"
    )
    storage.execute(
        "CREATE INDEX corkage_event_unnamed ON corkage_stripe_event (object_id, next_attempt_at) "
        "WHERE applied_at IS NULL AND customer_id IS NULL"
    )
    storage.execute(
        "CREATE INDEX corkage_event_purchase ON corkage_stripe_event (customer_id, next_attempt_at) "
        f"WHERE applied_at IS NULL AND {IS_PURCHASE}"
    )
    storage.execute(
        "CREATE INDEX corkage_user_change ON corkage_user (next_change_at) WHERE next_change_at IS NOT NULL"
    )
    _index_clocks()
    _index_marks()
    _index_unowned()
    _index_applied()
    _index_meter_events()
    _index_changes()
    for name, columns in (("due", "receiver, next_attempt_at"), ("owed", "receiver, user_id, notice_id")):
        storage.execute(
            f"CREATE INDEX corkage_notice_{name} ON corkage_notice_delivery ({columns}) WHERE delivered_at IS NULL"
        )


def _index_clocks() -> None:
    storage.execute(
        "CREATE INDEX corkage_subscription_clock ON corkage_subscription (test_clock) WHERE test_clock IS NOT NULL"
    )


def _index_marks() -> None:
    storage.execute(
        "CREATE INDEX corkage_customer_marked ON corkage_customer (marked_user) WHERE marked_app IS NOT NULL"
    )


def _index_unowned() -> None:
    storage.execute(
        "CREATE INDEX corkage_customer_unowned ON corkage_customer (unowned_email) WHERE unowned_email IS NOT NULL"
    )


def _index_applied() -> None:
    """A webhook, which stores a pending event, writes to none of these: whoever applies it does."""
    for name, columns in (("applied", "applied_at"), ("customer", "customer_id, received_at")):
        storage.execute(
            f"CREATE INDEX corkage_event_{name} ON corkage_stripe_event ({columns}) WHERE applied_at IS NOT NULL"
        )


def _index_meter_events() -> None:
    storage.execute(
        "CREATE INDEX corkage_meter_event_due ON corkage_meter_event (next_attempt_at) "
        "WHERE sent_at IS NULL AND lost_at IS NULL"
    )
    storage.execute(
        "CREATE UNIQUE INDEX corkage_meter_event_growing ON corkage_meter_event "
        "(user_id, customer_id, name, event_name, hour, period_end) WHERE attempts = 0"
    )


def _index_changes() -> None:
    storage.execute("CREATE INDEX corkage_change_owed ON corkage_change (not_before) WHERE done_at IS NULL")


def _keep_holdings() -> None:
    """From 1, where a user's row held the facts of one subscription, to 2: all that a user holds, and its timeline.

    Each user keeps the answer of this second until the timelines are made, right after. What a database of version 1
    does not know, such as a second item, is fetched: every subscription that goes on is due.
    """
    storage.current().create_tables([AnswerRow, PlanRow])
    for statement in _GRANTS_OF_2:
        storage.execute(statement)
    storage.execute(
        """INSERT INTO corkage_answer SELECT user_id, 0, 253402300799, allowed, reason, plan,
        CASE WHEN allowed AND plan IS NOT NULL THEN '["' || plan || '"]' ELSE '[]' END,
        price_id, quantity, features, '{}', until, status, cancel_at, NULL FROM corkage_access"""
    )
    storage.execute("DROP VIEW corkage_access")
    _keep_subscriptions()
    storage.execute(
        """INSERT INTO corkage_plan SELECT plan, '{"features": ' || features || ', "grace_seconds": ' || grace_seconds
        || ', "denies_pending": ' || CASE WHEN allow_pending THEN 'false' ELSE 'true' END || '}'
        FROM corkage_price WHERE plan IS NOT NULL GROUP BY plan"""
    )
    for change in _CHANGES_OF_COLUMNS:
        storage.execute(f"ALTER TABLE {change}")
    storage.execute("CREATE INDEX corkage_user_rule ON corkage_user (rule)")


def _keep_subscriptions() -> None:
    """Make the table anew, because SQLite cannot say of a column that is there that it is never null."""
    for index in ("ask_at", "customer_id", "clock"):
        storage.execute(f"DROP INDEX corkage_subscription_{index}")
    storage.execute("ALTER TABLE corkage_subscription RENAME TO corkage_subscription_1")
    for statement in _SUBSCRIPTIONS_OF_2:
        storage.execute(statement)
    _index_clocks()
    kept = "id, customer_id, created, current_period_end, cancel_at, trial_end, ended_at, payment_pending, ours"
    kept += ", test_clock, clock_ahead, ask_at"
    storage.execute(
        f"""INSERT INTO corkage_subscription ({kept}, status, unpaid_since, has_paid)
        SELECT {kept}, subscription_status, past_due_since, 0 FROM corkage_subscription_1"""  # noqa: S608 -- the inserted column names are a constant of this function; there is no input
    )
    storage.execute(
        """INSERT INTO corkage_subscription_item SELECT id, stripe_price_id, quantity FROM corkage_subscription_1
        WHERE stripe_price_id IS NOT NULL"""
    )
    storage.execute("DROP TABLE corkage_subscription_1")
    # What was notified of one subscription is no news of this one. Of the user's plans nothing is known yet: null.
    storage.execute(
        """UPDATE corkage_user SET notified = json_array(
        json(CASE WHEN json_extract(notified, '$[0]') THEN 'true' ELSE 'false' END), json_extract(notified, '$[1]'),
        json_extract(notified, '$[3]'), json_extract(notified, '$[5]'), json_extract(notified, '$[6]'),
        json_extract(notified, '$[2]'), NULL) WHERE notified IS NOT NULL"""
    )
    storage.execute(
        """UPDATE corkage_subscription SET noted = CASE
        WHEN cancel_at IS NOT NULL THEN '["' || status || '",' || cancel_at || ']'
        WHEN status = 'trialing' AND trial_end - clock_ahead - 259200 <= CAST(strftime('%s', 'now') AS INTEGER)
        THEN '["trialing",null,true]' ELSE '["' || status || '"]' END"""
    )
    storage.execute(
        """UPDATE corkage_subscription SET ask_at = 0 WHERE status NOT IN ('canceled', 'incomplete_expired')
        AND customer_id IN (SELECT id FROM corkage_customer WHERE user_id IS NOT NULL)"""
    )


_SUBSCRIPTIONS_OF_2 = (
    """CREATE TABLE corkage_subscription (id VARCHAR(255) NOT NULL PRIMARY KEY, customer_id VARCHAR(255) NOT NULL,
    status VARCHAR(255) NOT NULL, currency VARCHAR(255), created INTEGER NOT NULL, current_period_end INTEGER,
    cancel_at INTEGER, trial_end INTEGER, ended_at INTEGER, unpaid_since INTEGER, has_paid INTEGER NOT NULL DEFAULT 0,
    payment_pending INTEGER NOT NULL DEFAULT 0, pause_behavior VARCHAR(255), resumes_at INTEGER, paid_until INTEGER,
    returned VARCHAR(255), ours INTEGER NOT NULL DEFAULT 0, test_clock VARCHAR(255),
    clock_ahead INTEGER NOT NULL DEFAULT 0, ask_at REAL, noted TEXT,
    FOREIGN KEY (customer_id) REFERENCES corkage_customer (id))""",
    "CREATE INDEX corkage_subscription_customer_id ON corkage_subscription (customer_id)",
    "CREATE INDEX corkage_subscription_ask_at ON corkage_subscription (ask_at)",
    """CREATE TABLE corkage_subscription_item (subscription_id VARCHAR(255) NOT NULL, price_id VARCHAR(255) NOT NULL,
    quantity INTEGER, PRIMARY KEY (subscription_id, price_id),
    FOREIGN KEY (subscription_id) REFERENCES corkage_subscription (id) ON DELETE CASCADE) WITHOUT ROWID""",
)
_GRANTS_OF_2 = (
    """CREATE TABLE corkage_grant (id INTEGER NOT NULL PRIMARY KEY, user_id VARCHAR(255) NOT NULL,
    plan VARCHAR(255) NOT NULL, quantity INTEGER, reason VARCHAR(255) NOT NULL, given_by VARCHAR(255) NOT NULL,
    created_at INTEGER NOT NULL, ends_at INTEGER, FOREIGN KEY (user_id) REFERENCES corkage_user (id))""",
    "CREATE INDEX corkage_grant_user_id ON corkage_grant (user_id)",
)
"""As they were at version 2: a step must not change with the tables of later versions."""

_CHANGES_OF_COLUMNS = (
    *(
        f"corkage_user DROP COLUMN {name}"
        for name in (
            "stripe_price_id subscription_status quantity current_period_end cancel_at trial_end past_due_since "
            "payment_pending ours clock_ahead subscription_id"
        ).split()
    ),
    "corkage_user ADD COLUMN rule INTEGER NOT NULL DEFAULT 0",
    "corkage_customer ADD COLUMN missing_at INTEGER",
    *(f"corkage_price DROP COLUMN {name}" for name in ("features", "grace_seconds", "allow_pending")),
    "corkage_price ADD COLUMN plan_at_stripe VARCHAR(255)",
    "corkage_notice ADD COLUMN subscription_id VARCHAR(255)",
)


def _sell_more() -> None:
    """From 2 to 3: an attempt for each group of plans; whether a price can be sold, and in which currencies; the
    app and user that a customer without a user here is marked for, which its next fetch shows.

    Older attempts have no wish, so the next click opens a new page for them.
    """
    storage.execute("ALTER TABLE corkage_checkout_attempt RENAME TO corkage_checkout_attempt_2")
    storage.execute("DROP INDEX corkage_checkout_attempt_session_id")
    storage.current().create_tables([CheckoutAttempt])
    kept = "user_id, nonce, plan, params, claimed_until, session_id, url, expires_at, returned_at, created_at"
    storage.execute(
        f"""INSERT INTO corkage_checkout_attempt (group_name, wish, {kept})
        SELECT 'main', '{{}}', {kept} FROM corkage_checkout_attempt_2"""  # noqa: S608 -- the inserted column names are a constant of this function; there is no input
    )
    storage.execute("DROP TABLE corkage_checkout_attempt_2")
    for change in (
        "corkage_customer ADD COLUMN marked_app VARCHAR(255)",
        "corkage_customer ADD COLUMN marked_user VARCHAR(255)",
        "corkage_user ADD COLUMN said_email VARCHAR(255)",
        "corkage_price ADD COLUMN trouble VARCHAR(255)",
        "corkage_price ADD COLUMN metered INTEGER NOT NULL DEFAULT 0",
        "corkage_price ADD COLUMN amounts TEXT",
        "corkage_subscription ADD COLUMN resume_asked_at INTEGER",
    ):
        storage.execute(f"ALTER TABLE {change}")
    storage.execute("UPDATE corkage_price SET sold = 0")  # until it is fetched which can be sold
    _index_marks()


def _sell_once_and_count() -> None:
    """From 3 to 4: what is bought once, refunds, usage, and changes that the host asked for; figures, and the mirror of
    grants.

    Nothing stored a purchase before.
    """
    storage.execute("DROP TABLE IF EXISTS corkage_purchase")
    tables = [Purchase, Credit, Refund, Usage, UsageKey, MeterEvent, ChangeRow, GrantMirror, Move, RevenueRow]
    storage.current().create_tables(tables)
    number = storage.current().field_types.get("INT", "INTEGER")  # in PostgreSQL INTEGER has 32 bits: too few
    for column in (
        f"corkage_user ADD COLUMN usage_anchor {number}",
        f"corkage_customer ADD COLUMN purchases_at {number}",
        "corkage_subscription ADD COLUMN replaced_by TEXT",
        *(f"corkage_subscription ADD COLUMN {name} {number}" for name in ("trial_start", "billed", "charged")),
        "corkage_notice ADD COLUMN purchase_id TEXT",
        "corkage_notice ADD COLUMN details TEXT",
    ):
        storage.execute(f"ALTER TABLE {column}")
    _index_meter_events()
    _index_changes()
    _name_grants()
    store_setting(MOVES_SINCE, str(int(time.time())))


def _name_grants() -> None:
    """Give each grant a name, and have it mirrored soon."""
    storage.execute("ALTER TABLE corkage_grant ADD COLUMN uid TEXT")
    storage.execute("CREATE UNIQUE INDEX corkage_grant_uid ON corkage_grant (uid)")
    names = [(new_uid(), id_) for (id_,) in storage.rows("SELECT id FROM corkage_grant")]
    storage.execute_many("UPDATE corkage_grant SET uid = ? WHERE id = ?", names)
    storage.execute(
        "INSERT INTO corkage_grant_mirror (user_id, due_at, attempts) SELECT DISTINCT user_id, 0, 0 FROM corkage_grant"
    )


def _know_more() -> None:
    """From 4 to 5: what stands for the e-mail of a payer who has no user here; the next `corkage sync` fills it in."""
    storage.execute("ALTER TABLE corkage_customer ADD COLUMN unowned_email TEXT")
    _index_unowned()


def _find_events() -> None:
    """From 5 to 6: applied events are found by their time and by their customer without reading all of them."""
    _index_applied()


UPGRADES: dict[int, Callable[[], None]] = {
    1: _keep_holdings,
    2: _sell_more,
    3: _sell_once_and_count,
    4: _know_more,
    5: _find_events,
}
"""What makes version n + 1 of a database of version n. A released step is never edited. A new one skips them all."""
SCHEMA_VERSION = max(UPGRADES) + 1


def bring_up_to_date(app: str) -> None:
    """Create or upgrade the tables in one transaction. After an upgrade the views are created again.

    Shape   app: BILLING_APP, stored in a new database only. One of an earlier version has none
    Errors  ConfigError when a newer Corkage wrote the database; when it was moved away, or a move to it is unfinished
    """
    with storage.writing():
        _refuse_moved()
        version = _schema_version()
        if version > SCHEMA_VERSION:
            raise ConfigError(
                [
                    f"BILLING_DATABASE: {storage.current().label} has schema version {version}, and this Corkage knows "
                    f"{SCHEMA_VERSION}: run the newer Corkage that wrote it, or `corkage restore` a backup of before"
                ]
            )
        if version == SCHEMA_VERSION:
            return
        if version == 0:
            _create_everything()
            store_setting(MADE_AT, str(int(time.time())))
            store_setting(APP, app)
        storage.current().take_time()
        for step in range(version or SCHEMA_VERSION, SCHEMA_VERSION):
            UPGRADES[step]()
        _renew_views()
        for name, number in (("schema_version", SCHEMA_VERSION), ("access_version", ACCESS_VERSION)):
            store_setting(name, str(number))


def make_tables() -> None:
    """Make all tables and views, inside a writing transaction."""
    _create_everything()
    _renew_views()


def _renew_views() -> None:
    for name, query in VIEWS.items():
        storage.current().renew_view(name, query.format(now=storage.current().PRESENT))


def _refuse_moved() -> None:
    label, tables = storage.current().label, storage.current().get_tables()
    if MOVED in tables:
        raise ConfigError([f"BILLING_DATABASE: {label} is not in use any more: {storage.current().moved()}"])
    if Setting._meta.table_name in tables and setting(UNFINISHED):
        raise ConfigError(
            [
                f"BILLING_DATABASE: {label} is a copy that `corkage move-database` has not finished: run it again with "
                "BILLING_DATABASE as it was"
            ]
        )


def _schema_version() -> int:
    tables = storage.current().get_tables()
    return number("schema_version") if Setting._meta.table_name in tables else 0
