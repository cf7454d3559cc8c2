"""Converging: the replica becomes what Stripe holds, whoever else writes, and in whatever order the words come."""

import itertools
import random
import threading
import time

import pytest
from harness import APP, DAY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rows import deciding_subscription

from corkage import storage
from corkage.errors import StripeError, StripeRefused, StripeUnavailable, UnknownCustomer
from corkage.gateway.account import Account
from corkage.gateway.gateway import Subscriptions
from corkage.models import Customer, StripeEvent, Subscription, User
from corkage.sync import inbox
from corkage.sync.converge import MOST_OVERTAKINGS, Converged


def take(app, shop, *kinds):
    """Deliver the newest event of each kind, and work."""
    for kind in kinds:
        assert app.deliver(shop.event(kind)).status_code == 200
    app.work()


def test_a_subscription_event_before_its_customers_event_is_not_lost(app, shop):
    shop.subscribe(shop.customer())

    take(app, shop, "customer.subscription.created")

    assert app.billing.access("ann").allowed
    assert User.get().stripe_customer_id == Customer.get().id


def test_an_overtaken_fetch_is_repeated_and_never_stored(app, shop):
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    app.converge(customer)
    gateway = app.billing.service.worker.gateway
    fetch, overtakings = gateway.subscriptions_of, []

    def fetch_and_be_overtaken(customer_id, *known, **options):
        stale = fetch(customer_id, *known, **options)
        if not overtakings:
            overtakings.append("once")
            shop.client.v1.subscriptions.cancel(subscription)
            app.converge(customer)
        return stale

    gateway.subscriptions_of = fetch_and_be_overtaken
    app.converge(customer)

    assert Subscription.get().status == "canceled"
    assert not app.billing.access("ann").allowed
    assert Customer.get().revision == 3


def test_an_event_received_during_the_fetch_stays_pending(app, shop):
    customer = shop.customer()
    shop.subscribe(customer)
    gateway = app.billing.service.worker.gateway
    fetch = gateway.subscriptions_of

    def fetch_while_an_event_comes(customer_id, *known, **options):
        found = fetch(customer_id, *known, **options)
        take_event = shop.event("invoice.paid")
        app.deliver(take_event)
        return found

    app.deliver(shop.event("customer.subscription.created"))
    gateway.subscriptions_of = fetch_while_an_event_comes
    app.converge(customer)

    states = {event.type: event.applied_at is not None for event in StripeEvent.select()}
    assert states == {"customer.subscription.created": True, "invoice.paid": False}


def test_the_end_of_an_old_subscription_keeps_the_new_ones_access(app, shop):
    customer = shop.customer()
    old = shop.subscribe(customer)
    new = shop.subscribe(customer)
    shop.client.v1.subscriptions.cancel(old)

    take(app, shop, "customer.subscription.deleted")

    assert app.billing.access("ann").allowed
    assert deciding_subscription() == new
    assert Subscription.get_by_id(old).status == "canceled"


def test_deleting_a_customer_at_stripe_ends_access_and_frees_the_user(app, shop):
    customer = shop.customer()
    shop.subscribe(customer)
    take(app, shop, "customer.subscription.created")

    shop.client.v1.customers.delete(customer)
    take(app, shop, "customer.deleted")

    assert app.billing.access("ann").reason == "ended"
    assert Customer.get().deleted_at is not None
    assert User.get().stripe_customer_id is None
    second = shop.customer()
    shop.subscribe(second)
    take(app, shop, "customer.subscription.created")
    assert app.billing.access("ann").allowed
    assert User.get().stripe_customer_id == second


def test_after_one_of_two_customers_is_deleted_the_other_is_used(app, shop):
    first, second = shop.customer(), shop.customer()
    shop.subscribe(second)
    app.converge(first)
    app.converge(second)
    assert User.get().stripe_customer_id == first

    shop.client.v1.customers.delete(first)
    take(app, shop, "customer.deleted")

    assert User.get().stripe_customer_id == second
    assert app.billing.access("ann").allowed


