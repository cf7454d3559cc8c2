"""plans.toml: the plans on sale, with their prices, features and limits."""

import functools
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .access import UNLIMITED, Access, Terms
from .amounts import EXAMPLE, LONGEST_METER, WantedPrice, name_of, problems_of, wanted_prices
from .errors import ConfigError

PLAN_KEY = re.compile(r"[a-z0-9_-]{1,64}")
MAIN_GROUP = "main"
DAY_SECONDS = 86_400
MOST_SEATS = 999_999  # of adjustable quantities in Checkout
LARGEST_LIMIT = 2**53  # what JSON can carry to any language
NEVER = "never"
EVERY = ("day", "month", NEVER)

Lines = Mapping[tuple[str, ...], int]


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan: something that is sold, given or free; its prices at Stripe, what it gives, its texts on the pages.

    Shape   key: the table's name in plans.toml; prices: lookup keys or price ids, the first is the default;
            wanted_prices: those of them that plans.toml gives an amount; retired: prices that are no longer sold and
            still honoured; pending: "allow" or "deny" access while the first payment is on its way;
            description and points: texts for the pages;
            limits: numbers or "unlimited"; free: everybody has it; granted_only: never sold; adds_to: the plans that an
            add-on adds to; group: of one group a user has one subscription, empty for the usual one;
            seats: the least and the most that can be bought of it, None where it is bought one by one;
            every: of limits that are counted, after what time they begin anew: "day", "month" or "never";
            meters: of limits that are unlimited and billed by usage, the event name of Stripe's meter;
            adds: what a pack adds to use up; lasts_days: how long what is bought once lasts, 0 for ever;
            refunded, disputed: "end" or "keep" access when what was last paid is refunded or disputed;
            trial_card: whether a card is asked for before a trial; trial_then: "cancel" or "pause" at the end of a
            trial without one
    """

    key: str
    name: str
    prices: tuple[str, ...] = ()
    wanted_prices: tuple[WantedPrice, ...] = ()
    features: tuple[str, ...] = ()
    trial_days: int = 0
    grace_days: int = 0
    retired: tuple[str, ...] = ()
    pending: str = "allow"
    description: str = ""
    points: tuple[str, ...] = ()
    limits: Mapping[str, int | str] = field(default_factory=dict)
    every: Mapping[str, str] = field(default_factory=dict)
    meters: Mapping[str, str] = field(default_factory=dict)
    adds: Mapping[str, int] = field(default_factory=dict)
    lasts_days: int = 0
    refunded: str = "end"
    disputed: str = "end"
    free: bool = False
    granted_only: bool = False
    adds_to: tuple[str, ...] = ()
    group: str = ""
    seats: tuple[int, int] | None = None
    trial_card: bool = True
    trial_then: str = "cancel"

    @property
    def in_group(self) -> str:
        """The group that it is sold in: for an add-on or a pack, which is sold beside a plan, one that no plan has."""
        return self.group or (f"+{self.key}" if self.adds_to or self.adds else MAIN_GROUP)

    def terms(self, rank: int) -> Terms:
        """Return what the rule of access needs of it. rank: its place in plans.toml."""
        return Terms(
            features=self.features,
            limits=self.limits,
            grace_seconds=self.grace_days * DAY_SECONDS,
            denies_pending=self.pending == "deny",
            rank=rank,
            is_free=self.free,
            adds_to=self.adds_to,
            is_pack=bool(self.adds),
            lasts_seconds=self.lasts_days * DAY_SECONDS or None,
            keeps_refunded=self.refunded == "keep",
            keeps_disputed=self.disputed == "keep",
        )


@dataclass(frozen=True, slots=True)
class _Key:
    """A key of plans.toml: what is wanted, in words, the check, and how the value is stored."""

    words: str
    fits: Callable[[Any], bool]
    read: Callable[[Any], Any]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != "" and value == value.strip() and value.isprintable()


def _texts(least: int) -> _Key:
    return _Key(
        f"a list of {'at least one text' if least else 'texts'}, without doubles, none with blanks around it",
        lambda value: (
            isinstance(value, list)
            and len(value) >= least
            and all(map(_is_text, value))
            and len(set(value)) == len(value)
        ),
        tuple,
    )


def _are_prices(value: object) -> bool:
    """Return whether this is a list of names and tables. What is wrong within a table is said beside it."""
    if not isinstance(value, list) or not value:
        return False
    names = [name_of(price) for price in value if not isinstance(price, dict) or "lookup_key" in price]
    return all(map(_is_text, names)) and len(set(names)) == len(names)


def _days(most: int, least: int = 0) -> _Key:
    fits = functools.partial(_is_number, least=least, most=most)
    return _Key(f"a whole number from {least} to {most}", fits, int)


def _one_of(first: str, second: str) -> _Key:
    return _Key(f'"{first}" or "{second}"', lambda value: value in (first, second), str)


def _is_number(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _are_limits(value: object) -> bool:
    return isinstance(value, dict) and all(_is_text(name) and _is_limit(limit) for name, limit in value.items())


def _is_limit(value: object) -> bool:
    """Return whether this is a limit: a number, one that is counted, or one that is metered."""
    if isinstance(value, dict) and "meter" in value:
        return value.keys() == {"meter"} and _is_text(value["meter"]) and len(value["meter"]) <= LONGEST_METER
    if isinstance(value, dict):
        is_counted = {"limit"} <= value.keys() <= {"limit", "every"} and not isinstance(value["limit"], dict)
        return is_counted and value.get("every", NEVER) in EVERY and _is_limit(value["limit"])
    return value == UNLIMITED or _is_number(value, 0, LARGEST_LIMIT)


def _are_amounts(value: object) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(_is_text(name) and _is_number(amount, 1, LARGEST_LIMIT) for name, amount in value.items())
    )


def _are_seats(value: object) -> bool:
    if not isinstance(value, dict) or not {"maximum"} <= value.keys() <= {"minimum", "maximum"}:
        return False
    least, most = value.get("minimum", 1), value["maximum"]
    return type(least) is int and type(most) is int and 1 <= least <= most <= MOST_SEATS


_TRUE = _Key("true", lambda value: value is True, bool)

WANTED = {
    "name": _Key("a text", _is_text, str),
    "prices": _Key(
        "a list of at least one price, without doubles: lookup keys or ids of prices at Stripe, or tables such as "
        f"{EXAMPLE}",
        _are_prices,
        lambda value: tuple(map(name_of, value)),
    ),
    "features": _texts(least=0),
    "trial_days": _days(730),
    "grace_days": _days(365),
    "retired": _texts(least=0),
    "description": _Key("a text", _is_text, str),
    "points": _texts(least=0),
    "pending": _one_of("allow", "deny"),
    "refunded": _one_of("end", "keep"),
    "disputed": _one_of("end", "keep"),
    "limits": _Key(
        'a table of whole numbers and the like, such as { notes = 50, api = "unlimited", '
        'exports = { limit = 100, every = "month" }, calls = { meter = "api_calls" } }; '
        'every is "day", "month" or "never"',
        _are_limits,
        dict,
    ),
    "adds": _Key("a table of whole numbers from 1, such as { exports = 100 }", _are_amounts, dict),
    "lasts_days": _days(36_500, least=1),
    "free": _TRUE,
    "granted_only": _TRUE,
    "adds_to": _texts(least=1),
    "seats": _Key(
        f"a table such as {{ minimum = 1, maximum = 50 }}, of whole numbers from 1 to {MOST_SEATS}",
        _are_seats,
        lambda value: (value.get("minimum", 1), value["maximum"]),
    ),
    "trial_card": _Key("true or false", lambda value: type(value) is bool, bool),
    "trial_then": _one_of("cancel", "pause"),
    "group": _Key(
        "a name of a-z, 0-9, - and _", lambda value: _is_text(value) and bool(PLAN_KEY.fullmatch(value)), str
    ),
}
WITHOUT_PRICES = ("free", "granted_only")
WITHOUT_ADDS = ("features", "limits", "adds_to", "trial_days", "grace_days", "lasts_days", *WITHOUT_PRICES)


def read_plans(path: Path) -> tuple[Plan, ...]:
    """Return the plans of plans.toml.

    Errors  ConfigError with every problem at once, each with its line and what was wanted
    """
    try:
        text = path.read_text("utf-8-sig")
        tables = tomllib.loads(text)
    except OSError as error:
        wanted = "wanted a file of plans, as in plans.example.toml"
        raise ConfigError([f"BILLING_PLANS: {path} cannot be read ({error.strerror}); {wanted}"]) from error
    except (ValueError, RecursionError) as error:  # invalid TOML or UTF-8, or nested without end
        raise ConfigError([f"{path}: wanted TOML in UTF-8: {error}"]) from error
    problems = [f"{path}, line 1: wanted at least one plan, such as [pro]"] if not tables else []
    problems += [f"{path}, line {line}: {problem}" for line, problem in sorted(_problems(_Lines(text), tables))]
    if problems:
        raise ConfigError(problems)
    return tuple(_plan(key, table) for key, table in tables.items())


def _plan(key: str, table: dict[str, Any]) -> Plan:
    name = key.replace("_", " ").replace("-", " ").capitalize()
    values = {name: WANTED[name].read(value) for name, value in table.items()}
    wanted = wanted_prices(table.get("prices", ()))
    return Plan(key=key, wanted_prices=wanted, **{"name": name} | values | _limits(values.get("limits", {})))


def _limits(listed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a plan that its limits fill."""
    tables = {name: limit for name, limit in listed.items() if isinstance(limit, dict)}
    counted = {name: table for name, table in tables.items() if "limit" in table}
    numbers = {name: counted[name]["limit"] if name in counted else limit for name, limit in listed.items()}
    meters = {name: table["meter"] for name, table in tables.items() if "meter" in table}
    return {
        "limits": numbers | dict.fromkeys(meters, UNLIMITED),
        "every": {name: table.get("every", NEVER) for name, table in counted.items()},
        "meters": meters,
    }


