"""The tables of the replica, and what is remembered by name in one of them."""

import json
import re
import secrets

from peewee import (
    SQL,
    AutoField,
    BooleanField,
    CompositeKey,
    FloatField,
    ForeignKeyField,
    IntegerField,
    Model,
    TextField,
)

from . import storage
from .errors import ConfigError

MADE_AT = "made_at"  # the setting that says when this database was made
SYNCED = "first_synced_at"  # the setting that says when `corkage sync` was first complete
MOVES_SINCE = "moves_since"  # the setting that says since when moves are noted, where that is later than MADE_AT
APP = "app"  # the setting that says under which name the product is at Stripe
PORTAL = "portal_configuration"  # the setting with the id of the one that `corkage push` made
UNFINISHED = "unfinished_copy"  # the setting of a copy that must not be used yet: by `corkage move-database`

FALSE = SQL("DEFAULT '0'")  # which both engines take for a boolean


class Table(Model):
    class Meta:
        database = storage.proxy
        legacy_table_names = False


class User(Table):
    """The host's user.

    Shape   usage_anchor: from when on the months of usage are counted, by Stripe's clock, set once; None for calendar
            months (selling/usage.py);
            rule: the number of the mark that made the timeline, 0 when it is to be made anew (replica/timelines.py);
            notified: the AccessSummary of the last notice, packed (notices/changes.py);
            next_change_at: when time alone will next change the access;
            email: as Stripe has it; said_email: as the host last said, which Stripe gets once when it changes
    """

    id = TextField(primary_key=True)
    email = TextField(null=True)
    said_email = TextField(null=True)
    name = TextField(null=True)
    stripe_customer_id = TextField(null=True, unique=True)
    trial_used_at = IntegerField(null=True)
    usage_anchor = IntegerField(null=True)
    rule = IntegerField(default=0, index=True, constraints=[SQL("DEFAULT 0")])
    notified = TextField(null=True)
    next_change_at = IntegerField(null=True)
    created_at = IntegerField()

    class Meta:
        table_name = "corkage_user"


class AnswerRow(Table):
    """An answer of a user's timeline; see access.Answer. plans, features and limits are JSON.

    The rows without a user are the timeline of whoever holds nothing.
    """

    user_id = TextField()
    starts_at = IntegerField()
    ends_at = IntegerField()
    allowed = BooleanField()
    reason = TextField()
    plan = TextField(null=True)
    plans = TextField()
    price_id = TextField(null=True)
    quantity = IntegerField(null=True)
    features = TextField()
    limits = TextField()
    until = IntegerField(null=True)
    status = TextField(null=True)
    cancel_at = IntegerField(null=True)
    stale_at = IntegerField(null=True)

    class Meta:
        table_name = "corkage_answer"
        primary_key = CompositeKey("user_id", "starts_at")
        without_rowid = True  # the key finds the row at once


class Customer(Table):
    """Stripe's Customer. One without a user belongs to another product, or is to be linked by hand.

    Units   fetched_at in Unix seconds by Stripe's clock, or by the customer's test clock if that is earlier:
            everything that happened before this time is in the replica;
            purchases_at: when what it bought once was last fetched, by our clock; None while its user's is not fetched;
            missing_at: since when Stripe does not know it, though it was not deleted, as after "delete test data"
    Shape   marked_app, marked_user: its `corkage_app` and `corkage_user` as last fetched, where that is not our app and
            the customer has no user here;
            unowned_email: what stands for its e-mail (texts.email_key), while it has no user here and a subscription
            that goes on
    """

    id = TextField(primary_key=True)
    user = ForeignKeyField(User, null=True, backref="customers")
    user_id: str | None
    revision = IntegerField(default=0)
    fetched_at = IntegerField(null=True)
    purchases_at = IntegerField(null=True)
    deleted_at = IntegerField(null=True)
    missing_at = IntegerField(null=True)
    marked_app = TextField(null=True)
    marked_user = TextField(null=True)
    unowned_email = TextField(null=True)

    class Meta:
        table_name = "corkage_customer"
        without_rowid = True  # the key is most of a row