def test_a_deleted_customers_subscriptions_are_always_fetched_by_id(app, shop):
    customer = shop.customer()
    shop.subscribe(customer)
    app.converge(customer)
    shop.client.v1.customers.delete(customer)
    take(app, shop, "customer.deleted")
    lists = shop.calls()

    assert app.deliver(shop.event("customer.subscription.deleted")).status_code == 200
    app.work()

    assert shop.calls() == lists  # what Stripe lists for a deleted customer, nobody has written down
    assert StripeEvent.select().where(StripeEvent.applied_at.is_null()).count() == 0


@pytest.mark.parametrize("metadata", [{"corkage_app": APP}, {"corkage_app": APP, "corkage_user": "eve"}])
def test_an_unknown_price_is_ours_only_if_its_metadata_names_the_user(app, shop, metadata):
    customer = shop.customer()
    shop.subscribe(customer, price=shop.other_price, user=None, metadata=metadata)

    app.converge(customer)

    assert app.billing.access("ann").reason == "unknown_price"
    assert not app.billing.access("ann").allowed


@pytest.mark.parametrize(
    "order",
    [("customer.deleted", "customer.subscription.deleted"), ("customer.subscription.deleted", "customer.deleted")],
)
def test_events_of_a_deleted_customer_are_applied_in_any_order(app, shop, order):
    customer = shop.customer()
    shop.subscribe(customer)
    shop.client.v1.customers.delete(customer)

    for kind in order:
        take(app, shop, kind)

    assert inbox.backlog(time.time()).backlog == 0
    assert not app.billing.access("ann").allowed


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"user_id": "ann"},
        {"corkage_user": "ann"},
        {"corkage_app": "app.example.com"},
        {"corkage_app": "staging.example.com", "corkage_user": "ann"},
        {"corkage_app": "app.example.com", "corkage_user": "x" * 201},
    ],
)
def test_another_products_customer_in_the_account_gives_no_access(app, shop, metadata):
    app.billing.access("ann")
    customer = shop.client.v1.customers.create(
        params={
            "payment_method": "pm_card_visa",
            "email": "ann@example.com",
            "metadata": metadata,
            "invoice_settings": {"default_payment_method": "pm_card_visa"},
        }
    ).id
    shop.client.v1.subscriptions.create(
        params={
            "customer": customer,
            "items": [{"price": shop.price}],
            "metadata": {"corkage_app": "app.example.com", "corkage_user": "ann"},
        }
    )

    take(app, shop, "customer.subscription.created")

    assert not app.billing.access("ann").allowed
    assert User.select().count() == 0
    assert Customer.get().user_id is None
    assert StripeEvent.get().outcome == "unowned"


def test_the_next_event_of_an_unowned_customer_costs_no_call(app, shop):
    customer = shop.customer(user=None)
    shop.subscribe(customer, user=None)
    take(app, shop, "customer.subscription.created")
    before = len(shop.simulator.requests)
    shop.client.v1.events.list()

    event = shop.event("invoice.paid")
    asked_by_us = len(shop.simulator.requests) - before
    app.deliver(event)
    app.work()

    assert len(shop.simulator.requests) - before == asked_by_us
    assert inbox.backlog(time.time()).backlog == 0


def test_an_unowned_customer_is_linked_once_it_has_our_metadata(app, shop):
    customer = shop.customer(user=None)
    shop.subscribe(customer, user=None)
    take(app, shop, "customer.subscription.created")

    shop.client.v1.customers.update(
        customer, params={"metadata": {"corkage_app": "app.example.com", "corkage_user": "ann"}}
    )
    take(app, shop, "customer.updated")

    assert app.billing.access("ann").allowed


def test_a_link_is_never_moved_by_metadata(app, shop):
    customer = shop.customer()
    shop.subscribe(customer)
    take(app, shop, "customer.subscription.created")

    shop.client.v1.customers.update(customer, params={"metadata": {"corkage_user": "eve"}})
    take(app, shop, "customer.updated")

    assert app.billing.access("ann").allowed
    assert not app.billing.access("eve").allowed
    assert User.get_or_none(User.id == "eve") is None


