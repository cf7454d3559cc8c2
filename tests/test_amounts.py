"""Prices with amounts in plans.toml: read, and each fault named with its line."""

import pytest

from corkage.amounts import WantedPrice
from corkage.errors import ConfigError
from corkage.plans import read_plans

GOOD = 'lookup_key = "pro", unit_amount = 900, currency = "usd"'


def read(tmp_path, text):
    (tmp_path / "plans.toml").write_text(text)
    return read_plans(tmp_path / "plans.toml")


def faults(tmp_path, text):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    return [each.partition("plans.toml, ")[2] for each in caught.value.problems]


def test_a_table_is_a_price_to_make_and_a_text_one_that_is_there(tmp_path):
    (plan,) = read(tmp_path, f'[pro]\nprices = [{{ {GOOD}, interval = "month" }}, "price_1Old"]\n')

    assert plan.prices == ("pro", "price_1Old")
    assert plan.wanted_prices == (WantedPrice("pro", 900, "usd", "month"),)


def test_a_price_may_have_a_length_other_currencies_and_a_meter(tmp_path):
    more = 'interval = "month", interval_count = 36, currency_options = { eur = 0 }, meter = "calls"'
    (plan,) = read(tmp_path, f'[pro]\nlimits = {{ calls = {{ meter = "calls" }} }}\nprices = [{{ {GOOD}, {more} }}]\n')

    assert plan.wanted_prices == (WantedPrice("pro", 900, "usd", "month", 36, {"eur": 0}, "calls"),)


@pytest.mark.parametrize(
    ("price", "wanted"),
    [
        ('lookup_key = "pro", unit_amount = 900', "pro has no currency; wanted a table such as"),
        ('unit_amount = 900, currency = "usd"', "a table has no lookup_key; wanted"),
        (GOOD.replace("900", "9.5"), "unit_amount = 9.5; wanted a whole number of minor units"),
        (GOOD.replace("900", "-1"), "unit_amount = -1; wanted"),
        (GOOD.replace("900", "100000000"), "from 0 to 99999999"),
        (GOOD.replace("900", "true"), "unit_amount = True; wanted"),
        (GOOD.replace("usd", "USD"), "currency = 'USD'; wanted a currency as Stripe writes it"),
        (f'{GOOD}, interval = "monthly"', "interval = 'monthly'; wanted one of day, week, month, year"),
        (f'{GOOD}, interval = "year", interval_count = 4', "interval_count = 4; wanted at most 3"),
        (f'{GOOD}, interval = "day", interval_count = 0', "interval_count = 0; wanted a whole number from 1"),
        (f"{GOOD}, interval_count = 2", "has interval_count and no interval"),
        (f'{GOOD}, meter = "calls"', "has meter and no interval"),
        (f'{GOOD}, interval = "month", meter = "calls"', "wanted a limit that counts by it, such as calls ="),
        (f"{GOOD}, currency_options = {{ usd = 5 }}", "currency_options has usd, which is its currency"),
        (f"{GOOD}, currency_options = {{ EUR = 5 }}", "wanted amounts in other currencies"),
        (f"{GOOD}, amount = 5", "amount is not known; wanted one of lookup_key, unit_amount"),
    ],
)
def test_a_fault_of_a_price_is_named_with_its_line(tmp_path, price, wanted):
    found = faults(tmp_path, f'[pro]\nname = "Pro"\nprices = [{{ {price} }}]\n')

    assert found[0].startswith("line 3: [pro] prices")
    assert any(wanted in each for each in found)


def test_a_pack_has_no_interval(tmp_path):
    found = faults(tmp_path, f'[pack]\nadds = {{ notes = 1 }}\nprices = [{{ {GOOD}, interval = "month" }}]\n')

    assert found == ["line 3: [pack] prices: pro has an interval; wanted none: a pack is bought once"]


def test_one_lookup_key_stands_once(tmp_path):
    assert "without doubles" in faults(tmp_path, f'[pro]\nprices = [{{ {GOOD} }}, "pro"]\n')[0]
    twice = faults(tmp_path, f'[pro]\nprices = [{{ {GOOD} }}]\n[gold]\nprices = ["pro"]\n')
    assert twice == ["line 4: [gold] prices: 'pro' stands in [pro] prices already; wanted each price once"]


def test_every_fault_is_named_at_once(tmp_path):
    bad = (
        '{ lookup_key = "", unit_amount = "9", currency = 5, interval = 1, interval_count = "x", currency_options = 3 }'
    )

    assert len(faults(tmp_path, f"[pro]\nprices = [{bad}]\n")) >= 5
