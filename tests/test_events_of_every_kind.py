"""Any event, one meaning: thin or snapshot, of any API version, heard twice or late, it says "look", and no more."""

import json
import time
from dataclasses import replace

import pytest
from harness import DAY, running

from corkage.errors import InvalidBody
from corkage.gateway import events
from corkage.identity import Identity
from corkage.models import Customer, StripeEvent, Subscription
from corkage.sync import inbox


def thin(kind, related_type, related_id, event_id="evt_thin_1", **changes):
    """A v2.core.event as Stripe documents it."""
    body = {
        "id": event_id,
        "object": "v2.core.event",
        "type": f"v1.{kind}",
        "created": "2026-11-24T08:00:00.000Z",
        "livemode": False,
        "context": None,
        "reason": None,
        "related_object": {"id": related_id, "type": related_type, "url": f"/v1/{related_type}s/{related_id}"},
    }
    return json.dumps(body | changes).encode()


def now_in_words():
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())


@pytest.mark.parametrize("kind", ["customer.subscription.created", "customer.subscription.past_due"])
def test_a_thin_event_of_an_unknown_subscription_gives_access(app, shop, kind):
    subscription = shop.subscribe(shop.customer())

    assert app.deliver(thin(kind, "subscription", subscription)).status_code == 200
    assert StripeEvent.get().customer_id is None
    app.work()

    assert app.billing.access("ann").allowed
    assert (StripeEvent.get().outcome, StripeEvent.get().type) == ("converged", kind)


def test_a_thin_event_of_a_known_subscription_costs_one_call(app, shop):
    subscription = shop.subscribe(shop.customer())
    app.deliver(shop.event("customer.subscription.created"))
    app.work()
    shop.client.v1.subscriptions.cancel(subscription)
    before = len(shop.simulator.requests)

    app.deliver(thin("customer.subscription.deleted", "subscription", subscription, created=now_in_words()))
    app.work()

    assert app.billing.access("ann").reason == "ended"
    assert [each.path for each in shop.simulator.requests[before:]] == ["/v1/subscriptions"]


def test_a_thin_event_of_a_checkout_converges_its_customer(app, shop):
    params = {"mode": "subscription", "customer": shop.customer(), "success_url": "https://app.example.com/"}
    params["line_items"] = [{"price": shop.price, "quantity": 1}]
    session = shop.client.v1.checkout.sessions.create(params=params).id
    shop.subscribe(params["customer"])

    app.deliver(thin("checkout.session.completed", "checkout.session", session))
    app.work()

    assert app.billing.access("ann").allowed


def test_a_thin_event_of_our_checkout_finds_what_the_list_lacks(app, shop, simulator):
    """It names no subscription; the session is asked which, although the customer is known, and was just fetched."""
    url = app.billing.checkout_url(Identity("ann"), "pro", billing_url="https://app.example.com/billing")
    session = simulator.buy(url)
    simulator.api_faults.list_lag_seconds = 3600
    app.converge(session["customer"])
    assert not app.billing.access("ann").allowed

    as_of = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - 60))
    app.deliver(thin("checkout.session.completed", "checkout.session", session["id"], created=as_of))
    app.work()

    assert app.billing.access("ann").allowed


def test_a_thin_event_of_a_deleted_customer_ends_access(app, shop):
    customer = shop.customer()
    shop.subscribe(customer)
    app.deliver(shop.event("customer.subscription.created"))
    app.work()
    shop.client.v1.customers.delete(customer)

    app.deliver(thin("customer.deleted", "customer", customer))
    app.work()

    assert app.billing.access("ann").reason == "ended"
    assert Customer.get().deleted_at


@pytest.mark.parametrize(
    ("kind", "related"),
    [
        ("customer.subscription.created", ("subscription", "sub_gone")),
        ("checkout.session.completed", ("checkout.session", "cs_gone")),
    ],
)
def test_a_thin_event_of_an_unknown_object_is_marked_applied(app, kind, related):
    app.deliver(thin(kind, *related))
    app.work()

    event = StripeEvent.get()
    assert (event.outcome, event.error) == ("no customer", None)
    assert Subscription.select().count() == 0