def test_linking_by_hand_gives_access_and_moving_the_link_ends_it(app, shop):
    customer = shop.customer(user=None)
    shop.subscribe(customer, user=None)
    converger = app.billing.service.worker.converger

    converger.link("ann", customer, time.time())
    assert app.billing.access("ann").allowed

    converger.link("bob", customer, time.time())
    assert app.billing.access("bob").allowed
    assert not app.billing.access("ann").allowed


def test_a_fetch_in_flight_does_not_undo_a_link_made_by_hand(app, shop):
    customer = shop.customer()
    shop.subscribe(customer)
    app.converge(customer)
    converger = app.billing.service.worker.converger
    operators = converger.with_gateway(converger.gateway)
    operators.converge = lambda *_, **__: Converged("only later", ())
    fetch, links = converger.gateway.subscriptions_of, []

    def fetch_while_an_operator_links(customer_id, *known, **options):
        listed = fetch(customer_id, *known, **options)
        if not links:
            links.append(operators.link("bob", customer, time.time()))
        return listed

    converger.gateway.subscriptions_of = fetch_while_an_operator_links
    converger.converge(customer, time.time(), reads_customer=True)

    assert Customer.get().user_id == "bob"
    assert app.billing.access("bob").allowed
    assert not app.billing.access("ann").allowed


def test_linking_a_customer_unknown_to_stripe_stores_nothing(app):
    with pytest.raises(UnknownCustomer):
        app.billing.service.worker.converger.link("ann", "cus_typo", time.time())

    assert (User.select().count(), Customer.select().count()) == (0, 0)


def test_two_customers_of_one_user_both_count(app, shop):
    first, second = shop.customer(), shop.customer()
    ending = shop.subscribe(first)
    shop.subscribe(second)
    app.converge(second)
    app.converge(first)
    shop.client.v1.subscriptions.cancel(ending)

    app.converge(first)

    assert app.billing.access("ann").allowed
    assert User.get().stripe_customer_id == second


def test_a_subscription_missing_from_the_list_is_fetched_by_id(app, shop):
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    app.converge(customer)
    app.billing.service.worker.gateway.subscriptions_of = lambda *_, **__: Subscriptions((), 0)

    app.converge(customer)

    assert app.billing.access("ann").allowed
    assert shop.calls(f"/v1/subscriptions/{subscription}") == 1


def test_a_subscription_named_by_an_event_is_fetched_if_the_list_lags(app, shop):
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    app.billing.service.worker.gateway.subscriptions_of = lambda *_, **__: Subscriptions((), 0)

    take(app, shop, "customer.subscription.created")

    assert app.billing.access("ann").allowed
    assert shop.calls(f"/v1/subscriptions/{subscription}") == 1


def test_a_subscription_gone_at_stripe_is_ended(app, shop, simulator):
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    app.converge(customer)
    simulator.world.remove("subscription", subscription)

    app.converge(customer)

    assert app.billing.access("ann").reason == "ended"


def lose(app, shop, simulator, monkeypatch, *, is_account_known):
    """Buy, have Stripe forget the customer without a word, and apply one more event; return its row."""
    customer = shop.customer()
    shop.subscribe(customer)
    take(app, shop, "customer.subscription.created")
    event = shop.event("invoice.paid")
    simulator.world.remove("customer", customer)
    for subscription in simulator.world.all("subscription"):
        simulator.world.remove("subscription", subscription["id"])
    monkeypatch.setattr(Account, "is_confirmed", lambda _: is_account_known)
    app.deliver(event)
    app.work()
    return StripeEvent.get_by_id(event.id)


def test_a_missing_customer_ends_what_it_held_and_its_events_are_applied(app, shop, simulator, monkeypatch):
    event = lose(app, shop, simulator, monkeypatch, is_account_known=True)

    assert (event.outcome, event.error, inbox.backlog(time.time()).backlog) == ("missing", None, 0)
    assert app.billing.access("ann").reason == "ended"
    assert (Customer.get().missing_at is not None, Customer.get().deleted_at) == (True, None)
    assert User.get().stripe_customer_id is None


def test_a_key_that_may_not_name_its_account_ends_nothing(app, shop, simulator, monkeypatch):
    event = lose(app, shop, simulator, monkeypatch, is_account_known=False)

    assert event.outcome == "missing"
    assert app.billing.access("ann").allowed
    assert Subscription.get().status == "active"


