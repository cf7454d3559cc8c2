"""A rolling change: processes with two versions of the rule and of the plans on one database, killed at any point."""

import random
import time

import pytest
import rolling
from elsewhere import elsewhere
from harness import until
from racing import LONGEST_SECONDS, PROCESSES
from torture import SEED, size

from corkage import Billing, Config
from corkage.models import Grant, User
from corkage.storage import writing

pytestmark = pytest.mark.slow

USERS = 400
OLD, EDITED, NEWEST = ("old", 1), ("edited", 1), ("newest", 2)


class Change:
    """The processes that run at the moment, by their version."""

    def __init__(self, database, connection):
        self.database = database
        self.connection = connection
        self.running = {}

    def start(self, version):
        self.kill(version)
        said, says = PROCESSES.Pipe(duplex=False)
        process = PROCESSES.Process(target=rolling.make, args=(self.database, *version, says), daemon=True)
        process.start()
        says.close()
        self.running[version] = process, said

    def wait_for(self, version):
        _, said = self.running[version]
        assert said.poll(LONGEST_SECONDS)
        assert said.recv() == "started"

    def kill(self, version):
        if version in self.running:
            process, said = self.running.pop(version)
            process.kill()
            process.join()
            process.close()
            said.close()

    def features(self):
        """The features of all answers there are, and of how many users they are."""
        query = "SELECT features, count(*) FROM corkage_answer WHERE user_id <> '' GROUP BY features"
        return dict(self.connection.execute(query).fetchall())


@pytest.fixture
def change(database):
    nothing_sold = {"stripe_secret_key": "sk_test_nobody", "frontend_urls": ("https://app.example.com",), "plans": ()}
    billing = Billing(Config(**nothing_sold, database=database, worker="off"))
    now = int(time.time())
    with writing():
        for number in range(USERS):
            user = User.create(id=f"user_{number}", created_at=now)
            Grant.create(user=user, plan="pro", reason="", given_by="", created_at=now)
    billing.close()
    with elsewhere(database) as connection:
        change = Change(database, connection)
        yield change
        for version in list(change.running):
            change.kill(version)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_killed_every_timeline_is_made_by_the_newest(change, seed):
    chance = random.Random(seed)
    known = [OLD]
    for newcomer in (None, EDITED, NEWEST):
        known += [newcomer] if newcomer else []
        for version in (newcomer or OLD, *chance.choices(known, k=2)):
            change.start(version)
            if chance.random() < 0.7:
                change.wait_for(version)
                time.sleep(chance.random() * 0.05)
            else:
                time.sleep(chance.random() * 0.3)
            if chance.random() < 0.5:
                change.kill(version)
    change.start(NEWEST)
    change.wait_for(NEWEST)
    change.start(chance.choice([OLD, EDITED]))  # a server that was forgotten starts again

    of_newest = {'["newest","by rule 2"]': USERS}
    until(lambda: change.features() == of_newest, seconds=90)
    time.sleep(0.3)
    assert change.features() == of_newest


@pytest.mark.torture("crash")
def test_a_recomputation_killed_at_any_moment_leaves_each_user_a_whole_answer(change, figures):
    """plans.toml is edited again and again, and a server that makes the answers anew is killed again and again."""
    chance, kills, edits, in_the_midst = random.Random(SEED), size(5, long=300), 0, 0
    change.start(("edit 0", 1))
    until(lambda: change.features() == {'["edit 0"]': USERS}, seconds=90)
    change.kill(("edit 0", 1))
    for _ in range(kills):
        edits += chance.random() < 0.5
        version = f"edit {edits}", 1
        change.start(version)
        change.wait_for(version)
        time.sleep(chance.uniform(0, 0.4))
        change.kill(version)
        found = change.features()
        assert sum(found.values()) == USERS
        assert set(found) <= {f'["edit {number}"]' for number in range(edits + 1)}
        in_the_midst += len(found) > 1
    change.start(version)

    until(lambda: change.features() == {f'["edit {edits}"]': USERS}, seconds=90)
    figures.note(kills=kills, edits=edits, killed_in_the_midst=in_the_midst)


def test_of_two_plans_by_one_rule_the_last_started_makes_all(change):
    change.start(OLD)
    change.wait_for(OLD)
    change.start(EDITED)

    until(lambda: change.features() == {'["edited"]': USERS}, seconds=90)
    change.start(OLD)
    until(lambda: change.features() == {'["old"]': USERS}, seconds=90)
