"""Subscription items: their own API, at most ten embedded, and always the price as it is now."""

import json

import pytest
import stripe
from harness import DAY, open_shop, sdk

from corkage.simulator import Simulator

pytestmark = [pytest.mark.slow, pytest.mark.seeded]

BEGIN = 1_767_225_600  # 2026-01-01


@pytest.fixture
def v1(client):
    return client.v1


def prices(v1, count):
    product = v1.products.create(params={"name": "Seats"}).id
    wanted = {"currency": "usd", "unit_amount": 100, "product": product, "recurring": {"interval": "month"}}
    return [v1.prices.create(params=wanted).id for _ in range(count)]


def first_item(v1, subscription):
    return v1.subscriptions.retrieve(subscription)["items"].data[0]


def test_an_items_price_is_the_price_as_it_is_now(simulator, shop, v1):
    subscription = shop.subscribe(shop.customer())
    old_event = shop.event("customer.subscription.created").data.object

    v1.prices.update(shop.price, params={"lookup_key": "", "nickname": "Old", "active": False})
    v1.subscriptions.update(subscription, params={"metadata": {"seat": "7"}})

    item, told = first_item(v1, subscription), shop.event("customer.subscription.updated").data.object["items"].data[0]
    for each in (item, told, v1.subscription_items.retrieve(item.id)):
        assert (each.price.lookup_key, each.price.nickname, each.price.active) == (None, "Old", False)
        assert (each.plan.nickname, each.plan.active) == ("Old", False)
    assert old_event["items"].data[0].price.lookup_key == "pro_monthly"


def test_a_restored_items_price_is_still_the_price_as_it_is_now(tmp_path, client_of):
    with Simulator(file=tmp_path / "state.json", now=BEGIN, seed=1) as first:
        shop = client_of(first)
        subscription = shop.subscribe(shop.customer())
        item = first_item(shop.client.v1, subscription).id
    with Simulator(file=tmp_path / "state.json") as second:
        v1 = client_of(second, opened=False).v1
        v1.prices.update(shop.price, params={"nickname": "Now"})
        v1.subscription_items.update(item, params={"quantity": 4})

        shown = first_item(v1, subscription)
        assert (shown.price.nickname, shown.plan.nickname, shown.quantity) == ("Now", "Now", 4)


@pytest.fixture
def client_of():
    return lambda simulator, opened=True: open_shop(simulator, sdk(simulator)) if opened else sdk(simulator)


def test_a_file_from_before_items_had_an_api_is_read(tmp_path, client_of):
    file = tmp_path / "state.json"
    with Simulator(file=file, now=BEGIN, seed=1) as first:
        shop = client_of(first)
        item = first_item(shop.client.v1, shop.subscribe(shop.customer())).id
    state = json.loads(file.read_text())
    for kind in ("subscription_item", "plan"):
        state["world"]["objects"].pop(kind, None)
    file.write_text(json.dumps(state))

    with Simulator(file=file) as second:
        assert client_of(second, opened=False).v1.subscription_items.retrieve(item).price.id == shop.price


def test_eleven_items_show_ten_and_the_list_has_all(shop, v1):
    wanted = prices(v1, 11)
    subscription = v1.subscriptions.create(
        params={"customer": shop.customer(), "items": [{"price": each} for each in wanted]}
    )
    told = shop.event("customer.subscription.created").data.object
    listed = v1.subscription_items.list(params={"subscription": subscription.id, "limit": 100})
    expanded = v1.invoices.list(params={"expand": ["data.customer"]}).data[0]

    for shown in (subscription, told, v1.subscriptions.list().data[0]):
        assert [each.price.id for each in shown["items"].data] == wanted[:10]
        assert shown["items"].has_more is True
    assert [each.price.id for each in listed.data] == wanted
    assert (len(expanded.lines.data), expanded.lines.has_more, expanded.total) == (10, True, 1100)


def test_ten_items_show_all(shop, v1):
    wanted = prices(v1, 10)
    subscription = v1.subscriptions.create(
        params={"customer": shop.customer(), "items": [{"price": each} for each in wanted]}
    )

    assert len(subscription["items"].data) == 10
    assert subscription["items"].has_more is False


def test_items_are_added_changed_and_removed_with_prorations(simulator, shop, v1):
    subscription = shop.subscribe(shop.customer())
    (extra,) = prices(v1, 1)
    simulator.advance(10 * DAY)

    made = v1.subscription_items.create(params={"subscription": subscription, "price": extra, "quantity": 2})
    changed = v1.subscription_items.update(made.id, params={"quantity": 3, "metadata": {"team": "a"}})
    gone = v1.subscription_items.delete(made.id, params={"proration_behavior": "none"})

    assert (made.quantity, made.subscription, changed.quantity, changed.metadata["team"]) == (2, subscription, 3, "a")
    assert gone.deleted is True
    assert [each.price.id for each in v1.subscriptions.retrieve(subscription)["items"].data] == [shop.price]
    amounts = sorted(each.amount for each in v1.invoice_items.list().data)
    assert amounts == [-round(200 * 21 / 31), round(200 * 21 / 31), round(300 * 21 / 31)]
    kinds = [each.type for each in v1.events.list(params={"limit": 100}).data]
    assert kinds.count("customer.subscription.updated") == 3
    with pytest.raises(stripe.InvalidRequestError) as caught:
        v1.subscription_items.retrieve(made.id)
    assert caught.value.code == "resource_missing"


