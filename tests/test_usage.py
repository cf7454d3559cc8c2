"""Usage: a use is counted against the limit and the packs, all or nothing, once for each key, in its window."""

import calendar
import time
from dataclasses import replace

import pytest
from harness import DAY, running
from spending import COUNTED, PLANS, usage_at, use_at

from corkage import storage
from corkage.errors import KeyReused, UnknownLimit
from corkage.models import Credit, Customer, Purchase, Usage, UsageKey, User
from corkage.plans import Plan
from corkage.selling.windows import anchor_of, window_at


def moment(*date):
    return calendar.timegm((*date, 0, 0, 0)[:6])


NOON = moment(2026, 11, 15, 12)


@pytest.fixture
def app(config):
    with running(replace(config, plans=PLANS)) as served:
        yield served


def has_pack(user="ann", left=10, name="exports", purchase="cs_1", created=1, returned=None):
    """Have a user hold the credit of a pack."""
    User.insert(id=user, created_at=1).on_conflict_ignore().execute()
    Customer.insert(id=f"cus_{user}", user=user).on_conflict_ignore().execute()
    row = {"id": purchase, "customer": f"cus_{user}", "price_id": "price_pack", "created": created, "amount": 500}
    Purchase.create(**row, currency="usd", ours=True, returned=returned)
    Credit.create(purchase_id=purchase, price_id="price_pack", name=name, user=user, amount=left, left=left)


def credit_left():
    return [row.left for row in Credit.select().order_by(Credit.purchase_id)]


def stored():
    """How many rows usage has left in each table."""
    return User.select().count(), Usage.select().count(), UsageKey.select().count()


def test_a_use_says_what_is_used_what_is_left_and_when_it_begins_anew(app):
    used = use_at(app.billing, NOON, "ann", "exports", 2)

    assert used._asdict() == {
        "allowed": True,
        "repeated": False,
        "name": "exports",
        "used": 2,
        "limit": 3,
        "credit": 0,
        "left": 1,
        "resets_at": moment(2026, 12, 1),
    }
    assert usage_at(app.billing, NOON, "ann", "exports")._asdict().items() <= used._asdict().items()


def test_a_use_is_true_only_where_it_was_allowed(app):
    assert bool(app.billing.use("ann", "exports", 3)) is True
    assert bool(app.billing.use("ann", "exports")) is False


