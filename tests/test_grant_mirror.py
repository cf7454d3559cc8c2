"""Grants in use: listed, and mirrored at Stripe, so that a lost database loses none of those with a customer."""

import json
import time
from dataclasses import replace

import pytest
from buying import click
from examined import examine
from harness import DAY, PRO, running

from corkage import storage
from corkage.gateway import mirrored
from corkage.gateway.mirrored import Mirrored
from corkage.models import SYNCED, Cursor, Grant, GrantMirror, NoticeRow, User, setting
from corkage.plans import Plan
from corkage.simulator import ApiFaults
from corkage.sync.resync import resync

pytestmark = pytest.mark.slow

NOW = int(time.time())
GIFT = Plan("gift", "Gift", granted_only=True, features=("gifts",))
TEAM = Plan("team", "Team", granted_only=True)


@pytest.fixture
def settings(config):
    return replace(config, plans=(PRO, TEAM, GIFT), billing_url="https://billing.example.com")


@pytest.fixture
def app(settings):
    with running(settings) as served:
        yield served


def metadata_of(shop, customer):
    return shop.client.v1.customers.retrieve(customer).metadata.to_dict()


def in_metadata(shop, customer):
    """The plans that the mirror holds."""
    return [each.plan for each in mirrored.read(mirrored.text_in(metadata_of(shop, customer)))[1]]


def work(app, seconds=0):
    """Do what is due after so many seconds, and write the mirrors, which waits for minutes else."""
    Cursor.update(next_run_at=0).where(Cursor.name == "grants").execute()
    app.work(time.time() + 1 + seconds)


def writes(simulator, customer):
    path = f"/v1/customers/{customer}"
    return sum(1 for each in simulator.requests if (each.method, each.path) == ("POST", path))


def given(user="ann"):
    names = ("plan", "quantity", "reason", "given_by", "ends_at")
    rows = Grant.select().where(Grant.user == user).order_by(Grant.id)
    return [tuple(getattr(row, name) for name in names) for row in rows]


@pytest.fixture
def customer(app, shop):
    created = shop.customer()
    app.converge(created)
    return created


def test_running_grants_stand_in_the_customers_metadata(app, shop, customer):
    app.billing.grant("ann", "pro", until=NOW + 30 * DAY, quantity=2, reason='a "friend" é', given_by="support")
    app.billing.grant("ann", "gift")

    work(app)

    held = metadata_of(shop, customer)
    assert (held["corkage_app"], held["corkage_user"]) == ("app.example.com", "ann")
    text = json.loads(held["corkage_grants"])
    assert text["user"] == "ann"
    assert [each["plan"] for each in text["grants"]] == ["pro", "gift"]
    wanted = {"quantity": 2, "ends_at": NOW + 30 * DAY, "reason": 'a "friend" é', "given_by": "support"}
    assert wanted.items() <= text["grants"][0].items()
    assert len(held) == 3


def test_nothing_is_written_when_nothing_changed(app, shop, simulator, customer):
    app.billing.grant("ann", "pro")
    for _ in range(3):
        work(app)
    assert writes(simulator, customer) == 1
    before = len(simulator.requests)

    work(app, 60)

    assert len(simulator.requests) == before
    app.billing.grant("ann", "gift")
    app.billing.revoke("ann", "gift")
    work(app)
    assert writes(simulator, customer) == 1


def test_a_grant_that_is_revoked_or_ends_leaves_the_mirror(app, shop, simulator, customer):
    app.billing.grant("ann", "pro")
    app.billing.grant("ann", "gift", until=NOW + DAY)
    app.billing.grant("ann", "team")
    work(app)
    assert in_metadata(shop, customer) == ["pro", "gift", "team"]

    app.billing.revoke("ann", "pro")
    work(app)
    assert in_metadata(shop, customer) == ["gift", "team"]
    work(app, DAY)
    assert in_metadata(shop, customer) == ["team"]
    app.billing.revoke("ann", "team")
    work(app, DAY)

    assert "corkage_grants" not in metadata_of(shop, customer)


def test_a_customer_that_comes_later_gets_the_grants(app, shop, simulator):
    app.billing.grant("ann", "pro")
    work(app)
    assert GrantMirror.get().customer_id is None
    click(app)
    customer = User.get_by_id("ann").stripe_customer_id
    assert in_metadata(shop, customer) == []

    work(app)

    assert in_metadata(shop, customer) == ["pro"]
    assert app.billing.access("ann").reason == "granted"


