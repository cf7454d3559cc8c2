"""Several processes on one database: what is to be done is done once, and ends equal to what Stripe holds."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import until

from corkage.gateway.events import read_event
from corkage.models import AnswerRow, NoticeRow, StripeEvent, Subscription
from corkage.sync import inbox

pytestmark = [pytest.mark.slow, pytest.mark.every_run]

USERS = 12


@pytest.fixture
def buyers(app, shop, simulator):
    """Users who bought, upgraded and partly canceled, and of whom every event waits."""
    events = []
    for number in range(USERS):
        user = f"user{number}"
        subscription = shop.subscribe(shop.customer(user), user=user)
        shop.client.v1.subscriptions.update(subscription, params={"metadata": {"seen": "yes"}})
        if number % 3 == 0:
            shop.client.v1.subscriptions.cancel(subscription)
    for event in simulator.world.all("event"):
        ref = read_event(event)
        if ref.is_wanted and ref.customer_id:
            inbox.record(ref, "webhook", time.time(), time.time())
            events.append(ref.id)
    return events


def work_in_a_process(environ, folder):
    command = [sys.executable, "-m", "corkage.cli", "work", "--once"]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=90)


def test_concurrent_processes_apply_everything_once(buyers, environ, tmp_path, shop, simulator):
    environ = environ | {"BILLING_POLL_SECONDS": "0"}
    calls = shop.calls()
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: work_in_a_process(environ, tmp_path), range(4)))

    assert [run.returncode for run in runs] == [0] * 4, [run.stderr[-500:] for run in runs]
    assert sum(int(run.stdout.split()[0]) for run in runs) == USERS
    assert shop.calls() - calls == USERS
    assert StripeEvent.select().where(StripeEvent.applied_at.is_null()).count() == 0
    there = {each["id"]: each["status"] for each in simulator.world.all("subscription")}
    assert {row.id: row.status for row in Subscription.select()} == there
    assert AnswerRow.select().where(AnswerRow.status == "canceled").count() == USERS // 3
    assert NoticeRow.select().count() == USERS - USERS // 3


def test_a_killed_process_leaves_its_events_to_the_next(buyers, environ, tmp_path, simulator):
    environ = environ | {"BILLING_POLL_SECONDS": "0"}
    simulator.api_faults.latency_seconds = 0.2
    killed = subprocess.Popen([sys.executable, "-m", "corkage.cli", "work"], cwd=tmp_path, env=environ)
    until(lambda: Subscription.select().count(), seconds=60)
    killed.kill()
    killed.wait()
    simulator.api_faults.latency_seconds = 0
    waiting = StripeEvent.select().where(StripeEvent.applied_at.is_null()).count()
    assert 0 < waiting < len(buyers)

    inbox.make_due(time.time())  # as if the lease of whom it had at hand were over
    assert work_in_a_process(environ, tmp_path).returncode == 0

    assert StripeEvent.select().where(StripeEvent.applied_at.is_null()).count() == 0
    assert Subscription.select().count() == USERS
