"""The figures, from the replica alone: with values that were computed by hand."""

import json
import time
from dataclasses import replace

import pytest
from harness import DAY, PRO, running
from once import hear

from corkage import storage
from corkage.admin.figures import Money, Movement, Past, UserCount, figures
from corkage.gateway import reading
from corkage.models import Customer, Move, Purchase, Refund, RevenueRow, Subscription, User
from corkage.plans import Plan
from corkage.replica import revenue

pytestmark = pytest.mark.slow

TEAM = Plan("team", "Team", ("team_monthly",))


@pytest.fixture
def settings(config):
    return replace(config, plans=(PRO, TEAM))


@pytest.fixture
def app(settings):
    with running(settings) as served:
        yield served


class Sales:
    """Users who subscribe, each on a customer of their own, at prices of the plan pro."""

    def __init__(self, app, shop, simulator):
        self.app, self.shop, self.simulator = app, shop, simulator
        self.product = shop.client.v1.prices.retrieve(shop.price).product
        self.customers = {}

    def price(self, amount, interval="month", count=1, currency="usd", **params):
        """Make a price of the plan."""
        given = {"product": self.product, "unit_amount": amount, "currency": currency}
        given |= {"recurring": {"interval": interval, "interval_count": count}, "metadata": {"corkage_plan": "pro"}}
        return self.shop.client.v1.prices.create(params=given | params).id

    def subscribe(self, user, price=None, quantity=1, **params):
        if user not in self.customers:
            self.customers[user] = self.shop.customer(user)
        items = [{"price": price or self.shop.price, "quantity": quantity}]
        found = self.shop.subscribe(self.customers[user], user=user, items=items, **params)
        self.look(user)
        return found

    def look(self, *users):
        for user in users or self.customers:
            self.app.billing.service.worker.converger.converge(self.customers[user], self.now)

    def off(self, percent, **duration):
        coupon = self.shop.client.v1.coupons.create(params={"percent_off": percent} | duration)
        return [{"coupon": coupon.id}]

    @property
    def now(self):
        return self.simulator.world.clock.now()

    def figures(self, months=12):
        return figures(self.now, months)


@pytest.fixture
def sales(app, shop, simulator):
    return Sales(app, shop, simulator)


def agreed_and_charged(found):
    return {(each.currency, each.state): (each.subscriptions, each.agreed, each.charged) for each in found.recurring}


def test_a_months_revenue_is_that_of_every_interval_and_currency(sales):
    sales.subscribe("ann")  # 9.00 a month
    sales.subscribe("bob", sales.price(9000, "year"))  # 7.50
    sales.subscribe("cyd", sales.price(300, "week"), quantity=2)  # 52 x 6.00 / 12 = 26.00
    sales.subscribe("dan", sales.price(2700, "month", 3))  # 9.00
    sales.subscribe("eve", sales.price(100, "day"))  # 365 / 12 = 30.41 and two thirds of a cent
    sales.subscribe("fay", sales.price(850, currency="eur"))
    sales.subscribe("gus", sales.price(1000, "year", 2, currency="jpy"), quantity=3)  # 3000 / 24 = 125
    sales.subscribe("hal", sales.price(5000, currency="kwd"))

    found = sales.figures()

    assert agreed_and_charged(found) == {
        ("eur", "active"): (1, 850, 850),
        ("jpy", "active"): (1, 125, 125),
        ("kwd", "active"): (1, 5000, 5000),
        ("usd", "active"): (5, 900 + 750 + 2600 + 900 + 3042, 900 + 750 + 2600 + 900 + 3042),
    }


def test_coupons_and_free_months_lower_what_is_charged_and_not_what_is_agreed(sales, simulator):
    sales.subscribe("ann")
    sales.subscribe("bob", discounts=sales.off(25, duration="forever"))
    sales.subscribe("cyd", quantity=2, discounts=sales.off(100, duration="repeating", duration_in_months=2))
    sales.subscribe("dan", sales.price(12000, "year"), discounts=sales.off(50, duration="once"))

    assert agreed_and_charged(sales.figures()) == {
        ("usd", "active"): (4, 900 + 900 + 1800 + 1000, 900 + 675 + 0 + 500),
    }

    simulator.advance(70 * DAY)  # two renewals: of the free months none is left
    sales.look()
    assert agreed_and_charged(sales.figures()) == {
        ("usd", "active"): (4, 900 + 900 + 1800 + 1000, 900 + 675 + 1800 + 500),
    }