def test_another_customer_takes_the_mirror_over(app, shop, customer):
    app.billing.grant("ann", "pro")
    work(app)
    other = shop.customer(None)
    app.billing.service.worker.converger.link("ann", other, time.time())
    User.update(stripe_customer_id=other).execute()

    work(app)

    assert in_metadata(shop, customer) == []
    assert in_metadata(shop, other) == ["pro"]


def test_what_a_customer_of_another_app_says_is_left_alone(app, shop, simulator):
    customer = shop.customer("ann", app="another.example.com")
    app.billing.service.worker.converger.link("ann", customer, time.time())
    app.billing.grant("ann", "pro")
    before = metadata_of(shop, customer)

    work(app)

    assert metadata_of(shop, customer) == before
    assert "marked for another app" in GrantMirror.get().error


def long_grants(app, count):
    for number in range(count):
        with storage.writing():
            User.insert(id="ann", created_at=1).on_conflict_ignore().execute()
            facts = {"uid": f"uid{number}", "plan": f"plan{number}", "created_at": NOW}
            Grant.insert(user="ann", reason="x" * 500, given_by="y" * 400, **facts).execute()


def test_what_does_not_fit_into_the_metadata_is_reported(app, shop, customer, corkage):
    long_grants(app, 12)
    app.billing.grant("ann", "pro")

    work(app)

    held = in_metadata(shop, customer)
    assert held == [f"plan{number}" for number in range(9)]
    assert all(len(value) < 500 for value in metadata_of(shop, customer).values())
    listed = corkage("user", "grants", "--only-here").stdout
    assert "ann: pro, given by" in listed
    assert "plan9," in listed
    assert "plan8," not in listed
    assert listed.count("4 of 13 grants do not fit into the customer's metadata") == 4
    findings = examine(app)
    assert [each.what for each in findings if "mirrored" in each.what] == [
        "4 grants could not be mirrored at Stripe, `corkage user grants --only-here` says why"
    ]


def test_a_shorter_mirror_leaves_nothing_of_a_longer_one(app, shop, customer):
    long_grants(app, 3)
    app.billing.grant("ann", "pro")
    work(app)
    assert len(metadata_of(shop, customer)) > 6

    with storage.writing():
        Grant.update(ends_at=NOW).where(Grant.plan != "pro").execute()
    app.billing.grant("ann", "gift")
    work(app)

    assert in_metadata(shop, customer) == ["pro", "gift"]
    assert set(metadata_of(shop, customer)) == {"corkage_app", "corkage_user", "corkage_grants"}


def test_the_products_own_metadata_is_kept_and_when_it_is_full_the_grant_is_reported(app, shop, customer):
    own = {f"own_{number}": "x" for number in range(48)}
    shop.client.v1.customers.update(customer, params={"metadata": own})
    app.billing.grant("ann", "pro")

    work(app)

    assert metadata_of(shop, customer).items() >= own.items()
    assert in_metadata(shop, customer) == []
    assert "up to 50 keys" in GrantMirror.get().error
    shop.client.v1.customers.update(customer, params={"metadata": {"own_0": ""}})
    work(app, DAY)
    assert in_metadata(shop, customer) == ["pro"]
    assert GrantMirror.get().error is None


def test_while_stripe_is_down_a_mirror_waits_and_is_written_later(app, shop, simulator, customer):
    app.billing.grant("ann", "pro")
    simulator.api_faults = ApiFaults(failure="error", path=f"/v1/customers/{customer}")
    work(app)
    assert GrantMirror.get().error.startswith("stripe_failed")
    assert app.billing.access("ann").allowed
    assert GrantMirror.get().attempts == 1
    simulator.api_faults = ApiFaults()

    work(app, DAY)

    assert in_metadata(shop, customer) == ["pro"]
    assert (GrantMirror.get().error, GrantMirror.get().attempts) == (None, 0)


def lose(app):
    """Lose the database but for its settings."""
    with storage.writing():
        for table in ("answer", "subscription_item", "subscription", "grant_mirror", "grant", "notice_delivery"):
            storage.execute(f"DELETE FROM corkage_{table}")
        for table in ("notice", "checkout_attempt", "customer", "user", "stripe_event", "cursor"):
            storage.execute(f"DELETE FROM corkage_{table}")
        storage.execute(f"DELETE FROM corkage_setting WHERE name = '{SYNCED}'")


