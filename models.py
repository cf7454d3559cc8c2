"""The tables of the replica, and the steps that upgrade an older database."""

from collections.abc import Callable

from peewee import (
    SQL,
    AutoField,
    BooleanField,
    CharField,
    CompositeKey,
    FloatField,
    ForeignKeyField,
    IntegerField,
    Model,
    TextField,
)

from . import storage
from .access import ACCESS_VERSION, ACCESS_VIEW
from .errors import ConfigError

USER_ID_LENGTH = 200

# Stripe's statuses of a subscription, in groups. A status that is unknown is in none of them.
CURRENT = ("active", "trialing")  # nothing is owed
LIVE = (*CURRENT, "past_due")  # the only ones that can let a user in
OWING = ("past_due", "unpaid")
ENDED = ("canceled", "incomplete_expired")  # for ever


class Table(Model):
    class Meta:
        database = storage.proxy
        legacy_table_names = False


class RuleColumns(Table):
    """The columns that the access rule reads: of a subscription, and copied from the best one to its user.

    Units   times are Unix seconds, UTC, by Stripe's clock, or by the test clock of the subscription;
            clock_ahead: how many seconds that clock is ahead of ours, always 0 in live mode
    """

    stripe_price_id = CharField(null=True)
    subscription_status = CharField(null=True)
    quantity = IntegerField(null=True)
    current_period_end = IntegerField(null=True)
    cancel_at = IntegerField(null=True)
    trial_end = IntegerField(null=True)
    past_due_since = IntegerField(null=True)
    payment_pending = BooleanField(default=False, constraints=[SQL("DEFAULT 0")])
    ours = BooleanField(default=False, constraints=[SQL("DEFAULT 0")])
    clock_ahead = IntegerField(default=0, constraints=[SQL("DEFAULT 0")])


RULE_COLUMNS = tuple(name for name in RuleColumns._meta.sorted_field_names if name != "id")


class User(RuleColumns):
    """The host's user, with the columns of the subscription that decides: the access rule reads one row.

    Shape   notified: the AccessSummary of the last notice, packed; see notices/changes.py
    """

    id = CharField(USER_ID_LENGTH, primary_key=True)
    email = CharField(null=True)
    name = CharField(null=True)
    stripe_customer_id = CharField(null=True, unique=True)
    subscription_id = CharField(null=True)
    trial_used_at = IntegerField(null=True)
    next_change_at = IntegerField(null=True)
    notified = TextField(null=True)
    created_at = IntegerField()

    class Meta:
        table_name = "corkage_user"


class Customer(Table):
    """Stripe's Customer. One without a user belongs to another product, or is to be linked by hand.

    Units   fetched_at in Unix seconds by Stripe's clock, or by the customer's test clock if that is earlier:
            everything that happened before this time is in the replica
    """

    id = CharField(primary_key=True)
    user = ForeignKeyField(User, null=True, backref="customers")
    user_id: str | None
    revision = IntegerField(default=0)
    fetched_at = IntegerField(null=True)
    deleted_at = IntegerField(null=True)

    class Meta:
        table_name = "corkage_customer"
        without_rowid = True  # the key is most of a row


class Subscription(RuleColumns):
    """A subscription as last fetched from Stripe, ended ones included. Belongs to its customer's user.

    Units   ask_at in Unix seconds by our clock: when to fetch it again if no event comes before
    """

    id = CharField(primary_key=True)
    customer = ForeignKeyField(Customer, backref="subscriptions")
    customer_id: str
    created = IntegerField()
    ended_at = IntegerField(null=True)
    test_clock = CharField(null=True)
    ask_at = FloatField(null=True, index=True)

    class Meta:
        table_name = "corkage_subscription"


IS_PURCHASE = """
type IN ('checkout.session.completed', 'checkout.session.async_payment_succeeded', 'customer.subscription.created')
""".strip()
"""Whether an event says that somebody bought something. They are waiting, so it is applied before older events.
As text, because SQLite uses the index on these rows only for the same expression."""


class StripeEvent(Table):
    """The inbox: an event received from Stripe, pending until applied_at is set. The payload is not stored."""

    id = CharField(primary_key=True)
    type = CharField()
    customer_id = CharField(null=True)
    object_id = CharField(null=True)
    created = IntegerField()
    source = CharField()
    received_at = FloatField()
    applied_at = FloatField(null=True)
    outcome = CharField(null=True)
    attempts = IntegerField(default=0)
    next_attempt_at = FloatField()
    error = TextField(null=True)

    class Meta:
        table_name = "corkage_stripe_event"
        without_rowid = True  # one tree to write instead of two, and a third less on disk


class Price(Table):
    """A known Stripe price, and its plan (null: none that plans.toml names)."""

    id = CharField(primary_key=True)
    product_id = CharField()
    lookup_key = CharField(null=True)
    plan = CharField(null=True, index=True)
    features = TextField(default="[]")
    grace_seconds = IntegerField(default=0)
    allow_pending = BooleanField(default=True)
    sold = BooleanField(default=False)
    unit_amount = IntegerField(null=True)
    currency = CharField(null=True)
    interval = CharField(null=True)
    interval_count = IntegerField(null=True)

    class Meta:
        table_name = "corkage_price"