def test_the_account_counts_as_known_once_stripe_has_named_it(app):
    account = app.billing.service.converger.account
    assert not account.is_confirmed()

    app.work()

    assert account.is_confirmed()


def test_a_missing_customer_that_is_found_again_is_used_again(app, shop, simulator):
    customer = shop.customer()
    shop.subscribe(customer)
    take(app, shop, "customer.subscription.created")
    kept = dict(simulator.world.get("customer", customer))
    simulator.world.remove("customer", customer)
    app.converge(customer)
    assert Customer.get().missing_at is not None

    simulator.world.add("customer", kept)
    app.billing.sync("ann")

    assert Customer.get().missing_at is None
    assert User.get().stripe_customer_id == customer
    assert app.billing.access("ann").allowed


def test_a_deleted_customer_that_stripe_never_had_leaves_nothing_pending(app, shop, simulator):
    customer = shop.customer("eve")
    shop.client.v1.customers.delete(customer)
    event = shop.event("customer.deleted")
    simulator.world.remove("customer", customer)

    app.deliver(event)
    app.work()

    assert StripeEvent.get_by_id(event.id).outcome == "missing"
    assert inbox.backlog(time.time()).backlog == 0


def test_a_poisoned_event_does_not_block_others(app, shop, simulator):
    poisoned = shop.customer("bob")
    shop.subscribe(poisoned, user="bob")
    event = shop.event("customer.subscription.created")
    gateway = app.billing.service.worker.gateway
    fetch = gateway.subscriptions_of

    def refuse_one(customer_id, *known, **options):
        if customer_id == poisoned:
            raise StripeRefused("HTTP 403")
        return fetch(customer_id, *known, **options)

    gateway.subscriptions_of = refuse_one
    app.deliver(event)
    shop.subscribe(shop.customer())

    take(app, shop, "customer.subscription.created")

    assert app.billing.access("ann").allowed
    assert inbox.backlog(time.time()).failing == 1


def test_grace_counts_from_the_oldest_unpaid_invoice(config, tmp_path):
    from dataclasses import replace

    from harness import open_shop, running, sdk

    from corkage.simulator import Simulator

    with Simulator(now=int(time.time()) - 100 * DAY) as simulator:
        shop = open_shop(simulator, sdk(simulator))
        weekly = shop.client.v1.prices.create(
            params={
                "product": shop.client.v1.prices.retrieve(shop.price).product,
                "currency": "usd",
                "unit_amount": 100,
                "recurring": {"interval": "week"},
            }
        ).id
        customer = shop.customer()
        shop.subscribe(customer, price=weekly)
        simulator.rules.retry_days = (15, 15)
        simulator.advance(80 * DAY)
        shop.use_card(customer, "pm_card_chargeCustomerFail")
        simulator.advance(20 * DAY)
        with running(replace(config, stripe_api_base=simulator.url)) as app:
            app.work()
            app.converge(customer)
            user, held = User.get(), Subscription.get()
            assert held.status == "past_due"
            unpaid = shop.client.v1.invoices.list(params={"status": "open"}).data
            assert len(unpaid) >= 2
            assert held.unpaid_since == min(invoice.created for invoice in unpaid)
            assert user.next_change_at is None
            assert app.billing.access("ann").reason == "past_due"


def test_an_ended_subscription_does_not_hide_an_older_active_one(app, shop, simulator):
    customer = shop.customer()
    paused = shop.subscribe(customer)
    shop.client.v1.subscriptions.pause(paused, params={"type": "subscription"})
    simulator.advance(60)
    shop.client.v1.subscriptions.cancel(shop.subscribe(customer))

    app.converge(customer)

    assert app.billing.access("ann").reason == "paused"
    assert deciding_subscription() == paused