def sync(app):
    return resync(app.billing.service.worker.converger, time.time())


@pytest.mark.parametrize("subscribes", [True, False])
def test_a_lost_file_loses_no_grant_of_a_customer(app, shop, simulator, customer, subscribes):
    if subscribes:
        shop.client.v1.subscriptions.cancel(shop.subscribe(customer))
    app.billing.grant("ann", "pro", until=NOW + 30 * DAY, quantity=2, reason="a friend", given_by="support")
    app.billing.grant("ann", "gift")
    work(app)
    before = given()
    access = app.billing.access("ann")
    lose(app)
    assert setting(SYNCED) is None

    sync(app)
    sync(app)
    app.converge(customer)

    assert given() == before
    assert app.billing.access("ann") == access
    assert NoticeRow.select().count() == 0
    written = writes(simulator, customer)
    work(app)
    assert writes(simulator, customer) == written
    assert in_metadata(shop, customer) == ["pro", "gift"]


def test_a_grant_that_was_revoked_here_is_not_restored_by_an_older_mirror(app, shop, customer):
    app.billing.grant("ann", "pro")
    app.billing.grant("ann", "gift")
    work(app)
    app.billing.revoke("ann", "pro")
    app.billing.grant("ann", "gift", quantity=3)
    assert in_metadata(shop, customer) == ["pro", "gift"]

    sync(app)
    work(app)

    assert app.billing.access("ann").plans == ("gift",)
    assert [each[:2] for each in given() if each[4] is None] == [("gift", 3)]
    assert in_metadata(shop, customer) == ["gift"]


def test_what_replaced_a_grant_and_was_revoked_is_not_restored_by_the_mirror_of_the_first(app, shop, customer):
    app.billing.grant("ann", "pro")
    work(app)
    app.billing.grant("ann", "pro", quantity=2)
    app.billing.revoke("ann", "pro")

    sync(app)
    work(app)

    assert not app.billing.access("ann").allowed
    assert in_metadata(shop, customer) == []


def test_what_was_given_here_meanwhile_stands_and_is_not_doubled(app, shop, customer):
    app.billing.grant("ann", "pro", quantity=2)
    app.billing.grant("ann", "gift")
    work(app)
    lose(app)
    app.billing.grant("ann", "pro", quantity=9)

    sync(app)
    work(app)

    assert [each[:2] for each in given()] == [("pro", 9), ("gift", 1)]
    assert in_metadata(shop, customer) == ["pro", "gift"]


def lose_a_linked_customer(app, shop):
    """Link a customer that bears no mark to ann, who is given a plan, and lose the database."""
    customer = shop.customer(None)
    app.billing.service.worker.converger.link("ann", customer, time.time())
    app.billing.grant("ann", "pro")
    work(app)
    lose(app)
    return customer


def test_a_customer_that_was_linked_by_hand_brings_its_users_grants_back_and_no_others(app, shop):
    customer = lose_a_linked_customer(app, shop)
    link = app.billing.service.worker.converger.link

    link("bob", customer, time.time())
    assert given("bob") == []
    link("ann", customer, time.time())
    app.billing.sync("ann")

    assert app.billing.access("ann").reason == "granted"
    assert not app.billing.access("bob").allowed


def test_before_the_worker_overwrites_a_mirror_it_restores_what_is_there(app, shop):
    customer = lose_a_linked_customer(app, shop)
    app.billing.grant("ann", "gift")
    with storage.writing():
        storage.execute(f"INSERT INTO corkage_customer (id, user_id, revision) VALUES ('{customer}', 'ann', 1)")
        User.update(stripe_customer_id=customer).execute()

    work(app)

    assert app.billing.access("ann").plans == ("pro", "gift")
    assert in_metadata(shop, customer) == ["gift", "pro"]


MIRROR = '{"user":"ann","grants":[%s]}'


