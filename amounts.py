"""Prices to which plans.toml gives an amount: what `corkage push` makes at Stripe."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

LARGEST_AMOUNT = 99_999_999  # minor units, of a price at Stripe
LONGEST_KEY = 200  # characters of a lookup key at Stripe
LONGEST_METER = 100  # characters of a meter's event name at Stripe
CURRENCY = re.compile(r"[a-z]{3}")
MOST_INTERVALS = {"day": 1095, "week": 156, "month": 36, "year": 3}  # three years, Stripe's longest period
EXAMPLE = '{ lookup_key = "pro_monthly", unit_amount = 900, currency = "usd", interval = "month" }'


class WantedPrice(NamedTuple):
    """A price as plans.toml wants it at Stripe, for `corkage push`.

    Shape   currency: in small letters; interval: "day", "week", "month" or "year", empty for what is bought once;
            also: its amounts in other currencies; meter: the event name of the meter that it is billed by
    Units   unit_amount: minor units of the currency
    """

    lookup_key: str
    unit_amount: int
    currency: str
    interval: str = ""
    interval_count: int = 1
    also: Mapping[str, int] = {}
    meter: str = ""


def name_of(price: object) -> str | None:
    """Return how an entry of `prices` is called: itself, or the lookup key of a table; None for anything else."""
    found = price.get("lookup_key") if isinstance(price, dict) else price
    return found if isinstance(found, str) else None


def wanted_prices(listed: Iterable[object]) -> tuple[WantedPrice, ...]:
    """Return those of a plan's `prices` that are tables. They must be without problems."""
    tables = [dict(each) for each in listed if isinstance(each, dict)]
    return tuple(WantedPrice(also=each.pop("currency_options", {}), **each) for each in tables)


def problems_of(table: Mapping[str, Any]) -> Iterator[str]:
    """Return what is wrong with a table, in words, each with what was wanted."""
    for name in NEEDED:
        if name not in table:
            yield f"has no {name}; wanted a table such as {EXAMPLE}"
    for name, value in table.items():
        if name not in KEYS:
            yield f"{name} is not known; wanted one of {', '.join(KEYS)}"
        elif not KEYS[name].fits(value):
            yield f"{name} = {value!r}; wanted {KEYS[name].words}"
    for name in ("interval_count", "meter"):
        if name in table and "interval" not in table:
            yield f"has {name} and no interval; wanted an interval, or a price that is bought once without {name}"
    yield from _problems_together(table)


def _problems_together(table: Mapping[str, Any]) -> Iterator[str]:
    interval, count, also = (table.get(name) for name in ("interval", "interval_count", "currency_options"))
    most = MOST_INTERVALS.get(interval) if isinstance(interval, str) else None
    if type(count) is int and most and count > most:
        yield f"interval_count = {count}; wanted at most {most}: Stripe bills at least every three years"
    if isinstance(also, dict) and table.get("currency") in also:
        yield f"currency_options has {table['currency']}, which is its currency; wanted others"


def _is_text(value: object, longest: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= longest and value == value.strip() and value.isprintable()


def _is_amount(value: object) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_AMOUNT


def _is_currency(value: object) -> bool:
    return isinstance(value, str) and CURRENCY.fullmatch(value) is not None


def _are_options(value: object) -> bool:
    return isinstance(value, dict) and all(_is_currency(name) and _is_amount(amount) for name, amount in value.items())


class _Key(NamedTuple):
    """A key of a price's table: what is wanted, in words, and the check."""

    words: str
    fits: Callable[[Any], bool]


NEEDED = ("lookup_key", "unit_amount", "currency")
KEYS = {
    "lookup_key": _Key(
        f"a text of 1 to {LONGEST_KEY} characters, without blanks around it", lambda value: _is_text(value, LONGEST_KEY)
    ),
    "unit_amount": _Key(f"a whole number of minor units, such as cents, from 0 to {LARGEST_AMOUNT}", _is_amount),
    "currency": _Key('a currency as Stripe writes it, such as "usd"', _is_currency),
    "interval": _Key(
        f"one of {', '.join(MOST_INTERVALS)}, or no interval for what is bought once",
        lambda value: isinstance(value, str) and value in MOST_INTERVALS,
    ),
    "interval_count": _Key("a whole number from 1", lambda value: type(value) is int and value >= 1),
    "meter": _Key(
        f"the event name of a meter, of 1 to {LONGEST_METER} characters", lambda value: _is_text(value, LONGEST_METER)
    ),
    "currency_options": _Key("amounts in other currencies, such as { eur = 800 }", _are_options),
}
