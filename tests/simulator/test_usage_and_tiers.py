"""Prices by usage, in tiers, in packages and in several currencies, and the invoices they make."""

import json

import pytest
import requests
import stripe
from contract import problems
from harness import DAY

pytestmark = [pytest.mark.slow, pytest.mark.seeded]

BEGIN = 1_767_225_600  # 2026-01-01
HOUR = 3600


@pytest.fixture
def v1(client):
    return client.v1


@pytest.fixture
def meter(v1):
    return new_meter(v1)


def new_meter(v1, formula="sum", event="calls", **params):
    wanted = {"display_name": "Calls", "event_name": event, "default_aggregation": {"formula": formula}}
    return v1.billing.meters.create(params=wanted | params)


def price(v1, recurring=None, **params):
    wanted = {"currency": "usd", "product_data": {"name": "Calls"}, "recurring": {"interval": "month"}}
    return v1.prices.create(params=wanted | {"recurring": wanted["recurring"] | (recurring or {})} | params)


def metered(v1, meter, **params):
    rate = params or {"unit_amount_decimal": "0.5"}
    return price(v1, {"usage_type": "metered", "meter": meter.id}, **rate).id


def use(v1, customer, value, at=None, event="calls", **params):
    payload = {"stripe_customer_id": customer} | ({"value": str(value)} if value is not None else {})
    when = {} if at is None else {"timestamp": at}
    return v1.billing.meter_events.create(params={"event_name": event, "payload": payload} | when | params)


def subscribe(v1, customer, *items, **params):
    return v1.subscriptions.create(params={"customer": customer, "items": list(items)} | params)


def refused(call, *arguments, **params):
    with pytest.raises(stripe.StripeError) as caught:
        call(*arguments, params=params)
    return caught.value


def amounts(invoice):
    return [(line.quantity, line.amount) for line in invoice.lines.data]


def newest(v1, **params):
    return v1.invoices.list(params=params).data[0]


GRADUATED = [{"up_to": 5, "unit_amount": 700, "flat_amount": 1000}, {"up_to": 10, "unit_amount": 600},
             {"up_to": "inf", "unit_amount_decimal": "500.5"}]  # fmt: skip


def tiered(v1, mode="graduated", tiers=GRADUATED, **params):
    return price(v1, billing_scheme="tiered", tiers_mode=mode, tiers=tiers, **params).id


def test_a_metered_month_is_billed_at_its_end_with_what_came_while_it_was_a_draft(simulator, shop, v1, meter):
    customer = shop.customer()
    made = subscribe(v1, customer, {"price": metered(v1, meter)}, {"price": shop.price})
    first = newest(v1)
    assert (first.total, amounts(first)) == (900, [(1, 900)])
    assert "quantity" not in made["items"].data[0].to_dict()
    use(v1, customer, 100)
    simulator.advance(30 * DAY)
    use(v1, customer, 21, BEGIN + 30 * DAY)

    simulator.advance(DAY)
    draft = newest(v1)
    assert (draft.status, draft.total) == ("draft", 900 + 61)
    use(v1, customer, 79, BEGIN + 20 * DAY)
    use(v1, customer, 1000, BEGIN + 31 * DAY)
    simulator.advance(HOUR)

    paid = v1.invoices.retrieve(draft.id)
    usage = next(line for line in paid.lines.data if line.quantity == 200)
    assert (paid.status, paid.total, usage.amount) == ("paid", 1000, 100)
    assert (usage.period.start, usage.period.end) == (BEGIN, BEGIN + 31 * DAY)
    assert shop.event("invoice.updated").data.object.total == 1000


def test_an_event_later_than_its_invoice_is_never_billed(simulator, shop, v1, meter):
    customer = shop.customer()
    subscribe(v1, customer, {"price": metered(v1, meter)})
    simulator.advance(31 * DAY + HOUR)
    assert (newest(v1).status, newest(v1).total) == ("paid", 0)

    use(v1, customer, 400, BEGIN + DAY)
    simulator.advance(28 * DAY)

    assert newest(v1).total == 0
    assert [each.total for each in v1.invoices.list().data] == [0, 0, 0]


