"""PostgreSQL restarted, killed and promoted under load: nothing acknowledged is lost, and all see is a 503."""

import itertools
import json
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest
import requests
from elsewhere import be_impatient, elsewhere
from harness import running, until
from postgres import pgbouncer, postgres, url

pytestmark = [
    pytest.mark.slow,
    pytest.mark.postgresql,
    pytest.mark.one_engine("postgresql", "a file has no server that could fail"),
]

SENDERS = 6
IN_A_ROW = 20


class Load:
    """Webhooks, each new, sent without a pause by several threads, and how each was answered."""

    def __init__(self, app, event):
        self.app, self.event = app, json.loads(str(event))
        self.answers: list[tuple[str, int]] = []
        self._numbers = itertools.count()
        self._is_over = threading.Event()

    def send(self):
        while not self._is_over.is_set():
            name = f"evt_{next(self._numbers)}"
            status = self.app.deliver(json.dumps(self.event | {"id": name}).encode()).status_code
            self.answers.append((name, status))

    def goes_well(self):
        """Wait until the latest answers are all 200."""
        begin = len(self.answers)
        until(lambda: [each for _, each in self.answers[begin:][-IN_A_ROW:]] == [200] * IN_A_ROW, 60)

    def goes_badly(self):
        """Wait until an answer is none."""
        begin = len(self.answers)
        until(lambda: any(each != 200 for _, each in self.answers[begin:]), 60)

    def end(self):
        self._is_over.set()

    @property
    def acknowledged(self):
        return {name for name, status in self.answers if status == 200}


@contextmanager
def loaded(app, event):
    load = Load(app, event)
    threads = [threading.Thread(target=load.send) for _ in range(SENDERS)]
    for thread in threads:
        thread.start()
    try:
        load.goes_well()
        yield load
    finally:
        load.end()
        for thread in threads:
            thread.join()


def assert_nothing_is_lost(load, database):
    with elsewhere(database) as other:
        stored = {name for (name,) in other.execute("SELECT id FROM corkage_stripe_event").fetchall()}
    assert load.acknowledged - stored == set()
    assert {status for _, status in load.answers} <= {200, 503}
    assert load.acknowledged


@pytest.mark.parametrize("how", ["fast", "immediate", "kill"])
@pytest.mark.parametrize("pooled", [False, True], ids=["direct", "pgbouncer"])
def test_a_restart_under_load_loses_nothing_that_was_acknowledged(config, event, how, pooled):
    with postgres(synchronous_commit="on") as server, pgbouncer(server) as pooler:
        database = (pooler if pooled else server).url()
        with running(replace(config, database=database)) as app, loaded(app, event) as load:
            server.kill() if how == "kill" else server.stop(how)
            load.goes_badly()
            server.start()
            load.goes_well()
            load.end()
        assert_nothing_is_lost(load, server.url())


def test_a_primary_killed_under_load_and_its_standby_promoted_lose_nothing_that_was_acknowledged(config, event):
    with postgres() as primary, primary.standby() as standby:
        primary.wait_for()
        both = url(primary, standby)
        with running(replace(config, database=both)) as app, loaded(app, event) as load:
            primary.kill()
            load.goes_badly()
            standby.promote()
            load.goes_well()
            assert requests.get(f"{app.url}/health", timeout=30).status_code == 200
            load.end()
        assert_nothing_is_lost(load, both)


def test_a_standby_that_goes_and_comes_back_under_load_loses_nothing_that_was_acknowledged(config, event, monkeypatch):
    be_impatient(monkeypatch, 0.5)
    with postgres() as primary, primary.standby() as standby:
        primary.wait_for()
        with running(replace(config, database=primary.url())) as app, loaded(app, event) as load:
            standby.freeze()
            load.goes_badly()
            assert app.ask().status_code == 200
            standby.thaw()
            load.goes_well()
            load.end()
            primary.kill()
            standby.promote()
        assert_nothing_is_lost(load, standby.url())
