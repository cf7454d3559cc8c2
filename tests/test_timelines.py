"""Timelines as they are stored: from the rows of all that a user holds, to rows that the view looks up."""

import json
import time

import pytest
from harness import DAY
from held import HOLDINGS, NOW, PLANS, WITH_FREE
from holding_rows import make, store_holdings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import together
from rows import read_view
from sql import statements

from corkage import storage
from corkage.access import FOREVER, KEPT_SECONDS, Access, Holding, Terms, access_at
from corkage.models import AnswerRow, Customer, Grant, Price, Subscription, User
from corkage.replica import granted
from corkage.replica.standing import standings_of
from corkage.replica.timelines import holdings_of

TIMES = st.integers(NOW - 12 * DAY, NOW + 20 * DAY)


@pytest.fixture
def timelines(app):
    """The timelines of the running app, with a plan of each kind, on an empty file."""
    found = app.billing.service.worker.timelines
    found.plans = dict(PLANS)
    return found


def hold(user="ann", status="active", plan="pro", id="sub_1", **more):  # noqa: A002 -- the field's name
    facts = {"created": NOW - 9 * DAY, "price_id": f"price_{plan}", "quantity": 1, "ours": True} | more
    return Holding("subscription", id, plan=plan, status=status, **facts)


def answered(access):
    """Return an access as the oracle gives it, without the columns that only one of the two has."""
    values = access._asdict() | {"features": tuple(sorted(access.features)), "limits": dict(access.limits)}
    return {name: value for name, value in values.items() if name not in ("user_id", "stale")}


def expected(holdings, plans, moment):
    by_rule = together(holdings, plans, moment, Terms())
    stale_at = by_rule.pop("stale_at")
    return by_rule, stale_at is not None and stale_at <= moment


def as_stored(holding):
    """A purchase's row does not say that it is ours: its plan says it."""
    return holding._replace(ours=False) if holding.kind == "purchase" else holding


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(HOLDINGS, HOLDINGS, st.sampled_from((PLANS, WITH_FREE)), st.lists(TIMES, min_size=1, max_size=4))
def test_the_rows_read_at_any_moment_are_the_rule_at_that_moment(timelines, first, then, plans, times):
    timelines.plans = dict(plans)
    now = min(times)
    with storage.trying():
        for holdings in (first, then):
            held = [as_stored(each) for each in holdings]
            store_holdings("ann", held, customers=("cus_1", "cus_2"))
            timelines.store(["ann"], now)
            for moment in {*times, now - 3600, now + 0.9}:
                access = access_at("ann", moment)
                assert (answered(access), access.stale) == expected(held, plans, int(moment)), moment
        starts = [(row.starts_at, row.ends_at) for row in AnswerRow.select().where(AnswerRow.user_id == "ann")]
    assert min(starts)[0] == 0
    assert max(end for _, end in starts) == FOREVER


def test_what_is_read_back_from_the_rows_is_what_was_held(timelines):
    facts = {"current_period_end": 5, "cancel_at": 6, "trial_end": 7, "unpaid_since": 8, "payment_pending": True}
    more = {"pause_behavior": "void", "resumes_at": 9, "paid_until": 10, "returned": "disputed", "clock_ahead": 11}
    subscription = hold(**facts, **more)
    held = [
        subscription,
        subscription._replace(plan="seats", price_id="price_seats", quantity=None),
        Holding("purchase", "cs_1", 1, "lifetime", "price_lifetime", 2, returned="refunded"),
        Holding("grant", "7", 2, "team", quantity=3, ends_at=4),
    ]
    with storage.writing():
        store_holdings("ann", held)

    (found,) = holdings_of(["ann"]).values()

    assert found.holdings == held


def test_a_subscription_without_items_is_held_all_the_same(timelines):
    with storage.writing():
        store_holdings("ann", [hold(price_id=None, plan=None, quantity=None)])
    make(timelines, NOW, "ann")

    access = access_at("ann", NOW)
    assert (access.allowed, access.reason, access.plans) == (True, "active", ())


def test_another_users_holdings_do_not_count(timelines):
    with storage.writing():
        store_holdings("ann", [hold(status="canceled")])
        store_holdings("bob", [hold(id="sub_bobs")], customers=("cus_bobs",))
        Customer.create(id="cus_nobodys", user=None)
        Subscription.create(id="sub_nobodys", customer="cus_nobodys", status="active", created=1, ours=True)
    make(timelines, NOW, "ann", "bob")

    assert {user: access_at(user, NOW).reason for user in ("ann", "bob")} == {"ann": "ended", "bob": "active"}
    assert AnswerRow.select().where(AnswerRow.user_id.not_in(("ann", "bob", ""))).count() == 0


def test_losing_the_last_holding_leaves_an_answer_without_any(timelines):
    with storage.writing():
        store_holdings("ann", [hold(current_period_end=NOW + 5, quantity=3)])
    make(timelines, NOW, "ann")
    assert access_at("ann", NOW).quantity == 3
    with storage.writing():
        store_holdings("ann", [])
    make(timelines, NOW, "ann")

    assert access_at("ann", NOW) == Access("ann", allowed=False, reason="no_subscription")
    assert AnswerRow.select().where(AnswerRow.user_id == "ann").count() == 1


