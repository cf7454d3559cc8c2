"""Jobs side by side: each key once, a few at a time, and one that hangs holds up nobody else."""

import threading
import time
from dataclasses import replace

import pytest
from harness import running, until

from corkage.gateway import events
from corkage.simulator import ApiFaults
from corkage.sync import inbox, worker
from corkage.sync.pool import Job, Pool

pytestmark = pytest.mark.slow


def never():
    return False


def jobs(count, act):
    return (Job(str(number), lambda number=number: act(number)) for number in range(count))


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_each_job_is_run_once(count):
    ran = []
    begun = Pool(5).run(jobs(count, ran.append), never)

    assert [each.result(30) for each in begun.values()] == [None] * count
    assert sorted(ran) == list(range(count))


def test_the_pool_runs_its_size_and_takes_the_next_when_one_ends():
    pool, together, taken = Pool(5), threading.Barrier(5), []

    def note_taken():
        for job in jobs(10, lambda _: together.wait(30) and None):
            taken.append(job)
            yield job

    begun = pool.run(note_taken(), never)
    [each.result(30) for each in begun.values()]
    assert len(taken) == 10


def test_a_hanging_job_takes_one_place_and_the_others_run():
    pool, hanging, ran = Pool(2), threading.Event(), []
    begun = pool.run(jobs(20, lambda number: hanging.wait(30) and None if number == 0 else ran.append(number)), never)
    until(lambda: len(ran) == 19)

    assert pool.is_running("0")
    assert not begun["0"].done()
    hanging.set()
    assert begun["0"].result(30) is None
    assert not pool.is_running("0")


def test_threads_are_kept_until_the_pool_is_closed_and_then_made_anew():
    used = []
    pool = Pool(2)
    for _ in range(10):
        (begun,) = pool.run(jobs(1, lambda _: used.append(threading.current_thread())), never).values()
        begun.result(30)
    assert len(set(used)) <= 2
    assert all(each.is_alive() for each in used)

    pool.close()
    assert not any(each.is_alive() for each in used)

    (begun,) = pool.run(jobs(1, used.append), never).values()
    assert begun.result(30) is None
    pool.close()


def test_a_full_pool_claims_nothing_and_notices_a_stop():
    pool, hanging, stopping, taken = Pool(1), threading.Event(), threading.Event(), []

    def note_taken():
        for job in jobs(3, lambda _: hanging.wait(30) and None):
            taken.append(job.key)
            yield job

    running_jobs = threading.Thread(target=pool.run, args=(note_taken(), stopping.is_set))
    running_jobs.start()
    until(lambda: pool.is_running("0"))
    stopping.set()
    running_jobs.join(30)

    assert taken == ["0"]
    hanging.set()
    pool.close()


@pytest.mark.parametrize("failure", [OSError("the disk is gone"), SystemExit(1)], ids=repr)
def test_an_error_of_a_job_is_raised_and_frees_its_place(failure):
    def act(_):
        raise failure

    pool, ended = Pool(1), []
    for _ in range(3):
        (begun,) = pool.run(jobs(1, act), never, ended.append).values()
        assert begun.exception(30) is failure
    assert len(ended) == 3


def test_a_job_that_cannot_begin_frees_its_place_and_its_key(monkeypatch):
    def no_memory(*_):
        raise MemoryError

    pool, ran = Pool(1), []
    with monkeypatch.context() as patch:
        patch.setattr(pool._threads, "submit", no_memory)
        for _ in range(3):
            with pytest.raises(MemoryError):
                pool.run(jobs(1, ran.append), never)
    assert not pool.is_running("0")
    (begun,) = pool.run(jobs(1, ran.append), never).values()
    assert begun.result(30) is None
    assert ran == [0]


