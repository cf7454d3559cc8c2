"""What a host says of one user: fetch them now, their e-mail changed, their account is deleted."""

import itertools
import time
from dataclasses import replace

import pytest
from harness import running
from rows import write_notice
from sabotage import Killed, at_step, kill

from corkage import Identity, storage
from corkage.errors import CheckoutInProgress, NoBillingAccount, StripeError, StripeUnavailable, UnknownCustomer
from corkage.models import (
    TABLES,
    CheckoutAttempt,
    Customer,
    Notice,
    NoticeDelivery,
    NoticeReceiver,
    Setting,
    StripeEvent,
    Subscription,
    User,
)
from corkage.sync.resync import resync

DOWN = "http://127.0.0.1:1"


def converge(app, customer):
    app.billing.service.converger.converge(customer, time.time())


@pytest.fixture
def customer(app, shop):
    """Ann's, who pays."""
    customer = shop.customer(email="ann@example.com", name="Ann")
    shop.subscribe(customer)
    converge(app, customer)
    return customer


def posts(simulator):
    return [(each.method, each.path) for each in simulator.requests if each.method != "GET"]


def traces_of(user):
    """The rows that name a user, anywhere in the file."""
    rows = [(table.__name__, row) for table in TABLES for row in table.select().dicts()]
    return [(name, row) for name, row in rows if any(user in str(value) for value in row.values())]


# sync


def test_sync_fetches_the_user_now_and_answers(app, shop):
    first, second = shop.customer(), shop.customer()
    converge(app, first)
    converge(app, second)
    shop.subscribe(second)
    assert not app.billing.access("ann").allowed

    access = app.billing.sync("ann")

    assert (access.allowed, access.plan) == (True, "pro")
    assert app.billing.access("ann") == access


def test_sync_of_who_never_bought_asks_nobody_and_when_stripe_is_down_says_so(app, config, customer, simulator, shop):
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
    told = shop.client.v1.customers.retrieve(customer)
    assert (told.email, told.name) == ("new@example.com", "Ann")

    app.billing.update_user("ann", name="")
    told = shop.client.v1.customers.retrieve(customer)
    user = User.get_by_id("ann")
    assert (told.email, told.name or None) == ("new@example.com", None)
    assert (user.email, user.name) == ("new@example.com", None)
    assert app.billing.access("ann").allowed


def test_of_a_user_without_a_customer_stripe_hears_when_they_buy(app, shop, simulator):
    before = posts(simulator)
    app.billing.update_user("bob", email="bob@example.com", name="Bob")
    assert posts(simulator) == before
    assert User.get_by_id("bob").email == "bob@example.com"

    app.billing.checkout_url(Identity("bob"), "pro", billing_url="https://a.example")

    told = shop.client.v1.customers.retrieve(User.get_by_id("bob").stripe_customer_id)
    assert (told.email, told.name) == ("bob@example.com", "Bob")


def test_every_customer_of_the_user_is_changed_but_a_deleted_one_which_is_noticed(app, customer, shop):
    other = shop.customer(email="old@example.com")
    converge(app, other)
    shop.client.v1.customers.delete(customer)

    app.billing.update_user("ann", email="new@example.com")

    assert shop.client.v1.customers.retrieve(other).email == "new@example.com"
    assert Customer.get_by_id(customer).deleted_at is not None
    assert (User.get_by_id("ann").email, User.get_by_id("ann").stripe_customer_id) == ("new@example.com", other)


def test_when_stripe_is_down_nothing_is_changed_and_calling_again_is_enough(app, config, customer, shop):
    app.billing.close()
    with running(replace(config, stripe_api_base=DOWN)) as away, pytest.raises(StripeUnavailable):
        away.billing.update_user("ann", email="new@example.com")
    with running(config) as again:
        assert User.get_by_id("ann").email == "ann@example.com"
        again.billing.update_user("ann", email="new@example.com")
        assert User.get_by_id("ann").email == shop.client.v1.customers.retrieve(customer).email == "new@example.com"