def _problems(lines: Lines, tables: dict[str, Any]) -> Iterator[tuple[int, str]]:
    for key, table in tables.items():
        if not isinstance(table, dict):
            yield lines[key,], f"{key} stands outside of any plan; wanted tables such as [pro]"
        elif not PLAN_KEY.fullmatch(key):
            yield lines[key,], f"[{key}]: wanted a name of 1 to 64 small letters, digits, - and _"
        else:
            yield from _problems_of_plan(lines, key, table)
            yield from _problems_of_prices(lines, key, table)
    yield from _prices_used_twice(lines, tables)
    yield from _addons_of_nothing(lines, tables)
    yield from _kinds_that_differ(lines, tables)


def _problems_of_plan(lines: Lines, key: str, table: dict[str, Any]) -> Iterator[tuple[int, str]]:
    without_prices = [name for name in WITHOUT_PRICES if name in table]
    if "prices" not in table and not without_prices:
        yield lines[key,], f"[{key}] has no prices; wanted {WANTED['prices'].words}, or free or granted_only = true"
    for name in without_prices:
        others = [other for other in ("prices", "adds_to", *WITHOUT_PRICES) if other in table and other != name]
        if others:
            yield lines[key, name], f"[{key}] {name} = true; wanted without {' and '.join(others)}"
    if "adds" in table:
        for name in WITHOUT_ADDS:
            if name in table:
                yield (
                    lines[key, name],
                    f"[{key}] {name}; wanted without it: a pack gives what it adds, and nothing else",
                )
    for name, value in table.items():
        if name not in WANTED:
            yield lines[key, name], f"[{key}] {name} is not known; wanted one of {', '.join(WANTED)}"
        elif not WANTED[name].fits(value):
            yield lines[key, name], f"[{key}] {name} = {value!r}; wanted {WANTED[name].words}"


