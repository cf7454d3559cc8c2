"""What a host does for one user: sync, a changed e-mail, deletion."""

import itertools
import threading
import time
from dataclasses import replace

import pytest
from harness import running
from rows import write_notice
from sabotage import Killed, at_step, kill

from corkage import Identity, storage
from corkage.errors import CheckoutInProgress, NoBillingAccount, StripeError, StripeUnavailable
from corkage.models import (
    TABLES,
    CheckoutAttempt,
    Customer,
    NoticeDelivery,
    NoticeReceiver,
    NoticeRow,
    Setting,
    StripeEvent,
    Subscription,
    User,
)
from corkage.replica import replica
from corkage.sync.converge import Wanted
from corkage.sync.resync import resync

pytestmark = pytest.mark.slow

DOWN = "http://127.0.0.1:1"


@pytest.fixture
def customer(app, shop):
    """Ann's, who pays."""
    customer = shop.customer(email="ann@example.com", name="Ann")
    shop.subscribe(customer)
    app.converge(customer)
    return customer


def posts(simulator):
    return [(each.method, each.path) for each in simulator.requests if each.method != "GET"]


def traces_of(user):
    """The rows that name a user, anywhere in the file."""
    rows = [(table.__name__, row) for table in TABLES for row in table.select().dicts()]
    return [(name, row) for name, row in rows if any(user in str(value) for value in row.values())]


# sync


def test_sync_fetches_the_user_now_and_returns_access(app, shop):
    first, second = shop.customer(), shop.customer()
    app.converge(first)
    app.converge(second)
    shop.subscribe(second)
    assert not app.billing.access("ann").allowed

    access = app.billing.sync("ann")

    assert (access.allowed, access.plan) == (True, "pro")
    assert app.billing.access("ann") == access


def test_sync_calls_stripe_only_for_customers_and_raises_if_it_is_down(app, config, customer, simulator, shop):
    before = len(simulator.requests)
    assert app.billing.sync("bob").reason == "no_subscription"
    assert len(simulator.requests) == before
    assert User.get_or_none(User.id == "bob") is None

    app.billing.close()
    with running(replace(config, stripe_api_base=DOWN)) as away:
        with pytest.raises(StripeUnavailable):
            away.billing.sync("ann")
        assert away.billing.access("ann").allowed


# update_user


def test_a_changed_email_and_name_reach_stripe_and_the_row(app, customer, shop):
    app.billing.update_user("ann", email="new@example.com")
    at_stripe = shop.client.v1.customers.retrieve(customer)
    assert (at_stripe.email, at_stripe.name) == ("new@example.com", "Ann")

    app.billing.update_user("ann", name="")
    at_stripe = shop.client.v1.customers.retrieve(customer)
    user = User.get_by_id("ann")
    assert (at_stripe.email, at_stripe.name or None) == ("new@example.com", None)
    assert (user.email, user.name) == ("new@example.com", None)
    assert app.billing.access("ann").allowed


def test_email_and_name_reach_stripe_with_the_first_purchase(app, shop, simulator):
    before = posts(simulator)
    app.billing.update_user("bob", email="bob@example.com", name="Bob")
    assert posts(simulator) == before
    assert User.get_by_id("bob").email == "bob@example.com"

    app.billing.checkout_url(Identity("bob"), "pro", billing_url="https://a.example")

    at_stripe = shop.client.v1.customers.retrieve(User.get_by_id("bob").stripe_customer_id)
    assert (at_stripe.email, at_stripe.name) == ("bob@example.com", "Bob")


def test_an_update_changes_every_customer_except_deleted_ones(app, customer, shop):
    other = shop.customer(email="old@example.com")
    app.converge(other)
    shop.client.v1.customers.delete(customer)

    app.billing.update_user("ann", email="new@example.com")

    assert shop.client.v1.customers.retrieve(other).email == "new@example.com"
    assert Customer.get_by_id(customer).deleted_at is not None
    assert (User.get_by_id("ann").email, User.get_by_id("ann").stripe_customer_id) == ("new@example.com", other)


def test_an_update_while_stripe_is_down_changes_nothing_and_can_retry(app, config, customer, shop):
    app.billing.close()
    with running(replace(config, stripe_api_base=DOWN)) as away, pytest.raises(StripeUnavailable):
        away.billing.update_user("ann", email="new@example.com")
    with running(config) as again:
        assert User.get_by_id("ann").email == "ann@example.com"
        again.billing.update_user("ann", email="new@example.com")
        assert User.get_by_id("ann").email == shop.client.v1.customers.retrieve(customer).email == "new@example.com"


@pytest.mark.parametrize("said", [{"email": "a\nb@example.com"}, {"name": "x" * 321}])
def test_an_invalid_email_or_name_is_refused_without_a_call(app, customer, simulator, said):
    before = len(simulator.requests)
    with pytest.raises(ValueError, match="printable"):
        app.billing.update_user("ann", **said)
    with pytest.raises(ValueError, match="a user id"):
        app.billing.update_user("", email="a@example.com")
    assert len(simulator.requests) == before