@pytest.mark.parametrize(("formula", "total"), [("sum", 30), ("count", 2), ("last", 10)])
def test_a_meter_counts_as_its_formula_says(simulator, shop, v1, formula, total):
    meter, customer = new_meter(v1, formula), shop.customer()
    subscribe(v1, customer, {"price": metered(v1, meter, unit_amount=1)})
    use(v1, customer, 20, BEGIN)
    use(v1, customer, 10, BEGIN)
    use(v1, shop.customer("bob"), 500, BEGIN)

    simulator.advance(31 * DAY)

    assert newest(v1, customer=customer).total == total


def test_identifiers_are_unique_and_timestamps_have_bounds(simulator, shop, v1, meter):
    customer = shop.customer()
    simulator.advance(40 * DAY)
    now = BEGIN + 40 * DAY

    use(v1, customer, 1, now - 35 * DAY, identifier="one")
    use(v1, customer, 1, now + 300)
    for at in (now - 35 * DAY - 1, now + 301):
        with pytest.raises(stripe.InvalidRequestError) as caught:
            use(v1, customer, 1, at)
        assert caught.value.param == "timestamp"
    with pytest.raises(stripe.InvalidRequestError) as caught:
        use(v1, customer, 1, identifier="one")
    assert (caught.value.code, caught.value.param) == ("duplicate_meter_event", "identifier")
    simulator.advance(DAY)
    assert use(v1, customer, 1, identifier="one").identifier == "one"
    assert use(v1, customer, 1, identifier="x" * 100).identifier == "x" * 100
    with pytest.raises(stripe.InvalidRequestError) as caught:
        use(v1, customer, 1, identifier="x" * 101)
    assert caught.value.param == "identifier"


def summaries(v1, meter, customer, start, end, **params):
    wanted = {"customer": customer, "start_time": start, "end_time": end} | params
    return v1.billing.meters.event_summaries.list(meter.id, params=wanted).data


def test_summaries_lag_behind_the_events(simulator, shop, v1, meter):
    customer = shop.customer()
    use(v1, customer, 7, BEGIN)
    use(v1, customer, 5, BEGIN + 120)
    whole = (BEGIN, BEGIN + DAY)
    assert [each.aggregated_value for each in summaries(v1, meter, customer, *whole)] == [0]

    simulator.advance(60)
    assert [each.aggregated_value for each in summaries(v1, meter, customer, *whole)] == [12]
    use(v1, customer, 3, BEGIN)
    simulator.api_faults.list_lag_seconds = 3600
    simulator.advance(60)
    assert [each.aggregated_value for each in summaries(v1, meter, customer, *whole)] == [0]


def test_summaries_by_day_show_the_days_with_usage(simulator, shop, v1, meter):
    customer = shop.customer()
    simulator.advance(4 * DAY)
    for value, day in ((1, 0), (2, 0), (4, 3)):
        use(v1, customer, value, BEGIN + day * DAY)
    simulator.advance(60)

    by_day = summaries(v1, meter, customer, BEGIN, BEGIN + 5 * DAY, value_grouping_window="day")

    assert [(each.start_time, each.aggregated_value) for each in by_day] == [(BEGIN + 3 * DAY, 4), (BEGIN, 3)]
    with pytest.raises(stripe.InvalidRequestError) as caught:
        summaries(v1, meter, customer, BEGIN + 1, BEGIN + DAY)
    assert caught.value.param == "start_time"


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"stripe_customer_id": "cus_nobody", "value": "1"}, "meter_event_customer_not_found"),
        ({"value": "1"}, "meter_event_no_customer_defined"),
        ({"stripe_customer_id": "{customer}", "value": "much"}, "meter_event_invalid_value"),
        ({"stripe_customer_id": "{customer}"}, "meter_event_invalid_value"),
    ],
)
def test_an_event_that_cannot_be_counted_is_accepted_and_reported_later(simulator, shop, meter, payload, code):
    customer = shop.customer()
    sent = {name: value.format(customer=customer) for name, value in payload.items()}

    accepted = shop.client.v1.billing.meter_events.create(
        params={"event_name": "calls", "payload": sent, "identifier": "bad"}
    )

    (told,) = shop.client.v2.core.events.list(params={"types": ["v1.billing.meter.error_report_triggered"]}).data
    full = shop.client.v2.core.events.retrieve(told.id)
    assert accepted.identifier == "bad"
    assert problems(json.loads(str(full))) == []
    assert full.related_object.id == meter.id
    assert [(each.code, each.error_count) for each in full.data.reason.error_types] == [(code, 1)]
    assert full.data.reason.error_types[0].sample_errors[0].request.identifier == "bad"
    assert not [each for each in shop.client.v1.events.list().data if "error_report" in each.type]