@pytest.mark.parametrize(
    "text",
    [
        "not JSON",
        "[]",
        "null",
        '{"user":"ann"}',
        MIRROR % '"pro"',
        MIRROR % '{"uid":"u1","plan":"pro"}',
        MIRROR % '{"uid":"u1","plan":"pro","created_at":1,"ends_at":1}',
        MIRROR % '{"uid":"u1","plan":"pro","created_at":1,"ends_at":1e99}',
        MIRROR % '{"uid":"u1","plan":"pro","created_at":1,"quantity":-5}',
        MIRROR % '{"uid":"u1","plan":["pro"],"created_at":1}',
        MIRROR % '{"uid":"u1","plan":"pro","created_at":1,"more":1}',
        '{"user":"bob","grants":[{"uid":"u1","plan":"pro","created_at":1}]}',
        "[" * 480,
    ],
)
def test_metadata_that_is_no_mirror_of_this_user_restores_nothing(app, shop, text):
    customer = shop.customer()
    shop.client.v1.customers.update(customer, params={"metadata": {"corkage_grants": text}})

    app.converge(customer)

    assert Grant.select().count() == 0
    assert not app.billing.access("ann").allowed


def test_any_text_comes_back_from_metadata_as_it_was(app):
    grants = [Mirrored(f"uid{n}", "pro", 1, reason=' é "\\ ' * 100, given_by="名" * 400) for n in range(5)]

    text = mirrored.text_of("ann", grants)

    values = mirrored.to_metadata(text)
    assert mirrored.read(mirrored.text_in({key: value for key, value in values.items() if value})) == ("ann", grants)
    assert len(values) == 20
    assert all(len(name) <= 40 for name in values)


def test_who_is_forgotten_is_forgotten_in_the_metadata_of_a_shared_customer(app, shop, customer):
    shop.subscribe(customer, price=shop.other_price, user=None)
    app.billing.grant("ann", "pro")
    work(app)
    assert in_metadata(shop, customer) == ["pro"]

    app.billing.forget("ann")
    work(app)

    assert metadata_of(shop, customer) == {}
    assert Grant.select().count() == GrantMirror.select().count() == 0


def test_who_is_forgotten_while_the_mirror_is_written_leaves_nothing_behind(app, shop, customer, monkeypatch):
    shop.subscribe(customer, price=shop.other_price, user=None)
    app.billing.grant("ann", "pro")
    worker = app.billing.service.worker
    write, forgotten = worker.gateway.mirror_grants, []

    def forget_first(customer_id, metadata):
        if not forgotten:
            forgotten.append("ann")
            app.billing.forget("ann")
        write(customer_id, metadata)

    monkeypatch.setattr(worker.mirror._gateway, "mirror_grants", forget_first)
    work(app)

    assert forgotten == ["ann"]
    assert metadata_of(shop, customer) == {}
    assert Grant.select().count() == GrantMirror.select().count() == User.select().count() == 0


def test_a_mirror_that_fails_for_years_is_still_tried_every_six_hours(app, shop, customer):
    app.billing.grant("ann", "pro")
    shop.client.v1.customers.update(customer, params={"metadata": {f"own_{number}": "x" for number in range(48)}})
    GrantMirror.update(attempts=5000).execute()

    work(app)

    assert GrantMirror.get().attempts == 5001
    assert 0 < GrantMirror.get().due_at - time.time() < 6 * 3600 + 60


def test_the_command_lists_running_grants_and_which_are_only_here(app, shop, customer, corkage):
    assert corkage("user", "grants").stdout == "no grants\n"
    app.billing.grant("ann", "pro", until=NOW + DAY, quantity=2, reason="a friend", given_by="support")
    app.billing.grant("bob", "gift")
    app.billing.grant("eve", "gift")
    app.billing.revoke("eve", "gift")
    assert "only here until the worker has mirrored it" in corkage("user", "grants").stdout
    work(app)

    listed = corkage("user", "grants").stdout.splitlines()
    alone = corkage("user", "grants", "--only-here").stdout.splitlines()

    assert listed[0].startswith("ann: pro x 2, given by support on ")
    assert listed[0].endswith(" UTC: a friend")
    assert listed[1] == "  mirrored at Stripe"
    assert listed[2].startswith("bob: gift, given by your product on ")
    assert listed[2].endswith(", without an end")
    assert listed[3] == "  only here: the user has no customer at Stripe"
    assert alone == listed[2:]


def test_doctor_says_how_many_grants_only_this_database_has(app, shop, customer):
    app.billing.grant("ann", "pro")
    app.billing.grant("bob", "gift")
    work(app)

    found = [each for each in examine(app) if "grants" in each.what]

    assert [(each.what, each.repair) for each in found] == [
        (
            "1 grants are only in this database, since their users have no customer at Stripe: back it up; "
            "`corkage user grants --only-here` lists them",
            None,
        )
    ]