@pytest.mark.parametrize("first", [1, 3])
def test_the_limit_is_reached_and_not_passed(app, first):
    for _ in range(3 // first):
        assert app.billing.use("ann", "exports", first)

    refused = app.billing.use("ann", "exports")

    assert (refused.allowed, refused.used, refused.left) == (False, 3, 0)
    assert app.billing.usage("ann", "exports").used == 3


def test_a_use_that_does_not_fit_as_a_whole_counts_nothing_of_it(app):
    app.billing.use("ann", "exports", 2)

    assert not app.billing.use("ann", "exports", 2)
    assert app.billing.usage("ann", "exports").used == 2
    assert app.billing.use("ann", "exports", 1)


def test_a_first_use_above_the_limit_is_refused_and_stores_nothing(app):
    assert not app.billing.use("ann", "exports", 4, key="a")

    assert stored() == (0, 0, 0)


def test_one_users_use_is_not_anothers_nor_one_limits_anothers(app):
    app.billing.use("ann", "exports", 3)

    assert app.billing.use("bob", "exports", 3).used == 3
    assert app.billing.use("ann", "mails").used == 1


def test_what_no_plan_of_the_user_has_is_refused_until_a_pack_gives_it(app):
    assert app.billing.limit("ann", "coins") == 0
    assert not app.billing.use("ann", "coins")
    has_pack(left=5, name="coins")

    assert [app.billing.use("ann", "coins", 3).left, app.billing.use("ann", "coins", 3).left] == [2, 2]
    assert app.billing.use("ann", "coins", 2).left == 0


def test_the_credit_of_one_limit_is_not_used_for_another(app):
    has_pack(left=5, name="coins")

    assert not app.billing.use("ann", "exports", 4)
    assert app.billing.use("ann", "exports", 3).credit == 0
    assert not app.billing.use("ann", "exports")
    assert credit_left() == [5]


def test_a_misspelt_name_lets_nobody_in_and_refuses_nobody_silently(app):
    for ask in (app.billing.use, app.billing.usage, app.billing.limit):
        with pytest.raises(UnknownLimit, match="counts no limit 'exprots'; it counts calls, coins, exports, mails"):
            ask("ann", "exprots")


def test_a_number_alone_is_asked_for_and_not_counted(app):
    assert app.billing.limit("ann", "notes") == 50
    with pytest.raises(UnknownLimit, match=r"'notes' is not counted: give it \{ limit = \.\.\., every = "):
        app.billing.use("ann", "notes")


@pytest.mark.parametrize("amount", [0, -1, 1.0, True, "1", None, 1_000_000_001])
def test_an_amount_is_a_whole_number_from_one(app, amount):
    with pytest.raises(ValueError, match="amount is a whole number from 1 to 1000000000"):
        app.billing.use("ann", "exports", amount)
    assert stored() == (0, 0, 0)


def test_a_large_amount_is_counted(app):
    app.billing.grant("ann", "large")

    assert app.billing.use("ann", "exports", 1_000_000_000).used == 1_000_000_000


@pytest.mark.parametrize("key", ["", "x" * 201, "a\nb", 7, "\ud800"])
def test_a_key_is_a_printable_text(app, key):
    with pytest.raises(ValueError, match="key is a text of 1 to 200"):
        app.billing.use("ann", "exports", key=key)
    assert stored() == (0, 0, 0)


@pytest.mark.parametrize("key", ["x", "x" * 200])
def test_a_key_counts_once_and_returns_the_same(app, key):
    first = app.billing.use("ann", "exports", 2, key=key)
    again = app.billing.use("ann", "exports", 2, key=key)

    assert again == first._replace(repeated=True)
    assert app.billing.usage("ann", "exports").used == 2


def test_a_key_that_was_counted_is_allowed_again_though_nothing_is_left(app):
    app.billing.use("ann", "exports", 3, key="a")

    assert app.billing.use("ann", "exports", 3, key="a")
    assert not app.billing.use("ann", "exports", 1, key="b")


@pytest.mark.parametrize(("name", "amount"), [("mails", 1), ("exports", 2)])
def test_a_key_of_something_else_is_an_error_and_counts_nothing(app, name, amount):
    app.billing.use("ann", "exports", 1, key="a")

    with pytest.raises(KeyReused):
        app.billing.use("ann", name, amount, key="a")

    assert (app.billing.usage("ann", "exports").used, app.billing.usage("ann", "mails").used) == (1, 0)
    assert app.billing.use("bob", name, amount, key="a")


def test_a_refused_use_keeps_no_key(app):
    app.billing.use("ann", "exports", 3)
    assert not app.billing.use("ann", "exports", key="a")
    has_pack()

    assert app.billing.use("ann", "exports", key="a").repeated is False
    assert credit_left() == [9]


def test_unlimited_is_counted_and_never_refused(app):
    app.billing.grant("ann", "large")

    used = app.billing.use("ann", "exports", 5000)

    assert (used.used, used.limit, used.left) == (5000, "unlimited", "unlimited")
    assert app.billing.usage("ann", "exports").used == 5000


def test_credit_is_used_after_the_limit_the_oldest_first_and_one_use_may_need_all(app):
    has_pack(purchase="cs_new", created=2)
    has_pack(purchase="cs_old", created=1)

    assert app.billing.usage("ann", "exports").left == 23
    assert app.billing.use("ann", "exports", 2).credit == 20
    spanning = app.billing.use("ann", "exports", 6)
    assert (spanning.used, spanning.credit, spanning.left) == (3, 15, 15)
    assert credit_left() == [10, 5]  # new, old
    assert app.billing.use("ann", "exports", 10).credit == 5
    assert credit_left() == [5, 0]
    assert not app.billing.use("ann", "exports", 6)
    assert credit_left() == [5, 0]
    assert app.billing.use("ann", "exports", 5).left == 0


def test_credit_that_was_paid_back_is_not_used(app):
    has_pack(returned="refunded")

    assert not app.billing.use("ann", "exports", 4)
    assert app.billing.usage("ann", "exports").credit == 0
    assert credit_left() == [10]


def test_who_used_more_than_a_smaller_plan_gives_has_none_left_and_no_debt(app):
    app.billing.grant("ann", "pro")
    app.billing.use("ann", "exports", 50)
    app.billing.revoke("ann", "pro")
    has_pack()

    assert app.billing.usage("ann", "exports")._asdict().items() >= {"used": 50, "limit": 3, "left": 10}.items()
    assert app.billing.use("ann", "exports", 10)
    assert (app.billing.usage("ann", "exports").used, credit_left()) == (50, [0])


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("mails", moment(2026, 11, 15, 23, 59, 59), moment(2026, 11, 16)),
        ("exports", moment(2026, 11, 30, 23, 59, 59), moment(2026, 12, 1)),
    ],
)
def test_a_day_and_a_month_begin_anew_at_their_first_second(app, name, before, after):
    limit = COUNTED.limits[name]
    assert use_at(app.billing, before, "ann", name, limit)
    assert not use_at(app.billing, before + 0.9, "ann", name)

    assert use_at(app.billing, after, "ann", name).used == 1
    assert usage_at(app.billing, before, "ann", name).used == limit