def _problems_of_prices(lines: Lines, key: str, table: dict[str, Any]) -> Iterator[tuple[int, str]]:
    listed, limits = table.get("prices"), table.get("limits")
    known = limits.values() if isinstance(limits, dict) else ()
    meters = [each["meter"] for each in known if isinstance(each, dict) and "meter" in each]
    for price in listed if isinstance(listed, list) else ():
        if not isinstance(price, dict):
            continue
        here, meter = f"[{key}] prices: {name_of(price) or 'a table'}", price.get("meter")
        for problem in problems_of(price):
            yield lines[key, "prices"], f"{here} {problem}"
        if "adds" in table and "interval" in price:
            yield lines[key, "prices"], f"{here} has an interval; wanted none: a pack is bought once"
        if isinstance(meter, str) and meter not in meters:
            wanted = f'wanted a limit that counts by it, such as calls = {{ meter = "{meter}" }}'
            yield lines[key, "prices"], f"{here} has the meter {meter!r}; {wanted}"


def _prices_used_twice(lines: Lines, tables: dict[str, Any]) -> Iterator[tuple[int, str]]:
    first_use: dict[str, str] = {}
    for key, table in tables.items():
        for name in ("prices", "retired"):
            listed, here = table.get(name) if isinstance(table, dict) else None, f"[{key}] {name}"
            for each in listed if isinstance(listed, list) else ():
                price = name_of(each)
                if price is not None and (there := first_use.setdefault(price, here)) != here:
                    yield lines[key, name], f"{here}: {price!r} stands in {there} already; wanted each price once"