def test_what_may_not_come_stands_beside_the_revenue(sales, shop, simulator):
    sales.subscribe("ann", trial_period_days=14)
    canceling = sales.subscribe("bob")
    shop.client.v1.subscriptions.update(canceling, params={"cancel_at_period_end": True})
    paused = sales.subscribe("cyd")
    shop.client.v1.subscriptions.update(paused, params={"pause_collection": {"behavior": "void"}})
    sales.subscribe("dan", quantity=2)
    shop.use_card(sales.customers["dan"], "pm_card_chargeCustomerFail")
    shop.client.v1.subscriptions.cancel(sales.subscribe("eve"))
    sales.look()
    assert agreed_and_charged(sales.figures()) == {
        ("usd", "trialing"): (1, 900, 900),
        ("usd", "canceling"): (1, 900, 900),
        ("usd", "paused"): (1, 900, 900),
        ("usd", "active"): (1, 1800, 1800),
    }

    simulator.rules.after_retries = "past_due"
    simulator.advance(32 * DAY)
    sales.look()

    assert agreed_and_charged(sales.figures()) == {
        ("usd", "active"): (1, 900, 900),
        ("usd", "paused"): (1, 900, 900),
        ("usd", "past_due"): (1, 1800, 1800),
    }


def test_what_another_product_sells_and_customers_without_a_user_do_not_count(sales, shop):
    sales.subscribe("ann")
    shop.subscribe(sales.customers["ann"], price=shop.other_price, user=None)
    sales.look()
    stranger = shop.customer(None)
    shop.subscribe(stranger, user=None)
    sales.app.converge(stranger)

    found = sales.figures()

    assert agreed_and_charged(found) == {("usd", "active"): (1, 900, 900)}
    assert found.movements[-1].new == 1


def test_items_without_a_fixed_amount_are_left_out_and_reported(sales, shop):
    meter = shop.client.v1.billing.meters.create(
        params={"display_name": "Calls", "event_name": "calls", "default_aggregation": {"formula": "sum"}}
    )
    recurring = {"interval": "month", "usage_type": "metered", "meter": meter.id}
    metered = sales.price(2, recurring=recurring)
    items = [{"price": shop.price}, {"price": metered}]
    sales.customers["ann"] = shop.customer()
    shop.subscribe(sales.customers["ann"], items=items)
    sales.look()

    found = sales.figures()

    assert agreed_and_charged(found) == {("usd", "active"): (1, 900, 900)}
    assert "1 items are billed by usage or by tiers, and are left out of the recurring revenue." in found.unknown


def test_a_subscription_of_which_no_invoice_was_read_counts_as_charged_in_full_and_is_reported(sales):
    sales.subscribe("ann", discounts=sales.off(50, duration="forever"))
    assert not [each for each in sales.figures().unknown if "charged in full" in each]
    Subscription.update(billed=None, charged=None).execute()

    found = sales.figures()

    assert agreed_and_charged(found) == {("usd", "active"): (1, 900, 900)}
    assert [each for each in found.unknown if each.startswith("1 subscriptions count as charged in full")]


def change(sales, subscription, user, **item):
    held = sales.shop.client.v1.subscriptions.retrieve(subscription)["items"].data[0].id
    sales.shop.client.v1.subscriptions.update(
        subscription, params={"items": [{"id": held} | item], "proration_behavior": "always_invoice"}
    )
    sales.look(user)


def test_changes_of_what_is_paid_a_month_are_upgrades_and_downgrades(sales):
    subscription = sales.subscribe("ann", discounts=sales.off(10, duration="forever"))
    change(sales, subscription, "ann", quantity=3)  # 9.00 to 27.00
    change(sales, subscription, "ann", price=sales.price(18000, "year"), quantity=1)  # to 15.00
    sales.look("ann")

    found = sales.figures()

    assert [(row.before, row.after) for row in Move.select().order_by(Move.id)] == [(900, 2700), (2700, 1500)]
    assert (found.movements[-1].upgraded, found.movements[-1].downgraded) == (1, 1)
    assert found.money[-1][8:] == (1800, 1, -1200, 1)
    assert agreed_and_charged(found) == {("usd", "active"): (1, 1500, 1350)}