def test_a_fetch_in_flight_does_not_restore_the_old_email(app, customer, shop, monkeypatch):
    gateway = app.billing.service.gateway
    fetch, fetched = gateway.subscriptions_of, []

    def change_meanwhile(customer_id, known_to_pay, **options):
        if not fetched:
            fetched.append(customer_id)
            app.billing.update_user("ann", email="new@example.com")
        return fetch(customer_id, known_to_pay, **options)

    monkeypatch.setattr(gateway, "subscriptions_of", change_meanwhile)
    app.billing.sync("ann")

    assert User.get_by_id("ann").email == "new@example.com"


# forget


def test_deleting_a_user_cancels_deletes_at_stripe_and_leaves_no_rows(app, customer, shop):
    outbox = NoticeReceiver.insert(name="stub", seen_at=time.time()).execute()
    write_notice("ann")
    write_notice("bob")
    assert outbox

    app.billing.forget("ann")

    assert shop.client.v1.customers.retrieve(customer).deleted
    subscriptions = shop.client.v1.subscriptions.list(params={"customer": customer, "status": "all"}).data
    assert {each.status for each in subscriptions} <= {"canceled"}
    assert traces_of("ann") == []
    assert app.billing.access("ann").reason == "no_subscription"
    assert [row.user_id for row in NoticeDelivery.select()] == ["bob"]
    with pytest.raises(NoBillingAccount):
        app.billing.portal_url("ann")


def test_late_events_and_syncs_do_not_restore_a_deleted_user(config, shop, simulator):
    with running(replace(config, poll_seconds=1)) as app:
        app.work()
        customer = shop.customer(email="ann@example.com")
        shop.subscribe(customer)
        app.billing.work()
        assert app.billing.access("ann").allowed
        early = shop.event("customer.subscription.created")

        app.billing.forget("ann")
        with storage.writing():
            StripeEvent.delete().execute()  # or those of before would be known
        for event in (early, shop.event("customer.subscription.deleted"), shop.event("customer.deleted")):
            assert app.deliver(event).status_code == 200
        app.billing.work()
        app.billing.work()
        resync(app.billing.service.converger, time.time())
        app.converge(customer)

        assert traces_of("ann") == []
        assert StripeEvent.select().where(StripeEvent.applied_at.is_null()).count() == 0
        assert User.select().count() == 0


def test_a_fetch_in_flight_does_not_restore_a_deleted_user(app, customer, monkeypatch):
    gateway = app.billing.service.worker.gateway
    fetch, fetched = gateway.subscriptions_of, []

    def forget_meanwhile(customer_id, known_to_pay, **options):
        found = fetch(customer_id, known_to_pay, **options)
        if not fetched:
            fetched.append(customer_id)
            app.billing.forget("ann")
        return found

    monkeypatch.setattr(gateway, "subscriptions_of", forget_meanwhile)
    app.converge(customer)

    assert fetched == [customer]
    assert traces_of("ann") == []


def meanwhile(app, monkeypatch, act):
    """Have something happen in the midst of forgetting, once: when the customer is about to be deleted."""
    gateway, acts = app.billing.service.gateway, [act]
    delete = gateway.delete_customer

    def delete_and_more(customer_id):
        if acts:
            acts.pop()(customer_id)
        delete(customer_id)

    monkeypatch.setattr(gateway, "delete_customer", delete_and_more)


def test_a_fetch_begun_during_a_deletion_is_discarded(app, customer, monkeypatch):
    converger, fetched = app.billing.service.converger, []

    def fetch(customer_id, *known, **options):
        held = replica.read(customer_id)
        fetched.append((held, converger._fetch(held, [], Wanted(customer=True))))

    meanwhile(app, monkeypatch, fetch)
    app.billing.forget("ann")

    ((held, state),) = fetched
    assert (held.customer.user_id, state.customer.user_id) == ("ann", "ann")
    assert converger._store(held, state, [], time.time()) is None
    assert traces_of("ann") == []


def test_a_customer_created_during_a_deletion_is_deleted_too(app, customer, shop, monkeypatch):
    other = shop.customer()
    shop.subscribe(other)
    meanwhile(app, monkeypatch, lambda _: app.converge(other))

    app.billing.forget("ann")

    assert shop.client.v1.customers.retrieve(other).deleted
    assert traces_of("ann") == []


def hold_a_claim():
    """A click of ann's is under way."""
    stored = {"user": "ann", "group": "main", "nonce": "n", "plan": "pro", "wish": "{}", "params": "{}"}
    with storage.writing():
        CheckoutAttempt.insert(stored | {"claimed_until": time.time() + 60, "created_at": 0}).execute()


def test_a_deletion_waits_for_a_click_that_begins_meanwhile(app, customer, monkeypatch):
    def click(_):
        hold_a_claim()

    meanwhile(app, monkeypatch, click)
    with pytest.raises(CheckoutInProgress):
        app.billing.forget("ann")
    assert User.get_or_none(User.id == "ann") is not None

    CheckoutAttempt.update(claimed_until=None).execute()
    app.billing.forget("ann")
    assert traces_of("ann") == []


