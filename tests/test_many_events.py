"""As many pending events as a bad day leaves: all are applied, a purchase goes first, and what fails is postponed."""

import time

import pytest
from sql import statements

from corkage import storage
from corkage.errors import StripeUnavailable
from corkage.gateway import events
from corkage.models import StripeEvent, Subscription
from corkage.replica import stale
from corkage.sync import inbox

pytestmark = pytest.mark.slow

MANY = 40_000
COLUMNS = "id, type, customer_id, object_id, created, source, received_at, next_attempt_at, attempts"


def fill(app, rows):
    """Put events into the inbox, as rows of (type, customer, object, due at)."""
    with storage.writing():
        storage.execute_many(
            f"INSERT INTO corkage_stripe_event ({COLUMNS}) VALUES (?, ?, ?, ?, 1, 'webhook', ?, ?, 0)",
            [
                (f"evt_{number}", kind, customer, object_, due, due)
                for number, (kind, customer, object_, due) in enumerate(rows)
            ],
        )


def test_forty_thousand_pending_events_of_every_kind_are_applied(app, shop, simulator):
    customers = [shop.customer(f"user{number}") for number in range(20)]
    subscriptions = [shop.subscribe(customer, user=f"user{number}") for number, customer in enumerate(customers)]
    now = time.time()
    kinds = (
        *(
            ("invoice.paid", customer, subscription)
            for customer, subscription in zip(customers, subscriptions, strict=True)
        ),
        ("customer.updated", customers[0], customers[0]),
        *(("customer.subscription.updated", None, subscription) for subscription in subscriptions),
        ("checkout.session.completed", None, "cs_test_unknown"),
        ("price.updated", None, shop.price),
        ("test_helpers.test_clock.ready", None, "clock_gone"),
    )
    fill(app, ((*kinds[number % len(kinds)], now - 600) for number in range(MANY)))

    work = app.billing.service.worker.work_once(now)

    assert work.failed == 0
    assert inbox.backlog(now).backlog == 0
    assert all(app.billing.access(f"user{number}").allowed for number in range(20))
    assert {row.outcome for row in StripeEvent.select(StripeEvent.outcome).distinct()} == {
        "converged",
        "refreshed",
        "gone",
        "no customer",
    }
    asked = [each.path for each in simulator.requests if each.method == "GET"]
    assert len(asked) < 200  # so many events, and one look for each of what they are about


def test_a_purchase_is_applied_before_older_events(app, shop):
    now = time.time()
    old = [f"cus_{number}" for number in range(1000)]
    fill(app, [("customer.subscription.updated", customer, "sub_1", now - 3600) for customer in old])
    buyer = shop.customer("ann")
    shop.subscribe(buyer)
    app.deliver(shop.event("customer.subscription.created"))

    assert inbox.due_customers(time.time(), 3) == [buyer, "cus_0", "cus_1"]


def test_a_thin_purchase_event_is_applied_before_older_events(app):
    now = time.time()
    old = [("customer.subscription.updated", None, f"sub_{number}", now - 3600 + number) for number in range(1000)]
    fill(app, [*old, ("checkout.session.completed", None, "cs_1", now)])

    assert [each.object_id for each in inbox.due_without_customer(now, 3)] == ["cs_1", "sub_0", "sub_1", "sub_2"]


