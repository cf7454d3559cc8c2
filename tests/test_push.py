"""`corkage push`: Stripe becomes what plans.toml says, and nothing else is touched."""

import pytest
from harness import APP
from pushing import ONE, TWO, URL, Pushed

from corkage.gateway.calls import API_VERSION
from corkage.gateway.reading import price_of
from corkage.sync import poll

pytestmark = pytest.mark.slow

DEARER = ONE.replace("900", "1200")
CHEAP = '[pro]\nprices = ["cheap"]\n'


def names(steps):
    return [(stage, name) for stage, name, _ in steps]


# -- what is made


def test_an_empty_account_gets_products_prices_portal_and_endpoint(pushed):
    pushed.push()

    (product,) = pushed.all("product")
    assert (product["name"], product["metadata"]["corkage_app"], product["metadata"]["corkage_plan"]) == (
        "Pro", APP, "pro",
    )  # fmt: skip
    assert (pushed.price("pro_monthly")["unit_amount"], pushed.price("pro_yearly")["recurring"]["interval"]) == (
        900, "year",
    )  # fmt: skip
    assert {each["metadata"]["corkage_plan"] for each in pushed.all("price")} == {"pro"}
    assert (pushed.endpoint()["url"], pushed.endpoint()["api_version"]) == (f"{URL}/webhook", API_VERSION)
    assert sorted(pushed.endpoint()["enabled_events"]) == sorted(poll.TYPES)


def test_after_a_push_nothing_differs_and_another_push_calls_nothing(pushed):
    pushed.push()

    assert pushed.steps() == []
    assert pushed.push() == []


def test_the_portal_sells_what_is_sold_upgrades_now_and_downgrades_at_the_end(pushed):
    pushed.push()

    found, products = pushed.portal()
    update = found["features"]["subscription_update"]
    assert (update["proration_behavior"], update["trial_update_behavior"]) == ("always_invoice", "continue_trial")
    assert [each["type"] for each in update["schedule_at_period_end"]["conditions"]] == [
        "decreasing_item_amount", "shortening_interval",
    ]  # fmt: skip
    assert [each["prices"] for each in products] == [
        [pushed.price("pro_monthly")["id"], pushed.price("pro_yearly")["id"]]
    ]
    assert update["default_allowed_updates"] == ["price"]
    assert products[0]["adjustable_quantity"]["enabled"] is False
    assert found["features"]["subscription_cancel"]["mode"] == "at_period_end"


def test_the_accounts_own_portal_is_never_touched(pushed, client):
    own = client.v1.billing_portal.configurations.list(params={"is_default": True}).data[0].to_dict()

    pushed.push()

    assert client.v1.billing_portal.configurations.list(params={"is_default": True}).data[0].to_dict() == own


def test_seats_can_be_changed_in_the_portal_within_their_limits_and_only_theirs(pushed):
    team = '[team]\nseats = { minimum = 2, maximum = 50 }\nprices = [{ lookup_key = "team", unit_amount = 500, '
    pushed.write(TWO + team + 'currency = "usd", interval = "month" }]\n').push()

    found, (pro, teams) = pushed.portal()
    assert found["features"]["subscription_update"]["default_allowed_updates"] == ["price", "quantity"]
    assert teams["adjustable_quantity"] == {"enabled": True, "minimum": 2, "maximum": 50}
    assert pro["adjustable_quantity"]["enabled"] is False
    assert pushed.steps() == []


def test_one_price_alone_leaves_nothing_to_change_and_a_second_one_is_added_without_complaint(pushed):
    pushed.write(ONE).push()
    assert pushed.portal()[0]["features"]["subscription_update"]["enabled"] is False

    pushed.write(TWO)

    assert names(pushed.says()) == [("price", "pro_yearly"), ("portal", "")]
    assert not [each for each in pushed.steps() if each.refused]
    pushed.push()
    assert pushed.portal()[0]["features"]["subscription_update"]["enabled"] is True
    pushed.write(ONE).push()
    assert pushed.portal()[0]["features"]["subscription_update"]["enabled"] is False
    assert pushed.steps() == []


def test_what_is_bought_once_costs_no_interval_and_is_not_in_the_portal(pushed):
    pack = '[pack]\nadds = { exports = 100 }\nprices = [{ lookup_key = "pack", unit_amount = 500, currency = "usd" }]\n'
    pushed.write(TWO + pack).push()

    assert pushed.price("pack")["recurring"] is None
    assert pushed.price("pack")["product"] not in [each["product"] for each in pushed.portal()[1]]
    assert pushed.steps() == []


def test_a_meter_is_made_for_a_price_that_is_billed_by_it(pushed):
    metered = '[api]\nlimits = { calls = { meter = "api_calls" } }\nprices = ['
    price = '{ lookup_key = "api", unit_amount = 2, currency = "usd", interval = "month", meter = "api_calls" }]\n'
    pushed.write(metered + price).push()

    (meter,) = pushed.all("billing.meter")
    recurring = pushed.price("api")["recurring"]
    assert (meter["event_name"], recurring["meter"], recurring["usage_type"]) == ("api_calls", meter["id"], "metered")
    assert pushed.steps() == []