def test_an_event_of_no_meter_is_reported_as_such(shop, v1):
    use(v1, shop.customer(), 1, event="nothing")

    (told,) = shop.client.v2.core.events.list(params={"types": ["v1.billing.meter.no_meter_found"]}).data

    assert problems(json.loads(str(told))) == []
    assert told.data.reason.error_types[0].code == "no_meter"


def test_thin_only_events_reach_thin_destinations_and_no_webhook_endpoint(simulator, shop, receiver):
    simulator.add_webhook_endpoint(receiver.url)
    shop.client.v2.core.event_destinations.create(
        params={
            "name": "Thin", "type": "webhook_endpoint", "event_payload": "thin", "enabled_events": ["*"],
            "webhook_endpoint": {"url": receiver.url},
        }
    )  # fmt: skip
    use(shop.client.v1, "cus_nobody", 1, event="nothing")
    simulator.settle()

    assert [each["type"] for each in receiver.events] == ["v1.billing.meter.no_meter_found"]


def test_a_meter_is_renamed_deactivated_and_reactivated(shop, v1, meter):
    assert refused(lambda params: new_meter(v1, **params)).param == "event_name"
    v1.billing.meters.update(meter.id, params={"display_name": "Requests"})
    off = v1.billing.meters.deactivate(meter.id)
    use(v1, shop.customer(), 1)
    (told,) = shop.client.v2.core.events.list(params={"types": ["v1.billing.meter.error_report_triggered"]}).data
    assert refused(v1.prices.create, currency="usd", unit_amount=1, product_data={"name": "x"},
                   recurring={"interval": "month", "usage_type": "metered", "meter": meter.id}).param == (
        "recurring[meter]")  # fmt: skip
    on = v1.billing.meters.reactivate(meter.id)

    assert (off.status, on.status, on.display_name) == ("inactive", "active", "Requests")
    assert off.status_transitions.deactivated_at == BEGIN
    assert told.data.reason.error_types[0].code == "archived_meter"
    kinds = [each.type for each in v1.events.list().data if each.type.startswith("billing.meter.")]
    assert kinds == [f"billing.meter.{what}" for what in ("reactivated", "deactivated", "updated", "created")]


@pytest.mark.parametrize("cancel", ["at_period_end", "now", "now_without_invoice"])
def test_usage_before_a_cancellation_is_billed_at_the_end_or_on_request(simulator, shop, v1, meter, cancel):
    customer = shop.customer()
    made = subscribe(v1, customer, {"price": metered(v1, meter, unit_amount=10)})
    use(v1, customer, 5, BEGIN)
    simulator.advance(DAY)

    if cancel == "at_period_end":
        v1.subscriptions.update(made.id, params={"cancel_at_period_end": True})
        simulator.advance(31 * DAY)
    else:
        v1.subscriptions.cancel(made.id, params={"invoice_now": cancel == "now"})

    assert v1.subscriptions.retrieve(made.id).status == "canceled"
    assert newest(v1).total == (0 if cancel == "now_without_invoice" else 50)


def test_usage_of_a_removed_price_is_billed_with_the_next_invoice(simulator, shop, v1, meter):
    customer = shop.customer()
    made = subscribe(v1, customer, {"price": metered(v1, meter, unit_amount=10)}, {"price": shop.price})
    use(v1, customer, 5, BEGIN)

    v1.subscription_items.delete(made["items"].data[0].id)
    simulator.advance(31 * DAY)

    assert newest(v1).total == 900 + 50


@pytest.mark.parametrize(
    ("seats", "expected"),
    [
        (0, [(0, 0), (1, 1000)]),
        (5, [(5, 3500), (1, 1000)]),
        (6, [(5, 3500), (1, 1000), (1, 600)]),
        (13, [(5, 3500), (1, 1000), (5, 3000), (3, 1502)]),
    ],
)
def test_graduated_tiers_bill_each_unit_at_its_own_tier(shop, v1, seats, expected):
    subscribe(v1, shop.customer(), {"price": tiered(v1), "quantity": seats})

    invoice = newest(v1)
    assert amounts(invoice) == expected
    assert invoice.total == sum(amount for _, amount in expected)


