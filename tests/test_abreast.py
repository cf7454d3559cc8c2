"""Several at a time, none twice, and nothing is taken after a failure."""

import threading
import time
from dataclasses import replace

import pytest
from harness import running, until

from corkage.simulator import ApiFaults
from corkage.sync import inbox, worker
from corkage.sync.abreast import each_abreast


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_each_is_acted_on_once(count):
    assert sorted(each_abreast(iter(range(count)), lambda item: item * 2, 5)) == [item * 2 for item in range(count)]


def test_so_many_are_at_hand_at_a_time_and_no_more_are_taken():
    taken, together = [], threading.Barrier(5)

    def items():
        for item in range(10):
            taken.append(item)
            yield item

    def act(item):
        together.wait(30)
        assert len(taken) <= 10
        return threading.current_thread().name

    assert len(set(each_abreast(items(), act, 5))) == 5


def test_after_a_failure_nothing_more_is_taken_and_it_is_raised():
    taken, failed = [], threading.Event()

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    def act(item):
        if item == 0:
            failed.set()
            raise OSError("the disk is gone")
        failed.wait(30)
        time.sleep(0.05)

    with pytest.raises(OSError, match="the disk is gone"):
        each_abreast(items(), act, 3)
    assert len(taken) <= 6


@pytest.fixture
def many(shop):
    users = [f"user{number}" for number in range(12)]
    for user in users:
        shop.subscribe(shop.customer(user), user=user)
    return users


def test_a_slow_stripe_is_asked_of_several_customers_at_once(config, shop, simulator, many, monkeypatch):
    at_once, most, lock = [0], [0], threading.Lock()
    with running(replace(config, settle_seconds=0)) as app:
        for event in simulator.world.all("event"):
            if (read := inbox.read_event(event)).is_wanted:
                inbox.record(read, "webhook", time.time(), time.time())
        converge = app.billing.worker.converger.converge

        def counted(*arguments, **options):
            with lock:
                at_once[0] += 1
                most[0] = max(most[0], at_once[0])
            try:
                return converge(*arguments, **options)
            finally:
                with lock:
                    at_once[0] -= 1

        monkeypatch.setattr(app.billing.worker.converger, "converge", counted)
        simulator.api_faults = ApiFaults(latency_seconds=0.1)
        app.work()

        assert most[0] == worker.FETCHES_ABREAST
        assert all(app.billing.access(user).allowed for user in many)
        assert inbox.backlog(time.time()).backlog == 0


def test_the_worker_keeps_below_stripes_limit(config, shop, simulator, many, monkeypatch):
    monkeypatch.setattr(worker, "CALLS_PER_SECOND", 50)
    simulator.api_faults = ApiFaults(requests_per_second=55)
    with running(replace(config, settle_seconds=0, worker="thread", poll_seconds=3600)) as app:
        until(lambda: all(app.billing.access(user).allowed for user in many))
    assert 429 not in {each.status for each in simulator.requests}