def test_another_price_resets_the_quantity_unless_one_is_given(shop, v1):
    subscription = v1.subscriptions.create(
        params={"customer": shop.customer(), "items": [{"price": shop.price, "quantity": 5}]}
    )
    item = subscription["items"].data[0].id

    assert v1.subscription_items.update(item, params={"price": shop.price}).quantity == 5
    assert v1.subscription_items.update(item, params={"price": shop.other_price}).quantity == 1
    assert v1.subscription_items.update(item, params={"price": shop.price, "quantity": 4}).quantity == 4


def test_items_of_a_canceled_subscription_stay(shop, v1):
    subscription = shop.subscribe(shop.customer())
    item = first_item(v1, subscription).id
    v1.subscriptions.cancel(subscription)

    with pytest.raises(stripe.InvalidRequestError):
        v1.subscription_items.update(item, params={"quantity": 2})

    assert v1.subscription_items.retrieve(item).quantity == 1


def price(v1, interval, amount=1000, count=1):
    wanted = {"currency": "usd", "unit_amount": amount, "product_data": {"name": interval}}
    return v1.prices.create(params=wanted | {"recurring": {"interval": interval, "interval_count": count}}).id


def days(item):
    return round((item.current_period_end - item.current_period_start) / DAY, 3)


def totals(v1):
    return [each.total for each in v1.invoices.list(params={"limit": 100}).data][::-1]


