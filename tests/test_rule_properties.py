"""What must hold for any set of holdings, at any moment: in the rule, and in the rows that are stored by it."""

import itertools

from harness import DAY
from held import HOLDINGS, NOW, PAID, PLANS, WITH_FREE
from hypothesis import given
from hypothesis import strategies as st
from oracle import compared, together

from corkage.access import FOREVER, KEPT_SECONDS, UNLIMITED, Terms, answer_at, timeline

ANY_PLANS = st.sampled_from((PLANS, WITH_FREE))
TIMES = st.integers(NOW - 30 * DAY, NOW + 60 * DAY)


def moments_of(*timelines):
    """Return each moment at which one of the timelines changes, and the second before it."""
    starts = {each.starts_at for answers in timelines for each in answers}
    return sorted({NOW, *starts, *(start - 1 for start in starts if start)})


def is_as_much(limit, other):
    return limit == UNLIMITED or (other != UNLIMITED and limit >= other)


def gives_less(answer, other):
    """Return what the answer lacks that the other gives."""
    less = [name for name, limit in other.limits.items() if not is_as_much(answer.limits.get(name, 0), limit)]
    less += sorted({*other.features} - {*answer.features}) + sorted({*other.plans} - {*answer.plans})
    return less + ["allowed"] * (other.allowed and not answer.allowed)


@given(HOLDINGS, ANY_PLANS)
def test_no_answer_gives_less_than_any_single_holding_alone(holdings, plans):
    all_of_it = timeline(holdings, plans, NOW)
    for holding in holdings:
        alone = timeline([holding], plans, NOW)
        for moment in moments_of(all_of_it, alone):
            assert gives_less(answer_at(all_of_it, moment), answer_at(alone, moment)) == []


@given(HOLDINGS, PAID, ANY_PLANS)
def test_adding_a_paid_holding_never_takes_anything_away(holdings, paid, plans):
    before, after = timeline(holdings, plans, NOW), timeline([*holdings, *paid], plans, NOW)

    for moment in moments_of(before, after):
        assert gives_less(answer_at(after, moment), answer_at(before, moment)) == []


@given(HOLDINGS)
def test_the_free_plan_takes_nothing_away_and_lets_nobody_in(holdings):
    without, with_it = timeline(holdings, PLANS, NOW), timeline(holdings, WITH_FREE, NOW)

    for moment in moments_of(without, with_it):
        before, after = answer_at(without, moment), answer_at(with_it, moment)
        assert gives_less(after, before) == []
        assert after.allowed == before.allowed
        assert after.reason == before.reason or (before.reason, after.reason) == ("no_subscription", "free")


@given(HOLDINGS, ANY_PLANS, TIMES, st.lists(TIMES, max_size=5))
def test_the_timeline_at_any_moment_is_the_rule_at_that_moment(holdings, plans, now, times):
    answers = timeline(holdings, plans, now)

    for moment in {now, now + 0.5, *moments_of(answers), *times}:
        if moment >= now - KEPT_SECONDS:
            assert compared(answer_at(answers, moment)) == together(holdings, plans, moment, Terms()), moment


@given(HOLDINGS, ANY_PLANS, TIMES)
def test_answers_cover_all_time_once_and_neighbours_differ(holdings, plans, now):
    answers = timeline(holdings, plans, now)

    assert (answers[0].starts_at, answers[-1].ends_at) == (0, FOREVER)
    for one, next_ in itertools.pairwise(answers):
        assert one.starts_at < one.ends_at == next_.starts_at
        assert compared(one) != compared(next_)
        assert one.ends_at > now - KEPT_SECONDS


@given(HOLDINGS, ANY_PLANS, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(holdings, plans, random):
    shuffled = random.sample(holdings, len(holdings))

    assert timeline(shuffled, plans, NOW) == timeline(holdings, plans, NOW)


@given(HOLDINGS, ANY_PLANS, TIMES, st.integers(0, 40 * DAY), TIMES)
def test_made_later_the_timeline_says_the_same_from_then_on(holdings, plans, now, later, other):
    made, again = timeline(holdings, plans, now), timeline(holdings, plans, now + later)

    for moment in {now + later, now + later - 3600, *moments_of(made), other}:  # also after the clock steps back
        if moment >= now + later - KEPT_SECONDS:
            assert compared(answer_at(again, moment)) == compared(answer_at(made, moment))
