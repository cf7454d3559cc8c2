"""Of a user's subscriptions the best decides: what opens something, then the better status, then the newest."""

import itertools
import time

import pytest

from corkage import storage
from corkage.access import read_access
from corkage.models import Customer, Price, Subscription, User
from corkage.sync.best import summarize, summarize_users_of_prices

RANKS = (
    ("active", "trialing"),
    ("past_due",),
    ("unpaid", "paused", "incomplete", "unheard_of"),
    ("canceled", "incomplete_expired"),
)
BETTER = [(good, bad) for first, second in itertools.combinations(RANKS, 2) for good in first for bad in second]
EQUAL = [pair for rank in RANKS for pair in itertools.product(rank, repeat=2)]


@pytest.fixture(autouse=True)
def _user(app):
    User.create(id="ann", created_at=1)
    User.create(id="bob", created_at=1)
    for customer, user in (("cus_1", "ann"), ("cus_bobs", "bob"), ("cus_nobodys", None)):
        Customer.create(id=customer, user=user)
    Price.create(id="price_pro", product_id="p", plan="pro")
    Price.create(id="price_foreign", product_id="q")


def hold(subscription, status, created, price="price_pro", **more):
    given = {"customer": "cus_1"} | more
    Subscription.create(id=subscription, subscription_status=status, created=created, stripe_price_id=price, **given)


def deciding():
    with storage.writing():
        summarize("ann", time.time())
    return User.get_by_id("ann").subscription_id


@pytest.mark.parametrize(("good", "bad"), BETTER)
def test_the_better_status_wins_whichever_is_newer(good, bad):
    hold("sub_good", good, created=1)
    hold("sub_bad", bad, created=2)

    assert deciding() == "sub_good"
    Subscription.update(created=3).where(Subscription.id == "sub_good").execute()
    assert deciding() == "sub_good"


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_among_equals_the_newest_wins_and_ties_are_stable(one, other):
    hold("sub_a", one, created=1)
    hold("sub_b", other, created=2)

    assert deciding() == "sub_b"
    Subscription.update(created=2).execute()
    assert deciding() == "sub_a"


def test_a_subscription_without_access_never_hides_one_with_access():
    hold("sub_foreign", "active", created=9, price="price_foreign")
    hold("sub_unnamed", "active", created=8, price=None)
    hold("sub_plan", "unpaid", created=1)

    assert deciding() == "sub_plan"
    assert User.get_by_id("ann").stripe_price_id == "price_pro"


def test_our_price_without_a_plan_gives_access():
    hold("sub_foreign", "active", created=9, price="price_foreign")
    hold("sub_ours", "active", created=1, price="price_foreign", ours=True)

    assert deciding() == "sub_ours"
    assert read_access("ann").allowed


def test_losing_the_last_subscription_clears_the_users_status():
    hold("sub_1", "active", created=1, quantity=3, current_period_end=5)
    assert deciding() == "sub_1"
    Subscription.delete().execute()

    assert deciding() is None
    user = User.get_by_id("ann")
    assert (user.subscription_status, user.stripe_price_id, user.quantity, user.current_period_end) == (None,) * 4
    assert read_access("ann").reason == "no_subscription"


def test_another_users_subscription_does_not_count():
    hold("sub_bobs", "active", created=1, customer="cus_bobs")

    assert deciding() is None


def test_a_changed_price_updates_only_its_own_subscribers():
    hold("sub_anns", "active", created=1)
    hold("sub_bobs", "active", created=1, price="price_foreign", customer="cus_bobs")
    hold("sub_nobodys", "active", created=1, customer="cus_nobodys")

    with storage.writing():
        summarize_users_of_prices(["price_pro"], time.time())

    assert {user.id: user.subscription_id for user in User.select()} == {"ann": "sub_anns", "bob": None}
