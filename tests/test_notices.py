"""Notices: what happened between two states of what a user holds, by name, both sides of every condition."""

import pytest

from corkage.access import Holding, Terms, answer_at, timeline
from corkage.notices import changes
from corkage.notices.changes import TRIAL_ENDS_SOON_SECONDS, Seen, compare
from corkage.notices.notice import AccessSummary

DAY = 86_400
NOW = 1_800_000_000
PLANS = {
    "free": Terms(("basics",), rank=0, is_free=True),
    "pro": Terms(("export",), grace_seconds=7 * DAY, rank=1),
    "team": Terms(("export", "sso"), rank=2),
}
ACTIVE = Holding("subscription", "sub_1", NOW - DAY, "pro", "p1", 1, "active", current_period_end=NOW + 30 * DAY)
TRIAL = ACTIVE._replace(status="trialing", trial_end=NOW + 10 * DAY)
TRIAL_ENDING = TRIAL._replace(trial_end=NOW + 2 * DAY)
GRACE = ACTIVE._replace(status="past_due", unpaid_since=NOW - DAY)
PAST_DUE = GRACE._replace(unpaid_since=NOW - 8 * DAY)
UNPAID = PAST_DUE._replace(status="unpaid")
ENDED = ACTIVE._replace(status="canceled")
CANCELING = ACTIVE._replace(cancel_at=NOW + 9)
OTHER = ACTIVE._replace(id="sub_2", plan="team", price_id="p3")
GRANT = Holding("grant", "1", NOW - DAY, "pro", ends_at=NOW + DAY)


def noticed(seen, holdings, plans=PLANS, now=NOW):
    """Compare, and return the notices and what is seen from then on."""
    answers = timeline(holdings, plans, now)
    change = compare(seen, holdings, answers, plans, now)
    return change, Seen(change.notified, {**seen.of_things, **change.noted, **change.noted_purchases}, answers)


def kinds(before, after, plans=PLANS, edited=None, later=0):
    """Return (kind, subscription) of what happened between two states."""
    _, seen = noticed(Seen(None, {}), before, plans)
    change, seen = noticed(seen, after, edited or plans, NOW + later)
    assert noticed(seen, after, edited or plans, NOW + later)[0].notices == []  # each once
    return [(news.kind, news.subscription_id or news.purchase_id) for news in change.notices]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, None, []),
        (None, ACTIVE, ["access_granted"]),
        (None, CANCELING, ["access_granted", "cancellation_scheduled"]),
        (None, TRIAL_ENDING, ["access_granted", "trial_ending"]),
        (None, PAST_DUE, ["payment_failed"]),
        (ACTIVE, ACTIVE, []),
        (ACTIVE, ENDED, ["access_revoked"]),
        (ENDED, ACTIVE._replace(plan="team"), ["access_granted"]),
        (ENDED, ENDED._replace(plan="team"), []),
        (ACTIVE, ACTIVE._replace(plan="team"), ["plan_changed"]),
        (ACTIVE, ACTIVE._replace(price_id="p2"), []),
        (ACTIVE, ACTIVE._replace(quantity=2), ["plan_changed"]),
        (ACTIVE, ENDED._replace(plan="team"), ["access_revoked"]),
        (ACTIVE, ACTIVE._replace(current_period_end=NOW + 60 * DAY), []),
        (ACTIVE, CANCELING, ["cancellation_scheduled"]),
        (CANCELING, CANCELING._replace(cancel_at=NOW + 10), []),
        (CANCELING, ACTIVE, ["cancellation_undone"]),
        (CANCELING, ENDED, ["access_revoked"]),
        (CANCELING, ENDED._replace(cancel_at=NOW + 9), ["access_revoked"]),
        (ENDED._replace(cancel_at=9), ENDED, []),
        (ENDED, ENDED._replace(cancel_at=9), []),
        (ACTIVE, GRACE, ["payment_failed"]),
        (ACTIVE, PAST_DUE, ["payment_failed", "access_revoked"]),
        (ACTIVE, UNPAID, ["payment_failed", "access_revoked"]),
        (GRACE, GRACE, []),
        (GRACE, PAST_DUE, ["access_revoked"]),
        (PAST_DUE, UNPAID, []),
        (GRACE, ACTIVE, ["payment_recovered"]),
        (GRACE, TRIAL, ["payment_recovered"]),
        (UNPAID, ACTIVE, ["payment_recovered", "access_granted"]),
        (PAST_DUE, ENDED, []),
        (TRIAL, TRIAL_ENDING, ["trial_ending"]),
        (TRIAL_ENDING, TRIAL_ENDING, []),
        (TRIAL_ENDING, ACTIVE, []),
        (None, ACTIVE._replace(plan=None), []),
        (None, ACTIVE._replace(plan=None, status="past_due"), []),
    ],
)
def test_each_change_of_one_subscription_has_its_kind(before, after, expected):
    of_user = ("access_granted", "access_revoked", "plan_changed")

    found = kinds([before] if before else [], [after] if after else [])

    assert found == [(kind, None if kind in of_user else "sub_1") for kind in expected]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([ACTIVE, OTHER], [GRACE, OTHER], [("payment_failed", "sub_1")]),
        ([ACTIVE, OTHER], [CANCELING, OTHER], [("cancellation_scheduled", "sub_1")]),
        ([ACTIVE, OTHER], [ENDED, OTHER], [("plan_changed", None)]),
        ([ACTIVE], [ACTIVE, OTHER], [("plan_changed", None)]),
        ([ACTIVE, OTHER], [ENDED, OTHER._replace(status="canceled")], [("access_revoked", None)]),
        ([TRIAL, OTHER], [TRIAL_ENDING, OTHER], [("trial_ending", "sub_1")]),
        ([ENDED], [ENDED, GRANT], [("access_granted", None)]),
        ([GRANT], [], [("access_revoked", None)]),
        ([GRANT, ACTIVE], [GRANT, ENDED], [("plan_changed", None)]),  # a grant may have no quantity
    ],
)
def test_among_several_holdings_a_notice_names_the_one_it_is_about(before, after, expected):
    assert kinds(before, after) == expected


