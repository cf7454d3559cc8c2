"""What things cost, counted: statements, commits and bytes. Seconds are measured in bench/, never here."""

import json
import sqlite3

import pytest
from sql import statements

from corkage import storage
from corkage.access import Access
from corkage.models import Customer, Price, StripeEvent, Subscription, SubscriptionItem, User
from corkage.notices import changes
from corkage.sync import events, inbox

EVENTS, USERS = 2_000, 2_000
PRICE = "price_1NG8Du2eZvKYlo2CUI79vXWy"


@pytest.fixture
def event(shop):
    shop.subscribe(shop.customer())
    return shop.event("customer.subscription.created")


def renamed(event, name):
    return json.dumps(json.loads(str(event)) | {"id": name}).encode()


def test_a_question_of_access_is_one_statement(app):
    User.create(id="ann", created_at=1)
    app.work()
    with statements() as seen:
        assert app.ask().status_code == 200
    assert len(seen) == 1
    assert "FROM corkage_answer" in seen[0]
    assert set(Access._fields) <= set(seen[0].replace(",", "").split())


def test_a_question_about_somebody_unknown_is_two_statements(app):
    app.ask()
    with statements() as seen:
        assert app.ask().status_code == 200
    assert [sql.count("FROM corkage_answer") for sql in seen] == [1, 1]


def test_a_webhook_is_one_statement_which_is_its_commit(app, event):
    app.deliver(renamed(event, "evt_first"))
    with statements() as seen:
        assert app.deliver(renamed(event, "evt_second")).status_code == 200
    assert len(seen) == 1
    assert seen[0].lstrip().startswith("INSERT INTO corkage_stripe_event")


@pytest.mark.one_engine("sqlite", "what SQLite counts")
def test_a_webhook_delivered_again_writes_nothing(app, event):
    app.deliver(event)
    with sqlite3.connect(app.billing.config.database) as other:
        before = other.execute("PRAGMA data_version").fetchone()
        assert app.deliver(event).status_code == 200
        assert other.execute("PRAGMA data_version").fetchone() == before


def test_an_event_that_is_not_kept_reaches_no_table(app, event):
    app.deliver(event)
    payload = json.loads(str(event)) | {"type": "charge.succeeded", "id": "evt_other"}
    with statements() as seen:
        assert app.deliver(json.dumps(payload).encode()).status_code == 200
    assert seen == []


@pytest.mark.one_engine("sqlite", "what SQLite counts")
@pytest.mark.slow
def test_an_event_takes_at_most_400_bytes(app):
    before = size()
    for number in range(EVENTS):
        inbox.record(
            events.EventRef(
                id=stripe_id("evt", number, 24),
                type="customer.subscription.updated",
                created=1_790_000_000,
                livemode=True,
                account=None,
                customer_id=stripe_id("cus", number, 14),
                object_id=stripe_id("sub", number, 24),
            ),
            "webhook",
            1_790_000_000.5,
            1_790_000_002.5,
        )
    StripeEvent.update(applied_at=1_790_000_003.5, outcome="converged").execute()
    assert size() - before <= 400 * EVENTS


@pytest.mark.slow
def test_a_user_with_a_subscription_takes_at_most_800_bytes(app):
    before = size()
    with storage.writing():
        Price.insert(id=PRICE, product_id="prod_1", plan="pro").execute()
        for number in range(USERS):
            user, customer, subscription = (
                f"user_{number:08}",
                stripe_id("cus", number, 14),
                stripe_id("sub", number, 24),
            )
            User.insert(
                id=user,
                email=f"somebody.{number}@example.com",
                name="Some Body",
                stripe_customer_id=customer,
                created_at=1_790_000_000,
            ).execute()
            Customer.insert(id=customer, user=user, fetched_at=1_790_000_000).execute()
            Subscription.insert(
                id=subscription,
                customer=customer,
                status="active",
                currency="usd",
                created=1_790_000_000,
                current_period_end=1_790_000_000,
                has_paid=True,
                ours=True,
                ask_at=1_790_000_000.5,
            ).execute()
            SubscriptionItem.insert(subscription=subscription, price_id=PRICE, quantity=1).execute()
        users = [row.id for row in User.select(User.id)]
        app.billing.service.catalogue.timelines.store(users, 1_790_000_000, changes.NONE)
    assert size() - before <= 720 * USERS


def stripe_id(prefix, number, length):
    return f"{prefix}_1N{number:05}" + "x" * (length - 7)


def size():
    return storage.current().of_thread().execute("PRAGMA page_count").fetchone()[0] * 4096
