"""The rule of access: every cell of its table by name, and what must hold for any set of holdings.

The expected values come from the table below and from support/oracle.py, which shares no code with access.py.
"""

import itertools

import pytest
from harness import DAY
from held import GRACE, NOW, PLANS, WITH_FREE
from oracle import compared, together

from corkage.access import (
    FOREVER,
    REASONS,
    UNLIMITED,
    Access,
    Answer,
    Holding,
    Terms,
    access_of,
    answer_at,
    for_member,
    lonely_addons,
    timeline,
)

STATUSES = (
    "incomplete", "incomplete_expired", "trialing", "active", "past_due", "canceled", "unpaid", "paused", "unheard_of",
    "",
)  # fmt: skip
PERIODS = ("running", "over", "ending", "ended")  # it goes on, is over; or an end is scheduled, and has passed
DEBTS = ("none", "in grace", "grace over")  # no unpaid invoice; one of 3 days; one of 8 days, with 7 days' grace
FIRST = ("paid", "pending", "denied")  # the first payment; a pending one, with a plan that allows or denies it
COLLECTION = (
    "goes on", "draft", "uncollectible", "void paid", "void over", "void never", "resumed", "resumes later",
)  # fmt: skip
LAST = ("kept", "refunded", "disputed", "refund kept", "dispute kept")  # what was last paid
PRICES = ("ours in plan", "foreign in plan", "ours", "foreign")  # sold by us, or not; in a plan, or in none

# `*` is any, `/` separates several. Each cell must be named exactly once.
TABLE = """
canceled/incomplete_expired | * | * | * | * | * | * | no ended
incomplete/trialing/active/past_due/unpaid/paused/unheard_of/ | * | * | * | * | * | foreign | no unknown_price
incomplete    | * | * | * | * | * | ours in plan/foreign in plan/ours | no incomplete
unpaid        | * | * | * | * | * | ours in plan/foreign in plan/ours | no unpaid
paused        | * | * | * | * | * | ours in plan/foreign in plan/ours | no paused
unheard_of/   | * | * | * | * | * | ours in plan/foreign in plan/ours | no unknown_status

trialing/active/past_due | * | * | * | * | refunded    | ours in plan/foreign in plan/ours | no refunded
trialing/active/past_due | * | * | * | * | disputed    | ours in plan/foreign in plan/ours | no disputed
trialing/active/past_due | * | * | * | * | refund kept  | ours | no refunded
trialing/active/past_due | * | * | * | * | dispute kept | ours | no disputed

past_due | * | none/grace over | *            | * | kept/refund kept/dispute kept | ours in plan/foreign in plan | no past_due
past_due | * | in grace        | denied       | * | kept/refund kept/dispute kept | ours in plan/foreign in plan | no past_due
past_due | * | in grace        | paid/pending | * | kept/refund kept/dispute kept | ours in plan/foreign in plan | yes grace
past_due | * | *               | *            | * | kept                          | ours                         | no past_due

trialing/active | * | * | * | void over/void never | kept/refund kept/dispute kept | ours in plan/foreign in plan | no paused
trialing/active | * | * | * | void over/void never | kept                          | ours                         | no paused

active | * | * | pending        | goes on/draft/uncollectible/void paid/resumed/resumes later | kept/refund kept/dispute kept | ours in plan/foreign in plan | yes payment_pending
active | * | * | denied         | goes on/draft/uncollectible/void paid/resumed/resumes later | kept/refund kept/dispute kept | ours in plan/foreign in plan | no payment_pending
active | * | * | pending/denied | goes on/draft/uncollectible/void paid/resumed/resumes later | kept                          | ours                         | yes payment_pending

active | ending/ended | * | paid | goes on/draft/uncollectible/void paid/resumed/resumes later | kept/refund kept/dispute kept | ours in plan/foreign in plan | yes canceling
active | ending/ended | * | paid | goes on/draft/uncollectible/void paid/resumed/resumes later | kept                          | ours                         | yes canceling
active | running/over | * | paid | goes on/resumed                                | kept/refund kept/dispute kept | ours in plan/foreign in plan | yes active
active | running/over | * | paid | goes on/resumed                                | kept                          | ours                         | yes active
active | running/over | * | paid | draft/uncollectible/void paid/resumes later    | kept/refund kept/dispute kept | ours in plan/foreign in plan | yes collection_paused
active | running/over | * | paid | draft/uncollectible/void paid/resumes later    | kept                          | ours                         | yes collection_paused

trialing | ending/ended | * | * | goes on/draft/uncollectible/void paid/resumed/resumes later | kept/refund kept/dispute kept | ours in plan/foreign in plan | yes canceling
trialing | ending/ended | * | * | goes on/draft/uncollectible/void paid/resumed/resumes later | kept                          | ours                         | yes canceling
trialing | running/over | * | * | goes on/resumed                                | kept/refund kept/dispute kept | ours in plan/foreign in plan | yes trialing
trialing | running/over | * | * | goes on/resumed                                | kept                          | ours                         | yes trialing
trialing | running/over | * | * | draft/uncollectible/void paid/resumes later    | kept/refund kept/dispute kept | ours in plan/foreign in plan | yes collection_paused
trialing | running/over | * | * | draft/uncollectible/void paid/resumes later    | kept                          | ours                         | yes collection_paused
"""  # noqa: E501 -- a table reads by its lines
AXES = (STATUSES, PERIODS, DEBTS, FIRST, COLLECTION, LAST, PRICES)