def test_a_price_has_other_currencies_and_gets_one_more_without_a_new_price(pushed):
    pushed.write(ONE.replace('"usd",', '"usd", currency_options = { eur = 800 },')).push()
    first = pushed.price("pro_monthly")["id"]

    pushed.write(ONE.replace('"usd",', '"usd", currency_options = { eur = 800, gbp = 700 },'))

    assert pushed.says() == [("price", "pro_monthly", "add: gbp")]
    pushed.push()
    assert (pushed.price("pro_monthly")["id"], pushed.steps()) == (first, [])


def test_another_amount_in_another_currency_makes_a_new_price(pushed):
    pushed.write(ONE.replace('"usd",', '"usd", currency_options = { eur = 800 },')).push()
    first = pushed.price("pro_monthly")["id"]

    pushed.write(ONE.replace('"usd",', '"usd", currency_options = { eur = 850 },')).push()

    assert pushed.price("pro_monthly")["id"] != first
    assert pushed.steps() == []


def test_more_products_than_stripes_portal_takes_are_left_out_and_said(pushed):
    plan = '[p{0}]\nprices = [{{ lookup_key = "k{0}", unit_amount = {0}00, currency = "usd", interval = "month" }}]\n'
    pushed.write("".join(plan.format(number) for number in range(1, 13)))

    assert pushed.says()[-2][2].endswith("and 9 others; 2 products left out, Stripe takes 10")
    pushed.push()
    assert (len(pushed.portal()[1]), pushed.steps()) == (10, [])


def test_two_prices_of_one_interval_and_product_are_one_in_the_portal(pushed):
    """Stripe refuses a product with two of them there."""
    second = '{ lookup_key = "pro_eur", unit_amount = 800, currency = "eur", interval = "month" }'
    pushed.write(ONE.replace("}]", "}, " + second + "]")).push()

    assert [each["prices"] for each in pushed.portal()[1]] == [[pushed.price("pro_monthly")["id"]]]
    assert pushed.steps() == []


def test_two_products_of_one_account_keep_apart(pushed, simulator, tmp_path):
    (tmp_path / "other").mkdir()
    other = Pushed(simulator, tmp_path / "other").write(TWO.replace("pro_", "other_"))
    other.settings = {"app": "Ürsprung & Söhne: a/b", "billing_url": "http://127.0.0.1:9/other"}

    pushed.push()
    other.push()

    assert (pushed.steps(), other.steps()) == ([], [])
    assert len(pushed.all("product")) == len(pushed.all("webhook_endpoint")) == 2


# -- a new amount


def test_a_new_amount_makes_a_new_price_moves_the_key_and_leaves_subscribers_alone(pushed):
    subscription = pushed.subscribe()
    first = pushed.price("pro_monthly")["id"]

    pushed.write(TWO.replace("900,", "1200,"))
    assert pushed.says()[0] == ("price", "pro_monthly", "change: 9.00 USD -> 12.00 USD a month")
    pushed.push()

    held = pushed.simulator.world.get("subscription", subscription)
    assert [each["price"]["id"] for each in held["items"]["data"]] == [first]
    old = pushed.simulator.world.get("price", first)
    assert (old["active"], old["lookup_key"], old["metadata"]["corkage_plan"]) == (True, None, "pro")
    assert pushed.price("pro_monthly")["unit_amount"] == 1200
    assert pushed.price("pro_monthly")["id"] in pushed.portal()[1][0]["prices"]
    assert first not in pushed.portal()[1][0]["prices"]


def test_a_price_without_its_lookup_key_still_says_its_plan(pushed):
    pushed.write(ONE).push()
    first = pushed.price("pro_monthly")["id"]
    pushed.write(DEARER).push()

    state = price_of(pushed.simulator.world.get("price", first))
    assert (state.app, state.plan) == (APP, "pro")


def test_going_back_to_an_amount_takes_the_price_that_was_made_for_it(pushed):
    pushed.write(ONE).push()
    first = pushed.price("pro_monthly")["id"]
    pushed.write(DEARER).push()
    pushed.write(ONE).push()

    assert (pushed.price("pro_monthly")["id"], pushed.steps()) == (first, [])
    assert len(pushed.all("price")) == 2
    pushed.write(DEARER).push()
    assert (pushed.price("pro_monthly")["unit_amount"], len(pushed.all("price"))) == (1200, 2)