@pytest.mark.parametrize("said", [{"email": "a\nb@example.com"}, {"name": "x" * 321}])
def test_what_is_no_email_or_name_is_refused_without_asking(app, customer, simulator, said):
    before = len(simulator.requests)
    with pytest.raises(ValueError, match="printable"):
        app.billing.update_user("ann", **said)
    with pytest.raises(ValueError, match="a user id"):
        app.billing.update_user("", email="a@example.com")
    assert len(simulator.requests) == before


def test_a_fetch_under_way_does_not_bring_the_old_email_back(app, customer, shop, monkeypatch):
    gateway = app.billing.service.gateway
    fetch, fetched = gateway.subscriptions_of, []

    def change_meanwhile(customer_id):
        if not fetched:
            fetched.append(customer_id)
            app.billing.update_user("ann", email="new@example.com")
        return fetch(customer_id)

    monkeypatch.setattr(gateway, "subscriptions_of", change_meanwhile)
    app.billing.sync("ann")

    assert User.get_by_id("ann").email == "new@example.com"


# forget


def test_a_forgotten_user_pays_no_more_is_deleted_at_stripe_and_leaves_no_trace(app, customer, shop):
    outbox = NoticeReceiver.insert(name="told", seen_at=time.time()).execute()
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


def test_late_events_polls_and_full_syncs_do_not_bring_the_user_back(config, shop, simulator):
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
        converge(app, customer)

        assert traces_of("ann") == []
        assert StripeEvent.select().where(StripeEvent.applied_at.is_null()).count() == 0
        assert User.select().count() == 0


def test_a_fetch_under_way_does_not_bring_the_user_back(app, customer, monkeypatch):
    gateway = app.billing.service.gateway
    fetch, fetched = gateway.subscriptions_of, []

    def forget_meanwhile(customer_id):
        found = fetch(customer_id)
        if not fetched:
            fetched.append(customer_id)
            app.billing.forget("ann")
        return found

    monkeypatch.setattr(gateway, "subscriptions_of", forget_meanwhile)
    converge(app, customer)

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


def test_a_fetch_that_began_in_its_midst_is_thrown_away(app, customer, monkeypatch):
    converger, fetched = app.billing.service.converger, []

    def fetch(customer_id):
        row = Customer.get_by_id(customer_id)
        fetched.append((row, converger._fetch(row, [], True, set())))

    meanwhile(app, monkeypatch, fetch)
    app.billing.forget("ann")

    ((row, told),) = fetched
    assert (row.user_id, told.customer.user_id) == ("ann", "ann")
    assert converger._write(row, told, [], time.time()) is None
    assert traces_of("ann") == []


def test_a_customer_that_comes_in_its_midst_is_ended_too(app, customer, shop, monkeypatch):
    other = shop.customer()
    shop.subscribe(other)
    meanwhile(app, monkeypatch, lambda _: converge(app, other))

    app.billing.forget("ann")

    assert shop.client.v1.customers.retrieve(other).deleted
    assert traces_of("ann") == []


def test_a_click_that_begins_in_its_midst_is_waited_for(app, customer, monkeypatch):
    def click(_):
        with storage.writing():
            CheckoutAttempt.insert(
                user="ann", nonce="n", plan="pro", params="{}", claimed_until=time.time() + 60, created_at=0
            ).execute()

    meanwhile(app, monkeypatch, click)
    with pytest.raises(CheckoutInProgress):
        app.billing.forget("ann")
    assert User.get_or_none(User.id == "ann") is not None

    CheckoutAttempt.update(claimed_until=None).execute()
    app.billing.forget("ann")
    assert traces_of("ann") == []


def test_wherever_it_breaks_off_a_second_call_finishes(app, shop):
    for step in itertools.count():
        user = f"user{step}"
        customer = shop.customer(user)
        shop.subscribe(customer, user=user)
        converge(app, customer)
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


def test_while_stripe_is_down_the_user_is_not_half_forgotten(app, config, customer, simulator):
    app.billing.close()
    with running(replace(config, stripe_api_base=DOWN)) as away:
        with pytest.raises(StripeUnavailable):
            away.billing.forget("ann")
        assert away.billing.access("ann").allowed
    with running(config) as again:
        again.billing.forget("ann")
        assert traces_of("ann") == []