def test_what_never_begins_anew_is_used_up_for_ever(app):
    used = use_at(app.billing, NOON, "ann", "projects", 5)

    assert used.resets_at is None
    assert not use_at(app.billing, NOON + 4000 * DAY, "ann", "projects")


@pytest.mark.parametrize(
    ("anchor", "now", "window"),
    [
        (0, moment(2026, 2, 28, 23, 59, 59), (moment(2026, 2, 1), moment(2026, 3, 1))),
        (0, moment(2026, 12, 31), (moment(2026, 12, 1), moment(2027, 1, 1))),
        (moment(2026, 1, 31, 9), moment(2026, 2, 28, 8, 59, 59), (moment(2026, 1, 31, 9), moment(2026, 2, 28, 9))),
        (moment(2026, 1, 31, 9), moment(2026, 2, 28, 9), (moment(2026, 2, 28, 9), moment(2026, 3, 31, 9))),
        (moment(2026, 1, 31, 9), moment(2026, 4, 30, 9), (moment(2026, 4, 30, 9), moment(2026, 5, 31, 9))),
        (moment(2024, 2, 29), moment(2025, 2, 28), (moment(2025, 2, 28), moment(2025, 3, 29))),
        (moment(2026, 3, 10), moment(2026, 3, 9), (moment(2026, 2, 10), moment(2026, 3, 10))),
    ],
)
def test_months_follow_the_anchor_to_the_last_day_of_a_shorter_month(anchor, now, window):
    assert window_at("month", anchor, now) == window


@pytest.mark.parametrize(
    ("period_end", "anchor"),
    [
        (moment(2026, 2, 28, 9), moment(2026, 1, 31, 9)),  # a month after it was created
        (moment(2027, 1, 31, 9), moment(2026, 1, 31, 9)),  # a year
        (moment(2026, 2, 14, 9), moment(2026, 2, 14, 9)),  # a trial of two weeks
        (moment(2026, 2, 1), moment(2026, 2, 1)),  # billed on the first
        (None, moment(2026, 1, 31, 9)),
    ],
)
def test_the_anchor_is_where_a_subscriptions_periods_end(period_end, anchor):
    assert anchor_of(moment(2026, 1, 31, 9), period_end) == anchor


@pytest.fixture
def sell(shop):
    """Make the prices of the plans, beside that of the shop."""
    product = shop.client.v1.products.create(params={"name": "Large"}).id
    price = {"product": product, "currency": "usd", "unit_amount": 9000, "lookup_key": "large_yearly"}
    return shop.client.v1.prices.create(params=price | {"recurring": {"interval": "year"}}).id


def bought(app, shop, price=None, **params):
    """Have ann subscribe; return the subscription, with its app converged."""
    customer = shop.customer()
    subscription = shop.subscribe(customer, price, **params)
    app.converge(customer)
    return shop.client.v1.subscriptions.retrieve(subscription)


def ends_at(subscription):
    return subscription["items"].data[0].current_period_end