def test_a_thin_event_waits_while_stripe_is_down(app, shop, simulator, monkeypatch):
    subscription = shop.subscribe(shop.customer())
    app.deliver(thin("customer.subscription.created", "subscription", subscription))
    monkeypatch.setattr(simulator.world, "get", None)
    app.work()
    assert (StripeEvent.get().applied_at, StripeEvent.get().attempts) == (None, 1)

    monkeypatch.undo()
    app.work(time.time() + 60)

    assert app.billing.access("ann").allowed


def test_a_thin_event_that_hits_a_bug_waits_and_blocks_nobody(app, shop, caplog):
    subscription = shop.subscribe(shop.customer())
    app.deliver(thin("customer.subscription.created", "subscription", "sub_poison", "evt_poison"))
    app.deliver(thin("customer.subscription.created", "subscription", subscription, "evt_good"))
    fetch = app.billing.service.worker.gateway.subscription
    app.billing.service.worker.gateway.subscription = lambda id_: fetch(id_) if id_ != "sub_poison" else 1 / 0

    app.work()

    assert app.billing.access("ann").allowed
    poisoned = StripeEvent.get_by_id("evt_poison")
    assert (poisoned.applied_at, poisoned.attempts, poisoned.error) == (None, 1, "bug: ZeroDivisionError")
    assert "sub_poison could not be applied" in caplog.text


def test_thin_events_are_applied_inline_too(config, shop, simulator, monkeypatch):
    subscription = shop.subscribe(shop.customer())
    body = thin("customer.subscription.created", "subscription", subscription)
    with running(replace(config, worker="inline")) as app:
        monkeypatch.setattr(simulator.world, "get", None)
        assert app.deliver(body).status_code == 503
        monkeypatch.undo()

        assert app.deliver(body).status_code == 200

        assert app.billing.access("ann").allowed


@pytest.mark.parametrize(
    "body",
    [
        thin("invoice.paid", "invoice", "in_1"),
        thin("customer.subscription.created", "subscription", "sub_1", related_object=None),
        thin("customer.subscription.created", "subscription", None),
    ],
    ids=["an invoice's, which names no customer", "no related object", "no id"],
)
def test_a_thin_event_without_an_object_is_answered_and_not_stored(app, body):
    assert app.deliver(body).status_code == 200
    assert StripeEvent.select().count() == 0
    assert app.billing.service.ignored == {"other_kind": 1}


@pytest.mark.parametrize("created", [None, 5, "", "yesterday", "99999-01-01", "x" * 300])
def test_a_thin_event_without_a_time_is_refused(app, created):
    assert app.deliver(thin("customer.updated", "customer", "cus_1", created=created)).status_code == 400
    with pytest.raises(InvalidBody):
        events.read_event(json.loads(thin("customer.updated", "customer", "cus_1", created=created)))


def test_an_event_of_another_account_or_mode_is_only_counted(app, shop, simulator):
    shop.subscribe(shop.customer())
    event = json.loads(str(shop.event("customer.subscription.created")))
    before = len(simulator.requests)

    for change in ({"account": "acct_other"}, {"livemode": True}):
        assert app.deliver(json.dumps(event | change).encode()).status_code == 200
    app.deliver(thin("customer.updated", "customer", "cus_1", context="acct_other"))

    assert app.billing.service.ignored == {"connected_account": 2, "other_mode": 1}
    assert StripeEvent.select().count() == 0
    assert len(simulator.requests) == before


def test_an_event_that_names_our_account_is_ours(app, shop):
    shop.subscribe(shop.customer())
    app.work()
    event = json.loads(str(shop.event("customer.subscription.created")))

    app.deliver(json.dumps(event | {"account": "acct_1CorkageSimulator"}).encode())

    assert StripeEvent.select().count() == 1