def cells():
    """Spread the table over every cell; each must be named once."""
    found = {}
    for line in filter(None, TABLE.splitlines()):
        *columns, answer = (part.strip() for part in line.split("|"))
        named = [axis if text == "*" else text.split("/") for text, axis in zip(columns, AXES, strict=True)]
        for cell in itertools.product(*named):
            assert cell not in found, f"named twice: {cell}"
            found[cell] = answer
    return found


CELLS = cells()


def test_the_table_names_every_cell():
    assert set(CELLS) == set(itertools.product(*AXES))
    assert len(CELLS) == 10 * 4 * 3 * 3 * 8 * 5 * 4


PAID_UNTIL = dict.fromkeys(COLLECTION) | {"void paid": 60, "resumes later": 30, "void over": -1, "resumed": -90}


def held_in(cell, ahead):
    """Return the holding and the terms of a cell. Its times are by a clock that is so far ahead of ours."""
    status, period, debt, first, collection, last, price = cell
    there = NOW + ahead
    end = there + (DAY if period in ("running", "ending") else -DAY)
    paused = {"goes on": None, "draft": "keep_as_draft", "resumed": "void", "uncollectible": "mark_uncollectible"}
    holding = Holding(
        "subscription",
        "sub_1",
        there - 40 * DAY,
        plan="pro" if price.endswith("in plan") else None,
        price_id="price_1",
        quantity=2,
        status=status,
        ours=price.startswith("ours"),
        current_period_end=end,
        cancel_at=end if period in ("ending", "ended") else None,
        trial_end=end if status == "trialing" else None,
        unpaid_since={"none": None, "in grace": there - 3 * DAY, "grace over": there - 8 * DAY}[debt],
        payment_pending=first != "paid",
        pause_behavior=paused.get(collection, "void"),
        resumes_at={"resumed": there - 60, "resumes later": there + 60}.get(collection),
        paid_until=PAID_UNTIL[collection] and there + PAID_UNTIL[collection],
        returned={"refund": "refunded", "dispute": "disputed", "kept": None}.get(last.split()[0], last),
        clock_ahead=ahead,
    )
    terms = Terms(
        features=("exports",),
        limits={"notes": 5},
        grace_seconds=GRACE,
        denies_pending=first == "denied",
        rank=0,
        keeps_refunded=last == "refund kept",
        keeps_disputed=last == "dispute kept",
    )
    return holding, terms