# -- what is refused


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (('currency = "usd"', 'currency = "eur"'), "is in usd, and plans.toml has eur: a lookup key keeps both"),
        (('interval = "month"', 'interval = "week"'), "is paid a month, and plans.toml has a week"),
        (('interval = "month"', 'interval = "month", interval_count = 3'), "plans.toml has every 3 months"),
        ((', interval = "month"', ""), "is paid a month, and plans.toml has once"),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_another_currency_or_interval_under_the_same_key_is_refused(pushed, changed, why, overwrite):
    pushed.write(ONE).push()
    before = pushed.price("pro_monthly")

    pushed.write(ONE.replace(*changed))

    (step,) = [each for each in pushed.steps(overwrite=overwrite) if each.stage == "price"]
    assert why in step.refused
    pushed.push(overwrite=overwrite)
    assert pushed.price("pro_monthly") == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_lookup_key_of_a_price_that_push_did_not_make_is_refused(pushed, shop, overwrite):
    assert shop.price == pushed.price("pro_monthly")["id"]
    pushed.write(DEARER)

    refused = {each.name: each.refused for each in pushed.steps(overwrite=overwrite) if each.stage == "price"}
    why = f"{shop.price} has this lookup key, and push did not make it: write the key alone, without an amount"
    assert refused == {"pro_monthly": why}
    pushed.push(overwrite=overwrite)
    assert pushed.price("pro_monthly")["unit_amount"] == 900


def test_a_lookup_key_does_not_go_to_another_plan(pushed):
    pushed.write(ONE).push()
    pushed.write(ONE.replace("[pro]", "[gold]"))

    (step,) = [each for each in pushed.steps() if each.stage == "price"]
    assert "stands for the plan pro: write another key" in step.refused


def test_a_price_named_alone_is_checked_and_never_touched(pushed, client):
    product = client.v1.products.create(params={"name": "By hand"})
    price = client.v1.prices.create(
        params={"product": product.id, "currency": "usd", "unit_amount": 1, "lookup_key": "cheap",
                "recurring": {"interval": "month"}}
    )  # fmt: skip
    pushed.write(TWO.replace("prices = [", 'prices = [\n"cheap",')).push()
    before = pushed.simulator.world.get("price", price.id) | {}

    assert pushed.steps() == []
    assert price.id in [id_ for each in pushed.portal()[1] for id_ in each["prices"]]
    client.v1.prices.update(price.id, params={"active": False})
    says = pushed.says(overwrite=True)
    assert says[0] == ("price", "cheap", "the price is archived; push makes and changes prices with amounts only")
    pushed.push(overwrite=True)
    assert pushed.simulator.world.get("price", price.id) == before | {"active": False}


def test_a_price_named_alone_that_stripe_does_not_have_is_said(pushed):
    pushed.write(CHEAP)

    (step,) = [each for each in pushed.steps() if each.stage == "price"]
    assert (step.name, step.refused) == (
        "cheap", "Stripe has no price of that key or id; push makes and changes prices with amounts only",
    )  # fmt: skip


# -- what is sold no more


def test_nothing_is_archived_unless_told(pushed):
    pushed.push()
    yearly = pushed.price("pro_yearly")["id"]
    pushed.write(DEARER)
    pushed.push()

    assert all(each["active"] for kind in ("price", "product") for each in pushed.all(kind))
    archived = [each.name for each in pushed.steps(archive=True)]
    assert sorted(archived) == sorted(
        {each["id"] for each in pushed.all("price")} - {pushed.price("pro_monthly")["id"]}
    )
    pushed.push(archive=True)
    assert [each["active"] for each in pushed.all("price") if each["id"] in archived] == [False, False]
    assert yearly in archived
    assert pushed.steps(archive=True) == []


def test_what_push_archived_is_sold_again_without_overwriting(pushed):
    pushed.push()
    pushed.write(ONE).push(archive=True)
    assert pushed.price("pro_yearly")["active"] is False

    pushed.write(TWO).push()

    assert (pushed.price("pro_yearly")["active"], pushed.steps()) == (True, [])


def test_a_retired_price_and_another_products_are_not_archived(pushed, shop):
    pushed.write(TWO.replace("pro_", "my_")).push()
    pushed.write(ONE.replace("pro_", "my_") + 'retired = ["my_yearly"]\n').push(archive=True)

    assert pushed.price("my_yearly")["active"] is True
    assert [pushed.simulator.world.get("price", each)["active"] for each in (shop.price, shop.other_price)] == [
        True,
        True,
    ]


def test_a_plan_that_is_gone_from_the_file_is_archived_with_its_product_when_told(pushed):
    gold = ONE.replace("[pro]", "[gold]").replace("pro_monthly", "gold")
    pushed.write(TWO + gold).push()
    pushed.write(TWO).push(archive=True)

    assert [each["active"] for each in pushed.all("product") if each["metadata"]["corkage_plan"] == "gold"] == [False]
    assert pushed.steps(archive=True) == []


def test_the_product_of_a_plan_whose_prices_are_named_by_key_alone_now_is_not_archived(pushed):
    pushed.push()
    pushed.write('[pro]\nprices = ["pro_monthly", "pro_yearly"]\n').push(archive=True)

    assert [each["active"] for each in pushed.all("product")] == [True]
    assert pushed.says(archive=True) == []