class Subscription(Table):
    """A subscription as last fetched from Stripe, ended ones included. Belongs to its customer's user.

    Shape   has_paid: an invoice above zero was ever paid;
            unpaid_since, payment_pending, pause_behavior, resumes_at, paid_until, returned: see access.Holding;
            noted: the SubscriptionSummary of the last notice, packed (notices/changes.py);
            resume_asked_at: when its user last went to give a card, for it to be resumed; by our clock;
            replaced_by: the purchase for good that took its place, for which it is to end;
            billed, charged: what its last invoice of a whole period billed, and what of it was charged after discounts;
            both None where no such invoice was fetched yet
    Units   billed and charged in the currency's minor units;
            times are Unix seconds, UTC, by Stripe's clock, or by the test clock of the subscription;
            clock_ahead: how many seconds that clock is ahead of ours, always 0 in live mode;
            ask_at by our clock: when to fetch it again if no event comes before
    """

    id = TextField(primary_key=True)
    customer = ForeignKeyField(Customer, backref="subscriptions")
    customer_id: str
    status = TextField()
    currency = TextField(null=True)
    created = IntegerField()
    current_period_end = IntegerField(null=True)
    cancel_at = IntegerField(null=True)
    trial_start = IntegerField(null=True)
    trial_end = IntegerField(null=True)
    ended_at = IntegerField(null=True)
    unpaid_since = IntegerField(null=True)
    has_paid = BooleanField(default=False, constraints=[FALSE])
    payment_pending = BooleanField(default=False, constraints=[FALSE])
    pause_behavior = TextField(null=True)
    resumes_at = IntegerField(null=True)
    paid_until = IntegerField(null=True)
    returned = TextField(null=True)
    ours = BooleanField(default=False, constraints=[FALSE])
    test_clock = TextField(null=True)
    clock_ahead = IntegerField(default=0, constraints=[SQL("DEFAULT 0")])
    ask_at = FloatField(null=True, index=True)
    noted = TextField(null=True)
    resume_asked_at = IntegerField(null=True)
    billed = IntegerField(null=True)
    charged = IntegerField(null=True)
    replaced_by = TextField(null=True)

    class Meta:
        table_name = "corkage_subscription"


class SubscriptionItem(Table):
    """An item of a subscription: a price, and how many of it, None where Stripe counts usage."""

    subscription = ForeignKeyField(Subscription, index=False, on_delete="CASCADE")
    subscription_id: str
    price_id = TextField()
    quantity = IntegerField(null=True)

    class Meta:
        table_name = "corkage_subscription_item"
        primary_key = CompositeKey("subscription", "price_id")  # Stripe allows a price once in a subscription
        without_rowid = True  # found by its subscription


class Purchase(Table):
    """Something that was bought once: a price of a completed Checkout Session. It has the id of that.

    Shape   ours: sold through us; payment_intent: None where nothing was to be paid; returned: see access.Holding;
            noted: the PurchaseSummary of the last notice, packed (notices/changes.py)
    Units   amount: what was paid for it, in the currency's minor units; created: when it was paid, in Unix seconds
    """

    id = TextField()
    price_id = TextField()
    customer = ForeignKeyField(Customer, backref="purchases")
    customer_id: str
    quantity = IntegerField(null=True)
    created = IntegerField()
    ours = BooleanField(default=False)
    amount = IntegerField()
    currency = TextField()
    payment_intent = TextField(null=True, index=True)
    returned = TextField(null=True)
    noted = TextField(null=True)

    class Meta:
        table_name = "corkage_purchase"
        primary_key = CompositeKey("id", "price_id")


class Credit(Table):
    """What a pack gives to use up, and what is left of it. Once stored, only use changes it.

    Shape   purchase_id and price_id: of the Purchase; name: of the limit
    """

    purchase_id = TextField()
    price_id = TextField()
    name = TextField()
    user = ForeignKeyField(User)
    user_id: str
    amount = IntegerField()
    left = IntegerField()

    class Meta:
        table_name = "corkage_credit"
        primary_key = CompositeKey("purchase_id", "price_id", "name")


class Refund(Table):
    """A refund or a dispute, as last fetched from Stripe, of what was paid for an invoice or a purchase.

    Shape   kind: "refund" or "dispute"; status: Stripe's; payment_intent: of the payment that it is of;
            invoice_id and subscription_id, or purchase_id: what was paid for
    Units   amount in the currency's minor units; created in Unix seconds
    """

    id = TextField(primary_key=True)
    kind = TextField()
    status = TextField()
    customer = ForeignKeyField(Customer)
    customer_id: str
    payment_intent = TextField(index=True)
    invoice_id = TextField(null=True)
    subscription_id = TextField(null=True, index=True)
    purchase_id = TextField(null=True, index=True)
    amount = IntegerField()
    currency = TextField()
    created = IntegerField()

    class Meta:
        table_name = "corkage_refund"