def test_both_kinds_of_scheduled_cancellation_give_the_end(app, shop):
    for user, params in (("ann", {"cancel_at_period_end": True}), ("bob", {"cancel_at": int(time.time()) + 5 * DAY})):
        customer = shop.customer(user)
        subscription = shop.subscribe(customer, user=user)
        shop.client.v1.subscriptions.update(subscription, params=params)
        app.converge(customer)
        access = app.billing.access(user)
        ends = shop.client.v1.subscriptions.retrieve(subscription).cancel_at
        assert (access.allowed, access.reason, access.until, access.cancel_at) == (True, "canceling", ends, ends)


def test_cancel_at_period_end_alone_means_the_end_of_the_period(app, shop, simulator):
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    held = simulator.world.get("subscription", subscription)
    held |= {"cancel_at_period_end": True, "cancel_at": None}

    app.converge(customer)

    assert app.billing.access("ann").cancel_at == held["items"]["data"][0]["current_period_end"]


def test_a_trial_is_shown_and_remembered(app, shop):
    customer = shop.customer()
    shop.subscribe(customer, trial_period_days=14)

    app.converge(customer)

    access = app.billing.access("ann")
    assert (access.allowed, access.reason) == (True, "trialing")
    assert access.until - time.time() == pytest.approx(14 * DAY, abs=60)
    assert User.get().trial_used_at == pytest.approx(time.time(), abs=60)


def test_an_incomplete_first_payment_gives_no_access(app, shop):
    customer = shop.customer(card="pm_card_chargeCustomerFail")
    shop.subscribe(customer)

    app.converge(customer)

    assert (app.billing.access("ann").allowed, app.billing.access("ann").reason) == (False, "incomplete")


def test_an_unknown_status_denies_and_does_not_crash(app, shop, simulator):
    customer = shop.customer()
    simulator.world.get("subscription", shop.subscribe(customer))["status"] = "hibernating"

    app.converge(customer)

    access = app.billing.access("ann")
    assert (access.allowed, access.reason, access.status) == (False, "unknown_status", "hibernating")


def test_a_delayed_first_payment_gives_access_as_pending(app, shop, simulator):
    customer = shop.customer()
    subscription = simulator.world.get("subscription", shop.subscribe(customer))
    simulator.world.get("invoice", subscription["latest_invoice"])["status"] = "open"

    app.converge(customer)

    access = app.billing.access("ann")
    assert (access.allowed, access.reason) == (True, "payment_pending")


def test_the_quantity_and_the_item_with_a_plan_decide(app, shop):
    customer = shop.customer()
    app.billing.service.worker.catalogue.refresh(app.billing.service.worker.gateway)
    items = [{"price": shop.other_price}, {"price": shop.price, "quantity": 3}]
    shop.subscribe(customer, items=items)

    app.converge(customer)

    access = app.billing.access("ann")
    assert (access.plan, access.price_id, access.quantity) == ("pro", shop.price, 3)


def test_an_email_changed_at_stripe_is_stored(app, shop):
    customer = shop.customer(email="old@example.com")
    shop.subscribe(customer)
    take(app, shop, "customer.subscription.created")
    assert User.get().email == "old@example.com"

    shop.client.v1.customers.update(customer, params={"email": "new@example.com"})
    take(app, shop, "customer.updated")

    assert User.get().email == "new@example.com"


def test_a_call_to_stripe_inside_a_transaction_fails_the_test(app, asked_inside_a_transaction):
    with pytest.raises(UnknownCustomer), storage.writing():
        app.billing.service.worker.gateway.customer("cus_1")

    assert len(asked_inside_a_transaction) == 1
    asked_inside_a_transaction.clear()


@pytest.mark.slow
def test_many_threads_converging_one_customer_end_equal_to_stripe(app, shop):
    from concurrent.futures import ThreadPoolExecutor

    customer = shop.customer()
    subscription = shop.subscribe(customer)

    def change_and_converge(number):
        if number % 3 == 0:
            shop.client.v1.subscriptions.update(subscription, params={"cancel_at_period_end": number % 2 == 0})
        app.converge(customer)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(change_and_converge, range(18)))
    app.converge(customer)

    held = shop.client.v1.subscriptions.retrieve(subscription)
    assert Subscription.get().cancel_at == held.cancel_at


