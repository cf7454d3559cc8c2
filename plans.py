"""plans.toml: what the product sells. Stripe holds the amounts; this file says what they stand for."""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .access import Access
from .errors import ConfigError

PLAN_KEY = re.compile(r"[a-z0-9_-]{1,64}")

Lines = Mapping[tuple[str, ...], int]


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan: the Stripe prices that stand for it, and what it gives.

    Shape   key is the table's name in plans.toml; prices are lookup keys or price ids, the first is the default;
            retired prices are no longer sold and still honoured; pending says whether a first payment that is on its
            way lets in ("allow") or not ("deny"); description and points are what the pages say of it
    """

    key: str
    name: str
    prices: tuple[str, ...]
    features: tuple[str, ...] = ()
    trial_days: int = 0
    grace_days: int = 0
    retired: tuple[str, ...] = ()
    pending: str = "allow"
    description: str = ""
    points: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a key of plans.toml must hold: in words, as a check, and as the value the plan keeps."""

    words: str
    fits: Callable[[Any], bool]
    read: Callable[[Any], Any]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != "" and value == value.strip() and value.isprintable()


def _texts(least: int) -> _Wanted:
    return _Wanted(
        f"a list of {'at least one text' if least else 'texts'}, without doubles, none with blanks around it",
        lambda value: (
            isinstance(value, list)
            and len(value) >= least
            and all(map(_is_text, value))
            and len(set(value)) == len(value)
        ),
        tuple,
    )


def _days(most: int) -> _Wanted:
    return _Wanted(f"a whole number from 0 to {most}", lambda value: type(value) is int and 0 <= value <= most, int)


WANTED = {
    "name": _Wanted("a text", _is_text, str),
    "prices": _texts(least=1),
    "features": _texts(least=0),
    "trial_days": _days(730),
    "grace_days": _days(365),
    "retired": _texts(least=0),
    "description": _Wanted("a text", _is_text, str),
    "points": _texts(least=0),
    "pending": _Wanted('"allow" or "deny"', lambda value: value in ("allow", "deny"), str),
}
REQUIRED = ("name", "prices")


def read_plans(path: Path) -> tuple[Plan, ...]:
    """Read plans.toml.

    Errors  ConfigError with every problem at once, each with its line and what was wanted
    """
    try:
        text = path.read_text("utf-8-sig")
        tables = tomllib.loads(text)
    except OSError as error:
        wanted = "wanted a file of plans, as in plans.example.toml"
        raise ConfigError([f"BILLING_PLANS: {path} cannot be read ({error.strerror}); {wanted}"]) from error
    except ValueError as error:  # what is not TOML, and what is not UTF-8
        raise ConfigError([f"{path}: wanted TOML in UTF-8: {error}"]) from error
    problems = [f"{path}, line 1: wanted at least one plan, such as [pro]"] if not tables else []
    problems += [f"{path}, line {line}: {problem}" for line, problem in sorted(_problems(_lines(text), tables))]
    if problems:
        raise ConfigError(problems)
    return tuple(_plan(key, table) for key, table in tables.items())


def _plan(key: str, table: dict[str, Any]) -> Plan:
    return Plan(key=key, **{name: WANTED[name].read(value) for name, value in table.items()})


def _problems(lines: Lines, tables: dict[str, Any]) -> Iterator[tuple[int, str]]:
    for key, table in tables.items():
        if not isinstance(table, dict):
            yield lines[key,], f"{key} stands outside of any plan; wanted tables such as [pro]"
        elif not PLAN_KEY.fullmatch(key):
            yield lines[key,], f"[{key}]: wanted a name of 1 to 64 small letters, digits, - and _"
        else:
            yield from _problems_of_plan(lines, key, table)
    yield from _prices_used_twice(lines, tables)


def _problems_of_plan(lines: Lines, key: str, table: dict[str, Any]) -> Iterator[tuple[int, str]]:
    for name in REQUIRED:
        if name not in table:
            yield lines[key,], f"[{key}] has no {name}; wanted {WANTED[name].words}"
    for name, value in table.items():
        if name not in WANTED:
            yield lines[key, name], f"[{key}] {name} is not known; wanted one of {', '.join(WANTED)}"
        elif not WANTED[name].fits(value):
            yield lines[key, name], f"[{key}] {name} = {value!r}; wanted {WANTED[name].words}"


def _prices_used_twice(lines: Lines, tables: dict[str, Any]) -> Iterator[tuple[int, str]]:
    first_use: dict[str, str] = {}
    for key, table in tables.items():
        for name in ("prices", "retired"):
            listed, here = table.get(name) if isinstance(table, dict) else None, f"[{key}] {name}"
            for price in listed if isinstance(listed, list) else ():
                if isinstance(price, str) and (there := first_use.setdefault(price, here)) != here:
                    yield lines[key, name], f"{here}: {price!r} stands in {there} already; wanted each price once"


def _lines(text: str) -> Lines:
    """Tell on which line each table, and each key in it, begins.

    tomllib does not say. It does say whether the text up to the end of a line is whole: then what is new in it began
    after the last line for which that was so.
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
        yield from ((key, name) for name in table if isinstance(table, dict))


class Requirement(NamedTuple):
    """Any of these plans, where some are named, and this feature, where one is."""

    plans: tuple[str, ...]
    feature: str | None

    def check(self, known: tuple[Plan, ...]) -> None:
        """Refuse names that no plan has: a slip of the pen would else shut everybody out, or say nothing at all.

        Errors  ConfigError that says what there is
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
        """Tell whether this answer is enough."""
        has_plan = not self.plans or access.plan in self.plans
        has_feature = self.feature is None or self.feature in access.features
        return access.allowed and has_plan and has_feature
