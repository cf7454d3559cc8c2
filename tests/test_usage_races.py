"""Usage under threads and processes: never above the limit, never a key twice, across the edge of a window."""

import calendar
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from harness import running
from holding_rows import store_holdings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from racing import racing
from spending import PLANS, forget, spend

from corkage import storage
from corkage.access import Holding
from corkage.models import Credit, Customer, MeterEvent, Purchase, Usage, UsageKey, User

EDGE = calendar.timegm((2026, 12, 1, 0, 0, 0))
LIMIT, CREDIT = 3, 10
USES = st.tuples(
    st.sampled_from((EDGE - 1, EDGE - 1, EDGE, EDGE + 5)),
    st.sampled_from(("ann", "ann", "ann", "bob")),
    st.just("exports"),
    st.integers(1, 4),
    st.none() | st.sampled_from("abc"),
)


def forget_all(credit):
    """Begin anew: nobody has used anything, and ann may hold a pack."""
    with storage.writing():
        for table in (Usage, UsageKey, MeterEvent, Credit, Purchase, Customer):
            table.delete().execute()
        User.delete().execute()
        if credit:
            User.create(id="ann", created_at=1)
            Customer.create(id="cus_ann", user="ann")
            row = {"id": "cs_1", "customer": "cus_ann", "price_id": "price_pack", "created": 1, "amount": 1}
            Purchase.create(**row, currency="usd", ours=True)
            row = {"purchase_id": "cs_1", "price_id": "price_pack", "name": "exports", "user": "ann"}
            Credit.create(**row, amount=CREDIT, left=CREDIT)


def keyed(uses):
    """Give each key one amount, as a host does for what the key stands for."""
    return [(at, user, name, 2 if key else amount, key) for at, user, name, amount, key in uses]


def check(uses, outcomes, credit):
    """Compare what was answered with what is stored, and both with what there was to use."""
    counted = [use for use, outcome in zip(uses, outcomes, strict=True) if outcome.allowed and not outcome.repeated]
    windows = {(row.user_id, row.starts_at): row.used for row in Usage.select()}
    left = {row.user_id: row.left for row in Credit.select()}
    for user in ("ann", "bob"):
        had = CREDIT if credit and user == "ann" else 0
        used = sum(amount for (of, _), amount in windows.items() if of == user)
        assert sum(amount for _, of, _, amount, _ in counted if of == user) == used + had - left.get(user, 0)
    assert all(used <= LIMIT for used in windows.values())
    assert all(each >= 0 for each in left.values())
    keys = Counter((user, key) for _, user, _, _, key in counted if key)
    assert set(keys.values()) <= {1}
    assert set(keys) == {(row.user_id, row.key) for row in UsageKey.select()}
    refused = [use for use, outcome in zip(uses, outcomes, strict=True) if not outcome.allowed]
    for at, user, _, amount, _ in refused:  # what was refused would not fit at the end either
        free = LIMIT - windows.get((user, start_of(at)), 0) + left.get(user, 0)
        assert amount > free


def start_of(at):
    return EDGE if at >= EDGE else calendar.timegm((2026, 11, 1, 0, 0, 0))


@pytest.fixture
def app(config):
    with running(replace(config, plans=PLANS)) as served:
        yield served


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(uses=st.lists(USES, min_size=1, max_size=24), credit=st.booleans())
def test_eight_threads_never_pass_the_limit_nor_count_a_key_twice(app, uses, credit):
    forget_all(credit)
    uses = keyed(uses)

    check(uses, spend(app.billing, uses, 8), credit)


@pytest.mark.slow
@pytest.mark.every_run
def test_four_processes_of_eight_threads_never_pass_the_limit_nor_count_a_key_twice(config):
    with racing(replace(config, plans=PLANS), 4) as race, running(replace(config, plans=PLANS)):

        @settings(max_examples=25, deadline=None)
        @given(parts=st.lists(st.lists(USES, max_size=16), min_size=4, max_size=4), credit=st.booleans())
        def holds(parts, credit):
            forget_all(credit)
            parts = [keyed(part) for part in parts]
            outcomes = race.at_once(*((spend, part, 8) for part in parts))
            check([use for part in parts for use in part], [each for part in outcomes for each in part], credit)

        holds()


@pytest.mark.slow
def test_what_processes_use_at_once_is_billed_in_full(config):
    with racing(replace(config, plans=PLANS), 4) as race, running(replace(config, plans=PLANS)) as app:
        with storage.writing():
            holding = Holding("subscription", "sub_1", 1, "metered", "price_1", status="active")
            store_holdings("ann", [holding])
            app.billing.service.catalogue.timelines.store(["ann"], EDGE)
        uses = [(EDGE, "ann", "calls", 2, None)] * 20

        race.at_once(*[(spend, uses, 4)] * 4)

        assert sum(row.amount for row in MeterEvent.select()) == sum(row.used for row in Usage.select()) == 160
        assert MeterEvent.select().count() == 1


@pytest.mark.one_engine("postgresql", "SQLite has one writer")
def test_a_use_waits_for_no_other_writer(app):
    with storage.writing(), ThreadPoolExecutor(1) as pool:
        assert pool.submit(app.billing.use, "ann", "exports").result(10)


@pytest.mark.slow
def test_a_user_who_is_forgotten_while_they_use_leaves_nothing_half(config):
    """What is used after it makes them anew; nothing refers to a user who is gone."""
    with racing(replace(config, plans=PLANS), 3) as race, running(replace(config, plans=PLANS)):
        for round_ in range(8):
            uses = [(EDGE, "ann", "exports", 1, f"{round_}-{number}") for number in range(6)]
            race.at_once((spend, uses[:3], 3), (forget, "ann"), (spend, uses[3:], 3))

            users = {row.id for row in User.select()}
            assert {row.user_id for row in Usage.select()} <= users
            assert {row.user_id for row in UsageKey.select()} <= users
