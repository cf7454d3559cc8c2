"""Killed at any moment: what was acknowledged is there, and all that follows from it follows, and is counted once."""

import json
import random
import threading
import time
from contextlib import contextmanager, suppress

import pytest
import requests
import stripe
from elsewhere import elsewhere
from harness import AUTH_SECRET, WEBHOOK_SECRET, until
from served import Served
from torture import SEED, size

from corkage import storage
from corkage.gateway.events import read_event
from corkage.identity import SERVER_AUDIENCE, mint_token

pytestmark = [pytest.mark.slow, pytest.mark.torture("crash")]

NOTICES = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
PLANS = """
[free]
name = "Free"
free = true
limits = { exports = { limit = 1_000_000, every = "month" } }

[pro]
name = "Pro"
prices = ["pro_monthly", "{other}"]
features = ["exports"]
limits = { exports = { limit = 1_000_000, every = "month" } }
"""


class World:
    """What goes on around a server that may be gone at any moment: Stripe delivers, and the product counts use.

    Shape   acknowledged: the events that were answered with 2xx; used: the keys of uses that were answered with 200
    """

    def __init__(self, simulator, url, chance):
        self.simulator, self.url, self.chance = simulator, url, chance
        self.acknowledged, self.used, self.keys = set(), set(), 0
        self.is_over = threading.Event()

    def waiting(self):
        """The events that Stripe still delivers."""
        return [each for each in self.simulator.world.all("event") if each["id"] not in self.acknowledged]

    def acknowledged_and_wanted(self):
        """What must be stored: what is not wanted is acknowledged, too."""
        events = {each["id"]: each for each in self.simulator.world.all("event")}
        return {id_ for id_ in set(self.acknowledged) if read_event(events[id_]).is_wanted}

    def deliver(self):
        """Deliver what was not acknowledged, in any order, again and again."""
        while not self.is_over.is_set():
            waiting = self.waiting()
            self.chance.shuffle(waiting)
            for event in waiting or [None]:
                if event is None or not self._is_taken(event):
                    time.sleep(0.02)

    def _is_taken(self, event):
        body = json.dumps(event)
        signature = stripe.WebhookSignature.generate_signature_header(body, WEBHOOK_SECRET, int(time.time()))
        with suppress(requests.RequestException):
            answer = requests.post(f"{self.url}/webhook", body, headers={"Stripe-Signature": signature}, timeout=20)
            if answer.ok:
                self.acknowledged.add(event["id"])
            return answer.ok
        return False

    def use(self):
        """Count use after use, each under its key until it was counted."""
        while not self.is_over.is_set():
            self.keys += 1
            key = f"key-{self.keys}"
            while not self._is_counted(key) and not self.is_over.is_set():
                time.sleep(0.02)

    def _is_counted(self, key):
        token = mint_token(AUTH_SECRET, "counter", now=time.time(), audience=SERVER_AUDIENCE)
        headers = {"Authorization": f"Bearer {token}"}
        with suppress(requests.RequestException):
            body = {"name": "exports", "amount": 2, "key": key}
            answer = requests.post(f"{self.url}/use", json=body, headers=headers, timeout=20)
            if answer.status_code == 200:
                self.used.add(key)
            return answer.status_code == 200
        return False

    @contextmanager
    def going_on(self):
        threads = [threading.Thread(target=act) for act in (self.deliver, self.deliver, self.use)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.is_over.set()
            for thread in threads:
                thread.join()


@pytest.fixture
def server(environ, receiver, shop, tmp_path):
    (tmp_path / "plans.toml").write_text(PLANS.replace("{other}", shop.other_price))
    notices = {"BILLING_NOTIFY_URL": receiver.url, "BILLING_NOTIFY_SECRET": NOTICES}
    killed = Served(environ | notices | {"BILLING_POLL_SECONDS": "0", "BILLING_APP": "app.example.com"}, tmp_path)
    killed.start()
    yield killed
    killed.kill()


def rows(database, query):
    """Read as another program does: the server may be dead."""
    with elsewhere(database) as connection:
        return connection.execute(query).fetchall()


def change_something(shop, chance, subscriptions):
    """Do what customers do."""
    deed = chance.choice(("begin", "begin", "switch", "switch", "cancel"))
    running = [id_ for id_, is_running in subscriptions.items() if is_running]
    if deed == "begin" or not running:
        user = f"user{len(subscriptions)}"
        subscriptions[shop.subscribe(shop.customer(user), user=user)] = True
    elif deed == "switch":
        id_ = chance.choice(running)
        item = shop.client.v1.subscriptions.retrieve(id_)["items"].data[0]
        price = shop.other_price if item.price.id == shop.price else shop.price
        shop.client.v1.subscriptions.update(id_, params={"items": [{"id": item.id, "price": price}]})
    else:
        id_ = chance.choice(running)
        shop.client.v1.subscriptions.cancel(id_)
        subscriptions[id_] = False


def test_what_was_acknowledged_is_there_however_often_the_server_is_killed(
    server, environ, simulator, shop, receiver, figures
):
    kills, chance, database = size(6, long=300), random.Random(SEED), environ["BILLING_DATABASE"]
    world, subscriptions, lost = World(simulator, server.url, random.Random(SEED)), {}, 0
    until(server.is_serving)
    with world.going_on():
        for _ in range(kills):
            if chance.random() < 0.8:
                until(server.is_serving)
                for _ in range(3):
                    change_something(shop, chance, subscriptions)
            time.sleep(chance.uniform(0, 0.4))
            server.kill()
            lost += check_file(database, world.acknowledged_and_wanted(), set(world.used))
            server.start()
        until(server.is_serving)
        until(lambda: not world.waiting(), seconds=90)
    end_leases(database)
    until(lambda: not unfinished(database), seconds=90)

    assert lost == 0
    check_replica(database, simulator)
    notices = check_notices(database, receiver)
    ((used,),) = rows(database, "SELECT SUM(used) FROM corkage_usage WHERE user_id = 'counter'")
    counted = {key for (key,) in rows(database, "SELECT key FROM corkage_usage_key")}
    assert world.used <= counted
    assert used == 2 * len(counted)
    assert "Traceback" not in server.log()
    figures.note(
        kills=kills, events_acknowledged=len(world.acknowledged), uses_counted=len(counted), notices=notices, lost=lost
    )


def check_file(database, acknowledged, used):
    """Look at what the killed server left; return how much of what it had acknowledged is not there."""
    if not storage.is_url(database):
        assert rows(database, "PRAGMA integrity_check") == [("ok",)]
    stored = {id_ for (id_,) in rows(database, "SELECT id FROM corkage_stripe_event")}
    counted = {key for (key,) in rows(database, "SELECT key FROM corkage_usage_key")}
    return len(acknowledged - stored) + len(used - counted)


def end_leases(database):
    """Let the minutes pass for which what a killed server had at hand is kept from others."""
    with elsewhere(database) as connection:
        for table, is_over in (("stripe_event", "applied_at"), ("notice_delivery", "delivered_at")):
            connection.execute(f"UPDATE corkage_{table} SET next_attempt_at = 0 WHERE {is_over} IS NULL")


def unfinished(database):
    """What is still to be done."""
    ((events,),) = rows(database, "SELECT COUNT(*) FROM corkage_stripe_event WHERE applied_at IS NULL")
    ((notices,),) = rows(database, "SELECT COUNT(*) FROM corkage_notice_delivery WHERE delivered_at IS NULL")
    return events + notices


def check_replica(database, simulator):
    """Compare what is stored with what Stripe holds."""
    there = {
        each["id"]: (each["status"], each["items"]["data"][0]["price"]["id"])
        for each in simulator.world.all("subscription")
    }
    found = rows(
        database,
        "SELECT s.id, s.status, i.price_id FROM corkage_subscription s "
        "LEFT JOIN corkage_subscription_item i ON i.subscription_id = s.id",
    )
    assert {id_: (status, price) for id_, status, price in found} == there


def check_notices(database, receiver):
    """Each notice was received, and the last of each user says what is so; return how many there are."""
    stored = rows(database, "SELECT message_id, user_id, after FROM corkage_notice ORDER BY id")
    assert {message_id for message_id, _, _ in stored} <= set(receiver.ids)
    last = {user: json.loads(after)["reason"] for _, user, after in stored}
    reasons = dict(rows(database, "SELECT user_id, reason FROM corkage_access"))
    assert last == {user: reasons[user] for user in last}
    assert {user for user, reason in reasons.items() if reason == "active"} <= set(last)  # who bought has heard of it
    return len(stored)