def test_a_subscribers_month_is_the_period_of_the_subscription(app, shop):
    subscription = bought(app, shop)

    assert app.billing.use("ann", "exports").resets_at == ends_at(subscription)
    assert User.get().usage_anchor == subscription.created


def test_a_yearly_subscribers_months_begin_on_the_day_of_the_month_that_they_subscribed(app, shop, sell):
    subscription = bought(app, shop, sell)

    resets_at = app.billing.use("ann", "exports").resets_at

    assert 28 * DAY <= resets_at - subscription.created <= 31 * DAY
    assert window_at("month", subscription.created, ends_at(subscription)).starts_at == ends_at(subscription)


def test_usage_begins_anew_when_a_trial_ends(app, shop):
    subscription = bought(app, shop, trial_period_days=14)

    assert app.billing.use("ann", "exports").resets_at == subscription.trial_end


def test_a_change_of_plan_refills_nothing(app, shop, sell, simulator):
    subscription = bought(app, shop)
    before = app.billing.use("ann", "exports", 60)
    simulator.advance(3 * DAY)
    item = subscription["items"].data[0].id
    shop.client.v1.subscriptions.update(subscription.id, params={"items": [{"id": item, "price": sell}]})
    app.converge(subscription.customer)

    after = app.billing.usage("ann", "exports")

    assert (after.limit, after.used, after.resets_at) == ("unlimited", 60, before.resets_at)


def test_a_second_subscription_after_the_first_has_ended_moves_no_window(app, shop, simulator):
    subscription = bought(app, shop)
    before = app.billing.use("ann", "exports", 60)
    simulator.advance(3 * DAY)
    shop.client.v1.subscriptions.cancel(subscription.id)
    shop.subscribe(subscription.customer)
    app.converge(subscription.customer)

    assert app.billing.usage("ann", "exports")._asdict().items() >= {"used": 60, "resets_at": before.resets_at}.items()


def test_the_months_of_a_test_clock_pass_with_it(app, shop, simulator):
    subscription = bought(app, shop)
    first = app.billing.use("ann", "exports", 100)
    assert not app.billing.use("ann", "exports")

    simulator.advance_to("renewal")
    app.converge(subscription.customer)

    anew = app.billing.use("ann", "exports")
    assert (anew.allowed, anew.used) == (True, 1)
    assert anew.resets_at > first.resets_at


def test_a_subscription_that_never_began_sets_no_anchor(app, shop):
    customer = shop.customer(card="pm_card_chargeCustomerFail")
    shop.subscribe(customer, payment_behavior="allow_incomplete")
    app.converge(customer)

    app.billing.use("ann", "exports")

    assert User.get().usage_anchor is None


def test_looking_at_usage_writes_nothing_and_shows_what_using_would(app, shop):
    subscription = bought(app, shop)

    assert app.billing.usage("ann", "exports").resets_at == ends_at(subscription)
    assert (User.get().usage_anchor, Usage.select().count()) == (None, 0)


def test_all_usage_is_every_limit_that_is_counted(app):
    app.billing.use("ann", "mails")

    found = app.billing.usage("ann")

    assert sorted(found) == ["calls", "coins", "exports", "mails", "projects"]
    assert {name: each.used for name, each in found.items() if each.used} == {"mails": 1}


def test_a_name_that_some_plan_meters_and_another_counts_has_one_window(config):
    metered = Plan("pro", "Pro", ("pro_monthly",), limits={"mails": "unlimited"}, meters={"mails": "mails"})
    with running(replace(config, plans=(COUNTED, metered))) as app:
        now = time.time()
        assert app.billing.usage("ann", "mails").resets_at == int(now // DAY + 1) * DAY


def test_a_forgotten_users_usage_is_gone_and_counts_anew(app, shop):
    subscription = bought(app, shop)
    app.billing.use("ann", "exports", 60, key="a")
    app.billing.forget("ann")

    assert stored() == (0, 0, 0)
    assert storage.rows("SELECT * FROM corkage_meter_event") == []
    assert app.billing.use("ann", "exports", key="a").used == 1
    assert subscription.id


def test_a_user_id_is_checked(app):
    for ask in (app.billing.use, app.billing.usage, app.billing.limit):
        with pytest.raises(ValueError, match="a user id is a text"):
            ask(7, "exports")