class Usage(Table):
    """How much of a counted limit a user has used in one window, which begins at starts_at, in Unix seconds."""

    user = ForeignKeyField(User, index=False)  # the key begins with it
    user_id: str
    name = TextField()
    starts_at = IntegerField()
    used = IntegerField()

    class Meta:
        table_name = "corkage_usage"
        primary_key = CompositeKey("user", "name", "starts_at")
        without_rowid = True  # the key is most of a row


class UsageKey(Table):
    """A key under which use was counted: it counts once."""

    user = ForeignKeyField(User, index=False)  # the key begins with it
    user_id: str
    key = TextField()
    name = TextField()
    amount = IntegerField()
    used_at = IntegerField(index=True)

    class Meta:
        table_name = "corkage_usage_key"
        primary_key = CompositeKey("user", "key")
        without_rowid = True  # the key is most of a row


class MeterEvent(Table):
    """Usage that Stripe is to be notified of, or was. The id is its identifier at Stripe: it counts once.

    What is used within an hour and a period is one row, which grows until it is first sent.

    Shape   customer_id: whom Stripe bills; name: the limit; event_name: of Stripe's meter;
            hour and period_end: what keeps apart what must not be one row; attempts: how often it was sent;
            asked_at: since when it is unknown whether Stripe has it; sent_at: None while it is owed; lost_at: when it
            was given up; error: of the last attempt
    Units   used_at, of its first use, hour and period_end in Unix seconds by Stripe's clock, or the test clock of the
            customer; all others by our clock
    """

    id = TextField(primary_key=True)
    user = ForeignKeyField(User)
    user_id: str
    customer_id = TextField()
    name = TextField()
    event_name = TextField()
    amount = IntegerField()
    used_at = IntegerField()
    hour = IntegerField()
    period_end = IntegerField()
    created_at = IntegerField()
    next_attempt_at = FloatField()
    attempts = IntegerField(default=0)
    asked_at = IntegerField(null=True)
    sent_at = IntegerField(null=True)
    lost_at = IntegerField(null=True)
    error = TextField(null=True)

    class Meta:
        table_name = "corkage_meter_event"


class ChangeRow(Table):
    """A write to Stripe that is owed or was made: the host's code, the operator or the worker asked for it.

    Shape   nonce and turn: its idempotency keys are made of both; turn: how often it was decided what to send;
            batch: what it is part of, such as a price move; kind: what is to be done; wish: what was asked for, as
            JSON; params: what is sent for it, as JSON, None until that is decided; decided_at: when it was;
            not_before: when it is to be made, or made again after a failure;
            claimed_until: until when somebody sends it; done_at: when it came to its end;
            outcome: "done", "already" where nothing was to do, "superseded", or the code of the error;
            error: of the last try
    Units   times in Unix seconds by our clock
    """

    nonce = TextField(primary_key=True)
    user = ForeignKeyField(User)
    user_id: str
    subscription_id = TextField(index=True)
    batch = TextField(null=True, index=True)
    kind = TextField()
    wish = TextField()
    params = TextField(null=True)
    turn = IntegerField(default=0)
    attempts = IntegerField(default=0)
    created_at = IntegerField()
    decided_at = IntegerField(null=True)
    not_before = IntegerField()
    claimed_until = FloatField(null=True)
    done_at = IntegerField(null=True)
    outcome = TextField(null=True)
    error = TextField(null=True)

    class Meta:
        table_name = "corkage_change"


class Grant(Table):
    """A plan that the operator or the host gave to a user.

    Shape   uid: its name in the mirror at Stripe (sync/mirror.py), unique whatever database it is restored to
    Units   ends_at in Unix seconds, None for a grant without an end. A revoked one has ended.
    """

    id = AutoField()
    uid = TextField(null=True, unique=True)
    user = ForeignKeyField(User)
    user_id: str
    plan = TextField()
    quantity = IntegerField(null=True)
    reason = TextField()
    given_by = TextField()
    created_at = IntegerField()
    ends_at = IntegerField(null=True)

    class Meta:
        table_name = "corkage_grant"