def test_an_invoice_for_the_rest_of_a_period_does_not_say_what_a_whole_one_costs(sales, simulator):
    subscription = sales.subscribe("ann", discounts=sales.off(50, duration="once"))
    simulator.advance(10 * DAY)

    change(sales, subscription, "ann", quantity=2)

    row = Subscription.get()
    assert (row.billed, row.charged) == (900, 450)
    assert agreed_and_charged(sales.figures()) == {("usd", "active"): (1, 1800, 900)}


def line(amount, off=0, **details):
    parent = {"subscription_item_details": details} if details else None
    return {"amount": amount, "discount_amounts": [{"amount": off}] if off else [], "parent": parent}


@pytest.mark.parametrize(
    ("lines", "billed"),
    [
        ([line(900, 300, proration=False), line(500, proration=False)], (1400, 1100)),
        ([line(900, 300, proration=False), line(-200, 50, proration=True), line(77)], (900, 600)),
        ([line(-200, proration=True), line(700, proration=True)], (None, None)),
        ([], (None, None)),
    ],
)
def test_only_lines_for_whole_periods_say_what_is_charged(lines, billed):
    assert reading._billed({"lines": {"data": lines}}) == billed
    assert reading._billed(None) == (None, None)


def test_a_change_in_a_trial_or_to_the_same_price_is_no_move(sales):
    trial = sales.subscribe("ann", trial_period_days=14)
    change(sales, trial, "ann", quantity=3)
    paid = sales.subscribe("bob")
    change(sales, paid, "bob", price=sales.price(900))

    assert Move.select().count() == 0


def months_of(sales):
    return {each.month: each for each in sales.figures().movements}


def test_new_payers_and_those_who_come_back_and_are_lost_count_in_their_month(sales, shop, simulator):
    first = revenue.month_of(sales.now)
    old = sales.subscribe("ann")
    sales.subscribe("bob")
    more = sales.subscribe("bob", shop.other_price)  # one more of who pays already is nobody new
    simulator.advance(63 * DAY)
    shop.client.v1.subscriptions.cancel(old)
    shop.client.v1.subscriptions.cancel(more)
    sales.look()
    third = revenue.month_of(sales.now)
    assert third != first
    assert (months_of(sales)[first].new, months_of(sales)[third].new) == (2, 0)
    assert (months_of(sales)[first].lost, months_of(sales)[third].lost) == (0, 1)

    simulator.advance(63 * DAY)
    sales.subscribe("ann")
    sales.look()

    fifth = revenue.month_of(sales.now)
    found = months_of(sales)
    assert (found[fifth].new, found[fifth].back, found[fifth].lost) == (0, 1, 0)
    assert (found[third].lost, found[first].new) == (1, 2)
    assert sum(each.new + each.back + each.lost for each in found.values()) == 4


def test_who_changes_to_another_subscription_without_a_gap_is_neither_lost_nor_new(sales, shop, simulator):
    old = sales.subscribe("ann")
    simulator.advance(DAY)
    sales.subscribe("ann", sales.price(500))
    simulator.advance(DAY)
    shop.client.v1.subscriptions.cancel(old)
    sales.look()

    assert [sum(getattr(each, name) for each in sales.figures().movements) for name in ("new", "back", "lost")] == [
        1,
        0,
        0,
    ]


def test_a_trial_counts_when_it_ends_as_paid_as_left_or_as_open(sales, shop, simulator):
    sales.subscribe("ann", trial_period_days=7)
    shop.client.v1.subscriptions.update(
        sales.subscribe("bob", trial_period_days=7), params={"cancel_at_period_end": True}
    )
    sales.subscribe("cyd", trial_period_days=7)
    shop.use_card(sales.customers["cyd"], "pm_card_chargeCustomerFail")
    shop.client.v1.subscriptions.cancel(sales.subscribe("dan", trial_period_days=60))
    sales.subscribe("eve", trial_period_days=60)
    sales.look()
    names = ("new", "trials_paid", "trials_left", "trials_open")
    assert [sum(getattr(each, name) for each in sales.figures().movements) for name in names] == [0, 0, 1, 0]

    simulator.advance(8 * DAY)
    sales.look()

    found = sales.figures()
    assert [sum(getattr(each, name) for each in found.movements) for name in names] == [1, 1, 2, 1]
    ended = revenue.month_of(Subscription.get(Subscription.customer == sales.customers["ann"]).trial_end)
    assert next(each for each in found.movements if each.month == ended).trials_paid == 1


