"""Notices: what happened between two answers, by name, both sides of every condition."""

import pytest

from corkage.access import Access
from corkage.models import User
from corkage.notices.changes import TRIAL_ENDS_SOON_SECONDS, _next_change_at, _trial_ends_soon, kinds_of
from corkage.notices.notice import AccessSummary

OUT = AccessSummary(reason="no_subscription")
ACTIVE = OUT._replace(allowed=True, reason="active", status="active", plan="pro", price_id="p1", quantity=1)
TRIAL = ACTIVE._replace(reason="trialing", status="trialing")
GRACE = ACTIVE._replace(reason="grace", status="past_due")
PAST_DUE = GRACE._replace(allowed=False, reason="past_due")
UNPAID = PAST_DUE._replace(reason="unpaid", status="unpaid")
ENDED = ACTIVE._replace(allowed=False, reason="ended", status="canceled")
CANCELING = ACTIVE._replace(reason="canceling", cancel_at=9)


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        (OUT, OUT, []),
        (OUT, ACTIVE, ["access_granted"]),
        (OUT, CANCELING, ["access_granted", "cancellation_scheduled"]),
        (OUT, TRIAL._replace(trial_ending=True), ["access_granted", "trial_ending"]),
        (OUT, PAST_DUE, ["payment_failed"]),
        (ACTIVE, ACTIVE, []),
        (ACTIVE, ENDED, ["access_revoked"]),
        (ENDED, ACTIVE._replace(plan="team"), ["access_granted"]),
        (ENDED, ENDED._replace(plan="team"), []),
        (ACTIVE, ACTIVE._replace(plan="team"), ["plan_changed"]),
        (ACTIVE, ACTIVE._replace(price_id="p2"), ["plan_changed"]),
        (ACTIVE, ACTIVE._replace(quantity=2), ["plan_changed"]),
        (ACTIVE, ENDED._replace(plan="team"), ["access_revoked"]),
        (ACTIVE, CANCELING, ["cancellation_scheduled"]),
        (CANCELING, CANCELING._replace(cancel_at=10), []),
        (CANCELING, ACTIVE, ["cancellation_undone"]),
        (CANCELING, ENDED, ["access_revoked"]),
        (CANCELING, ENDED._replace(cancel_at=9), ["access_revoked"]),
        (ENDED._replace(cancel_at=9), ACTIVE, ["access_granted"]),
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
        (TRIAL, TRIAL._replace(trial_ending=True), ["trial_ending"]),
        (TRIAL._replace(trial_ending=True), TRIAL._replace(trial_ending=True), []),
        (TRIAL._replace(trial_ending=True), ACTIVE, []),
    ],
)
def test_each_change_has_its_kind(before, after, kinds):
    assert kinds_of(before, after) == kinds


TRIALING = Access("ann", allowed=True, reason="trialing")


@pytest.mark.parametrize(("early", "soon"), [(1, False), (0, True), (-1, True)])
def test_trial_ending_comes_three_days_before_by_the_customers_clock(early, soon):
    user = User(trial_end=1_000_000, clock_ahead=500)
    now = 1_000_000 - TRIAL_ENDS_SOON_SECONDS - 500 - early

    assert TRIAL_ENDS_SOON_SECONDS == 3 * 24 * 3600
    assert _trial_ends_soon(user, TRIALING, now) is soon
    assert _next_change_at(user, TRIALING, now) == (None if soon else now + early)


@pytest.mark.parametrize("reason", ["active", "canceling", "grace"])
def test_trial_ending_comes_only_if_the_trial_becomes_paid(reason):
    user = User(trial_end=1_000_000, clock_ahead=0)

    assert not _trial_ends_soon(user, TRIALING._replace(reason=reason), 999_999)
    assert not _trial_ends_soon(User(trial_end=None, clock_ahead=0), TRIALING, 999_999)


def test_the_next_change_of_grace_is_its_end_in_our_time():
    user, access = User(clock_ahead=500), Access("ann", allowed=True, reason="grace", until=10_000)

    assert _next_change_at(user, access, 9_499) == 9_500
    assert _next_change_at(user, access, 9_500) is None
    assert _next_change_at(user, access._replace(until=None), 1) is None
    assert _next_change_at(user, access._replace(reason="active"), 1) is None
