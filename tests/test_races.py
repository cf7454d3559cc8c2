"""Races of real processes on one database: whatever meets, the end is right, and nothing is there twice."""

import json
import os
import random
import re
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psutil
import pytest
import requests
from buying import bearer, pay, token
from elsewhere import be_impatient
from harness import APP, DAY, started, until
from racing import converge, follow_time, link, racing, record, work, write_in_halves

from corkage import storage
from corkage.gateway.events import EventRef, read_event
from corkage.models import AnswerRow, CheckoutAttempt, Customer, NoticeRow, Price, StripeEvent, Subscription, User

pytestmark = [pytest.mark.slow, pytest.mark.every_run]

ROUNDS = 12


@pytest.fixture
def impatient(monkeypatch):
    be_impatient(monkeypatch)


@pytest.fixture
def race(app, config):
    with racing(config) as begun:
        yield begun


class Held:
    """A subscription that is changed in each round."""

    def __init__(self, shop, customer, user="ann", price=None):
        self.v1, self.customer = shop.client.v1, customer
        self.id = shop.subscribe(customer, price, user)
        self.item = self.v1.subscriptions.retrieve(self.id)["items"].data[0].id

    def change(self, **change):
        items = [{"id": self.item} | change]
        self.v1.subscriptions.update(self.id, params={"items": items, "proration_behavior": "none"})


def test_two_customers_of_a_user_converge_at_once_and_both_count(app, shop, race):
    # To prices of their own: the row of a price that both write would have one wait for the other.
    held = [Held(shop, shop.customer(), price=price) for price in (shop.price, new_price(shop, 500))]
    for each in held:
        app.converge(each.customer)
    assert app.billing.access("ann").quantity == 2

    for quantity in range(2, 2 + ROUNDS):
        for each in held:
            each.change(quantity=quantity)
        race.to_the_write(*((converge, each.customer) for each in held))

        assert app.billing.access("ann").quantity == 2 * quantity
        (newest,) = NoticeRow.select().order_by(NoticeRow.id.desc()).limit(1)
        assert json.loads(newest.after)["quantity"] == 2 * quantity
    assert AnswerRow.select().where(AnswerRow.user_id == "ann").count() == 1


def new_price(shop, amount):
    """Make another price of the product that is sold."""
    product = shop.client.v1.prices.retrieve(shop.price).product
    price = {"product": product, "currency": "usd", "unit_amount": amount, "recurring": {"interval": "month"}}
    return shop.client.v1.prices.create(params=price).id


def let_in(app, *users):
    return {user for user in users if app.billing.access(user).allowed}


def test_of_two_links_of_a_customer_one_wins_and_only_its_user_is_let_in(app, shop, race):
    customer = shop.customer(None)
    shop.subscribe(customer, user=None)
    app.billing.grant("cid", "pro")  # no link touches this one

    for _ in range(ROUNDS):
        race.to_the_write((link, "ann", customer), (link, "bob", customer))

        owner = Customer.get_by_id(customer).user_id
        assert let_in(app, "ann", "bob", "cid") == {owner, "cid"}
        assert [user.id for user in User.select().where(User.stripe_customer_id == customer)] == [owner]


def test_links_of_two_customers_to_a_user_both_count(app, shop, race):
    customers = [shop.customer(None) for _ in range(2)]
    for customer in customers:
        shop.subscribe(customer, user=None)

    for number in range(ROUNDS):
        to, other = ("ann", "bob") if number % 2 else ("bob", "ann")
        race.to_the_write(*((link, to, customer) for customer in customers))

        assert {row.user_id for row in Customer.select()} == {to}
        assert let_in(app, to, other) == {to}
        assert app.billing.access(to).quantity == 2
        assert User.get_by_id(to).stripe_customer_id in customers
    assert User.get_by_id(other).stripe_customer_id is None


SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.002); RETURN new; END';
CREATE TRIGGER slow BEFORE INSERT ON corkage_stripe_event FOR EACH ROW EXECUTE FUNCTION slow();
"""


def test_the_same_events_in_two_processes_unsorted_are_stored_once(app, config, race):
    if storage.is_url(config.database):
        storage.execute(SLOW)  # so that the groups of the two overlap
    events = [EventRef(f"evt_{number}", "invoice.paid", 1, False, None, "cus_1", None) for number in range(300)]
    orders = [random.Random(seed).sample(events, len(events)) for seed in (1, 2)]

    race.at_once(*((record, order, 32) for order in orders))

    assert StripeEvent.select().count() == len(events)


def test_a_price_that_two_processes_meet_first_is_stored_once(app, shop, race):
    held = [Held(shop, shop.customer(user), user) for user in ("ann", "bob")]
    for each in held:
        app.converge(each.customer)

    for amount in range(100, 100 + ROUNDS):
        price = new_price(shop, amount)
        for each in held:
            each.change(price=price)
        assert race.to_the_write(*((converge, each.customer) for each in held)) == ["converged"] * 2

        assert Price.get_by_id(price).plan == "pro"
        assert {app.billing.access(user).price_id for user in ("ann", "bob")} == {price}


def test_what_time_changes_is_noticed_once_by_two_processes(app, race):
    now = int(time.time())
    ends = [now + number * DAY for number in range(1, 1 + ROUNDS)]
    for end in ends:
        for name in ("ann", "bob", "cid"):
            app.billing.grant(f"{name}_{end}", "pro", until=end)

    for end in ends:
        race.to_the_write(*[(follow_time, end)] * 2)

    kinds = Counter((row.user_id, row.kind) for row in NoticeRow.select())
    assert set(kinds.values()) == {1}
    assert Counter(kind for _, kind in kinds) == {"access_granted": 3 * ROUNDS, "access_revoked": 3 * ROUNDS}


CLICKERS, CLICKS = 24, 4


@contextmanager
def serving(environ, folder):
    """Run `corkage serve`, and yield its address."""
    with started(["serve", "--port", "0"], environ, folder, "serving on") as (process, said):
        url = re.search(r"http://127\.0\.0\.1:\d+", said[-1])[0]
        reading = threading.Thread(target=said.extend, args=(process.stdout,))  # it logs more than a pipe holds
        reading.start()
        try:
            yield url
        finally:
            process.terminate()
            reading.join()


def test_users_who_click_four_times_on_two_servers_get_one_page_and_one_subscription(
    app, environ, tmp_path, shop, simulator
):
    environ = environ | {"BILLING_POLL_SECONDS": "0", "BILLING_WORKER": "off", "BILLING_URL": f"https://{APP}"}
    users = [f"user{number}" for number in range(CLICKERS)]
    together = threading.Barrier(CLICKERS * CLICKS)

    def click(url, user):
        together.wait(90)
        for _ in range(200):
            answer = requests.post(f"{url}/checkout", {"plan": "pro"}, headers=bearer(token(user)), timeout=90)
            if answer.status_code == 200:
                return user, answer.json()["url"]
            assert answer.status_code in (409, 503), answer.text  # for a while: the visitor clicks again
            time.sleep(0.5 + random.random())
        raise AssertionError(answer.text)

    pool = ThreadPoolExecutor(CLICKERS * CLICKS)
    with pool, serving(environ, tmp_path) as one, serving(environ, tmp_path) as two:
        sent = [pool.submit(click, (one, two)[number % 2], user) for user in users for number in range(CLICKS)]
        led = {each.result() for each in sent}

    assert sorted(user for user, _ in led) == sorted(users)  # each to the same page with all four clicks
    assert sorted(each["metadata"]["corkage_user"] for each in simulator.world.all("customer")) == sorted(users)
    assert len(simulator.world.all("checkout.session")) == CLICKERS
    assert sorted(row.user_id for row in CheckoutAttempt.select()) == sorted(users)
    for _, page in led:
        assert pay(page).status_code == 303
        pay(page)
    sold = simulator.world.all("subscription")
    assert len({each["customer"] for each in sold}) == len(sold) == CLICKERS


def test_four_workers_of_which_one_is_killed_apply_everything_once(app, config, shop, simulator):
    users = [f"user{number}" for number in range(60)]
    for user in users:
        customer = shop.customer(user)
        shop.client.v1.subscriptions.update(shop.subscribe(customer, user=user), params={"metadata": {"seen": "yes"}})
    events = [event for each in simulator.world.all("event") if (event := read_event(each)).is_wanted]
    customers = [event for event in events if event.customer_id]
    now = time.time()
    simulator.api_faults.latency_seconds = 0.1

    with racing(config, 4, {"corkage.sync.worker.LEASE_SECONDS": 3.0}) as race:
        race.racers[0].do(record, customers, 1)
        for racer in race.racers:
            racer.begin(work)
        until(lambda: Subscription.select().count(), seconds=90)
        race.racers.pop(0).kill()
        for racer in race.racers:
            racer.result()

    assert StripeEvent.select().where(StripeEvent.applied_at.is_null()).count() == 0
    assert StripeEvent.select().count() == len(customers)
    there = {each["id"]: each["status"] for each in simulator.world.all("subscription")}
    assert {row.id: row.status for row in Subscription.select()} == there
    assert sorted(row.user_id for row in NoticeRow.select()) == sorted(users)
    assert let_in(app, *users) == set(users)
    assert now < min(row.applied_at for row in StripeEvent.select())


@pytest.fixture
def stopped(app, config, tmp_path):
    """A process that stands still in the middle of a transaction that writes."""
    with racing(config, 1, {"corkage.storage.deadline.BUSY_SECONDS": 0.5}) as race:
        (racer,) = race.racers
        racer.begin(write_in_halves, tmp_path)
        until((tmp_path / "inside").exists, seconds=90)
        os.kill(racer.process.pid, signal.SIGSTOP)
        until(lambda: psutil.Process(racer.process.pid).status() == psutil.STATUS_STOPPED)
        yield racer


def go_on(racer, folder):
    (folder / "go on").touch()
    os.kill(racer.process.pid, signal.SIGCONT)
    return racer.result()


def halves():
    return [user.id for user in User.select().order_by(User.id) if user.id != "ann"]


@pytest.mark.one_engine("postgresql", "SQLite lets a process keep its lock as long as it lives")
def test_a_process_that_stands_still_while_it_writes_is_left_behind(app, shop, stopped, tmp_path):
    shop.subscribe(shop.customer())

    assert app.deliver(shop.event("customer.subscription.created")).status_code == 200
    until(lambda: app.billing.grant("ann", "pro").allowed)  # waits until the server has ended that transaction

    assert go_on(stopped, tmp_path) == "unavailable"
    assert halves() == []
    assert stopped.do(write_in_halves, tmp_path) == "written"
    assert halves() == ["first half", "second half"]


@pytest.mark.one_engine("sqlite", "PostgreSQL ends the transaction of a process that stands still")
def test_nothing_is_lost_while_a_process_stands_still_while_it_writes(impatient, app, shop, stopped, tmp_path):
    shop.subscribe(shop.customer())
    event = shop.event("customer.subscription.created")

    assert app.deliver(event).status_code == 503
    assert app.ask().json()["allowed"] is False  # reading goes on

    assert go_on(stopped, tmp_path) == "written"
    assert halves() == ["first half", "second half"]
    until(lambda: app.deliver(event).status_code == 200)
    app.work()
    assert app.ask().json()["allowed"] is True