def test_a_deletion_killed_at_any_step_is_finished_by_a_second_call(app, shop):
    for step in itertools.count():
        user = f"user{step}"
        customer = shop.customer(user)
        shop.subscribe(customer, user=user)
        app.converge(customer)
        url = app.billing.checkout_url(Identity(user), "pro", billing_url="https://a.example")
        assert url
        try:
            with at_step(step, kill):
                app.billing.forget(user)
        except Killed:
            is_whole = User.get_or_none(User.id == user) is not None
            assert is_whole or traces_of(user) == []
        else:
            break
        app.billing.forget(user)
        assert shop.client.v1.customers.retrieve(customer).deleted
        assert traces_of(user) == []
    assert step > 6


def test_a_deletion_while_stripe_is_down_changes_nothing(app, config, customer, simulator):
    app.billing.close()
    with running(replace(config, stripe_api_base=DOWN)) as away:
        with pytest.raises(StripeUnavailable):
            away.billing.forget("ann")
        assert away.billing.access("ann").allowed
    with running(config) as again:
        again.billing.forget("ann")
        assert traces_of("ann") == []


def test_a_deletion_with_a_lost_response_is_finished_by_a_second_call(app, customer, simulator, shop):
    simulator.api_faults.failure, simulator.api_faults.requests = "error_after", None
    with pytest.raises(StripeError):
        app.billing.forget("ann")
    simulator.api_faults.failure = "none"

    app.billing.forget("ann")
    assert shop.client.v1.customers.retrieve(customer).deleted
    assert traces_of("ann") == []


def test_a_deletion_ends_every_customer_of_the_user(app, customer, shop):
    other = shop.customer()
    shop.subscribe(other)
    app.converge(other)

    app.billing.forget("ann")

    assert shop.client.v1.customers.retrieve(customer).deleted
    assert shop.client.v1.customers.retrieve(other).deleted


def test_a_deletion_keeps_another_products_part_of_a_shared_customer(app, customer, shop, caplog):
    theirs = shop.subscribe(customer, price=shop.other_price, user=None)
    app.converge(customer)

    app.billing.forget("ann")

    kept = shop.client.v1.subscriptions.retrieve(theirs)
    at_stripe = shop.client.v1.customers.retrieve(customer)
    statuses = {each.id: each.status for each in shop.client.v1.subscriptions.list(params={"customer": customer}).data}
    assert (kept.status, statuses) == ("active", {theirs: "active"})
    assert "corkage_user" not in at_stripe.metadata.to_dict()
    assert "has subscriptions of another product, too" in caplog.text
    assert traces_of("ann") == []
    app.deliver(shop.event("customer.updated"))
    app.work()
    assert traces_of("ann") == []


def test_a_deletion_expires_the_open_checkout(app, shop, simulator):
    url = app.billing.checkout_url(Identity("ann"), "pro", billing_url="https://a.example")
    session = CheckoutAttempt.get().session_id

    app.billing.forget("ann")

    assert url
    assert shop.client.v1.checkout.sessions.retrieve(session).status == "expired"
    assert traces_of("ann") == []


def test_a_deletion_goes_on_when_the_click_in_flight_has_ended(app, customer):
    """So an account can be deleted in the second after a purchase, while the worker closes the page."""
    hold_a_claim()
    release = threading.Timer(0.2, lambda: CheckoutAttempt.update(claimed_until=None).execute())
    release.start()

    app.billing.forget("ann")
    release.join()

    assert traces_of("ann") == []


def test_a_deletion_waits_for_a_click_in_flight(app, customer, simulator, monkeypatch):
    monkeypatch.setattr("corkage.users.delete.WAIT_SECONDS", 0.1)
    hold_a_claim()
    before = posts(simulator)

    with pytest.raises(CheckoutInProgress):
        app.billing.forget("ann")
    assert posts(simulator) == before
    assert app.billing.access("ann").allowed

    CheckoutAttempt.update(claimed_until=time.time() - 1).execute()
    app.billing.forget("ann")
    assert traces_of("ann") == []


def test_a_customer_that_stripe_does_not_know_prevents_no_deletion(app, customer, shop):
    with storage.writing():
        Customer.insert(id="cus_of_deleted_test_data", user="ann", fetched_at=1).execute()

    app.billing.forget("ann")

    assert shop.client.v1.customers.retrieve(customer).deleted
    assert traces_of("ann") == []


def test_deleting_an_unknown_user_calls_nobody_and_the_id_can_return(app, customer, shop, simulator):
    app.billing.forget("ann")
    before = len(simulator.requests)
    app.billing.forget("ann")
    app.billing.forget("nobody")
    assert len(simulator.requests) == before

    new = shop.customer("ann")
    shop.subscribe(new)
    app.converge(new)
    assert app.billing.access("ann").allowed
    assert Subscription.select().join(Customer).where(Customer.user == "ann").count() == 1
    assert NoticeRow.select().where(NoticeRow.user == "ann").count() == 1
    assert Setting.select().count() > 0


def test_an_operator_deletes_a_user_by_command(app, customer, shop, corkage):
    done = corkage("user", "forget", "ann", "--yes")

    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "ann is forgotten")
    assert shop.client.v1.customers.retrieve(customer).deleted
    assert traces_of("ann") == []