class GrantMirror(Table):
    """The copy of a user's running grants in the metadata of their customer at Stripe.

    Shape   customer_id: the customer that has it, None while there is none; text: as it was last written there;
            error: why it could not be written
    Units   due_at in Unix seconds by our clock: when to write it again, None while nothing changes
    """

    user = ForeignKeyField(User, primary_key=True)
    user_id: str
    customer_id = TextField(null=True)
    text = TextField(null=True)
    due_at = FloatField(null=True, index=True)
    attempts = IntegerField(default=0)
    error = TextField(null=True)

    class Meta:
        table_name = "corkage_grant_mirror"


class Move(Table):
    """A change of what a paid subscription costs a month: another price, or more or fewer of it.

    Units   before and after: per month, in the currency's minor units; at: Unix seconds by our clock
    """

    id = AutoField()
    subscription_id = TextField(index=True)
    at = IntegerField(index=True)
    currency = TextField()
    before = IntegerField()
    after = IntegerField()

    class Meta:
        table_name = "corkage_move"


class RevenueRow(Table):
    """The monthly recurring revenue in one currency as it was at the last look in a month, such as "2026-11".

    Units   agreed and charged in the currency's minor units; see revenue.Recurring
    """

    month = TextField()
    currency = TextField()
    subscriptions = IntegerField()
    agreed = IntegerField()
    charged = IntegerField()

    class Meta:
        table_name = "corkage_revenue"
        primary_key = CompositeKey("month", "currency")


IS_PURCHASE = """
type IN ('checkout.session.completed', 'checkout.session.async_payment_succeeded', 'customer.subscription.created')
""".strip()
"""Whether an event says that somebody bought something. They are waiting, so it is applied before older events.
As text, because SQLite uses the index on these rows only for the same expression."""


class StripeEvent(Table):
    """The inbox: an event received from Stripe, pending until applied_at is set. The payload is not stored."""

    id = TextField(primary_key=True)
    type = TextField()
    customer_id = TextField(null=True)
    object_id = TextField(null=True)
    created = IntegerField()
    source = TextField()
    received_at = FloatField()
    applied_at = FloatField(null=True)
    outcome = TextField(null=True)
    attempts = IntegerField(default=0)
    next_attempt_at = FloatField()
    error = TextField(null=True)

    class Meta:
        table_name = "corkage_stripe_event"
        without_rowid = True  # one tree to write instead of two, and a third less on disk


class Price(Table):
    """A known Stripe price, and the plan that it stands for (null: none that we know of).

    Shape   plan_at_stripe: what `corkage_plan` says, in the metadata of the price or of its product;
            sold: plans.toml sells it, and it can be sold; trouble: why it cannot, where plans.toml sells it;
            metered: it is billed by usage, and takes no quantity;
            amounts: in its other currencies, as JSON; None while Stripe was not asked for them
    """

    id = TextField(primary_key=True)
    product_id = TextField()
    lookup_key = TextField(null=True)
    plan = TextField(null=True, index=True)
    plan_at_stripe = TextField(null=True)
    sold = BooleanField(default=False)
    trouble = TextField(null=True)
    metered = BooleanField(default=False, constraints=[FALSE])
    unit_amount = IntegerField(null=True)
    currency = TextField(null=True)
    interval = TextField(null=True)
    interval_count = IntegerField(null=True)
    amounts = TextField(null=True)

    class Meta:
        table_name = "corkage_price"

    def amount_in(self, currency: str | None) -> tuple[int | None, str]:
        """Return the amount, in minor units, and its currency: in the wanted one, where the price is sold in it."""
        amounts: dict[str, int | None] = json.loads(self.amounts or "{}")
        if currency in amounts and currency != self.currency:
            return amounts[currency], currency
        return self.unit_amount, self.currency or ""

    def is_sold_in(self, currency: str | None) -> bool:
        """Return whether it can be paid in a currency; None fits any."""
        return currency in (None, self.currency, *json.loads(self.amounts or "{}"))


class PlanRow(Table):
    """The terms of a plan as plans.toml last had them, as JSON: who holds it keeps them when it leaves the file."""

    key = TextField(primary_key=True)
    terms = TextField()

    class Meta:
        table_name = "corkage_plan"