def test_items_of_two_intervals_renew_each_at_its_own_time(simulator, shop, v1):
    wanted = [{"price": price(v1, "year", 50_000)}, {"price": shop.price}]
    made = v1.subscriptions.create(params={"customer": shop.customer(), "items": wanted})

    simulator.advance(365 * DAY)

    assert [days(each) for each in made["items"].data] == [365, 31]
    assert totals(v1) == [50_900] + [900] * 11 + [50_900]
    renewed = v1.subscriptions.retrieve(made.id)["items"].data
    assert [(each.current_period_start - BEGIN) // DAY for each in renewed] == [365, 365]


def test_classic_billing_refuses_two_intervals(shop, v1):
    wanted = [{"price": price(v1, "year")}, {"price": shop.price}]
    params = {"customer": shop.customer(), "items": wanted, "billing_mode": {"type": "classic"}}

    with pytest.raises(stripe.InvalidRequestError) as caught:
        v1.subscriptions.create(params=params)

    assert caught.value.param == "items"
    assert v1.subscriptions.list(params={"status": "all"}).data == []


def test_an_item_of_another_interval_joins_and_leaves_the_others_alone(simulator, shop, v1):
    made = v1.subscriptions.create(params={"customer": shop.customer(), "items": [{"price": shop.price}]})
    simulator.advance(10 * DAY)

    weekly = v1.subscription_items.create(params={"subscription": made.id, "price": price(v1, "week", 700)})

    assert (weekly.current_period_start - BEGIN) // DAY == 7
    assert days(weekly) == 7
    monthly = v1.subscriptions.retrieve(made.id)["items"].data[0]
    assert monthly.current_period_start == BEGIN
    simulator.advance(4 * DAY + 3600)
    assert totals(v1) == [900, 400 + 700]


def test_a_month_becomes_a_year_at_once(simulator, shop, v1):
    made = v1.subscriptions.create(params={"customer": shop.customer(), "items": [{"price": shop.price}]})
    simulator.advance(10 * DAY)

    v1.subscription_items.update(made["items"].data[0].id, params={"price": price(v1, "year", 9000)})

    changed = v1.subscriptions.retrieve(made.id)
    assert (days(changed["items"].data[0]), changed.billing_cycle_anchor) == (365, BEGIN + 10 * DAY)
    assert totals(v1) == [900, 9000 - round(900 * 21 / 31)]


@pytest.mark.parametrize(("behaviour", "first"), [("create_prorations", round(900 * 14 / 31)), ("none", 0)])
def test_an_anchor_makes_the_first_period_shorter(simulator, shop, v1, behaviour, first):
    anchor = BEGIN + 14 * DAY
    made = v1.subscriptions.create(
        params={
            "customer": shop.customer(), "items": [{"price": shop.price}], "billing_cycle_anchor": anchor,
            "proration_behavior": behaviour,
        }
    )  # fmt: skip

    simulator.advance(14 * DAY + 3600)

    assert (made.billing_cycle_anchor, days(made["items"].data[0])) == (anchor, 14)
    assert totals(v1) == [first, 900]
    assert days(first_item(v1, made.id)) == 31


@pytest.mark.parametrize("anchor", [BEGIN - 1, BEGIN + 32 * DAY])
def test_an_anchor_that_has_passed_or_skips_a_renewal_is_refused(shop, v1, anchor):
    params = {"customer": shop.customer(), "items": [{"price": shop.price}], "billing_cycle_anchor": anchor}

    with pytest.raises(stripe.InvalidRequestError) as caught:
        v1.subscriptions.create(params=params)

    assert caught.value.param == "billing_cycle_anchor"


@pytest.mark.parametrize(("behaviour", "elapsed"), [("create_prorations", 900 + round(900 * 15 / 31)), ("none", 0)])
def test_a_backdated_start_is_billed_for_the_time_since(simulator, shop, v1, behaviour, elapsed):
    since = BEGIN - 45 * DAY  # a month from 17 November, and 15 days of the next
    made = v1.subscriptions.create(
        params={
            "customer": shop.customer(), "items": [{"price": shop.price}], "backdate_start_date": since,
            "proration_behavior": behaviour,
        }
    )  # fmt: skip

    assert (made.start_date, made.created, made.billing_cycle_anchor) == (since, BEGIN, BEGIN)
    lines = v1.invoices.list().data[0].lines.data
    assert [each.amount for each in lines] == [900, *([elapsed] if elapsed else [])]
    with pytest.raises(stripe.InvalidRequestError):
        v1.subscriptions.create(
            params={"customer": shop.customer(), "items": [{"price": shop.price}], "backdate_start_date": BEGIN + 1}
        )


def test_an_anchor_of_now_starts_a_new_period_and_credits_the_old(simulator, shop, v1):
    made = v1.subscriptions.create(params={"customer": shop.customer(), "items": [{"price": shop.price}]})
    simulator.advance(10 * DAY)

    moved = v1.subscriptions.update(made.id, params={"billing_cycle_anchor": {"type": "now"}})

    assert (moved.billing_cycle_anchor, moved["items"].data[0].current_period_start) == (BEGIN + 10 * DAY,) * 2
    assert totals(v1) == [900, 900 - round(900 * 21 / 31)]
    still = v1.subscriptions.update(made.id, params={"billing_cycle_anchor": {"type": "unchanged"}})
    assert still.billing_cycle_anchor == moved.billing_cycle_anchor
    assert len(totals(v1)) == 2


def test_a_trial_for_a_running_subscription_credits_the_rest(simulator, shop, v1):
    customer = shop.customer()
    made = shop.subscribe(customer)
    simulator.advance(10 * DAY)
    end = BEGIN + 40 * DAY

    trial = v1.subscriptions.update(made, params={"trial_end": end})

    assert (trial.status, trial.trial_start, trial.trial_end) == ("trialing", BEGIN + 10 * DAY, end)
    assert trial["items"].data[0].current_period_end == end
    assert v1.customers.retrieve(customer).balance == -round(900 * 21 / 31)
    simulator.advance(30 * DAY + 3600)
    paid = v1.invoices.list().data[0]
    assert (v1.subscriptions.retrieve(made).status, paid.total) == ("active", 900)
    assert paid.amount_paid == 900 - round(900 * 21 / 31)


def test_one_time_prices_are_added_to_the_first_and_to_the_next_invoice(simulator, shop, v1):
    once = v1.prices.create(params={"currency": "usd", "unit_amount": 250, "product_data": {"name": "Setup"}}).id
    made = v1.subscriptions.create(
        params={
            "customer": shop.customer(), "items": [{"price": shop.price}],
            "add_invoice_items": [{"price": once, "quantity": 2}],
        }
    )  # fmt: skip
    v1.subscriptions.update(made.id, params={"add_invoice_items": [{"price": once}]})
    simulator.advance(31 * DAY)

    assert totals(v1) == [1400, 1150]
    with pytest.raises(stripe.InvalidRequestError):
        v1.subscriptions.update(made.id, params={"add_invoice_items": [{"price": shop.price}]})


@pytest.mark.parametrize(("word", "day"), [("min_period_end", 31), ("max_period_end", 365)])
def test_a_cancellation_can_wait_for_the_first_or_the_last_period(simulator, shop, v1, word, day):
    wanted = [{"price": price(v1, "year")}, {"price": shop.price}]
    made = v1.subscriptions.create(params={"customer": shop.customer(), "items": wanted})

    ending = v1.subscriptions.update(made.id, params={"cancel_at": word})

    assert ending.cancel_at == BEGIN + day * DAY
    simulator.advance(day * DAY)
    assert v1.subscriptions.retrieve(made.id).status == "canceled"