def test_whatever_answer_of_stripes_is_lost_a_second_call_finishes(app, customer, simulator, shop):
    simulator.api_faults.failure, simulator.api_faults.requests = "error_after", None
    with pytest.raises(StripeError):
        app.billing.forget("ann")
    simulator.api_faults.failure = "none"

    app.billing.forget("ann")
    assert shop.client.v1.customers.retrieve(customer).deleted
    assert traces_of("ann") == []


def test_every_customer_of_the_user_is_ended(app, customer, shop):
    other = shop.customer()
    shop.subscribe(other)
    converge(app, other)

    app.billing.forget("ann")

    assert shop.client.v1.customers.retrieve(customer).deleted
    assert shop.client.v1.customers.retrieve(other).deleted


def test_of_a_customer_whom_another_product_has_too_only_what_is_ours_ends(app, customer, shop, caplog):
    theirs = shop.subscribe(customer, price=shop.other_price, user=None)
    converge(app, customer)

    app.billing.forget("ann")

    kept = shop.client.v1.subscriptions.retrieve(theirs)
    told = shop.client.v1.customers.retrieve(customer)
    statuses = {each.id: each.status for each in shop.client.v1.subscriptions.list(params={"customer": customer}).data}
    assert (kept.status, statuses) == ("active", {theirs: "active"})
    assert "corkage_user" not in told.metadata.to_dict()
    assert "has subscriptions of another product, too" in caplog.text
    assert traces_of("ann") == []
    app.deliver(shop.event("customer.updated"))
    app.work()
    assert traces_of("ann") == []


def test_an_open_checkout_is_closed_so_that_it_cannot_be_paid_any_more(app, shop, simulator):
    url = app.billing.checkout_url(Identity("ann"), "pro", billing_url="https://a.example")
    session = CheckoutAttempt.get().session_id

    app.billing.forget("ann")

    assert url
    assert shop.client.v1.checkout.sessions.retrieve(session).status == "expired"
    assert traces_of("ann") == []


def test_a_click_that_is_being_carried_out_is_waited_for(app, customer, simulator):
    with storage.writing():
        CheckoutAttempt.insert(
            user="ann", nonce="n", plan="pro", params="{}", claimed_until=time.time() + 60, created_at=0
        ).execute()
    before = posts(simulator)

    with pytest.raises(CheckoutInProgress):
        app.billing.forget("ann")
    assert posts(simulator) == before
    assert app.billing.access("ann").allowed

    CheckoutAttempt.update(claimed_until=time.time() - 1).execute()
    app.billing.forget("ann")
    assert traces_of("ann") == []


def test_a_customer_that_another_account_has_is_not_forgotten_unended(app, customer, shop):
    with storage.writing():
        Customer.insert(id="cus_elsewhere", user="ann", fetched_at=1).execute()

    with pytest.raises(UnknownCustomer):
        app.billing.forget("ann")

    assert User.get_or_none(User.id == "ann") is not None


def test_nobody_is_asked_of_who_is_unknown_and_the_same_id_may_come_back(app, customer, shop, simulator):
    app.billing.forget("ann")
    before = len(simulator.requests)
    app.billing.forget("ann")
    app.billing.forget("nobody")
    assert len(simulator.requests) == before

    new = shop.customer("ann")
    shop.subscribe(new)
    converge(app, new)
    assert app.billing.access("ann").allowed
    assert Subscription.select().join(Customer).where(Customer.user == "ann").count() == 1
    assert Notice.select().where(Notice.user == "ann").count() == 1
    assert Setting.select().count() > 0


def test_an_operator_forgets_a_user_by_command(app, customer, shop, corkage):
    done = corkage("user", "forget", "ann")

    assert (done.returncode, done.stdout) == (0, "ann is forgotten\n")
    assert shop.client.v1.customers.retrieve(customer).deleted
    assert traces_of("ann") == []