@pytest.mark.parametrize(("seats", "expected"), [(5, [(5, 3500), (1, 1000)]), (6, [(6, 3600)]), (11, [(11, 5506)])])
def test_volume_tiers_bill_all_units_at_the_tier_of_their_number(shop, v1, seats, expected):
    subscribe(v1, shop.customer(), {"price": tiered(v1, "volume"), "quantity": seats})

    assert amounts(newest(v1)) == expected


def test_seats_beyond_the_included_ones_cost_extra(simulator, shop, v1):
    included = [{"up_to": 3, "flat_amount": 2900}, {"up_to": "inf", "unit_amount": 800}]
    made = subscribe(v1, shop.customer(), {"price": tiered(v1, tiers=included), "quantity": 2})
    assert newest(v1).total == 2900

    item = made["items"].data[0].id
    v1.subscription_items.update(item, params={"quantity": 5, "proration_behavior": "none"})
    simulator.advance(31 * DAY)

    assert newest(v1).total == 2900 + 2 * 800


def test_a_tiered_change_is_prorated_by_what_both_cost(simulator, shop, v1):
    made = subscribe(v1, shop.customer(), {"price": tiered(v1), "quantity": 5})
    simulator.advance(15 * DAY + DAY // 2)
    v1.subscription_items.update(made["items"].data[0].id, params={"quantity": 6})

    assert sorted(each.amount for each in v1.invoice_items.list().data) == [-2250, 2550]


def test_tiers_and_other_currencies_are_shown_where_they_are_expanded(v1):
    options = {"eur": {"tiers": [{"up_to": "inf", "unit_amount": 450}]}}
    made = tiered(v1, currency_options=options)

    plain = v1.prices.retrieve(made)
    shown = v1.prices.retrieve(made, params={"expand": ["tiers", "currency_options"]})

    assert not {"tiers", "currency_options"} & plain.to_dict().keys()
    assert (plain.unit_amount, plain.unit_amount_decimal, plain.tiers_mode) == (None, None, "graduated")
    assert [(each.up_to, each.unit_amount, each.flat_amount) for each in shown.tiers] == [
        (5, 700, 1000),
        (10, 600, None),
        (None, None, None),
    ]
    assert str(shown.tiers[2].unit_amount_decimal) == "500.5"
    assert set(shown.currency_options.to_dict()) == {"usd", "eur"}
    assert v1.plans.retrieve(made, params={"expand": ["tiers"]}).tiers[0].flat_amount == 1000


def test_a_subscription_in_an_optional_currency_is_billed_in_it(simulator, shop, v1):
    made = price(v1, unit_amount=1000, currency_options={"eur": {"unit_amount": 950}}).id
    euro = subscribe(v1, shop.customer(), {"price": made, "quantity": 2}, currency="eur")
    dollar = subscribe(v1, shop.customer("bob"), {"price": made})
    simulator.advance(31 * DAY)

    totals = {each.currency: each.total for each in v1.invoices.list().data}
    assert totals == {"eur": 1900, "usd": 1000}
    assert (euro.currency, euro["items"].data[0].price.currency, dollar.currency) == ("eur", "usd", "usd")
    assert refused(v1.subscriptions.update, euro.id, items=[{"price": shop.price}]).user_message.startswith(
        "The price specified only supports `usd`"
    )


def test_amounts_below_a_cent_are_rounded_once_per_line(shop, v1):
    made = price(v1, unit_amount_decimal="0.05")
    subscribe(v1, shop.customer(), {"price": made.id, "quantity": 1230})

    assert (made.unit_amount, str(made.unit_amount_decimal)) == (None, "0.05")
    assert newest(v1).total == 62
    whole = price(v1, unit_amount_decimal="700.0")
    assert (whole.unit_amount, str(whole.unit_amount_decimal)) == (700, "700")


@pytest.mark.parametrize(("way", "total"), [("up", 300), ("down", 200)])
def test_packages_are_rounded_as_the_price_says(shop, v1, way, total):
    made = price(v1, unit_amount=100, transform_quantity={"divide_by": 10, "round": way}).id
    subscribe(v1, shop.customer(), {"price": made, "quantity": 21})

    assert newest(v1).total == total


def test_a_price_that_the_customer_chooses_has_no_amount(v1):
    custom = {"enabled": True, "minimum": 500, "preset": 900}
    params = {"currency": "usd", "product_data": {"name": "Tip"}, "custom_unit_amount": custom}
    made = v1.prices.create(params=params)

    assert (made.unit_amount, made.unit_amount_decimal) == (None, None)
    assert (made.custom_unit_amount.minimum, made.custom_unit_amount.preset) == (500, 900)
    assert refused(v1.prices.create, **params, recurring={"interval": "month"}).param == "custom_unit_amount"


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({}, "unit_amount"),
        ({"unit_amount": 1, "unit_amount_decimal": "1"}, "unit_amount"),
        ({"unit_amount_decimal": "0.1234567890123"}, "unit_amount_decimal"),
        ({"unit_amount_decimal": "-1"}, "unit_amount"),
        ({"billing_scheme": "tiered", "tiers": GRADUATED}, "tiers_mode"),
        ({"billing_scheme": "tiered", "tiers_mode": "volume"}, "tiers"),
        ({"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": GRADUATED, "unit_amount": 1}, "unit_amount"),
        ({"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": GRADUATED[:2]}, "tiers"),
        ({"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": [GRADUATED[1], *GRADUATED]}, "tiers"),
        ({"unit_amount": 1, "tiers_mode": "volume"}, "tiers_mode"),
        ({"unit_amount": 1, "recurring": {"interval": "month", "usage_type": "metered"}}, "recurring[meter]"),
        ({"unit_amount": 1, "recurring": {"interval": "month", "meter": "mtr_1"}}, "recurring[meter]"),
    ],
)
def test_a_price_that_says_too_little_or_too_much_is_refused(v1, params, param):
    wanted = {"currency": "usd", "product_data": {"name": "x"}, "recurring": {"interval": "month"}} | params

    assert refused(v1.prices.create, **wanted).param == param
    assert v1.prices.list().data == v1.products.list().data == []