def test_free_months_given_to_a_payer_are_no_trial(sales, shop, simulator):
    subscription = sales.subscribe("ann")
    simulator.advance(5 * DAY)
    shop.client.v1.subscriptions.update(
        subscription, params={"trial_end": int(sales.now) + 10 * DAY, "proration_behavior": "none"}
    )
    sales.look()
    simulator.advance(60 * DAY)
    sales.look()

    found = sales.figures()

    assert sum(each.new for each in found.movements) == 1
    assert sum(each.trials_paid + each.trials_left + each.trials_open for each in found.movements) == 0


MIDNIGHT = 1_777_593_600  # 2026-05-01 00:00 UTC


def bought(number, created, amount, currency="usd", user="ann", ours=True):
    User.insert(id=user, created_at=1).on_conflict_ignore().execute()
    Customer.insert(id=f"cus_{user}", user=user).on_conflict_ignore().execute()
    facts = {"created": created, "amount": amount, "currency": currency, "ours": ours}
    Purchase.create(id=f"cs_{number}", price_id="price_x", customer=f"cus_{user}", quantity=1, **facts)


def refunded(number, created, amount, kind="refund", status="succeeded", foreign=False):
    facts = {"created": created, "amount": amount, "currency": "usd", "kind": kind, "status": status}
    facts["purchase_id"] = None if foreign else f"cs_{number}"
    Refund.create(id=f"re_{number}", customer="cus_ann", payment_intent=f"pi_{number}", **facts)