def test_a_failed_payment_beside_another_plan_says_that_access_stays():
    _, seen = noticed(Seen(None, {}), [ACTIVE, OTHER])

    (notice,) = noticed(seen, [PAST_DUE, OTHER])[0].notices[:1]

    kind, before, after, subscription_id = notice[:4]
    assert (kind, subscription_id) == ("payment_failed", "sub_1")
    assert (before.allowed, before.status, before.plan) == (True, "active", "pro")
    assert (after.allowed, after.status, after.plan, after.plans) == (True, "past_due", "pro", ("team",))


@pytest.mark.parametrize(
    ("holding", "edit", "expected"),
    [
        (ACTIVE, {"pro": PLANS["pro"]._replace(features=("export", "more"), limits={"seats": 3})}, []),
        (None, {"free": PLANS["free"]}, []),
        (GRACE, {"pro": PLANS["pro"]._replace(grace_seconds=3600)}, [("access_revoked", None)]),
    ],
)
def test_an_edit_of_plans_notifies_only_what_it_takes(holding, edit, expected):
    before = {key: terms for key, terms in PLANS.items() if key != "free"}
    held = [holding] if holding else []

    assert kinds(held, held, before, before | edit) == expected


def test_a_price_moved_to_another_plan_is_a_change_of_plan():
    assert kinds([ACTIVE], [ACTIVE._replace(plan="team")]) == [("plan_changed", None)]


def test_the_end_of_grace_and_of_a_grant_come_by_time_alone():
    assert kinds([GRACE], [GRACE], later=6 * DAY - 1) == []
    assert kinds([GRACE], [GRACE], later=6 * DAY) == [("access_revoked", None)]
    assert kinds([GRANT], [GRANT], later=DAY) == [("access_revoked", None)]
    assert noticed(Seen(None, {}), [GRACE])[0].next_change_at == NOW + 6 * DAY
    assert noticed(Seen(None, {}), [GRACE._replace(clock_ahead=500)])[0].next_change_at == NOW + 6 * DAY - 500
    assert noticed(Seen(None, {}), [GRANT])[0].next_change_at == NOW + DAY
    assert noticed(Seen(None, {}), [ACTIVE])[0].next_change_at is None


@pytest.mark.parametrize(("early", "expected"), [(1, []), (0, ["trial_ending"]), (-1, ["trial_ending"])])
def test_trial_ending_comes_three_days_before_by_the_customers_clock(early, expected):
    trial = TRIAL._replace(trial_end=NOW + TRIAL_ENDS_SOON_SECONDS + 500 + early, clock_ahead=500)

    assert TRIAL_ENDS_SOON_SECONDS == 3 * 24 * 3600
    change, _ = noticed(Seen(None, {}), [trial])
    assert [kind for kind, *_ in change.notices] == ["access_granted", *expected]
    assert change.next_change_at == (NOW + early if early > 0 else None)


@pytest.mark.parametrize(
    "paid_never", [{"cancel_at": NOW + 2 * DAY}, {"pause_behavior": "void", "paid_until": NOW + DAY}]
)
def test_trial_ending_comes_only_if_the_trial_becomes_paid(paid_never):
    change, _ = noticed(Seen(None, {}), [TRIAL_ENDING._replace(**paid_never)])

    assert "trial_ending" not in [kind for kind, *_ in change.notices]


@pytest.mark.parametrize("holdings", [[ACTIVE], [GRACE], [CANCELING], [ACTIVE, OTHER], [GRANT], [ENDED], []])
def test_what_was_noticed_is_read_back_as_it_was(holdings):
    _, seen = noticed(Seen(None, {}), holdings)

    was = changes._summary(answer_at(seen.answers, NOW), PLANS)
    assert changes._before(seen, AccessSummary(), NOW) == was
    assert len(seen.of_user) < 60


def test_what_a_version_for_one_subscription_noticed_is_no_news():
    seen = Seen('[true,"active","pro",1,null,"active",null]', {"sub_1": '["active"]'})

    assert noticed(seen, [ACTIVE])[0].notices == []
    assert noticed(seen, [ACTIVE, OTHER])[0].notices == []
    assert [kind for kind, *_ in noticed(seen, [ENDED])[0].notices] == ["access_revoked"]
