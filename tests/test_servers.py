"""Servers that load the app before they fork, that run several processes, or import it in an idle parent."""

import json
import random
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from harness import WEBHOOK_SECRET, started, until
from stripe import WebhookSignature

from corkage.gateway.events import read_event
from corkage.models import NoticeRow, StripeEvent, Subscription

pytestmark = pytest.mark.slow

USERS, TWICE = 50, 50
SERVED = "from corkage import Billing, Config\napplication = Billing(Config.from_env()).wsgi\n"


@pytest.fixture
def webhooks(shop, simulator):
    """What a busy hour brings: four events that count, of each of many users."""
    for number in range(USERS):
        user = f"user{number}"
        customer = shop.customer(user)
        subscription = shop.subscribe(customer, user=user)
        shop.client.v1.subscriptions.update(subscription, params={"metadata": {"seen": "yes"}})
        shop.client.v1.customers.update(customer, params={"name": "Ann"})
    events = [event for event in simulator.world.all("event") if read_event(event).is_wanted]
    assert len({event["id"] for event in events}) == len(events) >= 200
    return [json.dumps(event) for event in events]


def deliver_at_once(url, bodies):
    """Open all the connections first, then let all of them speak."""
    together = threading.Barrier(len(bodies))

    def deliver(body):
        signature = WebhookSignature.generate_signature_header(body, WEBHOOK_SECRET)
        together.wait(60)
        return requests.post(url, body, headers={"Stripe-Signature": signature}, timeout=60).status_code

    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(deliver, bodies))


@pytest.mark.parametrize("kind", ["--worker-class=sync", "--threads=4"])
def test_three_forked_workers_accept_two_hundred_concurrent_webhooks(
    kind, app, webhooks, shop, simulator, environ, tmp_path
):
    (tmp_path / "host.py").write_text(SERVED)
    environ |= {"BILLING_DATABASE": app.billing.config.database, "BILLING_POLL_SECONDS": "0"}
    bodies = webhooks + random.Random(7).sample(webhooks, TWICE)
    options = ["--workers=3", "--preload", kind, "--bind=127.0.0.1:0", "host:application"]

    with started(options, environ, tmp_path, "Listening at", module="gunicorn") as (process, said):
        url = re.search(r"http://127\.0\.0\.1:\d+", said[-1])[0]
        assert deliver_at_once(f"{url}/webhook", bodies) == [200] * len(bodies)
        until(lambda: not StripeEvent.select().where(StripeEvent.applied_at.is_null()).count())
        assert requests.get(f"{url}/health", timeout=30).json()["worker"] == "thread"

    assert StripeEvent.select().count() == len(webhooks)
    there = {each["id"]: each["status"] for each in simulator.world.all("subscription")}
    assert {row.id: row.status for row in Subscription.select()} == there
    assert all(app.billing.access(f"user{number}").allowed for number in range(USERS))
    assert sorted(row.user_id for row in NoticeRow.select()) == sorted(f"user{number}" for number in range(USERS))
    assert process.returncode == 0
    assert not re.search("locked|unavailable|Traceback", "".join(said))


MADE = """
import os, sys, threading, time
from corkage import Billing, Config, storage
from corkage.models import Cursor
billing = Billing(Config.from_env())

def is_idle():
    return threading.active_count() == 1 and not storage.current().open_connections()

def works():
    deadline = time.monotonic() + 30
    while not Cursor.select().where(Cursor.name == "prices").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return Cursor.select().where(Cursor.name == "prices").exists() and billing.service.worker_state() == "thread"

def in_a_child(act):
    if os.fork() == 0:
        os._exit(not act())
    return os.waitstatus_to_exitcode(os.wait()[1]) == 0
"""
BEFORE_A_FORK = """
assert is_idle() and "stripe" not in sys.modules
assert in_a_child(is_idle)
assert in_a_child(lambda: not billing.access("ann").allowed and works())
assert is_idle()
billing.start()
assert works()
billing.close()
assert threading.active_count() == 1
"""
IN_USE = """
billing.start()
worker, checkout, thread = billing.service.worker, billing.service.checkout, billing.service._thread
assert works()
# The worker must sleep: a child that is forked while another thread is inside SQLite may hang (docs/embedding.md).
while worker._pool._running or not 1 < thread._looks_at - time.monotonic() < 60:
    time.sleep(0.02)

def is_anew():
    Cursor.delete().where(Cursor.name == "prices").execute()
    assert threading.active_count() == 1
    billing.access("ann")
    return works() and billing.service.worker is not worker and billing.service.checkout is not checkout

assert in_a_child(is_anew)
assert billing.service._thread is thread and thread.is_alive() and billing.service.worker is worker
billing.close()
assert in_a_child(lambda: threading.active_count() == 1 and not billing.service._is_to_start)
"""
WHILE_WRITING = """
writes, ends = threading.Event(), threading.Event()

def write():
    with storage.writing():
        storage.execute("DELETE FROM corkage_cursor")
        writes.set()
        ends.wait(1)

def can_write():
    with storage.writing():
        storage.execute("DELETE FROM corkage_cursor")
    return True

billing.access("ann")
writer = threading.Thread(target=write)
writer.start()
assert writes.wait(30)
assert in_a_child(can_write)
assert can_write()
writer.join()
billing.close()
"""
UNCLOSED = """
billing.start()
assert works()
begun = threading.Event()
billing.service.worker.begin_due = lambda *_: begun.set() or time.sleep(0.5) or print("finished") or sys.exit()
billing.service._thread.wake()
begun.wait(30)
"""


def run(program, environ, folder):
    environ = environ | {"BILLING_POLL_SECONDS": "0"}
    command = [sys.executable, "-c", MADE + program]
    ran = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize(
    "program",
    [BEFORE_A_FORK, IN_USE, WHILE_WRITING],
    ids=["made before a fork", "in use at a fork", "while another thread writes"],
)
def test_each_forked_process_opens_its_own_files_and_threads(program, environ, tmp_path):
    run(program, environ, tmp_path)


def test_an_exiting_process_lets_its_worker_finish_the_customer(environ, tmp_path):
    assert run(UNCLOSED, environ, tmp_path) == "finished\n"