class CheckoutAttempt(Table):
    """A user's open attempt to buy something of a group of plans. Idempotency keys are made of its nonce.

    Shape   wish: what was wanted, as JSON: the same wish gets the same session again;
            params: those of the session at Stripe, as JSON, without the customer;
            returned_at: when the session was last fetched for a visitor who returned from it
    """

    user = ForeignKeyField(User)
    user_id: str
    group = TextField(column_name="group_name")
    nonce = TextField(unique=True)
    plan = TextField()
    wish = TextField()
    params = TextField()
    claimed_until = FloatField(null=True)
    session_id = TextField(null=True, unique=True)
    url = TextField(null=True)
    expires_at = IntegerField(null=True)
    returned_at = IntegerField(null=True)
    created_at = IntegerField()

    class Meta:
        table_name = "corkage_checkout_attempt"
        primary_key = CompositeKey("user", "group")


class NoticeRow(Table):
    """A notice of changed access. message_id is its id for receivers, unique even after a restore.

    Shape   subscription_id or purchase_id: what it is about; both None when it is about the user's access as a whole;
            details: what only this kind of notice says, as JSON
    """

    id = AutoField()
    message_id = TextField(unique=True)
    user = ForeignKeyField(User)
    user_id: str
    kind = TextField()
    subscription_id = TextField(null=True)
    purchase_id = TextField(null=True)
    before = TextField()
    after = TextField()
    created_at = FloatField()
    details = TextField(null=True)

    class Meta:
        table_name = "corkage_notice"


class NoticeReceiver(Table):
    """A receiver of notices: the host's callbacks, the address. seen_at: when a process last registered it."""

    name = TextField(primary_key=True)
    seen_at = FloatField()

    class Meta:
        table_name = "corkage_notice_receiver"


class NoticeDelivery(Table):
    """A notice that is owed to one receiver, pending until delivered_at is set. So no receiver waits for another."""

    notice = ForeignKeyField(NoticeRow)
    notice_id: int
    receiver = TextField()
    user_id = TextField()
    attempts = IntegerField(default=0)
    next_attempt_at = FloatField()
    error = TextField(null=True)
    delivered_at = FloatField(null=True)
    outcome = TextField(null=True)

    class Meta:
        table_name = "corkage_notice_delivery"
        primary_key = CompositeKey("notice", "receiver")


class Cursor(Table):
    """A recurring job: its position, and when it is next due. Claimed by compare-and-set on next_run_at."""

    name = TextField(primary_key=True)
    position = IntegerField(default=0)
    next_run_at = FloatField(default=0)

    class Meta:
        table_name = "corkage_cursor"


class Setting(Table):
    """What the database stores about itself: schema version, mode, Stripe account, app."""

    name = TextField(primary_key=True)
    value = TextField()

    class Meta:
        table_name = "corkage_setting"


TABLES: tuple[type[Table], ...] = (
    User,
    AnswerRow,
    Customer,
    Subscription,
    SubscriptionItem,
    Purchase,
    Credit,
    Refund,
    Usage,
    UsageKey,
    MeterEvent,
    ChangeRow,
    Grant,
    GrantMirror,
    Move,
    RevenueRow,
    StripeEvent,
    Price,
    PlanRow,
    CheckoutAttempt,
    NoticeRow,
    NoticeReceiver,
    NoticeDelivery,
    Cursor,
    Setting,
)


def new_uid() -> str:
    """Return a new name for a grant."""
    return secrets.token_hex(8)


def setting(name: str) -> str | None:
    """Return the value that is remembered under this name, or None."""
    found = storage.row("SELECT value FROM corkage_setting WHERE name = ?", (name,))
    return None if found is None else str(found[0])


def number(name: str) -> int:
    """Return the number that is remembered under this name; 0 where there is none.

    Errors  ConfigError where it is no number: somebody has written to the database
    """
    text = setting(name)
    if text is None:
        return 0
    if not re.fullmatch("[0-9]{1,15}", text):
        label, wanted = storage.current().label, "wanted a whole number. Restore a backup, or correct the row"
        raise ConfigError([f"BILLING_DATABASE: {label} has {text[:50]!r} as {name} in corkage_setting; {wanted}"])
    return int(text)


def remember(name: str, value: str) -> None:
    """Remember the value in place of an earlier one."""
    with storage.writing():
        store_setting(name, value)


def store_setting(name: str, value: str) -> None:
    """Remember the value, inside a writing transaction."""
    Setting.insert(name=name, value=value).on_conflict(
        conflict_target=[Setting.name], preserve=[Setting.value]
    ).execute()


def remember_once(name: str, value: str) -> str:
    """Remember the value unless there is one already; return the remembered value."""
    with storage.writing():
        Setting.insert(name=name, value=value).on_conflict_ignore().execute()
    return setting(name) or value