def test_a_price_without_an_amount_can_be_bought_and_shown_everywhere(simulator, shop, v1, meter):
    customer = shop.customer()
    items = [{"price": metered(v1, meter)}, {"price": tiered(v1), "quantity": 2}]
    session = v1.checkout.sessions.create(params={"mode": "subscription", "customer": customer, "line_items": items})
    assert session.amount_total == 2400

    bought = simulator.buy(session.url)

    (subscription,) = v1.subscriptions.list(params={"customer": customer}).data
    assert (bought["payment_status"], [each.price.id for each in subscription["items"].data]) == (
        "paid",
        [each["price"] for each in items],
    )
    portal = v1.billing_portal.sessions.create(params={"customer": customer})
    for url in (portal.url, f"{portal.url}/change/{subscription.id}", simulator.control_url):
        assert requests.get(url, timeout=10).status_code == 200


def test_a_plan_is_the_price_of_the_same_id(shop, v1):
    made = v1.plans.create(
        params={"id": "gold", "amount": 2000, "currency": "usd", "interval": "year", "product": {"name": "Gold"}}
    )
    v1.plans.update("gold", params={"nickname": "Au"})
    running = subscribe(v1, shop.customer(), {"plan": "gold"})

    price_of_plan = v1.prices.retrieve("gold")
    assert (made.id, price_of_plan.unit_amount, price_of_plan.nickname, price_of_plan.recurring.interval) == (
        "gold",
        2000,
        "Au",
        "year",
    )
    assert {each.id for each in v1.plans.list().data} == {"gold", shop.price, shop.other_price}
    assert refused(v1.plans.create, id="gold", amount=1, currency="usd", interval="day", product="x").code == (
        "resource_already_exists"
    )
    assert v1.plans.delete("gold").deleted
    assert refused(v1.plans.retrieve, "gold").code == refused(v1.prices.retrieve, "gold").code == "resource_missing"
    assert v1.subscriptions.retrieve(running.id)["items"].data[0].price.id == "gold"
    kinds = [each.type for each in v1.events.list(params={"types": ["plan.*"]}).data]
    assert kinds == ["plan.deleted", "plan.updated", "plan.created"]