def test_what_was_claimed_for_a_job_that_raised_or_could_not_begin_is_given_back_once(monkeypatch):
    def fail(*_):
        raise MemoryError

    pool, back = Pool(2), []
    done, raising, absent = (Job(key, act, lambda key=key: back.append(key)) for key, act in (
        ("done", lambda: None), ("raising", fail), ("absent", lambda: None),
    ))  # fmt: skip
    for each in pool.run(iter([done, raising]), never).values():
        each.exception(30)
    monkeypatch.setattr(pool._threads, "submit", fail)
    with pytest.raises(MemoryError):
        pool.run(iter([absent]), never)

    pool.let_go_of_failed()
    pool.let_go_of_failed()

    assert back == ["raising", "absent"]


def test_what_cannot_be_given_back_yet_is_given_back_later():
    def fail():
        raise OSError("the disk is gone")

    pool, back = Pool(1), []
    (begun,) = pool.run(iter([Job("0", fail, lambda: fail() if not back else back.append("again"))]), never).values()
    assert begun.exception(30)
    with pytest.raises(OSError, match="the disk is gone"):
        pool.let_go_of_failed()
    back.append("now")
    pool.let_go_of_failed()
    assert back == ["now", "again"]


def test_a_failed_claim_frees_its_place():
    def claims():
        raise OSError("the disk is gone")
        yield

    pool = Pool(1)
    for _ in range(3):
        with pytest.raises(OSError, match="the disk is gone"):
            pool.run(claims(), never)


@pytest.fixture
def many(shop):
    users = [f"user{number}" for number in range(12)]
    for user in users:
        shop.subscribe(shop.customer(user), user=user)
    return users


def test_several_customers_are_fetched_at_once_from_a_slow_stripe(config, shop, simulator, many, monkeypatch):
    at_once, most, lock = [0], [0], threading.Lock()
    with running(replace(config, settle_seconds=0)) as app:
        for event in simulator.world.all("event"):
            if (read := events.read_event(event)).is_wanted:
                inbox.record(read, "webhook", time.time(), time.time())
        converge = app.billing.service.worker.converger.converge

        def counted(*arguments, **options):
            with lock:
                at_once[0] += 1
                most[0] = max(most[0], at_once[0])
            try:
                return converge(*arguments, **options)
            finally:
                with lock:
                    at_once[0] -= 1

        monkeypatch.setattr(app.billing.service.worker.converger, "converge", counted)
        simulator.api_faults = ApiFaults(latency_seconds=0.1)
        app.work()

        assert 1 < most[0] <= worker.JOBS_AT_ONCE
        assert all(app.billing.access(user).allowed for user in many)
        assert inbox.backlog(time.time()).backlog == 0


def test_the_worker_stays_below_stripes_rate_limit(config, shop, simulator, many, monkeypatch):
    monkeypatch.setattr(worker, "CALLS_PER_SECOND", 50)
    simulator.api_faults = ApiFaults(requests_per_second=55)
    with running(replace(config, settle_seconds=0, worker="thread", poll_seconds=3600)) as app:
        until(lambda: all(app.billing.access(user).allowed for user in many))
    assert 429 not in {each.status for each in simulator.requests}


def test_where_no_thread_can_be_started_jobs_are_run_one_after_another_and_threads_again_later(monkeypatch):
    """What the system says when it has no memory for a thread, or too many of them."""
    pool, ran = Pool(2), []
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        begun = pool.run(jobs(5, lambda number: ran.append((number, threading.current_thread().name))), never)
        assert [each.result(0) for each in begun.values()] == [None] * 5
    assert [number for number, _ in ran] == list(range(5))

    again = pool.run(jobs(5, lambda _: ran.append((5, threading.current_thread().name))), never)

    assert [each.result(30) for each in again.values()] == [None] * 5
    assert {name for _, name in ran[5:]} == {"corkage-job"}
    assert not any(pool.is_running(str(number)) for number in range(5))
    pool.close(30)


def no_thread(_):
    raise RuntimeError("can't start new thread")