def test_a_timeline_that_stays_the_same_writes_nothing(timelines):
    with storage.writing():
        store_holdings("ann", [hold(status="past_due", unpaid_since=NOW)])
    make(timelines, NOW, "ann")

    with statements() as seen:
        make(timelines, NOW + 1, "ann")

    assert not [each for each in seen if each.lstrip().startswith(("INSERT", "UPDATE", "DELETE"))]


def test_answers_that_ended_a_day_ago_are_deleted_when_made_again(timelines):
    with storage.writing():
        store_holdings("ann", [hold(status="past_due", unpaid_since=NOW)])
    make(timelines, NOW, "ann")
    ends = NOW + PLANS["pro"].grace_seconds
    assert [row.starts_at for row in AnswerRow.select().where(AnswerRow.user_id == "ann")] == [0, ends]

    make(timelines, ends + KEPT_SECONDS, "ann")

    assert [(row.starts_at, row.reason) for row in AnswerRow.select().where(AnswerRow.user_id == "ann")] == [
        (0, "past_due")
    ]


def test_a_changed_price_has_only_its_holders_made_anew(timelines):
    purchase = Holding("purchase", "cs_1", 1, "pro", "price_pro", 1)
    with storage.writing():
        store_holdings("ann", [hold(), hold(plan="seats", id="sub_1")])
        store_holdings("bob", [hold(plan="basic", id="sub_bobs")], customers=("cus_bobs",))
        store_holdings("eve", [purchase], customers=("cus_eves",))
    make(timelines, NOW, "ann", "bob", "eve")
    Price.update(plan="team").where(Price.id == "price_pro").execute()

    with storage.writing():
        timelines.mark_holders(["price_pro"])
    assert {user.id: user.rule > 0 for user in User.select()} == {"ann": False, "bob": True, "eve": False}
    timelines.renew(NOW)

    assert {user: access_at(user, NOW).plan for user in ("ann", "bob", "eve")} == {
        "ann": "team", "bob": "basic", "eve": "team"
    }  # fmt: skip
    assert {user.rule > 0 for user in User.select()} == {True}


def test_a_user_whose_timeline_waits_keeps_the_answer_of_before(timelines):
    with storage.writing():
        store_holdings("ann", [hold()])
    make(timelines, NOW, "ann")
    User.update(rule=0).execute()

    assert access_at("ann", NOW).allowed
    assert timelines.renew_some(NOW) == 1
    assert timelines.renew_some(NOW) == 0


def test_the_rows_are_what_other_languages_parse(timelines):
    with storage.writing():
        store_holdings("ann", [hold(), hold(plan="team", id="sub_2")])
    make(timelines, NOW, "ann")

    (row,) = storage.rows("SELECT allowed, plans, features, limits, stale FROM corkage_access WHERE user_id = 'ann'")

    assert row == (1, '["pro","team"]', '["sso","exports","notes"]', '{"notes":"unlimited","seats":10}', 0)
    assert [json.loads(text) for text in row[1:4]]


def test_the_view_is_the_rule_at_this_second(timelines):
    now = int(time.time())
    held = [hold(status="past_due", unpaid_since=now - DAY, current_period_end=now - 5), hold(plan="basic", id="sub_2")]
    with storage.writing():
        store_holdings("ann", held)
    make(timelines, now, "ann")

    access = read_view("ann")

    assert (answered(access), access.stale) == expected(held, PLANS, now)
    assert access.stale


@pytest.mark.parametrize(("quantity", "seats"), [(4, 12), (1, 3), (None, 3)])
def test_an_addon_gives_by_itself_its_limits_times_its_quantity(timelines, quantity, seats):
    addon = hold(plan="seats", id="sub_2", quantity=quantity)
    with storage.trying():
        store_holdings("ann", [hold(plan="pro"), addon], customers=("cus_1",))

        found = {each.id: each.answer.limits for each in standings_of("ann", PLANS, NOW)}

    assert found == {"sub_1": {"notes": 500, "seats": 5}, "sub_2": {"seats": seats}}


def test_an_addon_in_the_subscription_of_its_plan_adds_to_it(timelines):
    with storage.trying():
        store_holdings("ann", [hold(plan="pro"), hold(plan="seats", quantity=2)], customers=("cus_1",))

        (found,) = standings_of("ann", PLANS, NOW)

    assert (found.answer.plan, found.answer.limits) == ("pro", {"notes": 500, "seats": 5 + 2 * 3})


def test_a_subscription_is_ours_by_any_of_its_items(timelines):
    planned, foreign = hold(ours=False), hold(plan=None, price_id="price_b", ours=False)
    with storage.trying():
        for held, is_ours in (([planned, foreign], True), ([foreign], False), ([hold(plan=None)], True)):
            store_holdings("ann", held, customers=("cus_1",))

            assert [each.is_ours for each in standings_of("ann", PLANS, NOW)] == [is_ours]


def test_a_grant_runs_until_the_second_of_its_end(app):
    User.create(id="ann", created_at=1)
    Grant.create(user="ann", plan="pro", reason="a gift", given_by="me", created_at=1, ends_at=NOW)

    assert [len(granted.running("ann", at)) for at in (NOW - 1, NOW, NOW + 1)] == [1, 0, 0]