def test_an_outage_of_stripe_delays_events_and_loses_none(app, shop):
    shop.subscribe(shop.customer())
    fetch = app.billing.service.worker.gateway.subscriptions_of

    def down(customer_id, *known, **options):
        raise StripeUnavailable("down")

    app.billing.service.worker.gateway.subscriptions_of = down
    take(app, shop, "customer.subscription.created")
    now, pauses = time.time(), []
    for _ in range(12):
        due = next_try(app, now)
        pauses.append(due - now)
        now = due
        app.work(now)
    assert StripeEvent.get().attempts == 13
    assert pauses[5] > pauses[0]
    assert max(pauses) <= 30 * 1.25
    assert "stripe_unavailable" in StripeEvent.get().error

    app.billing.service.worker.gateway.subscriptions_of = fetch
    app.work(next_try(app, now))

    assert app.billing.access("ann").allowed
    event = StripeEvent.get()
    assert (event.applied_at is not None, event.error) == (True, None)


def test_who_asks_while_prices_are_fetched_does_not_ask_for_purchases_ever_after(app, shop, monkeypatch):
    """An answer about purchases, which nobody sells here, once hid that Stripe was down for subscriptions."""
    catalogue = app.billing.service.catalogue
    store_plans, asked = catalogue._store_plans, []

    def ask_before_the_commit():
        store_plans()
        thread = threading.Thread(target=lambda: asked.append(catalogue.sells_once()))
        thread.start()
        thread.join()

    monkeypatch.setattr(catalogue, "_store_plans", ask_before_the_commit)
    catalogue.refresh(app.billing.service.gateway)

    assert asked == [True]
    assert not catalogue.sells_once()


def next_try(app, now):
    outage = app.billing.service.worker.gateway.outage
    return max(inbox.next_due_at(now), outage.next_try_at if outage.is_down else 0)


USERS = itertools.count()
STORY = (
    "customer.subscription.created",
    "invoice.paid",
    "customer.subscription.updated",
    "customer.subscription.deleted",
)


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), losses=st.sets(st.integers(0, 4), max_size=4), ends=st.booleans())
def test_any_order_and_loss_of_events_ends_in_the_state_at_stripe(app, shop, seed, losses, ends):
    chance = random.Random(seed)
    user = f"user-{next(USERS)}"
    customer = shop.customer(user)
    subscription = shop.subscribe(customer, user=user)
    shop.client.v1.subscriptions.update(subscription, params={"cancel_at_period_end": True})
    if ends:
        shop.client.v1.subscriptions.cancel(subscription)
    events = [
        each
        for each in shop.client.v1.events.list(params={"types": list(STORY), "limit": 100}).data
        if customer in str(each)
    ]
    kept = [each for number, each in enumerate(events) if number not in losses] or events[:1]
    deliveries = kept + chance.choices(kept, k=3)
    chance.shuffle(deliveries)

    for event in deliveries:
        app.deliver(event)
        if chance.random() < 0.4:
            app.work()
    app.work()

    access = app.billing.access(user)
    assert (access.allowed, access.reason) == ((False, "ended") if ends else (True, "canceling"))
    assert inbox.backlog(time.time()).backlog == 0


def test_an_error_of_stripe_becomes_one_of_ours():
    assert issubclass(UnknownCustomer, StripeError)


def test_a_link_made_by_hand_survives_a_fetch_in_flight(app, shop):
    customer = shop.customer("ann")
    shop.subscribe(customer)
    converger = app.billing.service.worker.converger
    gateway, links = app.billing.service.worker.gateway, []
    fetch = gateway.subscriptions_of

    def fetch_while_somebody_links(customer_id, *known, **options):
        found = fetch(customer_id, *known, **options)
        if not links:
            links.append("by hand")
            converger.adopt("bob", customer_id, time.time())
        return found

    gateway.subscriptions_of = fetch_while_somebody_links
    app.converge(customer)

    assert Customer.get().user_id == "bob"
    assert not app.billing.access("ann").allowed
    assert app.billing.access("bob").allowed