class TestOldNews:
    """An event created well before its customer was last fetched is stored as applied."""

    @pytest.fixture
    def customer(self, app, shop):
        customer = shop.customer()
        shop.subscribe(customer)
        app.deliver(shop.event("customer.subscription.created"))
        app.work()
        return customer

    @pytest.fixture
    def outcome_of(self, shop, customer):
        """Record an event of the customer, created this long before the last fetch, and return its outcome."""

        def record_older(seconds, source="poll", **changes):
            event = events.read_event(json.loads(str(shop.event("customer.subscription.created"))))
            at = Customer.get_by_id(customer).fetched_at - seconds
            event = replace(event, id="evt_told_again", created=at, **changes)
            inbox.record(event, source, time.time(), time.time())
            return StripeEvent.get_by_id("evt_told_again").outcome

        return record_older

    def test_created_two_seconds_before_the_fetch_costs_no_call(self, app, shop, outcome_of):
        calls = shop.calls()

        assert outcome_of(2) == "known"
        app.work()

        assert shop.calls() == calls

    def test_created_one_second_before_the_fetch_is_fetched(self, outcome_of):
        assert outcome_of(1) is None

    def test_of_a_subscription_missing_from_the_list_is_fetched(self, outcome_of):
        assert outcome_of(600, object_id="sub_new") is None

    def test_of_an_unknown_subscription_is_fetched(self, outcome_of):
        Subscription.delete().execute()

        assert outcome_of(600) is None

    def test_of_the_customer_itself_is_fetched(self, outcome_of):
        assert outcome_of(600, type="customer.updated") is None

    def test_of_a_customer_never_fetched_is_fetched(self, outcome_of):
        assert outcome_of(600, customer_id="cus_new") is None

    def test_on_a_lagging_test_clock_is_fetched(self, outcome_of):
        Subscription.update(clock_ahead=-DAY).execute()

        assert outcome_of(600) is None

    @pytest.mark.parametrize("late", [0, 60], ids=["at once", "late in a long round of work"])
    def test_on_a_frozen_test_clock_a_later_event_is_fetched(self, app, shop, late):
        frozen = int(time.time()) - 60
        clock = shop.client.v1.test_helpers.test_clocks.create(params={"frozen_time": frozen}).id
        customer = shop.customer(test_clock=clock)
        subscription = shop.subscribe(customer)
        app.billing.service.worker.converger.converge(customer, time.time() - late)
        shop.client.v1.subscriptions.cancel(subscription)

        event = json.loads(str(shop.event("customer.subscription.deleted")))
        app.deliver(json.dumps(event | {"created": frozen}).encode())
        app.work()

        assert app.billing.access("ann").reason == "ended"

    def test_a_lagging_test_clock_resets_the_time_of_the_last_fetch(self, app, shop):
        clock = shop.client.v1.test_helpers.test_clocks.create(params={"frozen_time": int(time.time()) - DAY}).id
        customer = shop.customer(test_clock=clock)
        converger = app.billing.service.worker.converger
        converger.converge(customer, time.time())
        assert Customer.get_by_id(customer).fetched_at > time.time() - 60

        shop.subscribe(customer)
        converger.converge(customer, time.time())

        assert Customer.get_by_id(customer).fetched_at < time.time() - DAY + 60

    def test_the_last_fetch_counts_from_its_beginning(self, app, customer, simulator):
        handle = simulator.world.get

        def slow(*args):
            time.sleep(1.1)
            simulator.world.get = handle
            return handle(*args)

        simulator.world.get = slow
        began = time.time()
        as_of = app.billing.service.worker.gateway.customer(customer).as_of

        assert as_of <= began


def test_several_thin_events_each_reach_their_own_customer(app, shop):
    owners = {}
    for user in ("ann", "bob"):
        customer = shop.customer(user)
        subscription = shop.subscribe(customer, user=user)
        owners[f"evt_{user}"] = customer
        app.deliver(thin("customer.subscription.created", "subscription", subscription, event_id=f"evt_{user}"))

    app.work()

    assert {event.id: event.customer_id for event in StripeEvent.select()} == owners
    assert app.billing.access("ann").allowed
    assert app.billing.access("bob").allowed