COVERED = Subscription.ours | Price.plan.is_null(False)
"""Whether a subscription, joined with its price, was sold by us or is of a plan: nothing else lets anybody in."""


class CheckoutAttempt(Table):
    """A user's open attempt to buy. Idempotency keys are made of its nonce.

    Shape   returned_at: when the session was last fetched for a visitor who returned from it
    """

    user = ForeignKeyField(User, primary_key=True)
    user_id: str
    nonce = CharField()
    plan = CharField()
    params = TextField()
    claimed_until = FloatField(null=True)
    session_id = CharField(null=True, unique=True)
    url = TextField(null=True)
    expires_at = IntegerField(null=True)
    returned_at = IntegerField(null=True)
    created_at = IntegerField()

    class Meta:
        table_name = "corkage_checkout_attempt"


class NoticeRow(Table):
    """A notice of changed access. message_id is its id for receivers, unique even after a restore."""

    id = AutoField()
    message_id = CharField(unique=True)
    user = ForeignKeyField(User)
    user_id: str
    kind = CharField()
    before = TextField()
    after = TextField()
    created_at = FloatField()

    class Meta:
        table_name = "corkage_notice"


class NoticeReceiver(Table):
    """A receiver of notices: the host's callbacks, the address. seen_at: when a process last registered it."""

    name = CharField(primary_key=True)
    seen_at = FloatField()

    class Meta:
        table_name = "corkage_notice_receiver"


class NoticeDelivery(Table):
    """A notice that is owed to one receiver, pending until delivered_at is set. So no receiver waits for another."""

    notice = ForeignKeyField(NoticeRow)
    notice_id: int
    receiver = CharField()
    user_id = CharField(USER_ID_LENGTH)
    attempts = IntegerField(default=0)
    next_attempt_at = FloatField()
    error = TextField(null=True)
    delivered_at = FloatField(null=True)
    outcome = CharField(null=True)

    class Meta:
        table_name = "corkage_notice_delivery"
        primary_key = CompositeKey("notice", "receiver")


class Cursor(Table):
    """A recurring job: its position, and when it is next due. Claimed by compare-and-set on next_run_at."""

    name = CharField(primary_key=True)
    position = IntegerField(default=0)
    next_run_at = FloatField(default=0)

    class Meta:
        table_name = "corkage_cursor"


class Setting(Table):
    """What the database stores about itself: schema version, mode, Stripe account."""

    name = CharField(primary_key=True)
    value = CharField()

    class Meta:
        table_name = "corkage_setting"


TABLES = (
    User,
    Customer,
    Subscription,
    StripeEvent,
    Price,
    CheckoutAttempt,
    NoticeRow,
    NoticeReceiver,
    NoticeDelivery,
    Cursor,
    Setting,
)


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
    storage.execute(
        "CREATE INDEX corkage_subscription_clock ON corkage_subscription (test_clock) WHERE test_clock IS NOT NULL"
    )
    for name, columns in (("due", "receiver, next_attempt_at"), ("owed", "receiver, user_id, notice_id")):
        storage.execute(
            f"CREATE INDEX corkage_notice_{name} ON corkage_notice_delivery ({columns}) WHERE delivered_at IS NULL"
        )


UPGRADES: tuple[Callable[[], None], ...] = (_create_everything,)
"""Step n upgrades schema version n to n + 1. A released step is never edited."""


def bring_up_to_date() -> None:
    """Create or upgrade the tables in one transaction. After an upgrade the view is created again.

    Errors  ConfigError when a newer Corkage wrote the database
    """
    with storage.writing():
        version = _schema_version()
        if version > len(UPGRADES):
            raise ConfigError(
                [
                    f"BILLING_DATABASE: {storage.current().path} has schema version {version}, and this Corkage knows "
                    f"{len(UPGRADES)}: run the newer Corkage that wrote it"
                ]
            )
        if version == len(UPGRADES):
            return
        storage.execute("DROP VIEW IF EXISTS corkage_access")
        for step in UPGRADES[version:]:
            step()
        storage.execute(ACCESS_VIEW)
        for name, number in (("schema_version", len(UPGRADES)), ("access_version", ACCESS_VERSION)):
            _remember(name, str(number))


def _schema_version() -> int:
    tables = storage.current().get_tables()
    return int(setting("schema_version") or 0) if Setting._meta.table_name in tables else 0


def setting(name: str) -> str | None:
    """Return the value that is remembered under this name, or None."""
    row = Setting.get_or_none(Setting.name == name)
    return None if row is None else row.value


def remember(name: str, value: str) -> None:
    """Remember the value in place of an earlier one."""
    with storage.writing():
        _remember(name, value)


def _remember(name: str, value: str) -> None:
    Setting.insert(name=name, value=value).on_conflict_replace().execute()


def remember_once(name: str, value: str) -> str:
    """Remember the value unless there is one already; return the remembered value."""
    with storage.writing():
        Setting.insert(name=name, value=value).on_conflict_ignore().execute()
    return setting(name) or value