AHEAD = [
    pytest.param(0, id="our clock"),
    pytest.param(400 * DAY, id="ahead", marks=pytest.mark.slow),
    pytest.param(-5 * DAY, id="behind", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("ahead", AHEAD)
@pytest.mark.parametrize("status", STATUSES)
def test_every_cell_of_the_table_is_answered_as_it_says(status, ahead):
    seen = 0
    for cell in itertools.product((status,), *AXES[1:]):
        holding, terms = held_in(cell, ahead)
        answer = answer_at(timeline([holding], {"pro": terms}, NOW), NOW)
        said = f"{'yes' if answer.allowed else 'no'} {answer.reason}"
        assert said == CELLS[cell], cell
        expected = together([holding], {"pro": terms}, NOW, Terms())
        assert compared(answer) == expected, cell
        is_over = cell[1] in ("over", "ended") or cell[4] == "resumed"
        is_live = status in ("active", "trialing", "past_due")
        assert (answer.stale_at is not None and answer.stale_at <= NOW) is (is_live and is_over), cell
        assert answer.features == (("exports",) if answer.allowed and holding.plan else ()), cell
        seen += 1
    assert seen == len(CELLS) / len(STATUSES)


def test_every_reason_is_said_by_a_cell_or_an_example():
    of_cells = {answer.split()[1] for answer in CELLS.values()}

    assert set(REASONS) - of_cells == {"granted", "addon_only", "free", "no_subscription"}
    assert of_cells <= set(REASONS)


def subscribed(plan, status="active", id="sub_1", created=NOW - 9 * DAY, **more):  # noqa: A002 -- the field's name
    more = {"current_period_end": NOW + 9 * DAY, "price_id": f"price_{plan}", "quantity": 1, "ours": True} | more
    return Holding("subscription", id, created, plan, status=status, **more)


def granted(plan, id="1", **more):  # noqa: A002 -- the field's name
    return Holding("grant", id, NOW - 3 * DAY, plan, **more)


def bought(plan, id="cs_1", created=NOW - 5 * DAY, **more):  # noqa: A002 -- the field's name
    return Holding("purchase", id, created, plan, f"price_{plan}", 1, **more)


def now(*holdings, plans=PLANS):
    return answer_at(timeline(holdings, plans, NOW), NOW)


def said(*holdings, plans=PLANS):
    answer = now(*holdings, plans=plans)
    return answer.allowed, answer.reason, answer.plan, answer.plans


class TestTogether:
    """Several holdings: nothing that is held takes anything away."""

    def test_a_newer_cheap_plan_takes_nothing_from_the_dear_one(self):
        answer = now(subscribed("team"), subscribed("basic", id="sub_2", created=NOW))

        assert (answer.plan, answer.plans) == ("team", ("basic", "team"))
        assert answer.features == ("sso", "exports", "notes")
        assert answer.limits == {"notes": UNLIMITED, "seats": 10}

    def test_every_item_of_a_subscription_counts_also_the_eleventh(self):
        items = [subscribed(None, price_id=f"price_{number}") for number in range(10)]

        answer = now(*items, subscribed("pro", quantity=4))

        assert (answer.plan, answer.quantity, answer.features) == ("pro", 4, ("exports", "notes"))

    def test_an_addon_and_its_plan_in_one_subscription(self):
        assert said(subscribed("seats"), subscribed("pro")) == (True, "active", "pro", ("pro", "seats"))

    def test_a_newer_trial_hides_nothing_that_is_paid(self):
        trial = subscribed("pro", "trialing", id="sub_2", created=NOW, trial_end=NOW + DAY, quantity=7)

        answer = now(subscribed("pro", cancel_at=NOW + 5), trial)

        assert (answer.reason, answer.until, answer.quantity) == ("canceling", NOW + 5, 8)

    def test_a_newer_pending_payment_hides_nothing_that_is_paid(self):
        pending = subscribed("pro", id="sub_2", created=NOW, payment_pending=True)

        assert said(subscribed("pro"), pending) == (True, "active", "pro", ("pro",))

    def test_a_trial_of_a_dearer_plan_stands_before_a_paid_cheaper_one(self):
        trial = subscribed("team", "trialing", trial_end=NOW + DAY)

        assert said(subscribed("basic", id="sub_2"), trial) == (True, "trialing", "team", ("basic", "team"))

    def test_what_is_paid_stands_before_what_is_granted(self):
        assert said(granted("team"), subscribed("basic")) == (True, "active", "basic", ("basic", "team"))
        assert said(granted("team"), subscribed("basic", "unpaid")) == (True, "granted", "team", ("team",))

    def test_two_customers_of_a_user_count_together(self):
        one, other = subscribed("basic", price_id="price_a"), subscribed("pro", id="sub_2", price_id="price_b")

        assert said(one, other) == (True, "active", "pro", ("basic", "pro"))

    def test_quantities_of_the_best_plan_are_added_where_they_let_in(self):
        paid = [subscribed("pro", quantity=2), subscribed("pro", id="sub_2", quantity=3, created=NOW)]
        others = [subscribed("pro", "unpaid", id="sub_3", quantity=100), subscribed("basic", id="sub_4", quantity=50)]

        assert now(*paid, *others).quantity == 5
        assert now(subscribed("pro", quantity=None)).quantity is None
        assert now(subscribed("pro", quantity=None), granted("pro", quantity=2)).quantity == 2
        assert now(subscribed("pro", "unpaid", quantity=3)).quantity == 3

    def test_among_equals_the_newest_is_shown_and_ties_are_stable(self):
        old, new = subscribed("pro", cancel_at=NOW + 1), subscribed("pro", id="sub_2", created=NOW, cancel_at=NOW + 2)
        tied = subscribed("pro", id="sub_0", created=NOW, cancel_at=NOW + 3)

        assert now(old, new).until == now(new, old).until == NOW + 2
        assert now(new, tied).until == now(tied, new).until == NOW + 3

    @pytest.mark.parametrize("status", ["active", "unpaid"])
    def test_of_one_subscriptions_items_the_order_changes_nothing(self, status):
        items = [subscribed(plan, status, price_id=price) for plan, price in
                 (("basic", "p1"), ("pro", "p2"), ("pro", "p3"), (None, "p0"))]  # fmt: skip

        answers = {str(now(*order)) for order in itertools.permutations(items)}

        assert len(answers) == 1
        assert (now(*items).plan, now(*items).price_id) == ("pro", "p2")

    @pytest.mark.parametrize(
        ("better", "worse"),
        [
            (subscribed("basic", "unpaid"), subscribed(None, id="sub_2", ours=False, created=NOW)),
            (subscribed("basic", "canceled"), subscribed(None, id="sub_2", ours=False, created=NOW)),
            (subscribed("basic", "incomplete"), subscribed("team", "canceled", id="sub_2", created=NOW)),
            (subscribed("basic", "past_due"), subscribed("team", "unpaid", id="sub_2", created=NOW)),
            (subscribed("basic", "unpaid", created=NOW), subscribed("team", "paused", id="sub_2")),
            (subscribed("strict", payment_pending=True), granted("pro", ends_at=NOW - 2 * DAY)),
        ],
    )
    def test_of_what_lets_nobody_in_the_nearest_is_named(self, better, worse):
        alone_ = now(better)

        assert now(better, worse) == now(worse, better) == alone_
        assert not alone_.allowed
        assert alone_.until is None

    def test_ours_without_a_plan_lets_in_and_gives_nothing(self):
        answer = now(subscribed(None))

        assert (answer.allowed, answer.plan, answer.plans, answer.features, answer.limits) == (True, None, (), (), {})
        assert now(subscribed(None), subscribed("basic", id="sub_2")).plan == "basic"

    def test_a_plan_taken_out_of_the_file_keeps_what_it_gave(self):
        answer = now(subscribed("gone"), subscribed("basic", id="sub_2"))

        assert (answer.plan, answer.plans, answer.limits["notes"]) == ("basic", ("gone", "basic"), 60)
        assert answer.features == ("notes", "old")
        assert now(subscribed("gone", "past_due", unpaid_since=NOW - DAY)).reason == "grace"
        assert now(subscribed("never_in_the_file")).plans == ("never_in_the_file",)

    def test_features_begin_with_those_of_the_best_plan_each_once(self):
        held = subscribed("basic"), granted("pro"), subscribed("seats", id="sub_3")

        assert now(*held, plans=WITH_FREE).features == ("notes", "read", "exports", "more_seats")


class TestAddons:
    """An add-on gives something only while a plan that it names lets in."""

    def test_an_addon_alone_opens_nothing(self):
        answer = now(subscribed("seats", quantity=4, cancel_at=NOW + 9))

        assert (answer.allowed, answer.reason, answer.plan, answer.quantity) == (False, "addon_only", "seats", 4)
        assert (answer.plans, answer.features, answer.limits, answer.until) == ((), (), {}, None)

    @pytest.mark.parametrize("base", [subscribed("basic", id="sub_2"), subscribed("pro", "unpaid", id="sub_2")])
    def test_an_addon_to_another_plan_or_to_an_unpaid_one_gives_nothing(self, base):
        assert now(subscribed("seats"), base) == now(base)

    def test_an_addon_of_which_something_is_owed_gives_nothing(self):
        unpaid = subscribed("storage", "unpaid", id="sub_2")

        assert now(unpaid, subscribed("pro")) == now(subscribed("pro"))
        assert said(unpaid) == (False, "unpaid", "storage", ())

    def test_an_addon_has_a_grace_of_its_own(self):
        base, addon = subscribed("pro"), subscribed("storage", "past_due", id="sub_2", unpaid_since=NOW - DAY + 60)

        assert [each.plans for each in timeline([base, addon], PLANS, NOW)] == [("pro", "storage"), ("pro",)]

    def test_limits_of_addons_are_added_times_their_quantity(self):
        base = subscribed("pro"), subscribed("basic", id="sub_2"), granted("team")
        assert now(*base[:2], subscribed("seats", quantity=4)).limits == {"notes": 500, "seats": 5 + 4 * 3}
        assert now(base[0], subscribed("seats", quantity=None)).limits["seats"] == 8
        assert now(base[0], subscribed("seats", quantity=0)).limits["seats"] == 5
        two = subscribed("seats", quantity=2), subscribed("storage", id="sub_3", quantity=2), granted("storage")
        assert now(base[0], *two).limits == {"gb": 30, "notes": 521, "seats": 11}

    def test_unlimited_stands_above_every_number(self):
        addon = subscribed("boundless", id="sub_2", quantity=3)
        assert now(subscribed("strict"), addon).limits == {"calls": UNLIMITED, "gb": 3}
        assert now(subscribed("team"), granted("pro"), granted("storage")).limits["notes"] == UNLIMITED
        assert now(granted("basic"), granted("team"), granted("pro")).limits["notes"] == UNLIMITED

    def test_a_limit_of_none_at_all_stays_none(self):
        assert now(subscribed("no_seats"), plans={"no_seats": Terms(limits={"seats": 0})}).limits == {"seats": 0}

    def test_limits_stand_in_the_order_of_their_names(self):
        assert list(now(subscribed("pro"), granted("storage"), granted("boundless")).limits) == ["gb", "notes", "seats"]

    def test_an_addon_to_a_plan_out_of_the_file_goes_on(self):
        assert now(subscribed("gone"), granted("gone_addon"), granted("boundless")).limits == {
            "calls": UNLIMITED, "gb": 1, "notes": 62
        }  # fmt: skip

    def test_an_addon_of_a_granted_plan_is_in_force(self):
        assert said(granted("pro"), subscribed("seats")) == (True, "granted", "pro", ("pro", "seats"))
        assert said(granted("seats")) == (False, "addon_only", "seats", ())


class TestLonelyAddons:
    """An add-on whose plans have all ended is canceled at Stripe, so nothing else may be named."""

    @staticmethod
    def lonely(*held):
        return lonely_addons(held, PLANS, NOW)

    def test_an_addon_is_lonely_only_where_none_of_its_plans_is_held(self):
        addon = subscribed("seats", id="sub_2")
        assert self.lonely(addon) == self.lonely(addon, subscribed("basic")) == {"sub_2"}
        assert self.lonely(addon, subscribed("pro")) == self.lonely(addon, granted("team")) == frozenset()
        assert self.lonely(addon, subscribed("basic"), subscribed("storage", id="sub_3")) == {"sub_2", "sub_3"}
        assert self.lonely(subscribed("basic")) == frozenset()

    @pytest.mark.parametrize("status", STATUSES)
    def test_only_a_subscription_of_ours_that_goes_on_is_lonely(self, status):
        goes_on = status in ("trialing", "active", "past_due")

        assert self.lonely(subscribed("seats", status)) == ({"sub_1"} if goes_on else frozenset())
        assert self.lonely(subscribed("seats", status, ours=False)) == frozenset()

    def test_neither_a_grant_nor_a_purchase_is_lonely(self):
        assert self.lonely(granted("seats"), bought("seats", ours=True)) == frozenset()

    def test_a_subscription_with_a_plan_beside_the_addon_is_not_lonely(self):
        assert self.lonely(subscribed("seats"), subscribed("basic")) == frozenset()

    def test_two_addons_in_one_subscription_need_one_plan_of_either(self):
        both = subscribed("seats"), subscribed("storage")

        assert self.lonely(*both, granted("team")) == self.lonely(*both, granted("pro")) == frozenset()
        assert self.lonely(*both, granted("strict")) == {"sub_1"}

    def test_a_plan_is_held_until_it_has_ended_though_it_lets_nobody_in(self):
        addon = subscribed("storage", id="sub_2")
        for status in ("unpaid", "paused", "incomplete", "past_due"):
            assert self.lonely(addon, subscribed("pro", status)) == frozenset()
        assert self.lonely(addon, subscribed("pro", "canceled")) == {"sub_2"}
        assert self.lonely(addon, granted("pro", ends_at=NOW + 1)) == frozenset()
        assert self.lonely(addon, granted("pro", ends_at=NOW)) == {"sub_2"}

    def test_a_purchase_that_was_refunded_is_held_no_more_and_a_disputed_one_is(self):
        addon = subscribed("storage", id="sub_2")
        assert self.lonely(addon, bought("pro", returned="refunded")) == {"sub_2"}
        assert self.lonely(addon, bought("pro", returned="disputed")) == frozenset()
        assert self.lonely(addon, subscribed("pro", returned="refunded")) == frozenset()

    def test_what_is_ours_of_an_unknown_plan_may_be_any(self):
        addon = subscribed("seats", id="sub_2")
        assert self.lonely(addon, subscribed(None)) == frozenset()
        assert self.lonely(addon, subscribed(None, ours=False)) == {"sub_2"}


class TestBought:
    """What is bought once, and what is given."""

    def test_a_lifetime_is_for_ever(self):
        (answer,) = timeline([bought("lifetime")], PLANS, NOW)

        assert (answer.allowed, answer.reason, answer.until, answer.status) == (True, "active", None, None)
        assert (answer.starts_at, answer.ends_at, answer.stale_at) == (0, FOREVER, None)

    def test_a_pass_ends_at_its_second(self):
        end = NOW - 5 * DAY + 30 * DAY

        first, second = timeline([bought("pass")], PLANS, NOW)

        assert (first.allowed, first.reason, first.until, first.ends_at) == (True, "active", end, end)
        assert (second.allowed, second.reason, second.until, second.starts_at) == (False, "ended", None, end)

    def test_days_that_are_bought_before_others_are_over_are_added_to_them(self):
        first, second = bought("pass", created=NOW - 20 * DAY), bought("pass", id="cs_2", created=NOW - 10 * DAY)

        answer, ended = timeline([second, first], PLANS, NOW)

        end = NOW + 40 * DAY
        assert (answer.allowed, answer.until, answer.quantity, ended.starts_at) == (True, end, 1, end)

    def test_days_without_a_quantity_are_those_of_one(self):
        first = bought("pass", created=NOW - 20 * DAY)._replace(quantity=None)

        assert now(first, bought("pass", id="cs_2", created=NOW - 10 * DAY)).until == NOW + 40 * DAY
        assert now(first, bought("pass", id="cs_2")._replace(quantity=2)).until == NOW + 25 * DAY

    @pytest.mark.parametrize(("after", "ends"), [(30 * DAY - 1, 60 * DAY), (30 * DAY, 60 * DAY), (40 * DAY, 70 * DAY)])
    def test_days_that_are_bought_after_others_were_over_count_from_then(self, after, ends):
        first = NOW - 45 * DAY
        held = [bought("pass", created=first), bought("pass", id="cs_2", created=first + after)]

        assert now(*held).until == first + ends

    def test_other_quantities_and_days_that_were_returned_are_not_added(self):
        first = NOW - 20 * DAY
        of_two = bought("pass", created=first), bought("pass", id="cs_2", created=first + DAY)._replace(quantity=2)
        assert (now(*of_two).until, now(*of_two).quantity) == (first + 31 * DAY, 3)
        paid_back = bought("pass", created=first, returned="refunded")
        assert now(paid_back, bought("pass", id="cs_2", created=first + DAY)).until == first + 31 * DAY

    def test_only_what_was_bought_lasts_some_days(self):
        assert len(timeline([granted("pass")], PLANS, NOW)) == 1
        assert now(granted("pass", ends_at=NOW + 40 * DAY)).until == NOW + 40 * DAY
        monthly, days = subscribed("pass"), bought("pass", created=NOW)
        assert [each.starts_at for each in timeline([monthly, days], PLANS, NOW)][1:] == [NOW + 30 * DAY]
        known = bought("pass", created=NOW - DAY, ends_at=NOW + 5)
        assert now(known).until == NOW + 5

    def test_what_was_refunded_and_disputed_opens_nothing_unless_both_are_kept(self):
        both = "refunded disputed"
        assert said(bought("refunds", returned=both))[:2] == (False, "disputed")
        assert said(bought("kind", returned=both))[:2] == (True, "active")
        assert said(bought("lifetime", returned=both))[:2] == (False, "refunded")
        assert said(subscribed("refunds", returned=both))[:2] == (False, "disputed")

    @pytest.mark.parametrize("returned", ["refunded", "disputed"])
    def test_a_purchase_that_was_returned_opens_nothing_unless_kept(self, returned):
        assert said(bought("lifetime", returned=returned)) == (False, returned, "lifetime", ())
        assert said(bought("pass", returned=returned))[:2] == (False, returned)
        assert said(bought("kind", returned=returned))[:2] == (True, "active")
        assert said(bought("refunds", returned=returned))[0] is (returned == "refunded")

    def test_a_purchase_of_nothing_that_we_know_opens_nothing(self):
        assert said(bought(None)) == (False, "unknown_price", None, ())
        assert said(bought(None, ours=True)) == (True, "active", None, ())

    def test_a_pack_gives_no_access(self):
        assert said(bought("pack"), plans=PLANS) == (False, "no_subscription", None, ())
        assert said(bought("pack"), plans=WITH_FREE) == (False, "free", "free", ("free",))
        assert now(bought("pack"), subscribed("basic")) == now(subscribed("basic"))

    def test_a_grant_ends_at_its_second_and_an_endless_one_never(self):
        first, second = timeline([granted("pro", ends_at=NOW + 5)], PLANS, NOW)

        assert (first.allowed, first.reason, first.until, first.ends_at) == (True, "granted", NOW + 5, NOW + 5)
        assert (second.allowed, second.reason, second.plans) == (False, "ended", ())
        assert [each.until for each in timeline([granted("pro")], PLANS, NOW)] == [None]

    @pytest.mark.parametrize("end", [FOREVER, FOREVER + 1, 10**15])
    def test_an_end_after_the_last_second_is_no_end(self, end):
        (answer,) = timeline([granted("pro", ends_at=end)], PLANS, NOW)

        assert (answer.starts_at, answer.ends_at, answer.allowed) == (0, FOREVER, True)

    def test_a_grant_that_ends_as_a_payment_fails_leaves_the_grace(self):
        failed = subscribed("pro", "past_due", unpaid_since=NOW)

        answers = timeline([granted("team", ends_at=NOW), failed], PLANS, NOW - 60)

        assert [(each.reason, each.plans, each.starts_at, each.ends_at) for each in answers] == [
            ("grace", ("pro", "team"), 0, NOW),
            ("grace", ("pro",), NOW, NOW + GRACE),
            ("past_due", (), NOW + GRACE, FOREVER),
        ]


class TestFree:
    """The free plan gives features and limits, and lets nobody in."""

    def test_who_holds_nothing_has_the_free_plan(self):
        answer = now(plans=WITH_FREE)

        assert (answer.allowed, answer.reason, answer.plan, answer.plans) == (False, "free", "free", ("free",))
        assert (answer.features, answer.limits) == (("read",), {"notes": 3, "seats": 1})
        assert said(plans=PLANS) == (False, "no_subscription", None, ())

    def test_the_reason_of_a_real_holding_stands_beside_the_free_plan(self):
        assert said(subscribed("pro", "unpaid"), plans=WITH_FREE) == (False, "unpaid", "pro", ("free",))
        assert said(subscribed("pro", "canceled"), plans=WITH_FREE) == (False, "ended", "pro", ("free",))
        assert now(subscribed("pro", "unpaid"), plans=WITH_FREE).features == ("read",)

    def test_the_free_plan_adds_to_what_is_paid(self):
        answer = now(subscribed("strict"), plans=WITH_FREE)

        assert (answer.plan, answer.plans, answer.features) == ("strict", ("free", "strict"), ("api", "read"))
        assert answer.limits == {"calls": 10, "notes": 3, "seats": 1}
        assert now(subscribed("basic"), plans=WITH_FREE).limits == {"notes": 50, "seats": 1}

    def test_no_addon_is_in_force_by_the_free_plan_alone(self):
        assert said(subscribed("seats"), plans=WITH_FREE) == (False, "addon_only", "seats", ("free",))


class TestTime:
    """The timeline: when answers begin and end."""

    def test_grace_ends_at_its_second_by_the_holdings_own_clock(self):
        for ahead in (0, 5 * DAY, -5 * DAY):
            owed = subscribed("pro", "past_due", unpaid_since=NOW - DAY, clock_ahead=ahead)

            first, second = timeline([owed], PLANS, NOW)

            assert (first.reason, first.ends_at, first.until) == ("grace", NOW - DAY + GRACE - ahead, NOW - DAY + GRACE)
            assert (second.reason, second.starts_at) == ("past_due", first.ends_at)

    def test_collection_paused_with_void_has_three_parts(self):
        paused = subscribed("pro", pause_behavior="void", paid_until=NOW + 10, resumes_at=NOW + 20)

        answers = timeline([paused], PLANS, NOW)

        assert [(each.reason, each.starts_at, each.until) for each in answers] == [
            ("collection_paused", 0, NOW + 10), ("paused", NOW + 10, None), ("active", NOW + 20, NOW + 9 * DAY)
        ]  # fmt: skip

    @pytest.mark.parametrize("behavior", ["keep_as_draft", "mark_uncollectible"])
    def test_the_other_pauses_let_in_until_collection_resumes(self, behavior):
        answers = timeline([subscribed("pro", pause_behavior=behavior, resumes_at=NOW + 20)], PLANS, NOW)

        assert [(each.reason, each.allowed, each.until) for each in answers] == [
            ("collection_paused", True, None), ("active", True, NOW + 9 * DAY)
        ]  # fmt: skip

    def test_collection_that_resumes_before_the_paid_period_ends_is_never_paused(self):
        paused = subscribed("pro", pause_behavior="void", paid_until=NOW + 20, resumes_at=NOW + 20)

        assert [each.reason for each in timeline([paused], PLANS, NOW)] == ["collection_paused", "active"]

    def test_a_cancellation_during_a_pause_is_the_nearer_end(self):
        draft = subscribed("pro", pause_behavior="keep_as_draft", cancel_at=NOW + 5)
        void = subscribed("pro", pause_behavior="void", cancel_at=NOW + 5, paid_until=NOW + 3)

        assert (now(draft).reason, now(draft).until) == ("canceling", NOW + 5)
        assert (now(void).reason, now(void).until) == ("canceling", NOW + 3)

    def test_a_debt_stands_before_a_pause(self):
        owed = subscribed("pro", "past_due", unpaid_since=NOW, pause_behavior="void", paid_until=NOW - DAY)

        assert said(owed)[:2] == (True, "grace")

    def test_only_a_first_payment_that_is_pending_is_denied_its_grace(self):
        owed = {"status": "past_due", "unpaid_since": NOW - DAY}
        assert said(subscribed("strict", **owed))[:2] == (True, "grace")
        assert said(subscribed("strict", **owed, payment_pending=True))[:2] == (False, "past_due")
        assert said(subscribed("pro", **owed, payment_pending=True))[:2] == (True, "grace")

    def test_a_trial_lasts_until_its_own_end(self):
        ends = {"trial_end": NOW + DAY, "current_period_end": NOW + 9 * DAY}
        assert now(subscribed("pro", "trialing", **ends)).until == NOW + DAY
        assert now(subscribed("pro", "active", **ends)).until == NOW + 9 * DAY

    def test_grace_of_no_days_is_none(self):
        assert said(subscribed("kind", "past_due", unpaid_since=NOW + 5))[:2] == (False, "past_due")

    def test_what_ended_a_day_ago_is_left_out_and_the_first_begins_at_0(self):
        held = [granted("pro", ends_at=NOW)]

        assert len(timeline(held, PLANS, NOW + DAY - 1)) == 2
        (answer,) = timeline(held, PLANS, NOW + DAY)
        assert (answer.starts_at, answer.ends_at, answer.reason) == (0, FOREVER, "ended")

    def test_an_end_before_the_beginning_of_time_is_past(self):
        old = subscribed("pro", "past_due", unpaid_since=1, clock_ahead=GRACE + 5)

        assert [(each.starts_at, each.reason) for each in timeline([old], PLANS, 5)] == [(0, "past_due")]
        assert len(timeline([old._replace(clock_ahead=GRACE)], PLANS, 5)) == 2

    def test_answers_that_are_alike_are_one(self):
        held = [subscribed("pro"), subscribed("strict", "past_due", id="sub_2", unpaid_since=NOW, payment_pending=True)]

        assert len(timeline([*held, bought("pack"), granted("pro", ends_at=NOW + 5)], PLANS, NOW)) == 1

    def test_what_never_ends_at_stripe_is_never_stale(self):
        assert now(subscribed("pro", current_period_end=None)).stale_at is None
        assert now(subscribed("pro", current_period_end=None)).until is None

    @pytest.mark.parametrize("ahead", [0, 5 * DAY, -5 * DAY])
    def test_an_answer_is_stale_from_the_first_end_on_by_our_clock(self, ahead):
        ends = {"current_period_end": NOW + 40, "cancel_at": NOW + 30, "resumes_at": NOW + 20, "trial_end": NOW + 10}

        assert now(subscribed("pro", **ends, clock_ahead=ahead)).stale_at == NOW + 20 - ahead
        assert now(subscribed("pro", "trialing", **ends, clock_ahead=ahead)).stale_at == NOW + 10 - ahead
        assert now(subscribed("pro", "unpaid", **ends, clock_ahead=ahead)).stale_at is None

    def test_an_access_is_stale_from_that_second_on(self):
        answer = Answer(0, FOREVER, allowed=True, reason="active", stale_at=NOW)

        assert [access_of("ann", answer, at).stale for at in (NOW - 1, NOW, NOW + 1)] == [False, True, True]
        assert not access_of("ann", answer._replace(stale_at=None), NOW).stale


class TestMember:
    """A member, who may not buy, sees no price and no cancellation."""

    def test_a_cancellation_and_its_end_are_hidden(self):
        access = Access("ann", allowed=True, reason="canceling", until=NOW, cancel_at=NOW, price_id="price_1")

        seen = for_member(access)

        assert seen == Access("ann", allowed=True, reason="active")

    def test_every_other_reason_and_end_is_shown(self):
        access = Access("ann", allowed=True, reason="grace", until=NOW, plan="pro", features=("a",))

        assert for_member(access) == access
