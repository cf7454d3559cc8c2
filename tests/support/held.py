"""What the tests of the rule hold: one plan of each kind, and strategies for any set of holdings."""

from typing import Any

from harness import DAY
from hypothesis import strategies as st

from corkage.access import UNLIMITED, Holding, Terms

NOW = 1_790_000_000
GRACE = 7 * DAY

PLANS = {
    "basic": Terms(features=("notes",), limits={"notes": 50, "seats": 1}, grace_seconds=3 * DAY, rank=1),
    "pro": Terms(features=("exports", "notes"), limits={"notes": 500, "seats": 5}, grace_seconds=GRACE, rank=2),
    "strict": Terms(features=("api",), limits={"calls": 10}, grace_seconds=GRACE, denies_pending=True, rank=3),
    "kind": Terms(features=("kind",), limits={"notes": 5}, rank=4, keeps_refunded=True, keeps_disputed=True),
    "refunds": Terms(features=("refunds",), limits={"notes": 5}, rank=5, keeps_refunded=True),
    "team": Terms(features=("sso", "exports"), limits={"notes": UNLIMITED, "seats": 10}, grace_seconds=DAY, rank=6),
    "pass": Terms(features=("exports",), limits={"notes": 100}, rank=7, lasts_seconds=30 * DAY),
    "lifetime": Terms(features=("exports", "forever"), limits={"notes": 300}, rank=8),
    "seats": Terms(features=("more_seats",), limits={"seats": 3}, rank=9, adds_to=("pro", "team")),
    "storage": Terms(
        features=("storage",), limits={"notes": 7, "gb": 10}, grace_seconds=DAY, rank=10, adds_to=("pro",)
    ),
    "boundless": Terms(features=(), limits={"calls": UNLIMITED, "gb": 1}, rank=11, adds_to=("strict", "gone")),
    "pack": Terms(features=("never",), limits={"notes": 9_999}, rank=12, is_pack=True),
    "gone": Terms(features=("old",), limits={"notes": 60}, grace_seconds=GRACE, rank=-1),
    "gone_addon": Terms(features=("old_addon",), limits={"notes": 2}, rank=-1, adds_to=("pro", "gone")),
}
FREE = {"free": Terms(features=("read",), limits={"notes": 3, "seats": 1}, rank=0, is_free=True)}
WITH_FREE = FREE | PLANS

SOLD = (*PLANS, None)
MOMENTS = st.integers(-12, 12).map(lambda days: NOW + days * DAY) | st.integers(NOW - 12 * DAY, NOW + 12 * DAY)
MAYBE = st.none() | MOMENTS
FACTS = st.fixed_dictionaries(
    {
        "created": st.sampled_from((NOW - 40 * DAY, NOW - 9 * DAY, NOW)),
        "status": st.sampled_from(
            ("active",) * 4 + ("trialing", "past_due", "past_due", "unpaid", "canceled", "paused", "incomplete", "new")
        ),
        "ours": st.booleans(),
        "current_period_end": MAYBE,
        "cancel_at": MAYBE,
        "trial_end": MAYBE,
        "unpaid_since": MAYBE,
        "payment_pending": st.booleans(),
        "pause_behavior": st.sampled_from((None, None, "void", "keep_as_draft", "mark_uncollectible")),
        "resumes_at": MAYBE,
        "paid_until": MAYBE,
        "returned": st.sampled_from((None, None, None, "refunded", "disputed", "refunded disputed")),
        "clock_ahead": st.sampled_from((0, 0, 5 * DAY, -5 * DAY)),
    }
)
QUANTITIES = st.none() | st.integers(0, 4)


@st.composite
def _subscription(draw: Any) -> list[Holding]:
    """The items of a subscription: they share its facts, and no price is there twice."""
    facts, plans = draw(FACTS), draw(st.lists(st.sampled_from(SOLD), min_size=1, max_size=3, unique=True))
    name = draw(st.uuids()).hex
    return [
        Holding("subscription", f"sub_{name}", plan=plan, price_id=f"price_{plan}", quantity=draw(QUANTITIES), **facts)
        for plan in plans
    ]


@st.composite
def _purchase(draw: Any) -> list[Holding]:
    plan, created = draw(st.sampled_from(SOLD)), NOW - draw(st.integers(0, 40)) * DAY
    returned, quantity = (
        draw(st.sampled_from((None, None, None, "refunded", "disputed", "refunded disputed"))),
        draw(QUANTITIES),
    )
    return [Holding("purchase", f"cs_{draw(st.uuids()).hex}", created, plan, f"price_{plan}", quantity, None,
                    draw(st.booleans()), returned=returned)]  # fmt: skip


@st.composite
def _grant(draw: Any) -> list[Holding]:
    plan, ends_at = draw(st.sampled_from(tuple(PLANS))), draw(MAYBE)
    name = str(draw(st.integers(1, 10**9)))  # a number, as of rows
    return [Holding("grant", name, NOW - 20 * DAY, plan, quantity=draw(QUANTITIES), ends_at=ends_at)]


THING = _subscription() | _subscription() | _purchase() | _grant()
"""What is bought or given at once: all items of a subscription, a purchase, or a grant."""
PAID = _subscription() | _purchase()
HOLDINGS = st.lists(THING, max_size=4, unique_by=lambda thing: thing[0].id).map(
    lambda things: [holding for thing in things for holding in thing]
)