def test_a_fetch_always_overtaken_is_given_up_and_its_event_waits(app, shop):
    customer = shop.customer()
    shop.subscribe(customer)
    app.deliver(shop.event("customer.subscription.created"))
    Customer.create(id=customer)
    gateway = app.billing.service.worker.gateway
    fetch, asked = gateway.subscriptions_of, []

    def always_too_late(customer_id, *known, **options):
        asked.append(customer_id)
        Customer.update(revision=Customer.revision + 1).execute()
        return fetch(customer_id, *known, **options)

    gateway.subscriptions_of = always_too_late
    app.work()

    assert len(asked) == MOST_OVERTAKINGS
    assert Subscription.select().count() == 0
    waiting = StripeEvent.get()
    assert (waiting.applied_at, waiting.attempts, waiting.error.split(":")[0]) == (None, 1, "overtaken")


def test_a_list_that_fails_for_a_deleted_customer_marks_it_deleted(app, shop):
    customer = shop.customer()
    shop.subscribe(customer)
    take(app, shop, "customer.subscription.created")
    shop.client.v1.customers.delete(customer)

    def unknown(customer_id, *known, **options):
        raise UnknownCustomer(customer_id)

    app.billing.service.worker.gateway.subscriptions_of = unknown
    take(app, shop, "customer.subscription.deleted")

    assert app.billing.access("ann").reason == "ended"
    assert Customer.get().deleted_at is not None
    assert (User.get().stripe_customer_id, inbox.backlog(time.time()).backlog) == (None, 0)


def test_a_users_email_comes_from_their_first_customer(app, shop):
    first, second = shop.customer(email="ann@example.com"), shop.customer(email="other@example.com", name="Other")
    app.converge(first)
    app.converge(second)

    shop.client.v1.customers.update(second, params={"email": "changed@example.com"})
    take(app, shop, "customer.updated")

    user = User.get()
    assert (user.stripe_customer_id, user.email, user.name) == (first, "ann@example.com", None)


def test_only_the_first_trial_is_remembered(app, shop, simulator):
    customer = shop.customer()
    shop.client.v1.subscriptions.cancel(shop.subscribe(customer, trial_period_days=14))
    app.converge(customer)
    first = User.get().trial_used_at
    simulator.advance(10 * DAY)
    shop.subscribe(customer, trial_period_days=14)

    app.converge(customer)

    assert app.billing.access("ann").reason == "trialing"
    assert User.get().trial_used_at == first


def test_a_trial_of_another_product_does_not_use_up_ours(app, shop):
    customer = shop.customer()
    shop.subscribe(customer, price=shop.other_price, user=None, trial_period_days=14)

    app.converge(customer)

    assert Subscription.get().trial_end is not None
    assert User.get().trial_used_at is None


def test_the_users_latest_customer_replaces_a_deleted_one(app, shop, simulator):
    first, old, last, deleted = (shop.customer() for _ in range(4))
    for customer in (first, old, last, deleted, shop.customer("bob")):
        app.converge(customer)
    for customer, fetched_at in ((old, 1), (last, 2), (deleted, 3)):
        Customer.update(fetched_at=fetched_at).where(Customer.id == customer).execute()
    Customer.update(deleted_at=1).where(Customer.id == deleted).execute()
    shop.client.v1.customers.delete(first)

    take(app, shop, "customer.deleted")

    assert User.get_by_id("ann").stripe_customer_id == last
    assert User.get_by_id("bob").stripe_customer_id not in (None, first, old, last, deleted)


def test_another_users_customer_never_replaces_a_deleted_one(app, shop):
    mine = shop.customer()
    for customer in (mine, shop.customer("bob"), shop.customer(None)):
        app.converge(customer)
    shop.client.v1.customers.delete(mine)

    take(app, shop, "customer.deleted")

    assert User.get_by_id("ann").stripe_customer_id is None


def test_a_renewal_in_progress_is_not_a_first_payment(app, shop, simulator):
    customer = shop.customer()
    subscription = simulator.world.get("subscription", shop.subscribe(customer))
    simulator.advance_to("renewal")
    invoice = simulator.world.get("invoice", subscription["latest_invoice"])
    assert invoice["billing_reason"] == "subscription_cycle"
    invoice["status"] = "open"

    app.converge(customer)

    assert app.billing.access("ann").reason == "active"