def _addons_of_nothing(lines: Lines, tables: dict[str, Any]) -> Iterator[tuple[int, str]]:
    bases = {
        key
        for key, table in tables.items()
        if isinstance(table, dict) and not {"adds_to", "adds", "free"}.intersection(table)
    }
    for key, table in tables.items():
        named = table.get("adds_to") if isinstance(table, dict) else None
        for name in named if isinstance(named, list) else ():
            if isinstance(name, str) and name not in bases:
                yield lines[key, "adds_to"], f"[{key}] adds_to: {name!r} is no plan to add to; wanted names of plans"


def _kinds_that_differ(lines: Lines, tables: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """A limit of one name is the same kind of thing in every plan, and so is the credit that a pack adds to it."""
    first: dict[tuple[str, str], tuple[str, str]] = {}
    for key, table in tables.items():
        for name in ("limits", "adds"):
            listed = table.get(name) if isinstance(table, dict) else None
            for limit, value in listed.items() if isinstance(listed, dict) and WANTED[name].fits(listed) else ():
                for question, kind in _kinds(name, value):
                    there, known = first.setdefault((limit, question), (f"[{key}] {name}", kind))
                    if kind != known:
                        wanted = f"wanted the same as in {there}, which has {known}"
                        yield lines[key, name], f"[{key}] {name}: {limit!r} has {kind}; {wanted}"


def _kinds(name: str, value: object) -> Iterator[tuple[str, str]]:
    """Return what must be the same in all plans: whether a limit is counted, when it begins anew, its meter."""
    if name == "adds":
        yield "counted", "something to use up"
    elif isinstance(value, dict):
        yield "counted", "something to use up"
        yield ("meter", f"the meter {value['meter']!r}") if "meter" in value else ("every", _every(value))
    elif value != UNLIMITED:
        yield "counted", "a number alone"


def _every(counted: Mapping[str, Any]) -> str:
    return f'every = "{counted.get("every", NEVER)}"'


class _Lines(dict[tuple[str, ...], int]):
    """The line on which each table, and each key in it, begins: looked for once one is to be said, as that takes
    quadratic time.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def __missing__(self, path: tuple[str, ...]) -> int:
        found = _lines(self._text)
        self.update(found)
        return found[path]


def _lines(text: str) -> Lines:
    """Return the line on which each table, and each key in it, begins.

    tomllib has no line numbers. So this parses the first line, the first two, and so on: a key that is new began after
    the last line up to which the text was valid.
    """
    found: dict[tuple[str, ...], int] = {}
    lines, begins = text.split("\n"), 1
    for number in range(1, len(lines) + 1):
        try:
            tables = tomllib.loads("\n".join(lines[:number]))
        except tomllib.TOMLDecodeError:
            continue
        for path in _paths(tables):
            found.setdefault(path, begins)
        begins = number + 1
    return found


def _paths(tables: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, table in tables.items():
        yield (key,)
        if isinstance(table, dict):
            yield from ((key, name) for name in table)


class Requirement(NamedTuple):
    """What `requires` asks for: one of these plans, if any are named, and this feature, if one is."""

    plans: tuple[str, ...]
    feature: str | None

    def check(self, known: tuple[Plan, ...]) -> None:
        """Raise for names that plans.toml does not have: a misspelt one would lock every user out.

        Errors  ConfigError that lists the names that exist
        """
        keys = [plan.key for plan in known]
        features = sorted({feature for plan in known for feature in plan.features})
        unknown = [plan for plan in self.plans if plan not in keys]
        problems = [f"no plan is called {plan!r}; plans.toml has {', '.join(keys)}" for plan in unknown]
        if self.feature is not None and self.feature not in features:
            there = ", ".join(features) or "none"
            problems.append(f"no plan has the feature {self.feature!r}; plans.toml has {there}")
        if problems:
            raise ConfigError(problems)

    def is_met_by(self, access: Access) -> bool:
        """Return whether this access meets the requirement. The free plan meets what names it or one of its features,
        and nothing else.
        """
        if not self.plans and self.feature is None:
            return access.allowed
        has_plan = not self.plans or not set(self.plans).isdisjoint(access.plans)
        return has_plan and (self.feature is None or self.feature in access.features)