@pytest.mark.parametrize(
    "subject",
    [inbox.Subject("cus_1"), inbox.Subject(object_id="sub_1"), inbox.CATALOGUE],
    ids=["customer", "object", "catalogue"],
)
def test_ten_thousand_failed_events_are_postponed_by_one_statement(app, subject):
    now = time.time()
    kind = "price.updated" if subject == inbox.CATALOGUE else "customer.subscription.updated"
    fill(app, [(kind, subject.customer_id, subject.object_id or "price_1", now)] * 10_000)
    fill_other = StripeEvent.insert(
        id="evt_other", type="x", customer_id="cus_other", created=1, source="x", received_at=now, next_attempt_at=now
    )
    fill_other.execute()
    app.billing.service.worker._fetch = lambda *_: (_ for _ in ()).throw(StripeUnavailable("down"))
    inbox.lease(subject, now, now + 100)
    StripeEvent.update(next_attempt_at=now + 100).where(StripeEvent.id == "evt_other").execute()

    with statements() as seen:
        inbox.postpone(subject, now + 100, "stripe_unavailable", now)

    assert len([each for each in seen if each.lstrip().startswith("UPDATE")]) == 1
    assert StripeEvent.select().where(StripeEvent.attempts == 1).count() == 10_000
    assert StripeEvent.get_by_id("evt_other").attempts == 0


@pytest.mark.parametrize("attempts", [19, 20, 21, 1_024, 5_000])
def test_backoff_after_very_many_attempts_is_an_hour(app, attempts):
    now = time.time()
    fill(app, [("invoice.paid", "cus_1", "sub_1", now)])
    StripeEvent.update(attempts=attempts).execute()
    subject = inbox.Subject("cus_1")
    inbox.lease(subject, now, now + 100)

    inbox.postpone(subject, now + 100, "down", now)

    assert StripeEvent.get().attempts == attempts + 1
    assert 2700 <= StripeEvent.get().next_attempt_at - now <= 4500


def test_events_received_during_a_failure_stay_due(app, shop):
    customer = shop.customer()
    now = time.time()
    fill(app, [("invoice.paid", customer, "sub_1", now)])

    def fail(_customer_id):
        inbox.record(
            events.EventRef("evt_new", "invoice.paid", 1, False, None, customer, "sub_1"), "webhook", now, now + 2
        )
        raise StripeUnavailable("down")

    app.billing.service.worker.gateway.customer = fail
    app.work(now)

    assert (StripeEvent.get_by_id("evt_0").attempts, StripeEvent.get_by_id("evt_new").attempts) == (1, 0)
    assert StripeEvent.get_by_id("evt_new").next_attempt_at == now + 2


def test_a_customer_with_more_events_than_one_batch_gets_another(app, shop, monkeypatch):
    monkeypatch.setattr(inbox, "MOST_AT_ONCE", 4)
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    now = time.time()
    fill(app, [("invoice.paid", customer, subscription, now)] * 10)

    calls = shop.calls()
    app.work(now)

    assert inbox.backlog(now).backlog == 0
    assert shop.calls() == calls + 3


def test_forty_thousand_prices_fit_into_the_statements(app):
    ids = tuple(f"id_{number}" for number in range(40_000))

    catalogue = app.billing.service.worker.converger.catalogue
    catalogue.apply_plans(claims=True)
    assert len(catalogue.unknown(ids)) == len(ids)
    with storage.writing():
        catalogue.timelines.mark_holders(ids)
        catalogue.timelines.store(ids, time.time())
        inbox.mark_applied(ids, "converged", time.time())
        inbox.name_customer(ids, "cus_1", None, time.time())
    assert Subscription.select().count() == 0
    assert stale.customers(time.time(), 5) == []


@pytest.mark.one_engine("postgresql", "how it plans a statement")
def test_events_are_marked_by_their_ids_also_where_the_statistics_know_of_none_that_is_pending(app):
    fill(app, [("invoice.paid", "cus_1", "sub_1", 1)] * 2000)
    StripeEvent.update(applied_at=1, outcome="converged").execute()
    storage.execute("ANALYZE corkage_stripe_event")
    ids = [f"evt_{number}" for number in range(500)]

    marks = inbox._MARK_APPLIED.format(marks=", ".join("?" * len(ids)))
    plan = "\n".join(line for (line,) in storage.rows(f"EXPLAIN {marks}", (1, "converged", *ids)))

    assert "corkage_event_pending" not in plan  # it would be read once for each five hundred: for 100,000, minutes
