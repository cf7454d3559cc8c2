"""What things cost, counted: statements, commits and bytes. Seconds are measured in bench/, never here."""

import json
import sqlite3
import time
from dataclasses import replace

import pytest
from harness import DAY, PRO, running
from sql import statements

from corkage import storage
from corkage.access import Access
from corkage.gateway import events
from corkage.models import Customer, Price, StripeEvent, Subscription, SubscriptionItem, User
from corkage.notices import changes
from corkage.plans import Plan
from corkage.sync import inbox

EVENTS, USERS = 2_000, 2_000
PRICE = "price_1NG8Du2eZvKYlo2CUI79vXWy"
TEAM = Plan("team", "Team", ("team_monthly",))


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


COUNTED = Plan("free", "Free", free=True, limits={"exports": 9}, every={"exports": "month"})


def test_a_use_is_one_transaction_that_reads_access_and_user_and_counts(config):
    with running(replace(config, plans=(COUNTED,))) as app:
        app.billing.use("ann", "exports")
        app.work()
        with statements() as seen:
            assert app.billing.use("ann", "exports").used == 2

    verbs = [sql.split()[0] for sql in seen]
    assert verbs == ["BEGIN", "SELECT", "SELECT", "UPDATE", "COMMIT"]  # the answer and the user; the anchor; the count
    assert "corkage_answer" in seen[1]


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


@pytest.fixture
def now(simulator):
    """The present, at which Stripe's clock stands still: else it may be a second ahead of ours, or behind."""
    simulator.world.clock._stands_at = int(time.time())
    return simulator.world.clock.now()


@pytest.fixture
def subscribed(config, shop, now):
    """A shop of two plans and a subscriber, whose events are applied: the app, the customer and the subscription."""
    product = shop.client.v1.products.create(params={"name": "Team"}).id
    price = {"product": product, "currency": "usd", "unit_amount": 2900, "lookup_key": "team_monthly"}
    shop.client.v1.prices.create(params=price | {"recurring": {"interval": "month"}})
    with running(replace(config, plans=(PRO, TEAM))) as app:
        customer = shop.customer()
        subscription = shop.subscribe(customer)
        deliver_all(app, shop)
        app.billing.service.catalogue.refresh(app.billing.service.worker.gateway)
        converged(app, customer, now)
        yield app, customer, subscription


def deliver_all(app, shop):
    """Deliver every event there ever was: those of before are duplicates."""
    for event in reversed(shop.client.v1.events.list(params={"limit": 100}).data):
        app.deliver(event)


def converged(app, customer, now):
    """Apply the customer's events; return the statements but BEGIN and COMMIT, and of those that write the verbs with
    the tables.
    """
    assert inbox.pending_of(inbox.Subject(customer))
    with statements() as seen:
        app.billing.service.converger.converge(customer, now)
    assert not inbox.pending_of(inbox.Subject(customer))
    seen = [sql for sql in seen if not sql.startswith(("BEGIN", "COMMIT"))]
    places = {"INSERT": 2, "UPDATE": 1, "DELETE": 2}  # of the table's name
    words = [sql.replace('"', "").split() for sql in seen]
    return seen, [f"{each[0]} {each[places[each[0]]]}" for each in words if each[0] in places]


def test_a_renewal_is_converged_by_nine_statements(subscribed, shop, simulator, now):
    app, customer, _ = subscribed
    period_end = Subscription.get().current_period_end
    simulator.advance(32 * DAY)
    deliver_all(app, shop)
    seen, written = converged(app, customer, now + 32 * DAY)
    assert Subscription.get().current_period_end > period_end
    assert written == [
        "UPDATE corkage_customer",
        "INSERT corkage_subscription",
        "INSERT corkage_answer",
        "UPDATE corkage_stripe_event",
    ]
    assert len(seen) == 9, "\n".join(seen)


def test_an_event_that_changed_nothing_writes_only_that_it_is_applied(subscribed, shop, now):
    app, customer, subscription = subscribed
    shop.client.v1.subscriptions.update(subscription, params={"metadata": {"of_the_host": "anything"}})
    deliver_all(app, shop)
    seen, written = converged(app, customer, now)
    assert written == ["UPDATE corkage_customer", "UPDATE corkage_stripe_event"]
    assert len(seen) == 7, "\n".join(seen)


def test_another_plan_writes_each_row_that_changed_once(subscribed, shop, now):
    app, customer, subscription = subscribed
    team = Price.get(Price.lookup_key == "team_monthly").id
    item = shop.client.v1.subscriptions.retrieve(subscription)["items"].data[0].id
    shop.client.v1.subscriptions.update(subscription, params={"items": [{"id": item, "price": team}]})
    deliver_all(app, shop)
    seen, written = converged(app, customer, now)
    assert app.billing.access("ann").plan == "team"
    assert written == [
        "UPDATE corkage_customer",
        "DELETE corkage_subscription_item",
        "INSERT corkage_subscription_item",
        "INSERT corkage_move",
        "INSERT corkage_notice",
        "INSERT corkage_answer",
        "UPDATE corkage_user",
        "UPDATE corkage_stripe_event",
    ]
    assert len(seen) == 16, "\n".join(seen)


def test_a_customer_that_changed_in_nothing_we_keep_is_one_statement_more(subscribed, shop, now):
    app, customer, _ = subscribed
    shop.client.v1.customers.update(customer, params={"description": "of the host"})
    deliver_all(app, shop)
    seen, written = converged(app, customer, now)
    assert written == ["UPDATE corkage_customer", "UPDATE corkage_user", "UPDATE corkage_stripe_event"]
    assert len(seen) == 8, "\n".join(seen)


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
@pytest.mark.one_engine("sqlite", "what SQLite counts")
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