def test_what_was_bought_once_and_refunded_counts_in_its_month_and_currency(app):
    bought(1, MIDNIGHT - 1, 500)
    bought(2, MIDNIGHT, 700)
    bought(3, MIDNIGHT + 5 * DAY, 300)
    bought(4, MIDNIGHT, 1000, "jpy")
    bought(5, MIDNIGHT, 9999, ours=False)
    bought(6, MIDNIGHT - 400 * DAY, 9999)
    refunded(1, MIDNIGHT, 200)
    refunded(2, MIDNIGHT, 50)
    refunded(3, MIDNIGHT, 9999, status="failed")
    refunded(4, MIDNIGHT, 40, kind="dispute", status="lost")
    refunded(5, MIDNIGHT, 9999, kind="dispute", status="won")
    refunded(6, MIDNIGHT, 9999, kind="dispute", status="under_review")
    refunded(7, MIDNIGHT, 9999, foreign=True)
    refunded(8, MIDNIGHT, 9999, kind="dispute", status="lost", foreign=True)

    found = figures(MIDNIGHT + 20 * DAY, 2)

    assert found.months == ("2026-04", "2026-05")
    assert found.money == [
        Money("2026-04", "jpy", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        Money("2026-05", "jpy", 1000, 1, 0, 0, 0, 0, 0, 0, 0, 0),
        Money("2026-04", "usd", 500, 1, 0, 0, 0, 0, 0, 0, 0, 0),
        Money("2026-05", "usd", 1000, 2, 250, 2, 40, 1, 0, 0, 0, 0),
    ]


def test_what_was_refunded_of_another_products_subscription_does_not_count(app, shop):
    customer = shop.customer()
    for price, user in ((shop.price, "ann"), (shop.other_price, None)):
        held = shop.client.v1.subscriptions.retrieve(shop.subscribe(customer, price, user))
        paid = shop.client.v1.invoices.retrieve(held.latest_invoice, params={"expand": ["payments"]}).payments.data[0]
        shop.client.v1.refunds.create(params={"payment_intent": paid.payment.payment_intent, "amount": 100})
    app.converge(customer)
    hear(app, shop)

    assert [(each.refunded, each.refunded_count) for each in figures(time.time() + DAY, 1).money] == [(100, 1)]


def test_what_lies_ahead_of_now_does_not_count_yet(app):
    bought(1, MIDNIGHT + DAY, 500)
    bought(2, MIDNIGHT + DAY + 1, 700)

    assert [each.bought for each in figures(MIDNIGHT + DAY, 1).money] == [500]


@pytest.mark.parametrize(
    ("now", "count", "months"),
    [
        (MIDNIGHT, 3, ("2026-03", "2026-04", "2026-05")),
        (MIDNIGHT - 1, 1, ("2026-04",)),
        (MIDNIGHT - 91 * DAY, 3, ("2025-11", "2025-12", "2026-01")),
    ],
)
def test_months_are_those_of_utc(app, now, count, months):
    assert figures(now, count).months == months


def test_users_are_counted_by_plan_and_state(sales):
    sales.subscribe("ann")
    sales.subscribe("bob")
    sales.subscribe("cyd", trial_period_days=7)
    sales.app.billing.grant("dan", "team")
    with storage.writing():
        User.insert(id="eve", created_at=1).execute()

    assert sales.figures().users == [
        UserCount("pro", "active", 2),
        UserCount("pro", "trialing", 1),
        UserCount("team", "granted", 1),
        UserCount("", "no_subscription", 1),
    ]


def test_the_worker_keeps_each_months_last_revenue(sales):
    sales.subscribe("ann")
    revenue.keep(MIDNIGHT)
    sales.subscribe("bob", discounts=sales.off(50, duration="forever"))
    revenue.keep(MIDNIGHT + DAY)
    sales.subscribe("cyd", sales.price(100, currency="eur"))

    found = figures(MIDNIGHT + 31 * DAY, 2)

    assert found.history == [
        Past("2026-06", "eur", 1, 100, 100),
        Past("2026-05", "usd", 2, 1800, 1350),
        Past("2026-06", "usd", 2, 1800, 1350),
    ]
    sales.app.work()
    assert {row.month for row in RevenueRow.select()} == {"2026-05", revenue.month_of(time.time())}


def test_a_subscription_that_comes_between_two_statements_breaks_no_figure(sales, monkeypatch):
    sales.subscribe("ann")
    rows, looks = storage.rows, []

    def rows_as_of_then(query, *values):
        looks.append(query)
        return [] if len(looks) == 1 else rows(query, *values)

    monkeypatch.setattr(storage, "rows", rows_as_of_then)
    (found,) = revenue.recurring()

    assert (found.state, found.subscriptions, found.agreed) == ("active", 1, 0)


def test_an_empty_database_has_empty_figures(app):
    found = figures(MIDNIGHT, 1)

    assert (found.users, found.recurring, found.history, found.money) == ([], [], [], [])
    assert found.movements == [Movement("2026-05", 0, 0, 0, 0, 0, 0, 0, 0)]


def test_what_cannot_be_known_is_said(app):
    now = time.time()

    unknown = figures(now).unknown

    assert unknown[0] == "`corkage sync` has not run: subscriptions from before this database may be missing."
    assert unknown[1].startswith("Upgrades, downgrades and the revenue of past months are known since 20")
    assert not [each for each in figures(now + 800 * DAY).unknown if each.startswith("Upgrades")]


def test_figures_never_ask_stripe(sales, simulator):
    sales.subscribe("ann")
    before = len(simulator.requests)

    sales.figures()

    assert len(simulator.requests) == before


def test_who_is_forgotten_is_in_no_figure(sales):
    subscription = sales.subscribe("ann")
    change(sales, subscription, "ann", quantity=3)

    sales.app.billing.forget("ann")

    found = sales.figures(1)
    assert (found.users, found.recurring, found.money) == ([], [], [])
    assert found.movements == [Movement(found.months[0], 0, 0, 0, 0, 0, 0, 0, 0)]
    assert Move.select().count() == 0


def test_the_command_prints_tables_or_json(sales, corkage):
    sales.subscribe("ann", discounts=sales.off(25, duration="forever"))
    sales.subscribe("bob", sales.price(1234, currency="jpy"))
    sales.subscribe("cyd", trial_period_days=7)

    tables = corkage("stats", "--months", "1")
    found = json.loads(corkage("stats", "--json", "--months", "2").stdout)

    assert tables.returncode == 0
    assert "\nMonthly recurring revenue\n" in tables.stdout
    assert "  USD       active              1    9.00     6.75\n" in tables.stdout
    assert "  JPY       active              1   1,234    1,234\n" in tables.stdout
    assert "  USD       trialing              1    9.00     9.00\n" in tables.stdout
    assert "  pro   active        2\n" in tables.stdout
    assert "\nWhat these figures cannot know\n- " in tables.stdout
    assert [each["month"] for each in found["movements"]] == found["months"]
    assert {"currency": "usd", "agreed": 900, "charged": 675}.items() <= found["recurring"][1].items()


@pytest.mark.parametrize("months", ["0", "121", "x"])
def test_the_command_refuses_a_number_of_months_that_does_not_fit(corkage, months):
    refused = corkage("stats", "--months", months)

    assert refused.returncode == 2
    assert "wanted a whole number from 1 to 120" in refused.stderr
